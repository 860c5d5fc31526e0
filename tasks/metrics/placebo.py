"""Mem_n and Mem_Δ by the counts of a placebo corpus, which no model has seen (docs/method.md §6d).

What Mem keeps there belongs to language and not to this corpus: Mem - Mem_placebo, on the rows both corpora support, with the same
bootstrap draws, at a task's first n and each model's last checkpoint. Rows without support in the placebo are left out and counted,
as they are in Mem.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import Measure, MetricRows, settings_of_first_order
from tasks.pair_evidence import PAIRS_AND_SCORES, read_evidence
from tasks.pair_measures import MEM_DELTA, MEM_N, by_output, is_supported
from tasks.statistics import Estimate, Floats, Rows, bootstrap_correlation, correlate, spearman, undefined, with_interval
from tasks.step import Work

Mask = NDArray[np.bool_]
NO_ROWS = "no row of this task has support in these counts"
NO_SCORE = "no score: the model has no log-probability of any of these outputs"


def exclude_unsupported(rows: MetricRows, measure: str, name: str, order: int, phi: pl.DataFrame, prefix: str, among: Mask) -> None:
    """Count the rows of Φ by what became of them in the counts of a corpus, of those where `among` holds."""
    zero, kept = among & (phi[f"{prefix}pair_documents"] == 0).fill_null(False).to_numpy(), among & is_supported(phi, prefix)
    for reason, here in {"zero corpus count": zero, "never counted": among & ~zero & ~kept, "kept": kept}.items():
        rows.exclude(measure, f"{name}: {reason}", int(here.sum()), "rows", order=order)


def why_no_counts(phi: pl.DataFrame, prefix: str, y: Floats) -> str:
    """Why there is no number at all by the counts of a corpus."""
    return NO_ROWS if not is_supported(phi, prefix).any() else "" if np.isfinite(y).any() else NO_SCORE


def run(work: Work, rows: MetricRows) -> None:
    """Mem by the placebo's counts, and Mem minus that, in both units."""
    order, evidence = work.settings["order"], read_evidence(work, rows.task, last=True)
    phi = evidence.phi(order)
    exclude_unsupported(rows, "placebo", "placebo", order, phi, "placebo_", np.ones(len(phi), bool))
    draws = (work.settings["draws"], work.settings["seed"])
    for checkpoint in evidence.models:
        for measure in (MEM_N, MEM_DELTA):
            y = measure.y(evidence.of(checkpoint))[phi["span"].to_numpy()]
            alone, why = np.isfinite(y) & is_supported(phi, "placebo_"), why_no_counts(phi, "placebo_", y)
            both = alone & is_supported(phi)
            by_placebo = evidence.rows(phi, measure.x(phi, "placebo_"), y)
            here, there = evidence.rows(phi, measure.x(phi), y).take(both), by_placebo.take(both)
            for unit, merge in (("pair", lambda pairs: pairs), ("example_output", by_output)):
                kept, left, right = (merge(r) for r in (by_placebo.take(alone), here, there))
                estimate = Estimate(None, note=why) if why else correlate(kept, *draws)
                more: dict[str, Any] = {"of": checkpoint, "order": order, "unit": unit}
                rows.add(measure.name, "spearman", estimate, corpus="placebo", over=kept, **more)
                difference, note = _difference(left, right, why, *draws), f"on {len(left)} rows that both corpora support"
                rows.add(measure.name, "spearman", difference, corpus="difference", note=note, over=left, **more)


def _difference(left: Rows, right: Rows, why: str, draws: int, seed: int) -> Estimate:
    """ρ of `left` minus ρ of `right`, which are the same rows: the same examples are drawn for both."""
    why = why or undefined(left) or undefined(right)
    if why:
        return Estimate(None, note=why)
    value = spearman(left.x, left.y) - spearman(right.x, right.y)
    if left.examples < 2:
        return with_interval(value, None)
    first, second = (bootstrap_correlation(r, draws, seed) for r in (left, right))
    return with_interval(value, first - second)


MEASURE = Measure("placebo", PAIRS_AND_SCORES, settings_of_first_order, run, cost=3.0, applies=lambda study: bool(study.placebo))
