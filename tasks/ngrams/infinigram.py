"""The ∞-gram language model over the models' tokens, for every token of every reference output (arXiv 2407.14985 §2, Eq. 5-6).

    P_∞(y | ctx) = Π_t C(s_t ⊕ y_t) / C(s_t •)        s_t: the longest suffix of prompt ⊕ x ⊕ y_<t that occurs in the corpus

Stored as well, for full back-off: the longest suffix that y_t follows at least once. Denominators count the occurrences that
a token follows, documents are separate, the empty suffix is the unigram. Each corpus part gives the counts of every suffix
that occurs in it; these are summed over parts, and the longest suffix is chosen from the sums.

If the trie of queried contexts would exceed the job's memory, the texts are queried in groups, and the part is read once per
group. A text is never split; the texts themselves come on top of the trie.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import INFINIGRAM as INFINIGRAM_TABLE
from schemas import INFINIGRAM_PARTIALS, Study
from tasks.cost import DEBIAN, TOKEN, Cost, Rate, Sizes
from tasks.ngrams.corpus_parts import concatenated, id_batches, same_tokenizer
from tasks.ngrams.query.partial_counts import by_key
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.writing import in_row_groups
from tasks.text.bpe.tokenizer import Tokenised, load_tokenizer, tokenise

ROW_BYTES = 240  # memory of a result row until it is written
COLUMNS = ("text", "position", "suffix", "denominator", "numerator")


def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    shared = {"examples": inputs["examples"], "tokenizer": inputs["tokenizer"]}
    settings, memory = {"longest_suffix": study.counting.longest_suffix}, study.counting.memory_bytes
    return [Job(part.labels, settings, {"tokens": (part,), **shared}, memory=memory) for part in inputs["tokens"]]


def run_scan(work: Work) -> None:
    same_tokenizer(work)
    names, texts = _texts(work)
    examples = {column: pa.array([name[i] for name in names], pa.string()) for i, column in enumerate(("task", "example"))}
    for rows in in_row_groups(pa.table(dict(zip(COLUMNS, rows.T, strict=True))) for rows in _counts(work, texts)):
        of_examples = {column: values.take(rows["text"]) for column, values in examples.items()}
        work.write("infinigram_partials", of_examples | {name: rows[name] for name in COLUMNS[1:]})


def _counts(work: Work, texts: Sequence[Tokenised]) -> Iterator[np.ndarray]:
    from tasks.ngrams.kernels import context_kernels as kernels

    lengths, starts = np.array([len(t.ids) for t in texts], np.int64), np.array([t.begin for t in texts], np.int64)
    ids, offsets = concatenated([np.array(t.ids, np.int32) for t in texts], [lengths])
    size = work.read("tokenizer", "vocabulary_size").column(0)[0].as_py()
    longest, work.passes, waiting = work.settings["longest_suffix"], 0, [(0, len(texts))]
    while waiting:
        first, last = waiting.pop()
        some, begins = offsets[first : last + 1] - offsets[first], starts[first:last]
        memory = work.job.memory if last - first > 1 else 0
        trie = kernels.build_context_trie(ids[offsets[first] : offsets[last]], some, begins, longest, memory)
        for batch_ids, batch_offsets, _ in id_batches(work, work.parts("tokens")[0], size):
            kernels.scan_contexts(batch_ids, batch_offsets, trie)
            if trie.full:
                break
        if trie.full:
            middle = first + min(max(1, int(np.searchsorted(some, some[-1] // 2))), last - first - 1)
            waiting += [(middle, last), (first, middle)]
            continue
        if not work.passes:
            work.add("tokens", trie.tokens)
        work.passes += 1
        sizes = np.cumsum(ROW_BYTES * (longest + 1) * (np.diff(some) - begins)) // work.job.memory
        for number in np.unique(sizes):
            here = np.flatnonzero(sizes == number)
            rows = kernels.suffix_counts(some, begins, trie, here[0], here[-1] + 1)
            rows[:, 0] += first
            yield rows


def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    given = {name: inputs[name] for name in ("infinigram_partials", "examples", "tokenizer")}
    return [Job({"study": "all"}, {}, given, memory=study.counting.memory_bytes)] if inputs["tokens"] else []


def run_sum(work: Work) -> None:
    key = ["task", "example", "position"]
    empty = pl.DataFrame(INFINIGRAM_PARTIALS.schema.empty_table())
    longest, seen = [empty], [empty]
    for rows in by_key(work, "infinigram_partials", key, "suffix", "denominator", "numerator"):
        total = rows.group_by([*key, "suffix"]).agg(pl.col("denominator", "numerator").sum()).sort([*key, "suffix"])
        longest.append(total.group_by(key, maintain_order=True).last())
        seen.append(total.filter(pl.col("numerator") > 0).group_by(key, maintain_order=True).last())
    counts = _positions(*_texts(work)).join(pl.concat(longest), on=key, how="left").sort(key)
    counts = counts.join(pl.concat(seen), on=key, how="left", suffix="_seen", maintain_order="left")
    of_longest = pl.col("suffix", "numerator", "denominator").fill_null(0)
    of_seen = {f"backoff_{c}": pl.col(f"{c}_seen").fill_null(0) for c in ("numerator", "denominator")}
    backoff_suffix = pl.col("suffix_seen").fill_null(-1).alias("backoff_suffix")
    rows = counts.select(*key, "token", "start", "end", of_longest, backoff_suffix, **of_seen)
    work.write("infinigram", rows.to_arrow())


def _positions(names: Sequence[tuple[str, str]], texts: Sequence[Tokenised]) -> pl.DataFrame:
    """One row per token of each continuation."""
    rows: list[tuple[Any, ...]] = []
    for name, text in zip(names, texts, strict=True):
        spans = zip(text.ids[text.begin :], text.starts, text.ends, strict=True)
        rows += [(*name, position, *span) for position, span in enumerate(spans)]
    schema = {"task": pl.String, "example": pl.String} | dict.fromkeys(("position", "token", "start", "end"), pl.Int32)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _texts(work: Work) -> tuple[list[tuple[str, str]], list[Tokenised]]:
    """(task, example) of the evaluated examples, sorted, and their prompts with their references as tokens of the study."""
    tokenizer = load_tokenizer(work.read("tokenizer", "json").column("json")[0].as_py())
    table = work.read("examples", "task", "split", "example", "prompt", "separator", "output")
    rows = sorted((r for r in table.to_pylist() if r["split"] == "evaluate"), key=lambda r: (r["task"], r["example"]))
    texts = tokenise(tokenizer, [(r["prompt"], r["separator"], r["output"]) for r in rows])
    return [(r["task"], r["example"]) for r in rows], texts


RATES = {
    "infinigram": Rate(8.4e6, "tokens /s", DEBIAN),
    "infinigram sum": Rate(1.2e-6, "s for each partial row", DEBIAN),
    "partial rows": Rate(2.8, "partial rows for a token of a context, and part", DEBIAN),
    "bytes of a partial row": Rate(2.8, "bytes for a partial row of the ∞-gram", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    c = sizes.corpus
    context = sum(t.evaluated * (t.prompt_bytes + t.output_bytes) for t in sizes.tasks) / TOKEN
    rows, guesses = context * RATES["partial rows"] * c.parts, (*c.guesses, *c.many_parts)
    scan, total, written = c.tokens / RATES["infinigram"], rows * RATES["infinigram sum"], rows * RATES["bytes of a partial row"]
    parts, longest, memory = c.parts + 1 if c.parts else 0, max(total, scan / max(1, c.parts)), 0.5e9 + 100 * context
    return Cost(parts, c.tokens, "tokens", c.stored_tokens, written, scan + total, 0.0, longest, memory, guesses, RATES)


ABOUT = "∞-gram counts of each token of each reference output, over the models' tokens"
READS = ("tokens", "examples", "tokenizer")
STAGES = (Stage((INFINIGRAM_PARTIALS,), plan_scan, run_scan), Stage((INFINIGRAM_TABLE,), plan_sum, run_sum))
INFINIGRAM = Step("infinigram", version=1, about=ABOUT, reads=READS, stages=STAGES, cost=cost)
