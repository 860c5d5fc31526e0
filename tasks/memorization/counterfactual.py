"""Step `counterfactual`: one reduction of who is in which run, and how each run scores every sequence (docs/counterfactual.md).

Leave-group-out and leave-one-out log density ratios, as published and calibrated; Feldman-Zhang memorization; counterfactual
extraction; LiRA; bits; contextual memorization; the influence of sequences on twins that no run is trained on, and specificity. The
formulas are in `run_contrasts.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from schemas import Study
from schemas.tables.ensembles import COUNTERFACTUAL, COUNTERFACTUAL_INFLUENCE
from tasks.cost import Cost, Rate, Sizes
from tasks.memorization.ensemble_panel import READS, EnsemblePanel, read_panel
from tasks.memorization.run_contrasts import (
    best_outside,
    bootstrap_error,
    contextual_values,
    difference,
    lira_auc,
    log_density_ratio,
    mean,
    published_ratio,
    run_weights,
)
from tasks.statistics import Floats
from tasks.step import Inputs, Job, Stage, Step, Work

Columns = dict[str, Any]
LN2 = float(np.log(2))
DRAWS, SEED = 200, 0  # of the runs, for standard errors of log-mean-exps


def applies(study: Study) -> bool:
    """A study with models in `[membership]`."""
    return study.membership is not None and bool(study.membership.models)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, for all of its runs."""
    models = [m.name for m in study.membership.models] if study.membership else []

    def of(model: str) -> dict[str, Any]:
        return {t: tuple(p for p in inputs[t] if p.labels.get("ensemble", model) == model) for t in READS}

    return [Job({"ensemble": model}, {}, of(model)) for model in models]


def run(work: Work) -> None:
    """Write the estimates of each checkpoint; sums: runs left out."""
    panel = read_panel(work, work.labels["ensemble"])
    for reason, count in panel.left_out.items():
        work.add("runs_left_out", count)
        if count:
            work.note(f"{panel.model}: {count} runs are left out: {reason}")
    for number, checkpoint in enumerate(panel.checkpoints):
        columns, rows = estimates(panel, number, DRAWS)
        for contract, values in ((COUNTERFACTUAL, columns), (COUNTERFACTUAL_INFLUENCE, rows)):
            n = len(values["sequence"])
            values |= {"model": [panel.model] * n, "checkpoint": np.full(n, checkpoint, np.int64)}
            arrays = [pa.array(values[f.name], f.type, from_pandas=True) for f in contract.schema]  # NaN is null
            work.write(contract.name, pa.table(arrays, schema=contract.schema))


def estimates(panel: EnsemblePanel, at: int, draws: int = 0) -> tuple[Columns, Columns]:
    """The columns of `counterfactual` and of `counterfactual_influence` at a checkpoint, by its number; NaN where not defined.
    draws: of the runs, for the standard errors of log-mean-exps, which are NaN without."""
    group, one = panel.arms
    values = {name: of[at] for name, of in panel.values.items()}
    log_p, entropy = values["log_p"], panel.sequences["entropy"].to_numpy()
    single = panel.sequences["copies"].to_numpy() == 1
    made: dict[str, tuple[Floats, Floats]] = {
        "leave_group_out": panel.effect(log_p, group),
        "memorization": panel.effect(values["accuracy"], group),
        "extraction": difference(values["extracted"], group),
        "contextual": panel.effect(contextual_values(panel.values["log_p"], at, group), group),
    }
    less = difference(log_p, one)
    made["leave_one_out"] = tuple(np.where(single, *both) for both in zip(made["leave_group_out"], less, strict=True))  # type: ignore[assignment]
    best, when = best_outside(panel.values["log_p"], group)
    weights = run_weights(len(log_p), panel.paired, draws, SEED)
    for name, estimate, arms in (
        ("leave_group_out_exp", log_density_ratio, group),
        ("leave_group_out_published", published_ratio, group),
        ("leave_one_out_exp", log_density_ratio, one),
    ):
        made[name] = estimate(log_p, arms), bootstrap_error(estimate, log_p, arms, weights)
    names = panel.sequences["sequence"].to_list()
    columns: Columns = {
        "sequence": names,
        "in_runs": group.inside.sum(axis=0).astype(np.int32),
        "out_runs": group.outside.sum(axis=0).astype(np.int32),
        "in_log_p": mean(log_p, group.inside),
        "out_log_p": mean(log_p, group.outside),
        "best_out_checkpoint": np.array(panel.checkpoints)[when],
        "simplicity": mean(values["accuracy"], group.inside) + mean(values["accuracy"], group.outside),
        "extracted_in": mean(values["extracted"], group.inside),
        "extracted_out": mean(values["extracted"], group.outside),
        "lira": lira_auc(log_p, group),
        "bits": np.maximum(made["leave_group_out"][0], 0.0) / LN2,
        "contextual_bits": np.maximum(made["contextual"][0], 0.0) / LN2,
        "generator_bits": np.maximum(mean(log_p, group.inside) / LN2 + entropy, 0.0),
    }
    spill, rows = (np.full(len(names), np.nan), np.full(len(names), np.nan)), list[tuple[str, str, float, float]]()
    for members, twins, value, error in panel.influences(log_p, group):
        spill[0][members], spill[1][members] = value.mean(axis=1), np.sqrt((error**2).mean(axis=1))  # twins share the runs
        pairs = [(names[i], names[j]) for i in members for j in twins]
        rows += [(*pair, *of) for pair, *of in zip(pairs, value.ravel().tolist(), error.ravel().tolist(), strict=True)]
    made["spill"] = spill
    columns |= {name: value for name, (value, _) in made.items()} | {f"{name}_se": error for name, (_, error) in made.items()}
    m, se = made["leave_group_out"]
    with np.errstate(invalid="ignore", divide="ignore"):
        columns["specificity"] = np.where(np.abs(m) > 1.96 * se, 1 - spill[0] / m, np.nan)
    influence = list(zip(*sorted(rows), strict=True)) or [()] * 4
    return columns, dict(zip(("sequence", "twin", "influence", "influence_se"), influence, strict=True))


RATES = {"counterfactual": Rate(5.5e5, "scores /s", "64 runs of 20,000 sequences, a core among others at work")}


def cost(sizes: Sizes) -> Cost:
    """A few passes over all scores."""
    membership, controlled = sizes.study.membership, sizes.study.corpus.controlled
    if membership is None or controlled is None:
        return Cost(unit="scores")
    scores = membership.runs * sum(controlled.groups.values()) * sum(len(m.checkpoints) for m in membership.models)
    return Cost(
        len(membership.models),
        scores,
        "scores",
        read=scores * 12.0,
        written=scores / membership.runs * 200.0,
        core=scores / RATES["counterfactual"],
        memory=0.5e9 + scores * 60.0,
        rates=RATES,
    )


COUNTERFACTUAL_STEP = Step(
    "counterfactual",
    version=5,
    about="what runs that are trained on a sequence give, and runs without it do not",
    reads=READS,
    stages=(Stage(writes=(COUNTERFACTUAL, COUNTERFACTUAL_INFLUENCE), plan=plan, run=run),),
    cost=cost,
    applies=applies,
)
