"""Models compared on the rows all of them scored, with the same draws (docs/method.md §6b), and Mem_n against Mem_∞ (§7).

    Δρ                 ρ of a model minus ρ of the next smaller one, and of the smallest
    slope per decade   least-squares slope of ρ on log10 of the parameters, three sizes or more
Each draw of whole examples gives one ρ to every model, so that what models share drops out of their difference. The models
are those with any score, each at its last checkpoint; models without one are rows that say so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tasks.measures import NO_MODEL, Measure, MetricRows, ModelCheckpoint, orders_of, settings_of_all_orders
from tasks.pair_evidence import PAIRS_AND_SCORES, TaskEvidence, read_evidence
from tasks.pair_measures import MEM_DELTA, MEM_N, NO_EVIDENCE, NO_SCORE, by_output, first_rows
from tasks.statistics import Estimate, Floats, Rows, bootstrap_many, with_interval
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.statistics.partial import rank_correlations
from tasks.step import Work

UNDEFINED = "one of the two correlations is not defined: a side is the same in all"
FEWEST_SIZES = 3


def run(work: Work, out: MetricRows) -> None:
    evidence = read_evidence(work, out.task, last=True)
    for order in orders_of(work):
        pairs = evidence.supported(order)
        for measure, unit, models, x, y, rows in _tables(evidence, pairs):
            scored = [i for i, values in enumerate(y) if np.isfinite(values).any()]
            common = np.isfinite(x) & np.isfinite(y[scored]).all(axis=0) if scored else np.zeros(len(x), dtype=bool)
            about: dict[str, Any] = {"order": order, "unit": unit, "of_measure": measure, "over": rows.take(common)}
            comparison = Comparison(work, out, [models[i] for i in scored], about)
            comparison.add_all(np.vstack([x[common], y[scored][:, common]]))
            for model in (m for i, m in enumerate(models) if i not in scored):
                none = Estimate(None, note=NO_SCORE if len(pairs) else NO_EVIDENCE)
                out.add("comparison", "spearman_difference", none, of=model, **about)
            out.exclude("comparison", f"{measure} {unit}: not scored by all", int((~common).sum()), "rows", order=order)
            out.exclude("comparison", f"{measure} {unit}: kept", int(common.sum()), "rows", order=order)
        _against_infinity(work, out, evidence, pairs, order)


def _tables(evidence: TaskEvidence, pairs: pl.DataFrame) -> Iterator[tuple[str, str, list[ModelCheckpoint], Floats, Floats, Rows]]:
    """Each measure and unit: the models by size, x (n,), their y (models × n), and the rows with their clusters."""
    span, models = pairs["span"].to_numpy(), by_size(evidence.models)
    sides = {m: np.array([m.y(evidence.of(of))[span] for of in models]).reshape(len(models), len(span)) for m in (MEM_N, MEM_DELTA)}
    for measure, y in sides.items():
        rows = evidence.rows(pairs, measure.x(pairs), measure.x(pairs))
        merged, first = by_output(rows), first_rows(rows)
        yield measure.name, "pair", models, rows.x, y, rows
        yield measure.name, "example_output", models, merged.x, y[:, first], merged
    shared = [i for i, m in enumerate(models) if evidence.shares_tokens(m)]
    merged = Rows(evidence.spans["log_infinity"].to_numpy()[span[first]], merged.x, merged.example, merged.output)
    yield "mem_infinity", "example_output", [models[i] for i in shared], merged.x, sides[MEM_N][shared][:, first], merged


def by_size(models: list[ModelCheckpoint]) -> list[ModelCheckpoint]:
    """From the smallest model to the largest."""
    return sorted(models, key=lambda m: (m.parameters or 0, m.model))


@dataclass(frozen=True)
class Comparison:
    """One measure, unit and order: the models that scored it, smallest first, and what its rows have in common."""

    work: Work
    out: MetricRows
    models: list[ModelCheckpoint]
    about: dict[str, Any]

    def add_all(self, columns: Floats) -> None:
        """Δρ of every pair of neighbours and against the smallest, and the slope. columns: x, then one y per model."""
        rows, point, drawn = self.about["over"], None, None
        if len(self.models) > 1 and len(rows) >= FEWEST_ROWS:
            point, drawn = rank_correlations(columns)[0, 1:], _drawn(self.work, columns, rows)
            drawn = None if drawn is None else drawn[:, 0, 1:]
        for i, model in enumerate(self.models):
            smaller = [j for j in range(i) if (self.models[j].parameters or 0) < (model.parameters or 0)]
            for j in sorted({smaller[0], smaller[-1]}) if smaller else ():
                estimate = Estimate(None, note=f"fewer than {FEWEST_ROWS} rows that all models scored")
                if point is not None:
                    draws = None if drawn is None else drawn[:, i] - drawn[:, j]
                    estimate = with_interval(point[i] - point[j], draws, undefined=f"{UNDEFINED} common rows")
                self._add("spearman_difference", estimate, of=model, against=self.models[j].model)
            if len(self.models) < 2:
                self._add("spearman_difference", Estimate(None, note="one model: nothing to compare with"), of=model)
        self._add("slope_per_decade", self._slope(drawn, point))

    def _slope(self, drawn: Floats | None, point: Floats | None) -> Estimate:
        """ρ per tenfold parameters."""
        sizes = np.array([m.parameters or 0 for m in self.models], dtype=np.float64)
        sized = sizes > 0
        if len(self.models) < 2 or len(np.unique(sizes[sized])) < FEWEST_SIZES:
            return Estimate(None, note=f"fewer than {FEWEST_SIZES} sizes")
        if point is None or not np.isfinite(point[sized]).all():
            return Estimate(None, note="the correlation of a model is not defined on the rows all of them scored")
        at = np.log10(sizes[sized])
        lever = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
        return with_interval(point[sized] @ lever, None if drawn is None else drawn[:, sized] @ lever)

    def _add(self, statistic: str, estimate: Estimate, of: ModelCheckpoint = NO_MODEL, **more: Any) -> None:
        self.out.add("comparison", statistic, estimate, of=of, **self.about, **more)


def _drawn(work: Work, columns: Floats, rows: Rows) -> Floats | None:
    """The rank correlations of columns in each draw of whole examples; None if there is one example alone."""
    return bootstrap_many(columns, rows.example, None, work.settings["draws"], work.settings["seed"]) if rows.examples > 1 else None


def _against_infinity(work: Work, out: MetricRows, evidence: TaskEvidence, pairs: pl.DataFrame, order: int) -> None:
    """Mem_n - Mem_∞ of every model, on the (example, s_y) that have both."""
    span = pairs["span"].to_numpy()
    rows_of_pairs = evidence.rows(pairs, MEM_N.x(pairs), np.zeros(len(span)))
    merged, first = by_output(rows_of_pairs), first_rows(rows_of_pairs)
    infinite = evidence.spans["log_infinity"].to_numpy()[span[first]]
    for checkpoint in evidence.models:
        y = evidence.of(checkpoint).log_prob[span[first]]
        common = np.isfinite(y) & np.isfinite(infinite) & evidence.shares_tokens(checkpoint)
        rows = merged.take(common)
        why = NO_EVIDENCE if not len(span) else NO_SCORE if not np.isfinite(y).any() else ""
        why = why or (f"fewer than {FEWEST_ROWS} rows have P_n, P_∞ and P_LLM" if len(rows) < FEWEST_ROWS else "")
        estimate = Estimate(None, note=why)
        if not why:
            columns = np.array([rows.x, infinite[common], y[common]])
            point, drawn = rank_correlations(columns), _drawn(work, columns, rows)
            draws = None if drawn is None else drawn[:, 0, 2] - drawn[:, 1, 2]
            estimate = with_interval(point[0, 2] - point[1, 2], draws, undefined=f"{UNDEFINED} rows")
        more: dict[str, Any] = {"order": order, "unit": "example_output", "of_measure": "mem_n", "against": "mem_infinity"}
        out.add("comparison", "spearman_difference", estimate, of=checkpoint, over=rows, **more)


READS = (*PAIRS_AND_SCORES, "tokenizer")
MEASURE = Measure("comparisons", READS, settings_of_all_orders, run, cost=5.0)
