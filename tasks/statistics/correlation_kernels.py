"""Permutations of rows within groups, compiled. NumPy in, NumPy out."""

import numpy as np
from numba import njit


@njit(cache=True)
def _middles(codes, groups):
    """Mid-distribution value of each tie group: share of rows below it, plus half its own."""
    sizes = np.zeros(groups)
    for code in codes:
        sizes[code] += 1.0
    middles, below = np.empty(groups), 0.0
    for g in range(groups):
        middles[g] = (below + 0.5 * sizes[g]) / len(codes)
        below += sizes[g]
    return middles


@njit(cache=True)
def _above(sums, n):
    """In place: of each group, (sums of the groups above it + half its own) / n."""
    after = 0.0
    for g in range(len(sums) - 1, -1, -1):
        group = sums[g]
        sums[g] = (after + 0.5 * group) / n
        after += group


@njit(cache=True)
def permuted_t(x_codes, y_codes, ends, random):
    """ρ / √(mean squared influence) of the rows, then with y permuted within groups, once for each row of `random`. x_codes,
    y_codes: dense ranks from 0. Rows are in order of their groups, which end before `ends`. random (draws, rows) is uniform in [0,
    1). O(rows) a draw; influence as in `correlations.influence`. 0 / 0 is 0."""
    n = len(x_codes)
    u, v = _middles(x_codes, x_codes.max() + 1), _middles(y_codes, y_codes.max() + 1)
    xx, yy = 0.0, 0.0
    own_x, own_y = np.zeros(len(u)), np.zeros(len(v))
    for i in range(n):
        xx += u[x_codes[i]] ** 2 / n
        yy += v[y_codes[i]] ** 2 / n
        own_x[x_codes[i]] += u[x_codes[i]]
        own_y[y_codes[i]] += v[y_codes[i]]
    _above(own_x, n)
    _above(own_y, n)
    variance_x, variance_y = xx - 0.25, yy - 0.25
    scale = np.sqrt(variance_x * variance_y)
    moves_x, moves_y, t = np.empty(len(u)), np.empty(len(v)), np.empty(1 + len(random))
    for g in range(len(u)):  # loops compile in a tenth of the time that arithmetic of arrays takes
        moves_x[g] = (u[g] * u[g] + 2 * own_x[g] - 3 * xx) / variance_x
    for h in range(len(v)):
        moves_y[h] = (v[h] * v[h] + 2 * own_y[h] - 3 * yy) / variance_y
    y, by_x, by_y = np.empty(n, np.int64), np.empty(len(u)), np.empty(len(v))
    for d in range(1 + len(random)):
        for i in range(n):
            y[i] = y_codes[i]
        if d:
            began = 0
            for end in ends:
                for i in range(end - 1, began, -1):  # Fisher and Yates
                    j = began + int(random[d - 1, i] * (i - began + 1))
                    y[i], y[j] = y[j], y[i]
                began = end
        cross = 0.0
        for g in range(len(u)):
            by_x[g] = 0.0
        for h in range(len(v)):
            by_y[h] = 0.0
        for i in range(n):
            by_x[x_codes[i]] += v[y[i]]
            by_y[y[i]] += u[x_codes[i]]
            cross += u[x_codes[i]] * v[y[i]] / n
        _above(by_x, n)
        _above(by_y, n)
        covariance, squares = cross - 0.25, 0.0
        for i in range(n):
            g, h = x_codes[i], y[i]
            moves = u[g] * v[h] + by_x[g] + by_y[h] - 3 * cross - 0.5 * covariance * (moves_x[g] + moves_y[h])
            squares += (moves / scale) ** 2 / n
        rho = covariance / scale
        t[d] = rho / np.sqrt(max(squares, 1e-24))
    return t
