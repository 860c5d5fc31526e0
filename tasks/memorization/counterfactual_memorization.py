"""Counterfactual memorization of each group of a controlled corpus: what runs with a sequence give that runs without it do not.

Each mean is next to that of phantoms, whose membership is fake (docs/counterfactual.md). Standard errors are for new runs and new
sequences: a jackknife over groups of runs, whole pairs, plus the variance between sequences beyond what runs explain of it; of
specificity, a ratio of sums, for new runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import Measure, MetricRows, ModelCheckpoint
from tasks.memorization.counterfactual import applies, estimates
from tasks.memorization.ensemble_panel import READS, EnsemblePanel, read_panel
from tasks.memorization.run_contrasts import Bools, halved, likelihood_ratio, reliability
from tasks.statistics import Estimate, Floats, Ints
from tasks.step import Work

NAME = "counterfactual_memorization"
GROUPS_OF_RUNS, FEWEST_RUNS = 16, 8
FALSE_POSITIVES = 0.01
DETAILS = (
    *("leave_group_out", "leave_group_out_exp", "leave_group_out_published", "leave_one_out", "leave_one_out_exp", "contextual"),
    *("memorization", "extraction", "extracted_in", "extracted_out", "lira", "bits", "contextual_bits", "generator_bits"),
)
Z = 1.959964


def run(work: Work, rows: MetricRows) -> None:
    """The rows of each model, at the end of its training."""
    for model in sorted({part.labels["ensemble"] for part in work.parts("ensemble_scores")}):
        panel = read_panel(work, model)
        of = ModelCheckpoint(model, panel.checkpoints[-1], float(panel.parameters))
        for reason, count in panel.left_out.items():
            if count:
                rows.exclude(NAME, reason, count, "runs", of=of)
        _groups(panel, rows, of)
        _reliabilities(panel, rows, of, work.settings["seed"])


def _groups(panel: EnsemblePanel, rows: MetricRows, of: ModelCheckpoint) -> None:
    """Means of members, of phantoms, and their difference; specificity; LiRA over all runs and sequences of a group."""
    from scipy import stats  # imported here, because every command imports all steps

    columns = estimates(panel, -1)[0]
    again = [estimates(some, -1)[0] for some in _without_some_runs(panel)]
    scores = likelihood_ratio(panel.values["log_p"][-1], panel.arms[0])
    for group, level, members, phantoms in _selections(panel):
        more: dict[str, Any] = {"of": of, "unit": "sequence", "group": group, "level": level}
        if members.any() and min(columns[f"{side}_runs"][members].min() for side in ("in", "out")) < FEWEST_RUNS:
            more["note"] = f"fewer than {FEWEST_RUNS} runs in an arm"
        for detail in DETAILS:
            of_members, of_phantoms = (_mean(columns, again, detail, side) for side in (members, phantoms))
            more |= {"detail": detail, "rows": int(members.sum()), "examples": int(members.sum())}
            rows.add(NAME, "mean", of_members, **more)
            rows.add(NAME, "phantoms", of_phantoms, **more)
            drawn = [c[detail][members].mean() - c[detail][phantoms].mean() if phantoms.any() else np.nan for c in again]
            rows.add(NAME, "excess", _excess(of_members, of_phantoms, drawn), **more)
        specificity = [_specificity(c, members) for c in (columns, *again)]
        more |= {"detail": "specificity"}
        rows.add(NAME, "mean", _estimate(specificity[0], _jackknife(specificity[1:]) ** 0.5), **more)
        errors = stats.t.ppf(0.975, np.maximum(columns["in_runs"] - 1, 1)) * columns["leave_group_out_se"]
        significant = np.abs(columns["leave_group_out"]) > errors
        for detail, side in (("members", members), ("phantoms", phantoms)):
            more |= {"detail": detail, "rows": int(side.sum()), "examples": int(side.sum())}
            rows.add(NAME, "significant", _estimate(float(significant[side].mean()) if side.any() else np.nan, np.nan), **more)
            area, caught = _attack(scores[:, side], panel.arms[0].inside[:, side], panel.arms[0].outside[:, side])
            rows.add(NAME, "auc", _estimate(area, np.nan), **more)
            rows.add(NAME, "true_positives", _estimate(caught, np.nan), **more)


def _selections(panel: EnsemblePanel) -> Iterator[tuple[str, float, Bools, Bools]]:
    """(group, d or k, its members, its phantoms) of each group; d of groups with copies, k of rings, else −1."""
    table, member = panel.sequences, panel.member
    names, copies, twins = (table[name].to_numpy() for name in ("group", "copies", "twins"))
    levels = np.where(twins > 0, twins, np.where(copies > 1, copies, -1))
    for group in sorted(set(names.tolist())):
        for level in np.unique(levels[names == group]):
            here = (names == group) & (levels == level)
            yield group, float(level), here & member, here & ~member


def _without_some_runs(panel: EnsemblePanel) -> list[EnsemblePanel]:
    """The panel without each of sixteen groups of runs, or of fewer; whole pairs."""
    runs = len(panel.assigned)
    units = runs // 2 if panel.paired else runs
    groups = np.arange(units) * min(GROUPS_OF_RUNS, units) // units
    groups = np.repeat(groups, 2) if panel.paired else groups
    return [panel.of_runs(groups != group) for group in range(int(groups.max()) + 1 if units > 1 else 0)]


def _jackknife(drawn: list[float]) -> float:
    """The variance of an estimate, from those without each group of runs."""
    n, values = len(drawn), np.array(drawn)
    return float((n - 1) / n * ((values - values.mean()) ** 2).sum()) if n > 1 else np.nan


def _mean(columns: Mapping[str, Floats], again: list[dict[str, Any]], detail: str, side: Bools) -> Estimate:
    values, n = columns[detail][side], int(side.sum())
    if not n:
        return Estimate(None, note="no such sequence")
    runs = _jackknife([float(c[detail][side].mean()) for c in again])
    errors = columns.get(f"{detail}_se", np.zeros(len(side)))[side]
    sequences = max(0.0, float(values.var(ddof=1) - (errors**2).mean()) / n) if n > 1 else 0.0
    return _estimate(float(values.mean()), (runs + sequences) ** 0.5)


def _excess(members: Estimate, phantoms: Estimate, drawn: list[float]) -> Estimate:
    """Members minus phantoms: the runs are common to both, so that their part of the error is that of the difference."""
    if members.value is None or phantoms.value is None:
        return Estimate(None, note=members.note or "no phantom to compare with")
    errors = [e for e in (members.standard_error, phantoms.standard_error) if e is not None]
    most = sum(e**2 for e in errors) if len(errors) == 2 else np.nan
    return _estimate(members.value - phantoms.value, max(_jackknife(drawn), most) ** 0.5)


def _specificity(columns: Mapping[str, Floats], members: Bools) -> float:
    """ω of a group: 1 − Σ spill / Σ M."""
    total = float(columns["leave_group_out"][members].sum())
    return 1 - float(columns["spill"][members].sum()) / total if total else np.nan


def _attack(scores: Floats, inside: Bools, outside: Bools) -> tuple[float, float]:
    """(AUC, share of members found at FALSE_POSITIVES) of LiRA's scores of all runs and sequences together."""
    from scipy import stats

    a, b = scores[inside], scores[outside]
    if not len(a) or not len(b) or np.isnan(a).any() or np.isnan(b).any():
        return np.nan, np.nan
    ranks = stats.rankdata(np.concatenate([a, b]))[: len(a)]
    value = (ranks.sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b))
    return float(value), float((a > np.quantile(b, 1 - FALSE_POSITIVES)).mean())


