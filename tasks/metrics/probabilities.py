"""log P of each s_y: by the model (docs/method.md §5), by the ∞-gram LM (§7), and what the own input adds over others (§6a).

    log P_LLM(s_y | u ⊕ x ⊕ y_<) = Σ of log p of the tokens of y whose characters overlap the first occurrence of s_y
The sum stops where s_y ends. Summing on to the end of the text instead (a mask that is never reset) mixes in all that
follows; on planted data that takes Mem_n from .65 to .13.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.pairs import Examples
from tasks.step import Work
from tasks.storage.store import Part

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def span_sums(
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    values: Floats,
    span_starts: NDArray[np.int64],
    span_ends: NDArray[np.int64],
) -> Floats:
    """Σ of the values of the tokens that overlap each span [start, end), in code points; NaN where none does.

    Shapes: tokens (t,), (t,), (t,); spans (s,), (s,) → (s,).
    """
    from tasks.metrics.span_kernels import sum_over_spans

    zero, tokens, spans = np.zeros(1, np.int64), np.full(1, len(starts)), np.full(1, len(span_starts))
    sums: Floats = sum_over_spans(zero, tokens, starts, ends, values, zero, spans, span_starts, span_ends)[0]
    return sums


@dataclass
class Scores:
    """What one model says of every span: `own` after its own input; the sum and number of admissible other inputs."""

    own: Floats
    other_sum: Floats
    other_count: NDArray[np.int64]
    tokens: NDArray[np.int64]
    """how many of the model's tokens each span has; 0 where it was not scored"""

    @classmethod
    def silent(cls, spans: int) -> Scores:
        """Those of a model that was never asked."""
        return cls(np.full(spans, np.nan), np.zeros(spans), *(np.zeros(spans, dtype=np.int64) for _ in range(2)))

    @property
    def delta(self) -> Floats:
        """Δ = own - mean over other inputs; NaN without any."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.own - np.where(self.other_count > 0, self.other_sum / self.other_count, np.nan)


@dataclass(frozen=True)
class Spans:
    """The spans of all examples as arrays, and where each example's begin."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    output: NDArray[np.int64]
    """code of (order, s_y): what another input may hold a partner of"""
    offsets: NDArray[np.int64]
    outputs: int = 0
    """how many codes there are"""
    held: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """example * outputs + code of each output that an example's input holds a partner of"""


def spans_of(examples: Examples, pairs: pl.DataFrame) -> Spans:
    """Prepare the spans; `pairs` (H_n above γ, of all orders) says which inputs hold a partner of which output."""
    outputs = examples.spans.select("order", "output_ngram").unique().sort("order", "output_ngram").with_row_index("output")
    spans = examples.spans.join(outputs, on=["order", "output_ngram"], how="left", maintain_order="left")
    asked = pairs.join(outputs, on=["order", "output_ngram"])
    held = (
        examples.inputs.join(asked, on=["order", "input_ngram"])
        .select("example", "output")
        .unique()
        .sort("example", "output")
    )
    offsets = np.searchsorted(spans["example"].to_numpy(), np.arange(len(examples.names) + 1))
    return Spans(
        spans["start"].to_numpy().astype(np.int64),
        spans["end"].to_numpy().astype(np.int64),
        spans["output"].to_numpy().astype(np.int64),
        offsets,
        len(outputs),
        held["example"].to_numpy().astype(np.int64) * len(outputs) + held["output"].to_numpy().astype(np.int64),
    )


def read_scores(
    work: Work, task: str, examples: Examples, spans: Spans, only: Container[tuple[str, int]] | None = None
) -> dict[tuple[str, int], Scores]:
    """Scores by (model, checkpoint), of all or of those in `only`."""
    found: dict[tuple[str, int], Scores] = {}
    for key, piece in span_scores(work, task, examples, spans, work.parts("token_scores"), only):
        scores = found.setdefault(key, Scores.silent(len(spans.start)))
        own, span = piece.own, piece.span
        scores.own[span[own]], scores.tokens[span[own]] = piece.sums[own], piece.tokens[own]
        usable = ~own & (piece.given >= 0) & np.isfinite(piece.sums)
        usable[usable] = ~np.isin(piece.given[usable] * spans.outputs + spans.output[span[usable]], spans.held)
        np.add.at(scores.other_sum, span[usable], piece.sums[usable])
        np.add.at(scores.other_count, span[usable], 1)
    return found


