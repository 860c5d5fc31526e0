"""log P of each s_y: by the model (task-grams §5), by the ∞-gram LM (§7), and what the own input adds over others (§6a).

    log P_LLM(s_y | u ⊕ x ⊕ y_<) = Σ of log p of the tokens of y whose characters overlap the first occurrence of s_y
The sum stops where s_y ends. Summing on to the end of the text instead (a mask that is never reset) mixes in all that
follows; on planted data that takes Mem_n from .65 to .13.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.pairs import Examples
from tasks.step import Work

Floats = NDArray[np.float64]


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
    inside = _overlap(starts, ends, span_starts, span_ends)
    sums = np.where(inside, values[None, :], 0.0).sum(axis=1)
    return np.where(inside.any(axis=1), sums, np.nan)


def _overlap(
    starts: NDArray[np.int32], ends: NDArray[np.int32], span_starts: NDArray[np.int64], span_ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which tokens (columns) overlap which spans (rows)."""
    return (starts[None, :] < span_ends[:, None]) & (ends[None, :] > span_starts[:, None])


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
    holders: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """for each example, the codes of the outputs its input holds a partner of"""


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
    holders = {int(e[0]): g["output"].to_numpy().astype(np.int64) for e, g in held.group_by("example", maintain_order=True)}  # type: ignore[call-overload]
    offsets = np.searchsorted(spans["example"].to_numpy(), np.arange(len(examples.names) + 1))
    return Spans(
        spans["start"].to_numpy().astype(np.int64),
        spans["end"].to_numpy().astype(np.int64),
        spans["output"].to_numpy().astype(np.int64),
        offsets,
        holders,
    )


def read_scores(
    work: Work, task: str, examples: Examples, spans: Spans, only: Container[tuple[str, int]] | None = None
) -> dict[tuple[str, int], Scores]:
    """Scores by (model, checkpoint), of all or of those in `only`.

    Reads token_scores in pieces; only the reference output (option -1) is used here.
    """
    code, found = examples.code, {}
    total = len(spans.start)
    columns = ("model", "checkpoint", "task", "example", "input_example", "option", "starts", "ends", "log_probabilities")
    for part in work.parts("token_scores"):
        for batch in work.batches(part, *columns, rows=4096):
            plain = {n: batch.column(n).to_pylist() for n in columns[:6]}
            lists = {n: _lists(batch.column(n)) for n in columns[6:]}
            for i in range(batch.num_rows):
                example = code.get(plain["example"][i])
                if plain["task"][i] != task or plain["option"][i] != -1 or example is None:
                    continue
                key = (plain["model"][i], plain["checkpoint"][i])
                if only is not None and key not in only:
                    continue
                if key not in found:
                    found[key] = Scores.silent(total)
                here = slice(spans.offsets[example], spans.offsets[example + 1])
                tokens, at = (lists["starts"](i), lists["ends"](i)), (spans.start[here], spans.end[here])
                given = code.get(plain["input_example"][i])
                sums = span_sums(*tokens, lists["log_probabilities"](i).astype(np.float64), *at)
                _enter(found[key], spans, here, sums, example, given)
                if given == example:
                    found[key].tokens[here] = _overlap(*tokens, *at).sum(axis=1)
    return found


def _enter(scores: Scores, spans: Spans, here: slice, sums: Floats, example: int, given: int | None) -> None:
    """Put one row's sums where they belong. An input of which it is not known what it holds is no comparison."""
    if given == example:
        scores.own[here] = sums
    elif given is not None:
        held = np.isin(spans.output[here], spans.holders.get(given, np.empty(0, dtype=np.int64)))
        usable = ~held & np.isfinite(sums)
        scores.other_sum[here] += np.where(usable, sums, 0.0)
        scores.other_count[here] += usable


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


def _lists(column):  # type: ignore[no-untyped-def]
    """Access to the i-th list of an Arrow list column as a NumPy array, without a Python object per value."""
    offsets, values = column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=False)
    return lambda i: values[offsets[i] : offsets[i + 1]]
