"""Models compared on the rows all of them scored, with the same draws (docs/method.md §6b), and Mem_n against Mem_∞ (§7).

    Δρ                 ρ of a model minus ρ of the next smaller one, and of the smallest
    slope per decade   least-squares slope of ρ on log10 of the parameters, three sizes or more
Each draw of whole examples gives one ρ to every model, so that what models share drops out of their difference. The models
are those with any score, each at its last checkpoint; models without one are rows that say so.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tasks.measures import NO_MODEL, Measure, MetricRows, ModelCheckpoint, orders_of, settings_of_all_orders
from tasks.pair_evidence import (
    NO_EVIDENCE,
    NO_SCORE,
    PAIRS_AND_SCORES,
    TaskEvidence,
    by_output,
    first_rows,
    log_p,
    log_pmi,
    read_evidence,
)
from tasks.statistics import Estimate, Floats, Rows, bootstrap_many, with_interval
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.statistics.partial import rank_correlations
from tasks.step import Work

FEWEST_SIZES = 3


def run(work: Work, out: MetricRows) -> None:
    evidence = read_evidence(work, out.task, last=True)
    for order in orders_of(work):
        pairs = evidence.supported(order)
        for measure, unit, models, x, y, rows in _tables(evidence, pairs):
            scored = [i for i, values in enumerate(y) if np.isfinite(values).any()]
            common = np.isfinite(x) & np.isfinite(y[scored]).all(axis=0) if scored else np.zeros(len(x), dtype=bool)
            kept, values = rows.take(common), y[scored][:, common]
            comparison = Comparison(work, out, measure, unit, order, [models[i] for i in scored], kept)
            comparison.add_all(np.vstack([x[common], values]))
            unscored = [m for i, m in enumerate(models) if i not in scored]
            comparison.add_missing(unscored, NO_EVIDENCE if not len(pairs) else NO_SCORE)
            out.exclude("comparison", f"{measure} {unit}: not scored by all", int((~common).sum()), "rows", order=order)
            out.exclude("comparison", f"{measure} {unit}: kept", int(common.sum()), "rows", order=order)
        _against_infinity(work, out, evidence, pairs, order)


def _tables(evidence: TaskEvidence, pairs: pl.DataFrame) -> Iterator[tuple[str, str, list[ModelCheckpoint], Floats, Floats, Rows]]:
    """Each measure and unit: the models by size, x (n,), their y (models × n), and the rows with their clusters."""
    span, models = pairs["span"].to_numpy(), by_size(evidence.models)
    shape = (len(models), len(span))
    log_prob = np.array([evidence.of(m).log_prob[span] for m in models]).reshape(shape)
    delta = np.array([evidence.of(m).delta[span] for m in models]).reshape(shape)
    for measure, x, y in (("mem_n", log_p(pairs), log_prob), ("mem_delta", log_pmi(pairs), delta)):
        rows = evidence.rows(pairs, x, x)
        merged, first = by_output(rows), first_rows(rows)
        yield measure, "pair", models, x, y, rows
        yield measure, "example_output", models, merged.x, y[:, first], merged
    shared = [i for i, m in enumerate(models) if evidence.shares_tokens(m)]
    merged = Rows(evidence.spans["log_infinity"].to_numpy()[span[first]], merged.x, merged.example, merged.output)
    yield "mem_infinity", "example_output", [models[i] for i in shared], merged.x, log_prob[shared][:, first], merged


def by_size(models: list[ModelCheckpoint]) -> list[ModelCheckpoint]:
    """From the smallest model to the largest."""
    return sorted(models, key=lambda m: (m.parameters or 0, m.model))


class Comparison:
    """One measure, unit and order: the models that scored it, smallest first, and the rows they share."""

    def __init__(
        self, work: Work, out: MetricRows, measure: str, unit: str, order: int, models: list[ModelCheckpoint], rows: Rows
    ) -> None:
        self.settings, self.out, self.measure, self.unit = work.settings, out, measure, unit
        self.order, self.models, self.rows = order, models, rows

    def add_all(self, columns: Floats) -> None:
        """Δρ of every pair of neighbours and against the smallest, and the slope. columns: x, then one y per model."""
        if len(self.models) < 2:
            for model in self.models:
                self._add("spearman_difference", Estimate(None, note="one model: nothing to compare with"), model)
            self._slope(np.empty((0, 0)), np.empty(0))
            return
        point = drawn = None
        if len(self.rows) >= FEWEST_ROWS:
            point = rank_correlations(columns)[0, 1:]
            if self.rows.examples > 1:
                drawn = bootstrap_many(columns, self.rows.example, None, self.settings["draws"], self.settings["seed"])
                drawn = drawn[:, 0, 1:]
        for i, model in enumerate(self.models):
            smaller = [j for j in range(i) if (self.models[j].parameters or 0) < (model.parameters or 0)]
            for j in sorted({smaller[0], smaller[-1]}) if smaller else ():
                estimate = self._difference(point, drawn, i, j)
                self._add("spearman_difference", estimate, model, self.models[j].model)
        self._slope(drawn, point)

    def _difference(self, point: Floats | None, drawn: Floats | None, i: int, j: int) -> Estimate:
        if point is None:
            return Estimate(None, note=f"fewer than {FEWEST_ROWS} rows that all models scored")
        if not np.isfinite(point[i] - point[j]):
            return Estimate(None, note="one of the two correlations is not defined: a side is the same in all common rows")
        return with_interval(point[i] - point[j], None if drawn is None else drawn[:, i] - drawn[:, j])

    def _slope(self, drawn: Floats | None, point: Floats | None) -> None:
        """ρ per tenfold parameters."""
        sizes = np.array([m.parameters or 0 for m in self.models], dtype=np.float64)
        sized = sizes > 0
        if len(np.unique(sizes[sized])) < FEWEST_SIZES:
            estimate = Estimate(None, note=f"fewer than {FEWEST_SIZES} sizes")
        elif point is None or not np.isfinite(point[sized]).all():
            estimate = Estimate(None, note="the correlation of a model is not defined on the rows all of them scored")
        else:
            at = np.log10(sizes[sized])
            lever = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
            estimate = with_interval(point[sized] @ lever, None if drawn is None else drawn[:, sized] @ lever)
        self._add("slope_per_decade", estimate, NO_MODEL)

    def add_missing(self, models: list[ModelCheckpoint], why: str) -> None:
        for model in models:
            self._add("spearman_difference", Estimate(None, note=why), model)

    def _add(self, statistic: str, estimate: Estimate, of: ModelCheckpoint, against: str = "") -> None:
        more: dict[str, Any] = {"order": self.order, "unit": self.unit, "of_measure": self.measure, "against": against}
        size: dict[str, Any] = {"rows": len(self.rows), "examples": self.rows.examples, "clusters": self.rows.clusters}
        self.out.add("comparison", statistic, estimate, of=of, **more, **size)


def _against_infinity(work: Work, out: MetricRows, evidence: TaskEvidence, pairs: pl.DataFrame, order: int) -> None:
    """Mem_n - Mem_∞ of every model, on the (example, s_y) that have both."""
    span = pairs["span"].to_numpy()
    rows_of_pairs = evidence.rows(pairs, log_p(pairs), np.zeros(len(span)))
    merged, first = by_output(rows_of_pairs), first_rows(rows_of_pairs)
    infinite = evidence.spans["log_infinity"].to_numpy()[span[first]]
    for checkpoint in evidence.models:
        y = evidence.of(checkpoint).log_prob[span[first]]
        common = np.isfinite(y) & np.isfinite(infinite) & evidence.shares_tokens(checkpoint)
        rows = merged.take(common)
        columns = np.array([rows.x, infinite[common], y[common]])
        why = NO_EVIDENCE if not len(span) else NO_SCORE if not np.isfinite(y).any() else ""
        why = why or (f"fewer than {FEWEST_ROWS} rows have P_n, P_∞ and P_LLM" if len(rows) < FEWEST_ROWS else "")
        estimate = Estimate(None, note=why)
        if not why:
            point = rank_correlations(columns)
            drawn = None
            if rows.examples > 1:
                drawn = bootstrap_many(columns, rows.example, None, work.settings["draws"], work.settings["seed"])
                drawn = drawn[:, 0, 2] - drawn[:, 1, 2]
            value = float(point[0, 2] - point[1, 2])
            constant = Estimate(None, note="one of the two correlations is not defined: a side is the same in all rows")
            estimate = with_interval(value, drawn) if np.isfinite(value) else constant
        more: dict[str, Any] = {"order": order, "unit": "example_output", "of_measure": "mem_n", "against": "mem_infinity"}
        size: dict[str, Any] = {"rows": len(rows), "examples": rows.examples, "clusters": rows.clusters}
        out.add("comparison", "spearman_difference", estimate, of=checkpoint, **more, **size)


READS = (*PAIRS_AND_SCORES, "tokenizer")
MEASURE = Measure("comparisons", READS, settings_of_all_orders, run, cost=5.0)
