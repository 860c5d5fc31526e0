"""Rank correlations of many resamples of the same rows, compiled. NumPy in, NumPy out.

Sixteen draws go through the rows at once, one in each lane of a vector register, and no draw sorts anything: each column is
sorted once, and the weighted mid-rank of a tie group is the weight below it plus half its own. Ranks are kept doubled, so
that they are integers where weights are. Ranks computed in a column's order are written in blocks of the rows' common order
(`place`), so that reading them back (`where`) stays within a block that fits the cache; at a million rows memory access would
otherwise take most of the time.
"""

import numpy as np
from numba import njit

LANES = 16  # uint8 weights × 16 draws; a cache line of 32-bit ranks
PIECE = 8192  # rows whose ranks (512 KB) stay in the second-level cache


@njit(cache=True)
def count_draws(chosen, clusters):
    """How often each cluster was drawn: chosen (draws, picks) → (draws, clusters), at most 255."""
    counts = np.zeros((chosen.shape[0], clusters), dtype=np.uint8)
    for d in range(chosen.shape[0]):
        row = counts[d]
        for i in range(chosen.shape[1]):
            row[chosen[d, i]] += 1
    return counts


@njit(cache=True)
def _add_weights(into, i, first, second, fixed, first_weights, second_weights):
    """Add row i's weight to LANES sums. `fixed`, or both it and `second`, may be None: numba then drops their branches."""
    one = first_weights[first[i]]
    if second is None:
        for b in range(LANES):
            into[b] += one[b]
    elif fixed is None:
        two = second_weights[second[i]]
        for b in range(LANES):
            into[b] += np.int32(one[b]) * np.int32(two[b])
    else:
        two = second_weights[second[i]]
        for b in range(LANES):
            into[b] += fixed[i] * one[b] * two[b]


@njit(cache=True)
def _rank(first, second, fixed, last, place, first_weights, second_weights, shift, ranks, total, cubes):
    """One column: twice the weighted mid-rank, less `shift`, of each row, to where `place` says. first, second, fixed, last: along
    the column's order; `last` marks the end of a tie group. total: Σ w; cubes: Σ over tie groups of their weight³. Each for LANES
    draws."""
    below, tied, value = np.zeros(LANES, ranks.dtype), np.zeros(LANES, ranks.dtype), np.zeros(LANES, ranks.dtype)
    began = 0
    for b in range(LANES):
        cubes[b] = 0.0
    for i in range(len(first)):
        _add_weights(tied, i, first, second, fixed, first_weights, second_weights)
        if not last[i]:
            continue
        for b in range(LANES):
            value[b] = 2 * below[b] + tied[b] - shift
        for b in range(LANES):
            below[b] += tied[b]
        for b in range(LANES):
            cubes[b] += float(tied[b]) * float(tied[b]) * float(tied[b])
        for b in range(LANES):
            tied[b] = 0
        for j in range(began, i + 1):
            row = ranks[place[j]]
            for b in range(LANES):
                row[b] = value[b]
        began = i + 1
    for b in range(LANES):
        total[b] = below[b]


@njit(cache=True)
def _products(first, second, fixed, where_a, where_b, first_weights, second_weights, ranks_a, ranks_b, sums):
    """Σ w · rank_a · rank_b over the rows in their common order, for LANES draws."""
    for lane in range(LANES):
        sums[lane] = 0.0
    piece_a, piece_b = np.empty((PIECE, LANES), ranks_a.dtype), np.empty((PIECE, LANES), ranks_b.dtype)
    for low in range(0, len(first), PIECE):
        high = min(low + PIECE, len(first))
        for i in range(low, high):  # sequential reads are many times faster than random ones; slices take long to compile
            for lane in range(LANES):
                piece_a[i - low, lane], piece_b[i - low, lane] = ranks_a[i, lane], ranks_b[i, lane]
        for i in range(low, high):
            one, a, b = first_weights[first[i]], piece_a[where_a[i]], piece_b[where_b[i]]
            if second is None:
                for lane in range(LANES):
                    sums[lane] += float(one[lane]) * (float(a[lane]) * float(b[lane]))
            elif fixed is None:
                two = second_weights[second[i]]
                for lane in range(LANES):
                    sums[lane] += float(one[lane]) * float(two[lane]) * (float(a[lane]) * float(b[lane]))
            else:
                two = second_weights[second[i]]
                for lane in range(LANES):
                    sums[lane] += fixed[i] * float(one[lane]) * float(two[lane]) * (a[lane] * b[lane])


@njit(cache=True)
def rank_moments(first, second, fixed, last, place, where, first_weights, second_weights, shift, ranks, totals, cubes, cross):
    """Fill `totals` (lanes,), `cubes` (columns, lanes) and `cross` (columns, columns, lanes, upper triangle) for LANES draws.
    first, second, fixed, last, place: (columns, rows), each row in its column's order, the first column's being the common one;
    where: (columns, rows) in common order. first_weights, second_weights: (clusters, LANES). fixed, or fixed and second: None where
    they are not used. ranks: scratch (columns, rows, LANES), integers unless there are fixed weights."""
    for c in range(len(first)):
        its_second = None if second is None else second[c]
        its_fixed = None if fixed is None else fixed[c]
        _rank(first[c], its_second, its_fixed, last[c], place[c], first_weights, second_weights, shift, ranks[c], totals, cubes[c])
    second_0 = None if second is None else second[0]
    fixed_0 = None if fixed is None else fixed[0]
    w1, w2 = first_weights, second_weights
    for a in range(len(first)):
        for b in range(a + 1, len(first)):
            _products(first[0], second_0, fixed_0, where[a], where[b], w1, w2, ranks[a], ranks[b], cross[a, b])
