"""Forgetting: how much of held-out windows that were put into a training is left after so many steps (arXiv 2205.10770 §5).

    R(t) = M_injected(t) − M_twin(t)          M: share of suffix tokens that are the likeliest ones

The twin is the same training without the windows. The paper has none: its lowest M after the injection, the forgetting baseline, is
.30 to .43 and rises with the size of a model, as does what a model predicts without having seen it. Both are given here. Windows
of other documents that are never injected are the null: their R is what the injection does to text like it. The excess is R of
the injected windows minus that; what remains of it later is the share that is retained.
"""

from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.measures import MetricRows, ModelCheckpoint, checkpoints_of
from tasks.memorization.scored_windows import of_windows
from tasks.memorization.training_runs import sums_by
from tasks.statistics import Floats, Ints, resample, with_interval
from tasks.step import Work

NO_EXCESS = "just after the injection the excess is not above 0"
GROUPS = ("injected", "never injected")
EXCESS = ("excess_retention", "excess_log_p_retention")
SHARES = {"retained_share": EXCESS[0], "retained_log_p_share": EXCESS[1]}
OF_BOTH = ("hits", "log_probability")
VALUES = (*OF_BOTH, *(f"{name}_twin" for name in OF_BOTH), "tokens")


def run(work: Work, rows: MetricRows) -> None:
    """Curves of each model and injection, for the injected windows and for those that never were."""
    sizes = {m.model: m for m in checkpoints_of(work, last=True)}
    table = work.frame("injections").join(work.frame("sequences", "sequence", "near_cluster"), on="sequence")
    twins = table.filter(injection="").select("model", "checkpoint", "sequence", *OF_BOTH)
    table = table.filter(pl.col("injection") != "").join(twins, on=["model", "checkpoint", "sequence"], suffix="_twin")
    for (model, injection), of in table.group_by("model", "injection", maintain_order=True):
        _curves(work, rows, sizes[str(model)], str(injection), of)


def _curves(work: Work, rows: MetricRows, size: ModelCheckpoint, injection: str, table: pl.DataFrame) -> None:
    """All rows of one injection, with the same draws of clusters for both groups."""
    steps = table.select("checkpoint", "since").unique().sort("checkpoint")
    clusters = np.unique(table["near_cluster"].to_numpy(), return_inverse=True)[1]
    count, checkpoints = int(clusters.max()) + 1, len(steps)
    cell = np.searchsorted(steps["checkpoint"].to_numpy(), table["checkpoint"].to_numpy())
    cell += checkpoints * (~table["injected"].to_numpy()) + 2 * checkpoints * clusters
    sums = sums_by(cell, table.select(VALUES).to_numpy().astype(np.float64), count * 2 * checkpoints).reshape(count, -1)

    def curves(weights: np.ndarray) -> Floats:
        """[draws, groups, (M, log p a token, and both of the twin), checkpoints]"""
        drawn = (weights.astype(np.float64) @ sums).reshape(len(weights), 2, checkpoints, len(VALUES)).transpose(0, 1, 3, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return drawn[:, :, :-1] / drawn[:, :, -1:]

    point, draws = resample(count, work.settings, curves)
    after = np.flatnonzero(steps["since"].to_numpy() >= 0)
    more: dict[str, Any] = {"unit": "sequence", "detail": injection, "examples": count}
    both = (point[None], draws)
    retained = [of[:, :, :2] - of[:, :, 2:] for of in both]
    for n, group in enumerate(GROUPS):
        numbers = [of[:, n] for of in both]
        named = {"accuracy": [of[:, 0] for of in numbers], "twin_accuracy": [of[:, 2] for of in numbers]}
        named |= {name: [of[:, n, k] for of in retained] for k, name in enumerate(("retention", "log_p_retention"))}
        if not n:
            excess = {name: [of[:, 0, k] - of[:, 1, k] for of in retained] for k, name in enumerate(EXCESS)}
            named |= excess | {share: _shares(excess[of], after) for share, of in SHARES.items()}
        more |= {"group": group, "rows": int(table.filter(injected=not n)["sequence"].n_unique())}
        for c, (step, since) in enumerate(steps.iter_rows()):
            of = ModelCheckpoint(size.model, int(step), size.parameters, size.tokenizer)
            for name, (value, drawn) in named.items():
                if name not in SHARES or c in after:
                    estimate = with_interval(value[0, c], drawn[:, c], undefined=NO_EXCESS)
                    rows.add("forgetting", name, estimate, of=of, x=float(since), **more)
        for name in ("accuracy", "twin_accuracy"):
            value, drawn = (of[:, after].min(axis=1) for of in named[name])
            rows.add("forgetting", f"lowest_{name}", with_interval(value[0], drawn), of=size, **more)


def _shares(excess: list[Floats], after: Ints) -> list[Floats]:
    """An excess and its draws, divided by what it is just after the injection; NaN if that is not surely above 0."""
    first = [of[:, after[:1]] for of in excess]
    sure = (with_interval(first[0][0, 0], first[1][:, 0]).low or 0.0) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return [of / (by if sure else np.nan) for of, by in zip(excess, first, strict=True)]


def applies(study: Study) -> bool:
    """A study with an injection."""
    return study.memorization is not None and any(m.pretrain and m.pretrain.inject for m in study.models)


MEASURE = of_windows("forgetting", run, ("models", "sequences", "injections"), applies=applies)
