"""γ as a number, or as a percentile of the similarities of all candidate pairs of one task and n.

E5's cosines lie between .7 and 1, LaBSE's elsewhere, so one number keeps nearly all pairs of one encoder and nearly none of
another. "p90" keeps the most similar tenth of the pairs for any encoder (docs/method.md §2).

Similarities are counted in bins at multiples of 2^-14, which float32 represents exactly: γ of pN is the smallest multiple that
at least N percent of the candidates do not exceed. So at most 100 - N percent lie strictly above it. It is the exact order
statistic, rounded up by less than 6.2e-5, and memory does not grow with the number of pairs.
"""

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
    """The upper bound of each bin: bin 0 is -1, bin 2·STEPS is 1."""
    return ((steps - STEPS) / STEPS).astype(np.float32)


def percentile(gamma: str, similarity: NDArray[Any], candidates: Ints) -> float:
    """γ of "pN" where candidates[i] pairs have a similarity in (similarity[i] - 2^-14, similarity[i]], ascending. 1 if there are no
    candidates."""
    below = np.cumsum(candidates)
    total = int(below[-1]) if len(below) else 0
    if not total:
        return 1.0
    rank = math.ceil(Fraction(gamma.removeprefix("p")) * total / 100)
    return float(similarity[np.searchsorted(below, rank)])


def resolve(gamma: str, similarity: NDArray[Any], candidates: Ints, lowest: float, what: str) -> float:
    """`percentile`, checked; `what` names the task and n for the error message. Raises StudyError if γ lies below the lowest γ:
    pairs between the two were not mined."""
    value = percentile(gamma, similarity, candidates)
    if value < lowest:
        remedy = f"set lowest_gamma to {np.floor(value * 100) / 100:g} or less, or name a higher percentile"
        here = f"{value:.4f} here, below lowest_gamma = {lowest:g}, above which pairs were mined"
        raise StudyError(f"{what}: γ = {gamma} is {here}; {remedy}")
    return value


def resolved(gammas: Mapping[str, float | str], spread: pl.DataFrame | None, lowest: float, task: str) -> dict[str, float]:
    """γ per n as numbers. `spread`: the table similarities, needed only for percentiles."""
    values: dict[str, float] = {}
    for order, gamma in gammas.items():
        if isinstance(gamma, str):
            assert spread is not None, f"task {task!r}: γ = {gamma} needs the table similarities"
            rows = spread.filter(task=task, order=int(order)).sort("at_most")
            bounds, candidates = rows["at_most"].to_numpy(), rows["candidates"].to_numpy()
            gamma = resolve(gamma, bounds, candidates, lowest, f"task {task!r}, n = {order}")
        values[order] = gamma
    return values