class SpanScores(NamedTuple):
    """Sums of some spans after some inputs; arrays of one length."""

    span: Ints
    sums: Floats
    """log P of the span; NaN where no token overlaps it"""
    tokens: Ints
    """how many do"""
    given: Ints
    """the example whose input was given; -1: none of the evaluated, so that it is not known what it holds"""
    own: NDArray[np.bool_]
    """whether that is the span's own example"""


def span_scores(
    work: Work, task: str, examples: Examples, spans: Spans, parts: Sequence[Part], only: Container[tuple[str, int]] | None
) -> Iterator[tuple[tuple[str, int], SpanScores]]:
    """((model, checkpoint), sums) piece by piece of these parts of token_scores, of all models or of those in `only`.

    Only the reference output (option -1) is used here.
    """
    code = examples.code
    columns = ("model", "checkpoint", "task", "example", "input_example", "option", "starts", "ends", "log_probabilities")
    for part in parts:
        for batch in work.batches(part, *columns, rows=4096):
            plain = {n: np.array(batch.column(n).to_pylist(), dtype=object) for n in columns[:6]}
            example, given = (np.array([code.get(e, -1) for e in plain[n]], np.int64) for n in ("example", "input_example"))
            wanted = (plain["task"] == task) & (plain["option"] == -1) & (example >= 0)
            keys = list(zip(plain["model"], plain["checkpoint"], strict=True))
            for key in dict.fromkeys(k for k, good in zip(keys, wanted, strict=True) if good):
                if only is None or key in only:
                    rows = np.flatnonzero(wanted & np.array([k == key for k in keys]))
                    yield key, _sums(spans, batch, rows, example[rows], given[rows])


def _sums(spans: Spans, batch: pa.RecordBatch, rows: Ints, example: Ints, given: Ints) -> SpanScores:
    """The sums of some rows of a batch, for all spans of their examples."""
    from tasks.metrics.span_kernels import sum_over_spans

    lists = [batch.column(n) for n in ("starts", "ends", "log_probabilities")]
    begin, end = (lists[0].offsets.to_numpy()[rows + i] for i in (0, 1))
    starts, ends, values = (column.values.to_numpy(zero_copy_only=False) for column in lists)
    first, last = spans.offsets[example], spans.offsets[example + 1]
    sums, tokens = sum_over_spans(begin, end, starts, ends, values, first, last, spans.start, spans.end)
    each = last - first
    span = np.repeat(first - np.cumsum(each) + each, each) + np.arange(len(sums))
    return SpanScores(span, sums, tokens, np.repeat(given, each), np.repeat(given == example, each))


@dataclass(frozen=True)
class Infinigram:
    """log P_∞ of every span. NaN: no token of the span was looked up; -inf (full back-off): a token stands nowhere."""

    backoff: Floats
    paper: Floats
    """zero-probability tokens skipped; -inf where all tokens are"""


def read_infinigram(work: Work, task: str, examples: Examples, spans: Spans) -> Infinigram:
    """P_∞(s_y | ctx) = Π_t C(longest seen suffix ⊕ t) / C(longest seen suffix) over the model's tokens (Eq. 5-6)."""
    columns = (
        "task",
        "example",
        "position",
        "start",
        "end",
        "numerator",
        "denominator",
        "backoff_numerator",
        "backoff_denominator",
    )
    codes = pl.DataFrame(
        {"example": examples.names, "code": np.arange(len(examples.names))}, schema={"example": pl.String, "code": pl.Int64}
    )
    table = work.frame("infinigram", *columns).filter(task=task).join(codes, on="example").sort("code", "position")
    at = np.searchsorted(table["code"].to_numpy(), np.arange(len(examples.names) + 1))
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        backoff = np.log(table["backoff_numerator"].to_numpy() / table["backoff_denominator"].to_numpy())
        backoff = np.where(table["backoff_numerator"].to_numpy() > 0, backoff, -np.inf)
        seen = table["numerator"].to_numpy() > 0
        paper = np.where(seen, np.log(table["numerator"].to_numpy() / table["denominator"].to_numpy()), 0.0)
    sums = np.full((3, len(spans.start)), np.nan)
    for e in range(len(examples.names)):
        tokens, here = slice(at[e], at[e + 1]), slice(spans.offsets[e], spans.offsets[e + 1])
        for row, values in enumerate((backoff, paper, seen.astype(np.float64))):
            sums[row, here] = span_sums(start[tokens], end[tokens], values[tokens], spans.start[here], spans.end[here])
    return Infinigram(sums[0], np.where(sums[2] == 0, -np.inf, sums[1]))
