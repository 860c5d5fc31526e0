"""Memorization and generalization over a grid of sizes and corpora: do they go together once capacity is held fixed?

`spearman` is raw and `partial` given log parameters, log corpus and log epochs; `within_size` and `within_capacity` are inside
strata, with p by permutation; `coefficient` is that of memorization in generalization ~ memorization + C(size) + C(corpus) +
C(epochs), errors robust to clusters of runs of a cell; `mediated` and `direct` split the effect of a doubling of the parameters.
Removal and random tokens are experiments of their own (docs/capacity.md).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from schemas.settings.capacity_settings import REMOVALS
from tasks.measures import Measure, MetricRows, ModelCheckpoint
from tasks.memorization.capacity_runs import (
    MEMORIZATION,
    OVERFITS,
    CapacityRuns,
    correlations,
    dummies,
    read_runs,
    undefined,
    within,
)
from tasks.statistics import FEWEST_CLUSTERS, Estimate, Floats
from tasks.step import Work

NAME = "capacity"
MEDIATION_DRAWS = 500
CAVEAT = "observational: what else differs between sizes is not controlled (sequential ignorability), so no verdict rests on it"
RANDOM = "random tokens"
CONTRASTS = [(kind, "none") for kind in REMOVALS[1:]] + [("memorized", "random"), ("memorized", "matched")]


def applies(study: Study) -> bool:
    """A study with `[capacity]`."""
    return study.capacity is not None


def run(work: Work, rows: MetricRows) -> None:
    """The rows of the grid, of the removal experiment and of random tokens; diverged runs are excluded and counted."""
    table = work.frame("capacity_runs")
    for kind in ("grid", "removal", RANDOM):
        if lost := table.filter(kind=kind).filter("diverged").height:
            rows.exclude(NAME, f"{kind}: the loss or a score was not finite", lost, "runs")
    runs = read_runs(work)
    for of in MEMORIZATION:
        _together(runs, of, rows)
    for above in (0.0, OVERFITS, 0.01):
        _before(read_runs(work, above), above, rows)
    ended = table.filter(~pl.col("diverged"))
    _removal(ended.filter(kind="removal"), rows)
    _random_tokens(ended.filter(kind=RANDOM), rows)


def _together(runs: CapacityRuns, of: str, rows: MetricRows) -> None:
    """Correlations, fixed effects and mediation for one definition of memorization."""
    more: dict[str, Any] = {"unit": "run", "detail": of, "rows": len(runs), "examples": len(np.unique(runs.cell))}
    held = ", ".join(name for name, _ in runs.controls) or "nothing: they do not vary"
    both = correlations(runs, of)
    rows.add(NAME, "spearman", both["raw"], **more)
    rows.add(NAME, "partial", both["partial"], note=f"given {held}", **more)
    rows.add(NAME, "half_minus_partial", both["half"], **more)
    rows.add(NAME, "within_size", within(runs, of, runs.strata(runs.parameters)), interval="permutation", **more)
    rows.add(NAME, "within_capacity", within(runs, of, runs.capacity), interval="permutation", **more)
    for statistic, estimate in fixed_effects(runs, of).items():
        rows.add(NAME, statistic, estimate, **more)
    for statistic, estimate in mediation(runs, of).items():
        rows.add(NAME, statistic, estimate, note=CAVEAT, **more)


def fixed_effects(runs: CapacityRuns, of: str) -> dict[str, Estimate]:
    """The coefficient of memorization, bits per token for a unit of it, and that of its square in a second fit."""
    x, y, names = runs.memorization[of], runs.generalization, ("coefficient", "coefficient_squared")
    design, cells = dummies(runs.parameters, runs.corpus, runs.epochs), len(np.unique(runs.cell))
    why = undefined(x, y)
    if why or np.linalg.matrix_rank(np.column_stack([x, design])) == np.linalg.matrix_rank(design):
        return dict.fromkeys(names, Estimate(None, note=why or "size, corpus and epochs decide memorization"))
    if cells < max(FEWEST_CLUSTERS, design.shape[1] + 2):
        return dict.fromkeys(names, Estimate(None, note=f"{cells} cells are too few"))
    import statsmodels.api as sm  # slow to import

    out = {}
    for name, columns in zip(names, ([x], [(x - x.mean()) ** 2, x]), strict=True):
        fit = sm.OLS(y, np.column_stack([*columns, design])).fit(cov_type="cluster", cov_kwds={"groups": runs.cell}, use_t=True)
        low, high = fit.conf_int()[0]
        out[name] = Estimate(
            float(fit.params[0]), float(low), float(high), float(fit.pvalues[0]), "", float(fit.bse[0]), float(cells)
        )
    return out


def mediation(runs: CapacityRuns, of: str) -> dict[str, Estimate]:
    """Of a doubling of the parameters, what reaches generalization through memorization and what does not; linear models given log
    corpus and log epochs (statsmodels.stats.mediation)."""
    names, x, y = ("mediated", "direct"), runs.memorization[of], runs.generalization
    controls = [values for name, values in runs.controls if name != "log parameters"]
    size, columns = np.log2(runs.parameters), [np.ones(len(x)), *controls]
    if why := undefined(x, y) or ("one size only" if np.ptp(size) == 0 else ""):
        return dict.fromkeys(names, Estimate(None, note=why))
    import statsmodels.api as sm
    from statsmodels.stats.mediation import Mediation

    outcome, mediator = sm.OLS(y, np.column_stack([size, x, *columns])), sm.OLS(x, np.column_stack([size, *columns]))
    if np.linalg.matrix_rank(outcome.exog) < outcome.exog.shape[1]:
        return dict.fromkeys(names, Estimate(None, note="size, corpus and epochs decide memorization"))
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": runs.cell}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Mediation(outcome, mediator, (0, 0), 1, outcome_fit_kwargs=robust, mediator_fit_kwargs=robust)
        effects = made.fit("parametric", MEDIATION_DRAWS, rng=np.random.default_rng(runs.seed))
    return {name: _drawn(draws) for name, draws in zip(names, (effects.ACME_avg, effects.ADE_avg), strict=True)}


def _drawn(draws: Floats) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(float(np.mean(draws)), float(low), float(high))


def _before(runs: CapacityRuns, above: float, rows: MetricRows) -> None:
    """Mean token accuracy beyond phantoms before overfitting, of each size; `above`: what counts as overfitting."""
    for number, size in enumerate(np.unique(runs.parameters)):
        some = runs.take(runs.parameters == size)
        note = f"{int(some.overfits.sum())} of {len(some)} runs overfit; of the others the end of the training counts"
        more: dict[str, Any] = {"of": ModelCheckpoint(parameters=float(size)), "unit": "run", "level": above, "rows": len(some)}
        more |= {"bin": number}  # sizes are the bins: no other column of the key tells them apart
        rows.add(NAME, "before_overfitting", _mean(some.before), note=note, examples=len(np.unique(some.cell)), **more)


def _mean(values: Floats) -> Estimate:
    """A mean and its t interval."""
    from scipy import stats

    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Estimate(float(values[0]), note="no interval: one run") if len(values) else Estimate(None, note="no run has a value")
    error = float(values.std(ddof=1) / len(values) ** 0.5)
    value, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Estimate(value, value - half, value + half, standard_error=error)


def _removal(table: pl.DataFrame, rows: MetricRows) -> None:
    """Bits per token of fresh sequences of each group, without some of the training minus without others: runs of equal seeds."""
    last = table.filter(pl.col("checkpoint") == pl.col("steps"))
    for group in sorted(last["group"].unique()):
        by = {kind: last.filter(removed=kind, group=group).sort("seed").select("seed", "validation_bits") for kind in REMOVALS}
        for first, second in CONTRASTS:
            both = by[first].join(by[second], on="seed").drop_nulls()
            change = (both["validation_bits"] - both["validation_bits_right"]).to_numpy()
            more: dict[str, Any] = {"unit": "run", "group": group, "detail": first, "against": second, "rows": len(change)}
            rows.add(NAME, "removal", _mean(change), **more)


def _random_tokens(table: pl.DataFrame, rows: MetricRows) -> None:
    """Bits of all sequences per parameter, beyond what phantoms have, for each size of the corpus; `plateau`: the most."""
    bits = (pl.col("bits") - pl.col("phantom_bits")) * pl.col("sequences") / pl.col("parameters")
    for (hidden, parameters), some in (
        table.with_columns(each=bits).sort("hidden", "sequences", "seed").group_by("hidden", "parameters", maintain_order=True)
    ):
        of, steps, means = ModelCheckpoint(parameters=float(parameters)), some["steps"][0], list[tuple[int, Estimate]]()  # type: ignore[arg-type]
        for (sequences,), runs in some.group_by("sequences", maintain_order=True):
            means.append((int(sequences), _mean(runs["each"].to_numpy())))  # type: ignore[call-overload]
            more: dict[str, Any] = {"of": of, "unit": "run", "detail": f"width {hidden}", "rows": len(runs)}
            rows.add(NAME, "bits_per_parameter", means[-1][1], level=float(means[-1][0]), **more)
        best = max(means, key=lambda m: m[1].value or 0.0)
        still = "it still rises at the largest corpus" if best is means[-1] else "a larger corpus gives no more"
        rows.add(NAME, "plateau", best[1], note=f"a lower bound: {steps} steps; {still}", level=float(best[0]), **more)


def settings(study: Study) -> dict[str, Any]:
    """The seed of the draws; the grid decides the rest."""
    return {"seed": study.seed}


MEASURE = Measure("capacity", ("capacity_runs",), settings, run, cost=5.0, applies=applies, keeps_contaminated=True, of_tasks=False)
