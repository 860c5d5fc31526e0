"""γ as a number or as a percentile of the similarities of all candidate pairs of a task and n.

E5's cosines lie between .7 and 1, LaBSE's elsewhere: the same number filters nearly nothing here and nearly all there, "p90"
keeps the tenth of the pairs that is most alike, whatever the encoder (docs/method.md §2).

Similarities are tallied on multiples of 2^-14, which float32 holds exactly: γ of pN is the smallest multiple that at least N
percent of the candidates do not exceed. So at most 100 - N percent lie strictly above it, and it is the exact order statistic
rounded up by less than 6.2e-5, in memory that does not grow with the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import StudyError

STEPS = 1 << 14
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def at_most(steps: Ints) -> Floats:
    """The similarity that a step stands for: step 0 is -1, step 2·STEPS is 1."""
    return ((steps - STEPS) / STEPS).astype(np.float32)


def percentile(gamma: str, similarity: NDArray[Any], candidates: Ints) -> float:
    """γ of "pN" where candidates[i] pairs have a similarity in (similarity[i] - 2^-14, similarity[i]], ascending.

    Without candidates it is 1: nothing lies above it, and nothing is there.
    """
    below = np.cumsum(candidates)
    total = int(below[-1]) if len(below) else 0
    if not total:
        return 1.0
    wanted = math.ceil(Fraction(gamma.removeprefix("p")) * total / 100)
    return float(similarity[np.searchsorted(below, wanted)])


def resolve(gamma: str, similarity: NDArray[Any], candidates: Ints, lowest: float, what: str) -> float:
    """`percentile`; `what` says whose it is.

    Raises StudyError if it lies below the lowest γ: pairs between the two were not mined.
    """
    found = percentile(gamma, similarity, candidates)
    if found < lowest:
        raise StudyError(
            f"{what}: γ = {gamma} is {found:.4f} here, below lowest_gamma = {lowest:g}, above which pairs were mined; set "
            f"lowest_gamma to {np.floor(found * 100) / 100:g} or less, or name a higher percentile"
        )
    return found


def resolved(gammas: Mapping[str, float | str], spread: pl.DataFrame | None, lowest: float, task: str) -> dict[str, float]:
    """γ per n as numbers. `spread`: the table similarities of the task, which percentiles alone need."""
    found = {}
    for order, gamma in gammas.items():
        if spread is None or not isinstance(gamma, str):
            assert not isinstance(gamma, str), f"task {task!r}: γ = {gamma} needs the table similarities"
            found[order] = gamma
            continue
        rows = spread.filter((pl.col("task") == task) & (pl.col("order") == int(order))).sort("at_most")
        found[order] = resolve(
            gamma, rows["at_most"].to_numpy(), rows["candidates"].to_numpy(), lowest, f"task {task!r}, n = {order}"
        )
    return found
