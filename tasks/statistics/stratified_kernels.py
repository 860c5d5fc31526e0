"""Weighted rank correlations inside groups, compiled. NumPy in, NumPy out."""

import numpy as np
from numba import njit


@njit(cache=True)
def _rank(codes, order, weights, ranks):
    """Weighted mid-ranks: the weight below a row's tie group, and half of the group's. codes: tie groups along `order`."""
    below, i = 0.0, 0
    while i < len(order):
        j, weight = i, 0.0
        while j < len(order) and codes[j] == codes[i]:
            weight += weights[order[j]]
            j += 1
        for k in range(i, j):
            ranks[order[k]] = below + 0.5 * weight
        below += weight
        i = j


@njit(cache=True)
def within_correlations(x_order, x_codes, y_order, y_codes, group, example, weights, ranked_inside):
    """One correlation per draw. Row i weighs weights[d, example[i]]; its ranks are centred on its group's mean. x_order sorts the
    rows by x (by group and then x, if `ranked_inside`), x_codes numbers tie groups along it; y likewise."""
    draws, n = len(weights), len(x_order)
    groups = group.max() + 1
    rhos = np.empty(draws)
    w, rank_x, rank_y = np.empty(n), np.empty(n), np.empty(n)
    total, mean_x, mean_y = np.empty(groups), np.empty(groups), np.empty(groups)
    for d in range(draws):
        for i in range(n):
            w[i] = weights[d, example[i]]
        _rank(x_codes, x_order, w, rank_x)
        _rank(y_codes, y_order, w, rank_y)
        total[:], mean_x[:], mean_y[:] = 0.0, 0.0, 0.0
        for i in range(n):
            total[group[i]] += w[i]
            mean_x[group[i]] += w[i] * rank_x[i]
            mean_y[group[i]] += w[i] * rank_y[i]
        xx, yy, xy, largest = 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            if w[i] == 0.0:
                continue
            g = group[i]
            dx, dy = rank_x[i] - mean_x[g] / total[g], rank_y[i] - mean_y[g] / total[g]
            size = max(abs(rank_x[i]), abs(rank_y[i]))
            if ranked_inside:
                dx, dy, size = dx / total[g], dy / total[g], size / total[g]
            xx += w[i] * dx * dx
            yy += w[i] * dy * dy
            xy += w[i] * dx * dy
            largest += w[i] * size * size
        # what is constant inside all groups but for rounding is no variance
        if xx <= 1e-20 * largest or yy <= 1e-20 * largest:
            rhos[d] = np.nan
        else:
            rhos[d] = min(1.0, max(-1.0, xy / np.sqrt(xx * yy)))
    return rhos
