"""Bootstraps over clusters: resamples of whole examples, or of examples and output n-grams at once (docs/method.md §6b).

A draw is a weight for each cluster: how often it was chosen. A row weighs w_example, or w_example · w_s_y (pigeonhole
bootstrap: Owen 2007, arXiv 0712.1111), and the statistic is computed with these weights. Draws depend on the seed and the
number of clusters only, so that measures of the same examples share them and their differences have intervals.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.correlation import Floats, Ints

Counts = NDArray[np.int32]
Statistic = Callable[[Counts], Floats]
DRAWS_AT_ONCE = 64
NUMBERS_AT_ONCE = 2**23  # of the draws of many rows: fewer draws at once then
KEPT = 2**23  # weights kept per source, a byte each
MOST_ROWS = 2**28  # doubled ranks must fit 32 bits


def draw_counts(clusters: int, draws: int, seed: int) -> Callable[[], NDArray[np.uint8] | None]:
    """A source of bootstrap weights: each call gives up to 64 draws (draws × clusters), None at the end. The weights depend on
    `seed` and the number of clusters only, so that two measures of the same rows share draws."""
    batches = iter((_kept_draws if clusters * draws <= KEPT else _draws)(clusters, draws, seed))
    return lambda: next(batches, None)


def _draws(clusters: int, draws: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    from tasks.statistics.bootstrap_kernels import count_draws

    rng = np.random.Generator(np.random.SFC64(seed))
    few = max(1, NUMBERS_AT_ONCE // max(1, clusters))
    for first in range(0, draws, DRAWS_AT_ONCE):
        ends = [*range(0, min(DRAWS_AT_ONCE, draws - first), few), min(DRAWS_AT_ONCE, draws - first)]
        chosen = (rng.integers(0, clusters, size=(end - begin, clusters), dtype=np.uint32) for begin, end in pairwise(ends))
        yield np.concatenate([count_draws(some, clusters) for some in chosen])


@lru_cache(maxsize=8)
def _kept_draws(clusters: int, draws: int, seed: int) -> tuple[NDArray[np.uint8], ...]:
    """All draws at once, kept: a measure takes dozens of bootstraps over the same examples."""
    batches = tuple(_draws(clusters, draws, seed))
    for batch in batches:
        batch.setflags(write=False)
    return batches


def bootstrap_many(x: Floats, example: Ints, output: Ints | None, draws: int, seed: int, weights: Floats | None = None) -> Floats:
    """Rank correlations of all columns with each other, in each resample: (k, n) → (draws, k, k). Ranks are weighted mid-ranks
    within the resample, so that each draw equals Spearman's ρ of the repeated rows. Whole examples are resampled; with `output`
    examples and outputs at once. `weights` are fixed weights of rows, multiplied in. NaN where a column does not vary. One pass:
    sorted once, O(k²·n) a draw; columns in the same call share draws."""
    from tasks.statistics.bootstrap_kernels import LANES, rank_moments

    k, n = x.shape
    if n > MOST_ROWS:
        raise ValueError(f"{n} rows: ranks of more than {MOST_ROWS} do not fit 32 bits")
    order = np.argsort(x[0], kind="stable")
    columns, clusters = x[:, order], np.unique(example[order], return_inverse=True)[1].astype(np.int32)
    others = np.zeros(n, np.int32) if output is None else np.unique(output[order], return_inverse=True)[1].astype(np.int32)
    fixed = np.ones(n, np.int32) if weights is None else weights[order].astype(np.float64)
    layout = [_along(column, clusters, others, fixed) for column in columns]
    first, second, along, last, place, where = (np.stack(arrays) for arrays in zip(*layout, strict=True))
    weighted = None if weights is None else along
    seconds = None if output is None and weights is None else second
    shift = fixed.sum().astype(fixed.dtype)  # near the sum of any draw, so that the difference loses no digits

    ranks = np.empty((k, n, LANES), fixed.dtype)
    total, cubes, cross = np.zeros(LANES), np.zeros((k, LANES)), np.zeros((k, k, LANES))
    sums = np.empty((1 + k + k * k, draws))
    one = np.ones((1, LANES), np.uint8)
    source = draw_counts(int(clusters.max()) + 1, draws, seed)
    other = draw_counts(int(others.max()) + 1, draws, seed + 1) if output is not None else None
    done = 0
    while (counts := source()) is not None:
        second_counts = other() if other is not None else None
        for low in range(0, len(counts), LANES):
            mine = _lanes(counts[low : low + LANES], LANES)
            its = one if second_counts is None else _lanes(second_counts[low : low + LANES], LANES)
            rank_moments(first, seconds, weighted, last, place, where, mine, its, shift, ranks, total, cubes, cross)
            here = min(LANES, len(counts) - low)
            sums[:, done : done + here] = np.concatenate([total[None], cubes, cross.reshape(-1, LANES)])[:, :here]
            done += here
    return _correlations(sums[0], sums[1 : 1 + k], sums[1 + k :].reshape(k, k, draws), float(shift))


def _along(column: Floats, clusters: Counts, others: Counts, fixed: Floats | Counts) -> tuple[NDArray[np.generic], ...]:
    """What a kernel reads in this column's order: clusters, weights, ends of tie groups, and where ranks are written."""
    from tasks.statistics.bootstrap_kernels import PIECE

    order = np.argsort(column, kind="stable")
    values = column[order]
    last = np.append(values[1:] != values[:-1], True)
    by_piece = np.argsort(order // PIECE, kind="stable")  # pieces of the common order, each in the column's order
    place = np.empty(len(column), np.int32)
    place[by_piece] = np.arange(len(column), dtype=np.int32)
    where = np.empty(len(column), np.int32)
    where[order] = place
    where -= (np.arange(len(column)) // PIECE * PIECE).astype(np.int32)
    return clusters[order], others[order], fixed[order], last, place, where


def _lanes(counts: NDArray[np.uint8], lanes: int) -> NDArray[np.uint8]:
    """(draws, clusters) → (clusters, lanes); lanes without a draw weigh nothing."""
    turned = np.zeros((counts.shape[1], lanes), np.uint8)
    turned[:, : len(counts)] = counts.T
    return turned


def _correlations(total: Floats, cubes: Floats, cross: Floats, shift: float) -> Floats:
    """Pearson's correlation of doubled, shifted mid-ranks (draws, k, k). Their mean is Σ w - shift in every column."""
    k = len(cubes)
    variances = (total**3 - cubes) / 3
    variances[variances <= 1e-13 * total**3] = np.nan  # one tie group, but for rounding
    covariances = cross - total * (total - shift) ** 2
    correlations = np.ones((len(total), k, k))
    for a in range(k):
        correlations[np.isnan(variances[a]), a, a] = np.nan
        for b in range(a + 1, k):
            with np.errstate(invalid="ignore"):
                value = covariances[a, b] / np.sqrt(variances[a] * variances[b])
            correlations[:, a, b] = correlations[:, b, a] = np.clip(value, -1.0, 1.0)
    return correlations


def bootstrap_pearson(x: Floats, y: Floats, example: Ints, draws: int, seed: int) -> Floats:
    """Pearson's r of resamples of whole examples, from sums per example; NaN where a side does not vary."""
    clusters = np.unique(example, return_inverse=True)[1]
    x, y = x - x.mean(), y - y.mean()
    parts = (np.ones(len(x)), x, y, x * x, y * y, x * y)
    sums = np.stack([np.bincount(clusters, weights=part) for part in parts], axis=1)

    def of(counts: NDArray[np.int32]) -> Floats:
        n, sx, sy, xx, yy, xy = (counts @ sums).T
        variance_x, variance_y = xx - sx * sx / n, yy - sy * sy / n
        flat = (variance_x <= 1e-13 * xx) | (variance_y <= 1e-13 * yy)  # constant but for rounding: no correlation, only noise
        scale = np.sqrt(np.where(flat, np.nan, variance_x * variance_y))
        return np.clip((xy - sx * sy / n) / scale, -1.0, 1.0)

    return bootstrap_statistic(sums.shape[0], draws, seed, of)


def resample(rows: int, settings: Mapping[str, Any], statistic: Statistic) -> tuple[NDArray[Any], NDArray[Any]]:
    """`statistic` of all rows as they are, and of each draw of them. settings: `draws` and `seed`."""
    point = np.asarray(statistic(np.ones((1, rows), np.int32)), np.float64)[0]
    return point, bootstrap_statistic(rows, settings["draws"], settings["seed"], statistic)


def bootstrap_statistic(rows: int, draws: int, seed: int, statistic: Statistic) -> Floats:
    """`statistic` of weights (draws × rows), called for at most 64 draws at a time."""
    source, values, few = draw_counts(rows, draws, seed), [], max(1, NUMBERS_AT_ONCE // max(1, rows))
    while (weights := source()) is not None:
        some = (weights[first : first + few] for first in range(0, len(weights), few))
        values += [np.asarray(statistic(of.astype(np.int32)), dtype=np.float64) for of in some]
    return np.concatenate(values)
