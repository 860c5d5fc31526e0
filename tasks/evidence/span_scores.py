"""log P of each s_y by one model, after its own input and after others (docs/method.md §5, §6a).

    log P_LLM(s_y | u ⊕ x ⊕ y_<) = Σ of log p of the tokens of y whose characters overlap the first occurrence of s_y
The sum stops where s_y ends. Summing on to the end of the text instead (a mask that is never reset) mixes in all that
follows; on planted data that takes Mem_n from .65 to .13.

For each other input also the largest similarity of a mined pair of one of its n-grams with s_y: Δ leaves out the inputs for which
it exceeds γ.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from schemas import EVIDENCE_SCORES
from tasks.evidence.pairs_and_spans import evaluated_ngrams, output_spans
from tasks.pair_evidence import PAIR, partner_similarities
from tasks.statistics import Floats, Ints
from tasks.step import Work


class SpanSums(NamedTuple):
    """Sums of some spans after some inputs; arrays of one length."""

    span: Ints
    log_p: Floats
    """NaN where no token overlaps the span"""
    tokens: Ints
    """how many do"""
    given: Ints
    """the example whose input was given; -1: none of the evaluated, so that its partners are not known"""
    after_own: NDArray[np.bool_]
    """whether that is the span's own example"""


def run_scores(work: Work) -> None:
    """Write the scores of one model at one checkpoint for all output n-grams of a task."""
    task = work.labels["task"]
    names = work.frame("examples", "task", "split", "example").filter(task=task, split="evaluate")["example"].sort()
    codes = pl.DataFrame({"name": names, "code": np.arange(len(names))})
    ngrams = evaluated_ngrams(work, task, "starts", "ends").with_columns(pl.col("order").cast(pl.Int64))
    ngrams = ngrams.join(codes, left_on="example", right_on="name", maintain_order="left")
    spans = output_spans(ngrams).with_row_index("span").with_columns(pl.col("span").cast(pl.Int64))
    none, whole = np.empty(0), np.empty(0, np.int64)
    pieces = [SpanSums(whole, none, whole, whole, np.empty(0, np.bool_)), *span_sums_of(work, task, names.to_list(), spans)]
    span, log_p, tokens, given, after_own = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    scored = np.zeros(len(spans), bool)
    scored[span] = True
    log_own, own_tokens = np.full(len(spans), np.nan), np.zeros(len(spans), np.int64)
    log_own[span[after_own]], own_tokens[span[after_own]] = log_p[after_own], tokens[after_own]
    usable = ~after_own & (given >= 0) & np.isfinite(log_p)
    at = np.flatnonzero(usable)[np.argsort(span[usable], kind="stable")]
    mined = work.frame("task_grams", "task", "order", *PAIR, "similarity").filter(task=task)
    mined = mined.select(pl.col("order").cast(pl.Int64), *PAIR, pl.col("similarity").cast(pl.Float64))
    inputs = ngrams.filter(side="input").select("order", example="code", input_ngram="ngram")
    outputs = spans.select("span", "order", output_ngram="ngram")
    similarity = partner_similarities(inputs, outputs, mined, given[at], span[at], len(names))
    kept = np.flatnonzero(scored)
    ends = np.concatenate([[0], np.cumsum(np.bincount(span[at], minlength=len(spans))[kept])])
    others = names.to_arrow().cast(pa.string()).take(pa.array(given[at]))
    lists = (others, pa.array(log_p[at]), pa.array(similarity, mask=np.isneginf(similarity)))
    rows = spans.filter(pl.Series(scored)).select("example", "order", "ngram").to_arrow()
    same = {"task": task, "model": work.labels["model"], "checkpoint": int(work.labels["checkpoint"])}
    columns = {name: pa.array([value] * len(kept)) for name, value in same.items()} | {n: rows[n] for n in rows.column_names}
    columns |= {"log_probability": pa.array(log_own[kept], from_pandas=True), "tokens": pa.array(own_tokens[kept])}
    names_of_lists = EVIDENCE_SCORES.schema.names[-3:]
    columns |= {n: pa.ListArray.from_arrays(pa.array(ends, pa.int32()), v) for n, v in zip(names_of_lists, lists, strict=True)}
    work.write("evidence_scores", pa.table(columns).select(EVIDENCE_SCORES.schema.names).cast(EVIDENCE_SCORES.schema))


def span_sums_of(work: Work, task: str, names: list[str], spans: pl.DataFrame) -> Iterator[SpanSums]:
    """The sums of all spans, some rows of `token_scores` at a time; of these only the reference output (option -1) is used."""
    code = {name: i for i, name in enumerate(names)}
    offsets = np.searchsorted(spans["code"].to_numpy(), np.arange(len(names) + 1))
    places = spans["start"].to_numpy(), spans["end"].to_numpy()
    columns = ("task", "option", "example", "input_example", "starts", "ends", "log_probabilities")
    for part in work.parts("token_scores"):
        for batch in work.batches(part, *columns, rows=4096):
            task_of, option, *names_of = (np.array(batch.column(name).to_pylist(), dtype=object) for name in columns[:4])
            example, given = (np.array([code.get(e, -1) for e in of], np.int64) for of in names_of)
            rows = np.flatnonzero((task_of == task) & (option == -1) & (example >= 0))
            yield _sums(offsets, places, batch, rows, example[rows], given[rows])


def _sums(offsets: Ints, places: tuple[Ints, Ints], batch: pa.RecordBatch, rows: Ints, example: Ints, given: Ints) -> SpanSums:
    """The sums of some rows of a batch, for all spans of their examples."""
    from tasks.text.span_kernels import sum_over_spans

    lists = [batch.column(n) for n in ("starts", "ends", "log_probabilities")]
    begin, end = (lists[0].offsets.to_numpy()[rows + i] for i in (0, 1))
    starts, ends, values = (column.values.to_numpy(zero_copy_only=False) for column in lists)
    first, last = offsets[example], offsets[example + 1]
    sums, tokens = sum_over_spans(begin, end, starts, ends, values, first, last, *places)
    each = last - first
    span = np.repeat(first - np.cumsum(each) + each, each) + np.arange(len(sums))
    return SpanSums(span, sums, tokens, np.repeat(given, each), np.repeat(given == example, each))
