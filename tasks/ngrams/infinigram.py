"""The ∞-gram language model over the models' tokens, for every token of every reference output (arXiv 2407.14985 §2, Eq. 5-6).

    P_∞(y | ctx) = Π_t C(s_t ⊕ y_t) / C(s_t •)        s_t: the longest suffix of prompt ⊕ x ⊕ y_<t that stands in the corpus

Kept beside it, for full back-off: the longest suffix that y_t follows at least once. Denominators count the occurrences that
a token follows, documents are separate, the empty suffix is the unigram. One corpus part gives the counts of every suffix
that stands in it; those of all parts add up, and the longest is chosen from the sum.

The trie of asked contexts keeps to the job's memory: where it cannot, the texts are asked some at a time, and the part is read
once for each. A text is never cut, and beside the trie lie the texts themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import INFINIGRAM as INFINIGRAM_TABLE
from schemas import INFINIGRAM_PARTIALS, Study
from tasks.cost import DEBIAN, TOKEN, Cost, Rate, Sizes
from tasks.ngrams.origins import same_tokenizer
from tasks.ngrams.query.partial_counts import by_key
from tasks.ngrams.query.scan import pieces
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text.bpe.continuations import tokenise
from tasks.text.bpe.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from tasks.ngrams.kernels.context_kernels import Asked

ROW_BYTES = 240  # of an answer while it is found, named and written
ROWS_AT_ONCE = 65_536  # a row group, so that a part's bytes do not tell how many texts were asked at once


@dataclass(frozen=True)
class Texts:
    """Tokenised prompt ⊕ reference of each evaluated example, in the order of (task, example).

    Text i is ids[offsets[i]:offsets[i + 1]]; its continuation begins at begins[i]; starts and ends are the code points of
    the continuation's tokens, counted from the output's beginning.
    """

    names: list[tuple[str, str]]
    ids: np.ndarray
    offsets: np.ndarray
    begins: np.ndarray
    starts: list[list[int]]
    ends: list[list[int]]


def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per tokens part."""
    shared = {"examples": inputs["examples"], "tokenizer": inputs["tokenizer"]}
    settings = {"longest_suffix": study.counting.longest_suffix}
    return [
        Job(part.labels, settings, {"tokens": (part,), **shared}, memory=study.counting.memory_bytes)
        for part in inputs["tokens"]
    ]


def run_scan(work: Work) -> None:
    """Count every suffix of every context in one part."""
    same_tokenizer(work)
    texts = _texts(work)
    tasks, examples = (pa.array([name[i] for name in texts.names], pa.string()) for i in (0, 1))
    for rows in _in_groups(_answers(work, texts)):
        text = pa.array(rows[:, 0])
        work.write(
            "infinigram_partials",
            pa.table(
                {
                    "task": tasks.take(text),
                    "example": examples.take(text),
                    "position": pa.array(rows[:, 1], pa.int32()),
                    "suffix": pa.array(rows[:, 2], pa.int32()),
                    "denominator": rows[:, 3],
                    "numerator": rows[:, 4],
                }
            ),
        )