def _reliabilities(panel: EnsemblePanel, rows: MetricRows, of: ModelCheckpoint, seed: int) -> None:
    """Of M over all members with one copy, and within each group: two halves of the runs, Spearman-Brown."""
    names, single = panel.sequences["group"].to_numpy(), panel.sequences["copies"].to_numpy() == 1
    halves = halves_of_m(panel, seed)
    for group in ("", *sorted(set(names.tolist()))):
        here = np.flatnonzero(panel.member & (single if not group else names == group))
        drawn = reliability(halves[:, :, here])
        value = float(np.nanmean(drawn)) if np.isfinite(drawn).any() else np.nan
        spread = float(np.nanstd(drawn)) if np.isfinite(value) else np.nan
        note = "" if np.isfinite(value) else "too few runs or sequences, or all are alike"
        more: dict[str, Any] = {"of": of, "unit": "sequence", "group": group, "rows": len(here), "examples": len(here)}
        rows.add(NAME, "reliability", Estimate(value, note=note), **more)
        rows.add(NAME, "reliability_spread", Estimate(spread, note=note), **more)


def halves_of_m(panel: EnsemblePanel, seed: int) -> Floats:
    """float [splits, 2, sequences]: M at the end of the training, from two halves of the runs."""

    def estimate(runs: Ints) -> Floats:
        some = panel.of_runs(runs)
        return some.effect(some.values["log_p"][-1], some.arms[0])[0]

    unit = (4 if len(panel.runs) % 4 == 0 else 2) if panel.paired else 1
    return halved(estimate, len(panel.runs), unit, seed).reshape(-1, 2, len(panel.sequences))


def _estimate(value: float, error: float) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, note="an arm has too few runs")
    if not np.isfinite(error):
        return Estimate(value)
    return Estimate(value, value - Z * error, value + Z * error, standard_error=error)


def settings(study: Study) -> dict[str, Any]:
    """The seed of the halves; the ensemble decides the rest."""
    return {"seed": study.seed}


MEASURE = Measure(
    "counterfactual_memorization", READS, settings, run, cost=5.0, applies=applies, keeps_contaminated=True, of_tasks=False
)
