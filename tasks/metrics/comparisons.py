"""Models compared on the rows all of them scored, with the same draws (docs/method.md §6b), and Mem_n against Mem_∞ (§7).

    Δρ                 ρ of a model minus ρ of the next smaller one, and of the smallest
    slope per decade   least-squares slope of ρ on log10 of the parameters, three sizes or more
Each draw of whole examples gives one ρ to every model, so that what models share drops out of their difference. The models
are those asked at all, each at its last checkpoint; models that are not are rows that say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics import loaded
from tasks.metrics.answers import Answers, Asked
from tasks.metrics.evidence import NO_EVIDENCE, NO_SCORE, by_output, first_rows, log_p, log_pmi
from tasks.metrics.loaded import Loaded, load
from tasks.metrics.pairs import drawn_settings
from tasks.metrics.probabilities import Infinigram, read_infinigram
from tasks.statistics import Estimate, Rows, percentile_interval
from tasks.statistics.bootstrap import bootstrap_many
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.statistics.partial import rank_correlations
from tasks.step import Work

READS = (*loaded.READS, "infinigram")
FEWEST_SIZES = 3
Floats = NDArray[np.float64]


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides the comparisons."""
    t = study.task(task)
    return drawn_settings(study, t, t.orders)


def run(work: Work, answers: Answers) -> None:
    """Every comparison at every order."""
    task = load(work, answers.task, last=True)
    infinigram = read_infinigram(work, answers.task, task.examples, task.spans)
    for order in sorted(int(n) for n in work.settings["gamma"]):
        found = task.found(work, order)
        for measure, unit, asked, x, y, rows in _tables(task, found, infinigram):
            scored = [i for i, values in enumerate(y) if np.isfinite(values).any()]
            common = np.isfinite(x) & np.isfinite(y[scored]).all(axis=0) if scored else np.zeros(len(x), dtype=bool)
            kept, values = rows.take(common), y[scored][:, common]
            about = Compared(work, answers, measure, unit, order, [asked[i] for i in scored], kept)
            about.take(np.vstack([x[common], values]))
            silent = NO_EVIDENCE if not len(found) else NO_SCORE
            about.missing([asked[i] for i in range(len(asked)) if i not in scored], silent)
            answers.exclude("comparison", f"{measure} {unit}: not scored by all", int((~common).sum()), "rows", order=order)
            answers.exclude("comparison", f"{measure} {unit}: kept", int(common.sum()), "rows", order=order)
        _against_infinity(work, answers, task, found, infinigram, order)


def _tables(
    task: Loaded, found: Any, infinigram: Infinigram
) -> Iterator[tuple[str, str, list[Asked], Floats, Floats, Rows]]:
    """Each measure and unit: the models by size, x (n,), their y (models × n), and the rows with their clusters."""
    span, asked = found["span"].to_numpy(), by_size(task.models)
    example, output = found["example"].to_numpy(), task.spans.output[span]
    own = np.array([task.of(m).own[span] for m in asked]).reshape(len(asked), len(span))
    delta = np.array([task.of(m).delta[span] for m in asked]).reshape(len(asked), len(span))
    for measure, x, y in (("mem_n", log_p(found), own), ("mem_delta", log_pmi(found), delta)):
        pairs = Rows(x, x, example, output)
        merged, first = by_output(pairs), first_rows(pairs)
        yield measure, "pair", asked, x, y, pairs
        yield measure, "example_output", asked, merged.x, y[:, first], merged
    whose = [i for i, m in enumerate(asked) if task.shares_tokens(m)]
    merged = Rows(infinigram.backoff[span[first]], merged.x, merged.example, merged.output)
    yield "mem_infinity", "example_output", [asked[i] for i in whose], merged.x, own[whose][:, first], merged


def by_size(models: list[Asked]) -> list[Asked]:
    """From the smallest model to the largest."""
    return sorted(models, key=lambda m: (m.parameters or 0, m.model))


class Compared:
    """One measure, unit and order: the models that scored it, smallest first, and the rows they share."""

    def __init__(
        self, work: Work, answers: Answers, measure: str, unit: str, order: int, models: list[Asked], rows: Rows
    ) -> None:
        self.settings, self.answers, self.measure, self.unit = work.settings, answers, measure, unit
        self.order, self.models, self.rows = order, models, rows

    def take(self, columns: Floats) -> None:
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
                self._add("spearman_difference", estimate, model, f"{self.measure} minus {self.models[j].model}")
        self._slope(drawn, point)

    def _difference(self, point: Floats | None, drawn: Floats | None, i: int, j: int) -> Estimate:
        if point is None:
            return Estimate(None, note=f"fewer than {FEWEST_ROWS} rows that all models scored")
        if not np.isfinite(point[i] - point[j]):
            return Estimate(None, note="one of the two correlations is not defined: a side is the same in all common rows")
        return _with_interval(float(point[i] - point[j]), None if drawn is None else drawn[:, i] - drawn[:, j])

    def _slope(self, drawn: Floats | None, point: Floats | None) -> None:
        """ρ per tenfold parameters."""
        sizes = np.array([m.parameters or 0 for m in self.models], dtype=np.float64)
        known = sizes > 0
        if len(np.unique(sizes[known])) < FEWEST_SIZES:
            estimate = Estimate(None, note=f"fewer than {FEWEST_SIZES} sizes")
        elif point is None or not np.isfinite(point[known]).all():
            estimate = Estimate(None, note="the correlation of a model is not defined on the rows all of them scored")
        else:
            at = np.log10(sizes[known])
            lever = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
            estimate = _with_interval(float(point[known] @ lever), None if drawn is None else drawn[:, known] @ lever)
        self._add("slope_per_decade", estimate, Asked(), self.measure)

    def missing(self, models: list[Asked], why: str) -> None:
        """Rows for models that cannot be compared."""
        for model in models:
            self._add("spearman_difference", Estimate(None, note=why), model)

    def _add(self, statistic: str, estimate: Estimate, asked: Asked, detail: str = "") -> None:
        self.answers.add(
            "comparison",
            statistic,
            estimate,
            asked=asked,
            order=self.order,
            unit=self.unit,
            detail=detail or self.measure,
            rows=len(self.rows),
            examples=self.rows.examples,
        )


def _against_infinity(work: Work, answers: Answers, task: Loaded, found: Any, infinigram: Infinigram, order: int) -> None:
    """Mem_n - Mem_∞ of every model, on the (example, s_y) that both know."""
    span = found["span"].to_numpy()
    pairs = Rows(log_p(found), np.zeros(len(span)), found["example"].to_numpy(), task.spans.output[span])
    merged, first = by_output(pairs), first_rows(pairs)
    infinite = infinigram.backoff[span[first]]
    for asked in task.models:
        y = task.of(asked).own[span[first]]
        common = np.isfinite(y) & np.isfinite(infinite) & task.shares_tokens(asked)
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
            estimate = _with_interval(value, drawn) if np.isfinite(value) else constant
        answers.add(
            "comparison",
            "spearman_difference",
            estimate,
            asked=asked,
            order=order,
            unit="example_output",
            detail="mem_n minus mem_infinity",
            rows=len(rows),
            examples=rows.examples,
        )


def _with_interval(value: float, drawn: Floats | None) -> Estimate:
    if drawn is None:
        return Estimate(value, note="no interval: one example")
    low, high, missing = percentile_interval(drawn)
    return Estimate(value, low, high, note=missing)
