"""The numbers of pairs that are correlated: their counts, the log-probabilities of their spans, and Mem_n and Mem_Δ of both."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.statistics import Floats, Ints, Rows, undefined

NO_EVIDENCE = "no evidence: no pair of this task has support in the corpus"
NO_SCORE = "no score: the model has no finite log-probability of any of these outputs"


@dataclass(frozen=True)
class SpanScores:
    """The log-probabilities of one model: of every span after its own input, and after other inputs, one entry per input."""

    log_prob: Floats
    """log P of each span; NaN where it was not scored"""
    tokens: Ints
    """how many of the model's tokens each span has; 0 where it was not scored"""
    span: Ints
    """of each entry: the span"""
    given: Ints
    """the example whose input was given"""
    after: Floats
    """log P of the span after that input"""
    similarity: Floats
    """largest similarity of a mined pair of an n-gram of that input with the span's; -inf without one"""
    gamma: Floats
    """γ of each span, rounded to float32 as similarities are"""

    @classmethod
    def silent(cls, spans: int) -> "SpanScores":
        """Those of a model without any score."""
        none, zeros = np.empty(0, np.int64), np.zeros(spans)
        return cls(np.full(spans, np.nan), zeros.astype(np.int64), none, none, np.empty(0), np.empty(0), zeros)

    @cached_property
    def delta(self) -> Floats:
        """Δ = log P after the own input - mean after the other inputs that hold no partner of s_y; NaN without any."""
        usable = self._usable
        total = np.bincount(self.span[usable], weights=self.after[usable], minlength=len(self.log_prob)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.log_prob - np.where(self.others > 0, total / self.others, np.nan)

    @cached_property
    def others(self) -> Ints:
        """How many inputs without a partner each span has."""
        return np.bincount(self.span[self._usable], minlength=len(self.log_prob)).astype(np.int64)

    @property
    def _usable(self) -> NDArray[np.bool_]:
        return np.isfinite(self.after) & ~(self.similarity > self.gamma[self.span])

    def at_gamma(self, gamma: float) -> "SpanScores":
        """The same scores at another γ, already rounded."""
        return replace(self, gamma=np.full(len(self.log_prob), gamma))


def is_supported(pairs: pl.DataFrame, prefix: str = "") -> NDArray[np.bool_]:
    """Whether the pair and both its n-grams occur in the corpus, or in that whose columns have this prefix."""
    counts = (floats(pairs[f"{prefix}{name}_documents"]) > 0 for name in ("pair", "input", "output"))
    return np.logical_and.reduce(list(counts))


def supported(pairs: pl.DataFrame) -> pl.DataFrame:
    """The rows whose pair and n-grams occur in the corpus."""
    return pairs.filter(pl.Series(is_supported(pairs), dtype=pl.Boolean))


@dataclass(frozen=True)
class PairMeasure:
    """A rank correlation over pairs: its name in `metrics`, and what the sides are called."""

    name: str
    names: tuple[str, str]

    def x(self, pairs: pl.DataFrame, prefix: str = "", count: str = "pair_documents") -> Floats:
        """log P_n(s_y | s_x) for Mem_n, else log C / (df(s_x) · df(s_y)), of the corpus whose columns have this prefix.

        One division of exact integers, so that equal values stay tied; NaN or infinite without support.
        """
        pair, inputs, outputs = (floats(pairs[f"{prefix}{c}"]) for c in (count, "input_documents", "output_documents"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(pair / (inputs if self.name == "mem_n" else inputs * outputs))

    def y(self, scores: SpanScores) -> Floats:
        """log P_LLM of each span for Mem_n, else Δ."""
        return scores.log_prob if self.name == "mem_n" else scores.delta


MEM_N, MEM_DELTA = PairMeasure("mem_n", ("log P_n", "log P_LLM")), PairMeasure("mem_delta", ("log PMI", "Δ"))


def why_none(pairs: pl.DataFrame, rows: Rows, scores: SpanScores, names: tuple[str, str]) -> str:
    """Why a correlation of these rows has no value; empty if it has one. No support in the corpus comes before all else."""
    if not len(pairs):
        return NO_EVIDENCE
    if not len(rows) and not np.isfinite(scores.log_prob).any():
        return NO_SCORE
    return undefined(rows, *names)


def by_output(rows: Rows) -> Rows:
    """One row per (example, s_y): x averaged over s_x (`example_output` units, docs/method.md §6). y is the same in all of them."""
    if not len(rows):
        return rows
    pair, first = _output_codes(rows), first_rows(rows)
    mean = np.round(np.bincount(pair, weights=rows.x) / np.bincount(pair), 12)  # means of equal values stay tied
    return Rows(mean, rows.y[first], rows.example[first], rows.output[first])


def _output_codes(rows: Rows) -> Ints:
    key = rows.example * (int(rows.output.max()) + 1) + rows.output if len(rows) else rows.example
    return np.unique(key, return_inverse=True)[1]


def first_rows(rows: Rows) -> Ints:
    """Index of the first row of each (example, s_y), in the order of `by_output`."""
    return np.unique(_output_codes(rows), return_index=True)[1]


def floats(values: pl.Series) -> Floats:
    """As float64; NaN for null."""
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def codes_of(values: Any) -> Ints:
    """Numbers from 0 in the order of the values."""
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)
