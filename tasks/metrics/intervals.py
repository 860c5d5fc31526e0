"""BCa intervals and studentised permutation of one row per output n-gram (task-grams §6b)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.statistics import Estimate, Rows, influence, spearman, undefined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def bca_interval(rows: Rows, drawn: Floats, value: float) -> tuple[float | None, float | None, str]:
    """Bias-corrected and accelerated ends of the draws; acceleration from the influence of each example."""
    from scipy import stats

    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None, None, "no interval: all resamples are constant"
    sums = np.bincount(np.unique(rows.example, return_inverse=True)[1], weights=influence(rows.x, rows.y))
    spread = float((sums**2).sum()) ** 1.5
    acceleration = float((sums**3).sum()) / (6 * spread) if spread > 0 else 0.0
    below = ((drawn < value).sum() + 0.5 * (drawn == value).sum()) / len(drawn)
    if not 0 < below < 1:
        return None, None, "no interval: all draws lie on one side"
    bias, ends = stats.norm.ppf(below), stats.norm.ppf([0.025, 0.975])
    at = stats.norm.cdf(bias + (bias + ends) / (1 - acceleration * (bias + ends)))
    low, high = np.quantile(drawn, at)
    return float(low), float(high), ""


def permutation_p(rows: Rows, group: Ints, permutations: int, seed: int) -> Estimate:
    """ρ of one row per distinct s_y and its studentised permutation p, within groups; a reason where it is not valid."""
    pairs = np.unique(np.column_stack([rows.example, rows.output]), axis=0)
    if len(np.unique(pairs[:, 0])) < len(pairs):
        return Estimate(None, note="not valid: an example has several output n-grams")
    output = np.unique(rows.output, return_inverse=True)[1]
    size = np.bincount(output)
    x, y = np.round(np.bincount(output, rows.x) / size, 12), np.round(np.bincount(output, rows.y) / size, 12)
    of = np.full(len(size), -1)
    of[output] = group
    if (of[output] != group).any():
        return Estimate(None, note="not valid: an output n-gram stands in several groups")
    merged = Rows(x, y, np.arange(len(size)), np.arange(len(size)))
    if undefined(merged):
        return Estimate(None, note=undefined(merged))
    rng = np.random.default_rng(seed)

    def t(x: Floats, y: Floats) -> float:
        return float(spearman(x, y) / np.sqrt(max(float((influence(x, y) ** 2).mean()), 1e-24)))

    observed, above = abs(t(x, y)), 0
    for _ in range(permutations):
        order = np.lexsort((rng.random(len(x)), of))
        shuffled = np.empty(len(y))
        shuffled[np.argsort(of, kind="stable")] = y[order]
        above += abs(t(x, shuffled)) >= observed - 1e-12
    return Estimate(spearman(x, y), p_value=(1 + above) / (1 + permutations))
