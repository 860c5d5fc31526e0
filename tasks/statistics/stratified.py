"""Rank correlations inside groups of rows, pooled: the same output, or the same subject, on both sides (docs/method.md §6c).

    by level:  mid-ranks over all rows, minus their group's mean (same s_y: groups are small, and their own ranks say little)
    by rank:   mid-ranks inside the group, over its size, minus ½ (subjects, languages: each has a scale of its own)
Then Pearson over all rows. What is the same in a whole group adds nothing, so Simpson's paradox cannot arise.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.bootstrap import bootstrap_statistic
from tasks.statistics.correlation import Floats, Ints


def pooled(x: Floats, y: Floats, group: Ints, example: Ints, weights: NDArray[np.integer], *, ranked_inside: bool) -> Floats:
    """The pooled correlation under each row of weights (draws × examples); NaN where a side does not vary inside groups. x, y,
    group, example: (n,), codes from 0. Groups of one row add nothing."""
    from tasks.statistics.stratified_kernels import within_correlations

    sides = list[tuple[Ints, Ints]]()
    for values in (x, y):
        dense = np.unique(values, return_inverse=True)[1].astype(np.int64)
        code = group * (int(dense.max()) + 1) + dense if ranked_inside else dense
        order = np.argsort(code, kind="stable")
        sides.append((order, code[order]))
    (x_order, x_codes), (y_order, y_codes) = sides
    return within_correlations(x_order, x_codes, y_order, y_codes, group, example, weights, ranked_inside)


def pooled_draws(x: Floats, y: Floats, group: Ints, example: Ints, draws: int, seed: int, *, ranked_inside: bool) -> Floats:
    """The pooled correlation of resamples of whole examples."""
    of = partial(pooled, x, y, group, example, ranked_inside=ranked_inside)
    return bootstrap_statistic(int(example.max()) + 1, draws, seed, of)


def equal_rows(x: Floats, y: Floats, example: Ints, rows: int, draws: int, seed: int) -> Floats:
    """Spearman's ρ of draws that hold about `rows` rows each: as many whole examples, with replacement, as hold them on average."""
    examples = int(example.max()) + 1
    taken = max(1, round(rows * examples / len(x)))
    rng = np.random.default_rng(seed)
    one, drawn = np.zeros(len(x), dtype=np.int64), []
    for begin in range(0, draws, 64):
        count = min(64, draws - begin)
        chosen = rng.integers(0, examples, size=(count, taken)) + np.arange(count)[:, None] * examples
        weights = np.bincount(chosen.ravel(), minlength=count * examples).reshape(count, examples).astype(np.int32)
        drawn.append(pooled(x, y, one, example, weights, ranked_inside=False))
    return np.concatenate(drawn)
