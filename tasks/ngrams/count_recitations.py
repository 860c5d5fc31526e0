"""Step `count_recitations`: which generations occur anywhere in the corpus, and how often (docs/memorization.md).

A model that does not give a suffix back may write other text of the corpus: at a hundred copies, 32.6 % of what models write occurs
somewhere, and 15.8 % is the suffix (arXiv 2202.07646). The distinct generations of all models and checkpoints are counted in one
scan, for its time depends on the corpus far more than on them. A generation that ended early is shorter than a suffix, so that it
occurs more easily: it is not counted.
"""

import numpy as np
import polars as pl

from schemas import Study
from schemas.tables.recitations import RECITATION_COUNTS, RECITATION_PARTIALS, RECITED_SUFFIXES
from tasks.cost import Cost, Sizes
from tasks.ngrams.corpus_parts import same_tokenizer
from tasks.ngrams.draw_sequences import RATES, count_windows
from tasks.step import Inputs, Job, Stage, Step, Work, asks_for_recitation

QUERY_BYTES = 48  # of the trie, for a token of a generation


def plan_suffixes(study: Study, inputs: Inputs) -> list[Job]:
    """One job: each distinct generation is counted once."""
    given = {"recitations": inputs["recitations"]}
    return [Job({}, {}, given, cost=10.0)] if asks_for_recitation(study) and inputs["recitations"] else []


def run_suffixes(work: Work) -> None:
    distinct = pl.DataFrame(schema={"generation": pl.String, "ids": pl.List(pl.Int32)})
    for part in work.parts("recitations"):
        rows = work.frame(part, "generation", "ids", "ended")
        work.add("generations", len(rows))
        work.add("ended", int(rows["ended"].sum()))
        distinct = pl.concat([distinct, rows.filter(~pl.col("ended")).drop("ended")]).unique("generation")
    work.write("recited_suffixes", distinct.sort("generation").to_arrow().cast(RECITED_SUFFIXES.schema))


def plan_partials(study: Study, inputs: Inputs) -> list[Job]:
    shared = {"recited_suffixes": inputs["recited_suffixes"], "tokenizer": inputs["tokenizer"]}
    tokens = inputs["tokens"] if inputs["recited_suffixes"] else ()
    return [Job(part.labels, {}, {"tokens": (part,), **shared}, memory=study.counting.memory_bytes) for part in tokens]


def run_partials(work: Work) -> None:
    same_tokenizer(work)
    suffixes = work.frame("recited_suffixes", "ids")["ids"]
    there, counts = np.empty(0, np.int64), np.empty((0, 2), np.int64)
    if len(suffixes):
        counts = count_windows(work, [suffixes.explode().to_numpy().astype(np.int32).reshape(len(suffixes), -1)])
        there = np.flatnonzero(counts[:, 0])
        counts = counts[there]
    work.write("recitation_partials", {"number": there, "occurrences": counts[:, 0], "documents": counts[:, 1]})


def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    return [Job({}, {}, {t: inputs[t] for t in ("recited_suffixes", "recitation_partials")})] if inputs["recited_suffixes"] else []


def run_sum(work: Work) -> None:
    names = work.frame("recited_suffixes", "generation")["generation"]
    counts = np.zeros((len(names), 2), np.int64)
    for part in work.parts("recitation_partials"):
        rows = work.frame(part)
        counts[rows["number"].to_numpy()] += rows.select("occurrences", "documents").to_numpy()
    work.add("in_corpus", int((counts[:, 0] > 0).sum()))
    work.write("recitation_counts", {"generation": names.to_arrow(), "occurrences": counts[:, 0], "documents": counts[:, 1]})


def cost(sizes: Sizes) -> Cost:
    """One pass over the tokens for all generations, or several where they do not fit into memory at once."""
    memorization, c = sizes.study.memorization, sizes.corpus
    if memorization is None or not memorization.recite or not sizes.checkpoints:
        return Cost(unit="tokens")
    tokens, limit = sizes.checkpoints * sizes.study.expected_windows * memorization.suffix, sizes.study.counting.memory_bytes
    passes, rate = max(1.0, tokens * QUERY_BYTES / limit), RATES["count sequences"]
    read, core, memory = passes * c.stored_tokens, passes * c.tokens / rate, 0.5e9 + min(limit, 64.0 * tokens)
    rates = {"count sequences": rate}
    return Cost(c.parts + 2, c.tokens, "tokens", read, 4.0 * tokens, core, memory=memory, guesses=c.guesses, rates=rates)


ABOUT = "how often what the models write instead of suffixes occurs anywhere in the corpus"
READS = ("recitations", "tokens", "tokenizer")
STAGES = (
    Stage((RECITED_SUFFIXES,), plan_suffixes, run_suffixes),
    Stage((RECITATION_PARTIALS,), plan_partials, run_partials),
    Stage((RECITATION_COUNTS,), plan_sum, run_sum),
)
COUNT_RECITATIONS = Step("count_recitations", 1, ABOUT, READS, STAGES, cost=cost, applies=asks_for_recitation)
