"""How a correlation is reported: both estimands of docs/method.md §6b, the coefficients beside Spearman's, and why there is no number.

""            percentile bootstrap over whole examples: these facts, new examples; p of new examples and new outputs
"pigeonhole"  bootstrap over examples × s_y: new facts too
"bca"         the first, corrected for bias and skewness (Efron 1987)
"permutation" one row per distinct s_y, permuted within the example's group: only where each example has one s_y
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.answers import Answers, Asked
from tasks.metrics.evidence import NO_EVIDENCE, NO_SCORE, Evidence
from tasks.metrics.loaded import Loaded
from tasks.metrics.probabilities import Scores
from tasks.statistics import Estimate, Rows, correlate, kendall_order, percentile_interval, spearman, two_way_p, undefined
from tasks.statistics.bootstrap import bootstrap_many
from tasks.statistics.intervals import bca_interval, permutation_p

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recorder:
    """One model at one order, and the rows of `metrics` it gives."""

    settings: Mapping[str, Any]
    answers: Answers
    asked: Asked
    task: Loaded
    evidence: Evidence
    scores: Scores

    def primary(
        self, measure: str, unit: str, rows: Rows, names: tuple[str, str], *, truth: float | None = None, note: str = ""
    ) -> None:
        """All that is said of a measure in one unit."""
        why = self.why(rows, names)
        if why:
            found = {detail: Estimate(None, note=why) for detail in ("", "pigeonhole", "bca", "permutation")}
        else:
            found = self._intervals(rows)
        for detail, estimate in found.items():
            about = {"truth": truth, "note": note} if not detail else {}
            self.add(measure, "spearman", estimate, unit, rows, detail=detail, **about)
        self.others(measure, unit, rows, names)

    def _intervals(self, rows: Rows) -> dict[str, Estimate]:
        draws, seed = self.settings["draws"], self.settings["seed"]
        value = spearman(rows.x, rows.y)
        p, note = two_way_p(rows, value)
        columns = np.array([rows.x, rows.y])
        if rows.examples < 2:
            found = {d: Estimate(value, note="no interval: one example") for d in ("pigeonhole", "bca")}
            return {
                "": Estimate(value, p_value=p, note=_join(note, "no interval: one example")),
                **found,
                "permutation": self._permutation(rows),
            }
        drawn = bootstrap_many(columns, rows.example, None, draws, seed)[:, 0, 1]
        both = bootstrap_many(columns, rows.example, rows.output, draws, seed)[:, 0, 1]
        low, high, missing = percentile_interval(drawn)
        wide_low, wide_high, wide_missing = percentile_interval(both)
        bca_low, bca_high, bca_missing = bca_interval(rows, drawn, value)
        about = "interval over new examples and new output n-grams"
        return {
            "": Estimate(value, low, high, p, _join(note, missing)),
            "pigeonhole": Estimate(value, wide_low, wide_high, p, _join(about, note, wide_missing)),
            "bca": Estimate(value, bca_low, bca_high, note=bca_missing),
            "permutation": self._permutation(rows),
        }

    def _permutation(self, rows: Rows) -> Estimate:
        if self.evidence.order != self.settings["first_order"]:
            return Estimate(None, note="taken at the task's first n alone, for which the permutations are enough")
        groups = self.task.examples.groups
        group = np.array([groups[e] for e in rows.example], dtype=str)
        return permutation_p(
            rows, np.unique(group, return_inverse=True)[1], self.settings["permutations"], self.settings["seed"]
        )

    def spearman(
        self,
        measure: str,
        unit: str,
        rows: Rows,
        names: tuple[str, str],
        *,
        detail: str = "",
        truth: float | None = None,
        note: str = "",
    ) -> None:
        """One correlation with its interval over examples."""
        why = self.why(rows, names)
        estimate = Estimate(None, note=why) if why else correlate(rows, self.settings["draws"], self.settings["seed"])
        self.add(measure, "spearman", estimate, unit, rows, detail=detail, truth=truth, note=note)

    def others(self, measure: str, unit: str, rows: Rows, names: tuple[str, str]) -> None:
        """Pearson, Kendall τ_b, the share of rows tied on either side, and the spread of log P_n, for comparing tasks."""
        why = self.why(rows, names)
        pearson, kendall, none = Estimate(None, note=why), Estimate(None, note=why), Estimate(None, note=why)
        if not why:
            pearson = correlate(rows, self.settings["draws"], self.settings["seed"], ranked=False)
            kendall = Estimate(kendall_order(rows.x, rows.y).tau_b)
        self.add(measure, "pearson", pearson, unit, rows)
        self.add(measure, "kendall", kendall, unit, rows)
        for side, values in (("ties_x", rows.x), ("ties_y", rows.y)):
            sizes = np.unique(values, return_counts=True)[1]
            self.add(measure, side, Estimate(float(sizes[sizes > 1].sum() / len(rows))) if len(rows) else none, unit, rows)
        if measure == "mem_n":
            spread = Estimate(float(rows.x.std(ddof=1))) if len(rows) > 1 else Estimate(None, note=why or "one row")
            self.add(measure, "sd_log_p", spread, unit, rows)

    def why(self, rows: Rows, names: tuple[str, str]) -> str:
        """Why there is no number: no support in the corpus comes before all else."""
        if not len(self.evidence.found):
            return NO_EVIDENCE
        if not len(rows) and not np.isfinite(self.scores.own).any():
            return NO_SCORE
        return undefined(rows, *names)

    def add(self, measure: str, statistic: str, estimate: Estimate, unit: str, rows: Rows, **more: Any) -> None:
        """A row of `metrics`."""
        self.answers.add(
            measure,
            statistic,
            estimate,
            asked=self.asked,
            order=self.evidence.order,
            unit=unit,
            rows=len(rows),
            examples=rows.examples,
            **more,
        )

    def count(
        self, measure: str, reasons: dict[str, NDArray[np.bool_]], kept: NDArray[np.bool_], kept_as: str = "kept"
    ) -> None:
        """Rows of `exclusions`."""
        for reason, rows in (reasons | {kept_as: kept}).items():
            self.answers.exclude(measure, reason, int(rows.sum()), "rows", asked=self.asked, order=self.evidence.order)

    def rows_of(self, table: pl.DataFrame, x: Floats, y: Floats) -> Rows:
        """x and y of a table of pairs, with their clusters."""
        return Rows(x, y, table["example"].to_numpy(), self.task.spans.output[table["span"].to_numpy()])


def _join(*notes: str) -> str:
    return "; ".join(n for n in notes if n)