def _answers(work: Work, texts: Texts) -> Iterator[np.ndarray]:
    """Rows (text, position, suffix, denominator, numerator), texts in order; as many texts at once as the memory allows."""
    from tasks.ngrams.kernels import context_kernels as kernels

    longest, offsets, work.passes = work.settings["longest_suffix"], texts.offsets, 0
    waiting = [(0, len(texts.begins))]
    while waiting:
        first, last = waiting.pop()
        some, begins = offsets[first : last + 1] - offsets[first], texts.begins[first:last]
        memory = work.job.memory if last - first > 1 else None
        asked = kernels.ask(texts.ids[offsets[first] : offsets[last]], some, begins, longest, memory)
        _scan(work, asked)
        if asked.full:
            middle = first + min(max(1, int(np.searchsorted(some, some[-1] // 2))), last - first - 1)
            waiting += [(middle, last), (first, middle)]
            continue
        if not work.passes:
            work.add("tokens", asked.tokens)
        work.passes += 1
        sizes = np.cumsum(ROW_BYTES * (longest + 1) * (np.diff(some) - begins)) // work.job.memory
        for number in np.unique(sizes):
            here = np.flatnonzero(sizes == number)
            rows = kernels.answers(some, begins, asked, here[0], here[-1] + 1)
            rows[:, 0] += first
            yield rows


def _scan(work: Work, asked: Asked) -> None:
    """Read the part to its end, or until `asked` is full."""
    from tasks.ngrams.kernels import context_kernels as kernels

    size = work.read("tokenizer", "vocabulary_size").column(0)[0].as_py()
    for ids, offsets, _ in pieces(work, work.parts("tokens")[0], size):
        kernels.scan_contexts(ids, offsets, asked)
        if asked.full:
            return


def _in_groups(found: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in arrays of whole row groups, but for the last."""
    held: list[np.ndarray] = []
    for rows in found:
        held.append(rows)
        if sum(map(len, held)) >= ROWS_AT_ONCE:
            every = np.concatenate(held)
            whole = len(every) - len(every) % ROWS_AT_ONCE
            yield every[:whole]
            held = [every[whole:]]
    if sum(map(len, held)):
        yield np.concatenate(held)


def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    """One job: partial counts add up."""
    names = ("infinigram_partials", "examples", "tokenizer")
    return (
        [Job({"study": "all"}, {}, {n: inputs[n] for n in names}, memory=study.counting.memory_bytes)]
        if inputs["tokens"]
        else []
    )


def run_sum(work: Work) -> None:
    """Choose the longest suffix of each position."""
    texts = _texts(work)
    key = ["task", "example", "position"]
    empty = pl.DataFrame(INFINIGRAM_PARTIALS.schema.empty_table())
    longest, seen = [empty], [empty]
    for rows in by_key(work, "infinigram_partials", key, "suffix", "denominator", "numerator"):
        total = rows.group_by([*key, "suffix"]).agg(pl.col("denominator", "numerator").sum()).sort([*key, "suffix"])
        longest.append(total.group_by(key, maintain_order=True).last())
        seen.append(total.filter(pl.col("numerator") > 0).group_by(key, maintain_order=True).last())
    found = (
        _positions(texts)
        .join(pl.concat(longest), on=key, how="left")
        .join(pl.concat(seen), on=key, how="left", suffix="_seen")
        .sort(key)
    )
    work.write(
        "infinigram",
        found.select(
            *key,
            "token",
            "start",
            "end",
            pl.col("suffix").fill_null(0),
            pl.col("numerator").fill_null(0),
            pl.col("denominator").fill_null(0),
            pl.col("suffix_seen").fill_null(-1).alias("backoff_suffix"),
            pl.col("numerator_seen").fill_null(0).alias("backoff_numerator"),
            pl.col("denominator_seen").fill_null(0).alias("backoff_denominator"),
        ).to_arrow(),
    )


def _positions(texts: Texts) -> pl.DataFrame:
    """One row per token of each continuation."""
    rows: dict[str, list[Any]] = {name: [] for name in ("task", "example", "position", "token", "start", "end")}
    for i, (task, example) in enumerate(texts.names):
        tokens = texts.ids[texts.offsets[i] + texts.begins[i] : texts.offsets[i + 1]].tolist()
        rows["task"] += [task] * len(tokens)
        rows["example"] += [example] * len(tokens)
        rows["position"] += range(len(tokens))
        rows["token"] += tokens
        rows["start"] += texts.starts[i]
        rows["end"] += texts.ends[i]
    schema = {
        "task": pl.String,
        "example": pl.String,
        "position": pl.Int32,
        "token": pl.Int32,
        "start": pl.Int32,
        "end": pl.Int32,
    }
    return pl.DataFrame(rows, schema=schema)


def _texts(work: Work) -> Texts:
    """The evaluated examples' references behind their prompts, as the study's tokenizer cuts them."""
    tokenizer = load_tokenizer(work.read("tokenizer", "json").column("json")[0].as_py())
    table = work.read("examples", "task", "split", "example", "prompt", "separator", "output")
    rows = sorted((r for r in table.to_pylist() if r["split"] == "evaluate"), key=lambda r: (r["task"], r["example"]))
    texts = tokenise(tokenizer, [(r["prompt"], r["separator"], r["output"]) for r in rows])
    offsets = np.concatenate([[0], np.cumsum([len(t.ids) for t in texts])]).astype(np.int64)
    ids = np.concatenate([np.empty(0, np.int32), *(np.array(t.ids, np.int32) for t in texts)])
    return Texts(
        [(r["task"], r["example"]) for r in rows],
        ids,
        offsets,
        np.array([t.begin for t in texts], np.int64),
        [t.starts for t in texts],
        [t.ends for t in texts],
    )


RATES = {
    "infinigram": Rate(8.4e6, "tokens /s", DEBIAN),
    "infinigram sum": Rate(1.2e-6, "s for each partial row", DEBIAN),
    "partial rows": Rate(2.8, "partial rows for a token of a context, and part", DEBIAN),
    "bytes of a partial row": Rate(2.8, "bytes for a partial row of the ∞-gram", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    """A scan of every part for all contexts, and their sum."""
    c = sizes.corpus
    context = sum(t.evaluated * (t.prompt_bytes + t.output_bytes) for t in sizes.tasks) / TOKEN
    rows = context * RATES["partial rows"] * c.parts
    scan, total = c.tokens / RATES["infinigram"], rows * RATES["infinigram sum"]
    return Cost(
        parts=c.parts + 1 if c.parts else 0,
        work=c.tokens,
        unit="tokens",
        read=c.stored_tokens,
        written=rows * RATES["bytes of a partial row"],
        core=scan + total,
        longest=max(total, scan / max(1, c.parts)),
        memory=0.5e9 + 100 * context,
        guesses=(*c.guesses, *c.many_parts),
        rates=RATES,
    )


INFINIGRAM = Step(
    "infinigram",
    version=1,
    about="∞-gram counts of each token of each reference output, over the models' tokens",
    reads=("tokens", "examples", "tokenizer"),
    stages=(Stage((INFINIGRAM_PARTIALS,), plan_scan, run_scan), Stage((INFINIGRAM_TABLE,), plan_sum, run_sum)),
    cost=cost,
)
