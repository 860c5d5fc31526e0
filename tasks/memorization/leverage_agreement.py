"""How far leverage, and other ways to be an outlier, agree with measured memorization: rank correlations with M, leave-group-out.

M is of the second half of the runs, leverage and outlierness of the first, so that no luck of a run is in both: means over its kept
runs that are trained on all copies of a sequence. Over the sequences with one copy, and within each group, because whatever tells
groups apart agrees over all; of intervals a ring is one cluster. Where a side is noise, a correlation is low,
too: next to it is the reliability of each, between halves of these runs, and of projected leverage also between its two
projections, which have their own labels (Spearman-Brown of rank correlations). That of M is a row of `counterfactual_memorization`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.measures import Measure, MetricRows, ModelCheckpoint, draw_settings
from tasks.memorization.counterfactual import applies as has_runs
from tasks.memorization.counterfactual import estimates
from tasks.memorization.ensemble_panel import READS, EnsemblePanel, read_panel
from tasks.memorization.run_halves import half_of_runs
from tasks.statistics import Estimate, Floats, Rows, correlate, spearman
from tasks.step import Work

NAME = "leverage_agreement"
LEVERAGES = ("feature", "last_layer", "gauss_newton", "self_influence", "one_step", "one_step_group")
OUTLIERS = ("gradient_norm", "mahalanobis", "sparsity")


def run(work: Work, rows: MetricRows) -> None:
    """The rows of each model that has kept weights."""
    tables = {name: work.frame(name) for name in ("leverage", "outlierness")}
    for model in sorted(set(tables["leverage"]["model"])):
        panel = read_panel(work, model)
        of = ModelCheckpoint(model, panel.checkpoints[-1], float(panel.parameters))
        first = half_of_runs(panel)
        m = estimates(panel.of_runs(np.setdiff1d(np.arange(len(panel.runs)), first)), -1)[0]["leave_group_out"]
        kept = pl.col("run").is_in(panel.runs[first].tolist()) & (pl.col("model") == model)
        seen = {name: frame.filter(kept) for name, frame in tables.items()}
        for damping in sorted(set(seen["leverage"]["damping"])):
            chosen = seen["leverage"].filter(damping=damping)
            for column in LEVERAGES:
                _agreement(rows, of, panel, m, _by_run(panel, chosen, column), f"{column}, {damping:g}", work.settings)
            both, gap = (_mean(_by_run(panel, chosen, column)) for column in ("gauss_newton", "gauss_newton_gap"))
            for group, here in _selections(panel):
                more: dict[str, Any] = {"of": of, "unit": "sequence", "group": group, "detail": f"gauss_newton, {damping:g}"}
                rows.add(NAME, "projections", _reliability((both + gap / 2)[here], (both - gap / 2)[here]), rows=len(here), **more)
        for column in OUTLIERS:
            _agreement(rows, of, panel, m, _by_run(panel, seen["outlierness"], column), column, work.settings)


def _by_run(panel: EnsemblePanel, frame: pl.DataFrame, column: str) -> Floats:
    """float [kept runs, sequences]; NaN where a run is not trained on all copies of a sequence."""
    wanted = panel.sequences.select("sequence", "copies")
    held = frame.join(wanted, on=["sequence", "copies"]).select("run", "sequence", column)
    place = {name: i for i, name in enumerate(wanted["sequence"])}
    numbers = {run: i for i, run in enumerate(sorted(set(frame["run"])))}
    values = np.full((len(numbers), len(place)), np.nan)
    for run, sequence, value in held.iter_rows():
        values[numbers[run], place[sequence]] = value
    return values


def _selections(panel: EnsemblePanel) -> list[tuple[str, Any]]:
    """Members with one copy, and those of each group."""
    names, single = panel.sequences["group"].to_numpy(), panel.sequences["copies"].to_numpy() == 1
    groups = sorted(set(names[panel.member].tolist()))
    return [("", np.flatnonzero(panel.member & single)), *((g, np.flatnonzero(panel.member & (names == g))) for g in groups)]


def _agreement(
    rows: MetricRows, of: ModelCheckpoint, panel: EnsemblePanel, m: Floats, values: Floats, detail: str, settings: Mapping[str, Any]
) -> None:
    whole, halves = _mean(values), (_mean(values[0::2]), _mean(values[1::2]))
    names = panel.sequences.select(pl.when(pl.col("group") == "ring").then("family").otherwise("sequence"))
    units = np.unique(names.to_series().to_numpy().astype(str), return_inverse=True)[1]
    for group, here in _selections(panel):
        kept = here[np.isfinite(whole[here]) & np.isfinite(m[here])]
        clusters = units[kept]
        over = Rows(m[kept], whole[kept], clusters, clusters)
        more: dict[str, Any] = {"of": of, "unit": "sequence", "group": group, "detail": detail}
        rows.add(
            NAME, "spearman", correlate(over, settings["draws"], settings["seed"], x_name="M", y_name=detail), over=over, **more
        )
        rows.add(NAME, "reliability", _reliability(*(half[kept] for half in halves)), rows=len(kept), **more)


def _mean(values: Floats) -> Floats:
    """float [sequences]: over the runs that have a value; NaN where none has."""
    held = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(held, values, 0.0).sum(axis=0) / held.sum(axis=0)


def _reliability(first: Floats, second: Floats) -> Estimate:
    """Of the mean of both: 2r / (1 + r), over the sequences that both have."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return Estimate(None, note="too few runs or sequences, or all are alike")
    r = spearman(first[both], second[both])
    return Estimate(2 * r / (1 + r) if r > -1 else None)


def applies(study: Study) -> bool:
    """A study that keeps the weights of runs."""
    return has_runs(study) and study.membership is not None and any(m.keep for m in study.membership.models)


MEASURE = Measure(
    "leverage_agreement",
    (*READS, "leverage", "outlierness"),
    draw_settings,
    run,
    cost=3.0,
    applies=applies,
    keeps_contaminated=True,
    of_tasks=False,
)
