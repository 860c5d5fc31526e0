"""Loops of the measures, compiled: weighted rank correlations and the order of pairs. NumPy in, NumPy out."""

import numpy as np
from numba import njit


@njit(cache=True)
def _rank(groups, order, weights, ranks):
    """Weighted mid-ranks: weight below a row's tie group, plus half the weight of the group.

    `order` sorts the rows, `groups` numbers the tie groups along that order; `ranks` is filled in place.
    """
    below = 0.0
    i, n = 0, len(order)
    while i < n:
        j, weight = i, 0.0
        while j < n and groups[j] == groups[i]:
            weight += weights[order[j]]
            j += 1
        for k in range(i, j):
            ranks[order[k]] = below + 0.5 * weight
        below += weight
        i = j


@njit(cache=True)
def _correlation(x, y, weights):
    """Weighted Pearson; NaN if either side does not vary."""
    total, mean_x, mean_y = 0.0, 0.0, 0.0
    for i in range(len(x)):
        total += weights[i]
        mean_x += weights[i] * x[i]
        mean_y += weights[i] * y[i]
    if total <= 0:
        return np.nan
    mean_x /= total
    mean_y /= total
    xx, yy, xy, x_size, y_size = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(x)):
        dx, dy = x[i] - mean_x, y[i] - mean_y
        xx += weights[i] * dx * dx
        yy += weights[i] * dy * dy
        xy += weights[i] * dx * dy
        x_size += weights[i] * x[i] * x[i]
        y_size += weights[i] * y[i] * y[i]
    # A resample may be constant but for rounding; what is left then is noise, not a correlation.
    if xx <= 1e-24 * x_size or yy <= 1e-24 * y_size:
        return np.nan
    return min(1.0, max(-1.0, xy / np.sqrt(xx * yy)))


@njit(cache=True)
def weighted_correlations(x, y, x_order, x_groups, y_order, y_groups, first, first_weights, second, second_weights, ranked):
    """One correlation per draw. Row i weighs first_weights[d, first[i]] · second_weights[d, second[i]] in draw d.

    ranked: Spearman (weighted mid-ranks, ranked anew in each draw); else Pearson of x and y as they are.
    """
    draws, n = len(first_weights), len(x)
    found = np.empty(draws)
    weights, rank_x, rank_y = np.empty(n), np.empty(n), np.empty(n)
    for d in range(draws):
        for i in range(n):
            weights[i] = first_weights[d, first[i]] * second_weights[d, second[i]]
        if ranked:
            _rank(x_groups, x_order, weights, rank_x)
            _rank(y_groups, y_order, weights, rank_y)
            found[d] = _correlation(rank_x, rank_y, weights)
        else:
            found[d] = _correlation(x, y, weights)
    return found


@njit(cache=True)
def discordant_pairs(y_ranks, x_groups):
    """Pairs of rows, sorted by x, whose y falls while x rises. Pairs tied in x or in y do not count.

    y_ranks: 1-based dense ranks of y in the order of x; x_groups: tie groups of x along it. A Fenwick tree: O(N log N).
    """
    n = len(y_ranks)
    tree = np.zeros(n + 2, dtype=np.int64)
    found, seen, i = np.int64(0), np.int64(0), 0
    while i < n:
        j = i
        while j < n and x_groups[j] == x_groups[i]:
            not_above = np.int64(0)
            k = y_ranks[j]
            while k > 0:
                not_above += tree[k]
                k -= k & -k
            found += seen - not_above
            j += 1
        for m in range(i, j):
            k = y_ranks[m]
            while k <= n:
                tree[k] += 1
                k += k & -k
        seen += j - i
        i = j
    return found
