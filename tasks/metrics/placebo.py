"""Mem_n and Mem_Δ by the counts of a placebo corpus, which no model has seen (docs/method.md §6d).

What Mem keeps there belongs to language and not to this corpus: Mem - Mem_placebo, on the rows both corpora support, with the same
bootstrap draws, at a task's first n and each model's last checkpoint. Rows without support in the placebo are left out and counted,
as they are in Mem.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import Measure, MetricRows, ModelCheckpoint, settings_of_first_order
from tasks.pair_evidence import PAIRS_AND_SCORES, TaskEvidence, by_output, floats, read_evidence
from tasks.statistics import Estimate, Floats, Rows, bootstrap_correlation, correlate, spearman, undefined, with_interval
from tasks.step import Work

NO_ROWS = "no row of this task has support in these counts"
NO_SCORE = "no score: the model has no log-probability of any of these outputs"
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CorpusCounts:
    """Counts of the rows of Φ in one corpus: C(s_x, s_y), df(s_x), df(s_y); NaN where it was not counted."""

    pair: Floats
    input: Floats
    output: Floats

    @classmethod
    def of(cls, phi: pl.DataFrame, prefix: str = "") -> "CorpusCounts":
        """The study's corpus, or the one whose columns have this prefix."""
        return cls(*(floats(phi[f"{prefix}{name}_documents"]) for name in ("pair", "input", "output")))

    @property
    def supported(self) -> Mask:
        """Rows that a logarithm can be taken of."""
        return (self.pair > 0) & (self.input > 0) & (self.output > 0)

    def x(self, measure: str) -> Floats:
        """log P_n, or log PMI but for a constant; one division of exact integers, so that equal values stay tied."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.pair / (self.input if measure == "mem_n" else self.input * self.output))

    def exclude(self, rows: MetricRows, measure: str, name: str, order: int, among: Mask) -> None:
        """Count the rows of Φ by what became of them, of those where `among` holds."""
        zero, kept = among & (self.pair == 0), among & self.supported
        for reason, here in {"zero corpus count": zero, "never counted": among & ~zero & ~kept, "kept": kept}.items():
            rows.exclude(measure, f"{name}: {reason}", int(here.sum()), "rows", order=order)

    def why_none(self, y: Floats) -> str:
        """Why there is no number at all."""
        if not self.supported.any():
            return NO_ROWS
        return "" if np.isfinite(y).any() else NO_SCORE


def log_probs_of(evidence: TaskEvidence, checkpoint: ModelCheckpoint, phi: pl.DataFrame, measure: str) -> Floats:
    """y of Mem_n or of Mem_Δ for each row of Φ."""
    scores = evidence.of(checkpoint)
    return (scores.log_prob if measure == "mem_n" else scores.delta)[phi["span"].to_numpy()]


def run(work: Work, rows: MetricRows) -> None:
    """Mem by the placebo's counts, and Mem minus that, in both units."""
    order, evidence = work.settings["order"], read_evidence(work, rows.task, last=True)
    phi = evidence.phi(order)
    corpus, placebo = CorpusCounts.of(phi), CorpusCounts.of(phi, "placebo_")
    placebo.exclude(rows, "placebo", "placebo", order, np.ones(len(phi), bool))
    draws = (work.settings["draws"], work.settings["seed"])
    for checkpoint in evidence.models:
        for measure in ("mem_n", "mem_delta"):
            y = log_probs_of(evidence, checkpoint, phi, measure)
            alone = np.isfinite(y) & placebo.supported
            both = alone & corpus.supported
            why = placebo.why_none(y)
            by_placebo = evidence.rows(phi, placebo.x(measure), y)
            here, there = evidence.rows(phi, corpus.x(measure), y).take(both), by_placebo.take(both)
            for unit, merge in (("pair", lambda pairs: pairs), ("example_output", by_output)):
                kept, left, right = (merge(r) for r in (by_placebo.take(alone), here, there))
                estimate = Estimate(None, note=why) if why else correlate(kept, *draws)
                more: dict[str, Any] = {"of": checkpoint, "order": order, "unit": unit}
                size: dict[str, Any] = {"rows": len(kept), "examples": kept.examples}
                rows.add(measure, "spearman", estimate, corpus="placebo", **more, **size)
                more |= {"rows": len(left), "examples": left.examples, "clusters": left.clusters, "corpus": "difference"}
                note = f"on {len(left)} rows that both corpora support"
                rows.add(measure, "spearman", _difference(left, right, why, *draws), note=note, **more)


def _difference(left: Rows, right: Rows, why: str, draws: int, seed: int) -> Estimate:
    """ρ of `left` minus ρ of `right`, which are the same rows: the same examples are drawn for both."""
    why = why or undefined(left) or undefined(right)
    if why:
        return Estimate(None, note=why)
    value = spearman(left.x, left.y) - spearman(right.x, right.y)
    if left.examples < 2:
        return Estimate(value, note="no interval: one example")
    first, second = (bootstrap_correlation(r, draws, seed) for r in (left, right))
    return with_interval(value, first - second)


MEASURE = Measure("placebo", PAIRS_AND_SCORES, settings_of_first_order, run, cost=3.0, applies=lambda study: bool(study.placebo))
