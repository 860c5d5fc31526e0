"""Estimates of each member from two halves of the runs, several times halved: what claims are decided by.

A score and what it is compared with come from different halves, so that no noise of a run is in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from schemas.settings.ensemble_settings import PAIRED
from tasks.memorization.ensemble_panel import EnsemblePanel
from tasks.memorization.run_contrasts import Bools, difference, mean
from tasks.statistics import Floats, Ints

LEVERAGES = ("feature", "last_layer", "gauss_newton")
SPLITS = 8


@dataclass(frozen=True)
class Halves:
    """Estimates of members from two halves of the runs, several times halved. All float [splits, 2, sequences], but `leverage`:
    [splits, kinds, 2, sequences]; `leverage` is NaN for a sequence that no run with weights has, `sparsity`, which is of runs
    without it, for one that all have."""

    kinds: list[str]
    group_out: Floats
    one_out: Floats
    inside: Floats
    outside: Floats
    extracted: Floats
    leverage: Floats
    sparsity: Floats


def _blocks(panel: EnsemblePanel) -> Ints:
    """[blocks, runs]: rows of the panel that are not separated, so that each half has all arms: the two pairs of a block of the
    design, or the fewest runs of which each block lacks each member once."""
    if panel.paired:
        four = panel.runs // PAIRED
        return np.stack([np.flatnonzero(four == block) for block in np.unique(four) if (four == block).sum() == PAIRED])
    runs, lacks = len(panel.runs), panel.assigned[:, panel.member] == 0
    units = (u for u in range(2, runs // 2 + 1) if runs % u == 0 and lacks.reshape(-1, u, lacks.shape[1]).any(axis=1).all())
    unit = next(units, 1)
    return np.arange(runs // unit * unit).reshape(-1, unit)


def half_of_runs(panel: EnsemblePanel) -> Ints:
    """Rows of the first half of the runs."""
    blocks = _blocks(panel)
    return np.asarray(blocks[: max(1, len(blocks) // 2)].ravel(), np.int64)


def halves(panel: EnsemblePanel, frames: Mapping[str, pl.DataFrame], seed: int, splits: int = SPLITS) -> Halves:
    """Halve the runs at random, those with and those without weights each. frames: `leverage` and `outlierness` of the model."""
    member = np.flatnonzero(panel.member)
    kinds, leverage, sparsity = _of_runs(panel, frames)
    random, blocks = np.random.default_rng(seed), _blocks(panel)
    weighted = np.asarray(np.isfinite(sparsity).any(axis=1))
    kept = np.asarray(weighted[blocks].any(axis=1))
    made: dict[str, list[list[Floats]]] = {
        name: [] for name in ("group_out", "one_out", "inside", "outside", "extracted", "leverage", "sparsity")
    }
    for _ in range(splits):
        order = [random.permutation(blocks[side]) for side in (kept, ~kept)]
        both = [
            np.concatenate([o[: len(o) // 2] for o in order]),
            np.concatenate([o[len(o) // 2 : len(o) // 2 * 2] for o in order]),
        ]
        for values in made.values():
            values.append([])
        for rows in both:
            rows = np.sort(rows.ravel())
            some = panel.of_runs(rows)
            group, one = some.arms
            log_p, extracted = some.values["log_p"][-1], some.values["extracted"][-1]
            score = some.effect(log_p, group)[0]
            beyond = mean(extracted, group.inside) * (1 - mean(extracted, group.outside))
            if panel.paired:
                without = extracted.reshape(-1, 2, extracted.shape[1])[:, ::-1].reshape(extracted.shape)
                beyond = mean(extracted * (1 - without), group.inside)
            single = panel.sequences["copies"].to_numpy() == 1
            estimates = {
                "group_out": score,
                "one_out": np.where(single, score, difference(log_p, one)[0]),
                "inside": mean(log_p, group.inside),
                "outside": mean(log_p, group.outside),
                "extracted": beyond,
                "leverage": np.stack([_mean_of_runs(kind[rows]) for kind in leverage]),
                "sparsity": _mean_of_runs(sparsity[rows]),
            }
            for name, values in made.items():
                values[-1].append(estimates[name][..., member])
    arrays = {name: np.array(values) for name, values in made.items()}
    arrays["leverage"] = arrays["leverage"].transpose(0, 2, 1, 3)
    return Halves(kinds, **arrays)


def _of_runs(panel: EnsemblePanel, frames: Mapping[str, pl.DataFrame]) -> tuple[list[str], list[Floats], Floats]:
    """(kinds of leverage, of runs with all copies; sparsity, of runs without any), float [runs, sequences]; else NaN."""
    place = pl.DataFrame({"sequence": panel.sequences["sequence"], "at": np.arange(len(panel.sequences))})
    row = pl.DataFrame({"run": panel.runs.astype(np.int32), "row": np.arange(len(panel.runs))})

    def array(frame: pl.DataFrame, column: str, side: Bools) -> Floats:
        frame, values = frame.join(row, on="run").join(place, on="sequence"), np.full(panel.assigned.shape, np.nan)
        values[frame["row"].to_numpy(), frame["at"].to_numpy()] = frame[column].to_numpy()
        return np.where(side, values, np.nan)

    tables = sorted(frames["leverage"].group_by("damping")) or [((1.0,), frames["leverage"])]
    arms = panel.arms[0]
    kinds = {f"{kind}, damping {damping:g}": array(frame, kind, arms.inside) for (damping,), frame in tables for kind in LEVERAGES}
    return list(kinds), list(kinds.values()), array(frames["outlierness"], "sparsity", arms.outside)


def _mean_of_runs(values: Floats) -> Floats:
    return mean(np.nan_to_num(values), np.isfinite(values))
