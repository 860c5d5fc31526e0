"""Partial rank correlations, explained rank variance and ranks within groups, against residuals and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.statistics.partial import explained, partial_correlation, rank_correlations
from tasks.statistics.stratified import equal_rows, pooled, pooled_draws


def columns(seed: int, k: int = 4, n: int = 60) -> np.ndarray:
    """Correlated columns with ties."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=(k, k)) @ rng.normal(size=(k, n)), 1)


def residuals(y: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of the mid-ranks of y on the mid-ranks of others, with an intercept."""
    design = np.column_stack([np.ones(len(y)), *(stats.rankdata(z) for z in others)])
    ranks = stats.rankdata(y)
    return ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_a_partial_correlation_is_that_of_the_residuals_of_ranks(seed):
    table = columns(seed)
    x, y, *controls = table
    wanted = stats.pearsonr(residuals(x, controls), residuals(y, controls)).statistic
    found = partial_correlation(rank_correlations(table)[None], [2, 3])
    assert found[0] == pytest.approx(wanted, abs=1e-8)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_explained_variance_is_that_of_a_regression_of_ranks(seed):
    table = columns(seed)
    rest = residuals(table[0], table[1:])
    wanted = 1 - rest @ rest / ((stats.rankdata(table[0]) - (table.shape[1] + 1) / 2) ** 2).sum()
    assert explained(rank_correlations(table)[None], [1, 2, 3])[0] == pytest.approx(wanted, abs=1e-8)


def test_the_matrix_is_scipys_and_a_weight_is_as_many_rows():
    table = columns(3)
    assert rank_correlations(table) == pytest.approx(stats.spearmanr(table.T).statistic)
    weights = np.random.default_rng(0).integers(0, 4, table.shape[1])
    repeated = np.repeat(table, weights, axis=1)
    assert rank_correlations(table, weights.astype(float)) == pytest.approx(stats.spearmanr(repeated.T).statistic)


def test_a_control_named_twice_counts_once_and_one_that_says_all_leaves_nothing():
    x, y, z, _ = columns(4)
    matrix = rank_correlations(np.array([x, y, z, 2 * z, x, np.ones(len(x))]))[None]
    assert partial_correlation(matrix, [2, 3]) == pytest.approx(partial_correlation(matrix, [2]), abs=1e-7)
    assert np.isnan(partial_correlation(matrix, [4]))
    assert np.isnan(partial_correlation(matrix, [5]))  # a constant has no ranks to hold fixed
    assert np.isnan(explained(matrix, [5], y=1))


def reference(x, y, group, weights, *, ranked_inside):
    """Rows repeated as often as they weigh, centred group by group."""
    x, y, group = (np.repeat(v, weights) for v in (x, y, group))
    a, b = stats.rankdata(x), stats.rankdata(y)
    for g in np.unique(group):
        here = group == g
        if ranked_inside:
            a[here], b[here] = (stats.rankdata(v[here]) / here.sum() for v in (x, y))
        a[here] -= a[here].mean()
        b[here] -= b[here].mean()
    return a @ b / np.sqrt((a @ a) * (b @ b))


@given(st.integers(0, 10_000), st.booleans())
@settings(deadline=None, max_examples=30)
def test_pooled_ranks_within_groups_equal_rows_centred_group_by_group(seed, ranked_inside):
    rng = np.random.default_rng(seed)
    n = 60
    group, example = rng.integers(0, 6, n), rng.integers(0, 12, n)
    example = np.unique(example, return_inverse=True)[1]
    x, y = np.round(rng.normal(size=n) + group, 1), np.round(rng.normal(size=n) - group, 1)
    weights = rng.integers(0, 3, (3, example.max() + 1)).astype(np.int32)
    found = pooled(x, y, group, example, weights, ranked_inside=ranked_inside)
    for d in range(3):
        assert found[d] == pytest.approx(reference(x, y, group, weights[d, example], ranked_inside=ranked_inside), abs=1e-9)


def test_simpsons_paradox_is_gone_within_groups():
    """Inside every group y falls while x rises; over all groups both rise."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(5), 40)
    inside = rng.normal(size=200)
    x, y = 10 * group + inside, 10 * group - inside
    ones = np.ones((1, 200), dtype=np.int32)
    assert stats.spearmanr(x, y).statistic > 0.8
    assert pooled(x, y, group, np.arange(200), ones, ranked_inside=True)[0] == pytest.approx(-1)
    assert pooled(x, y, group, np.arange(200), ones, ranked_inside=False)[0] < -0.9
    drawn = pooled_draws(x, y, group, np.arange(200), 100, 0, ranked_inside=False)
    assert len(drawn) == 100
    assert drawn.max() < -0.9


def test_what_is_the_same_in_each_group_has_no_correlation_within():
    group = np.repeat(np.arange(4), 3)
    ones = np.ones((1, 12), dtype=np.int32)
    for inside in (True, False):
        assert np.isnan(pooled(np.arange(12.0), group.astype(float), group, np.arange(12), ones, ranked_inside=inside)[0])


def test_fewer_rows_spread_wider_around_the_same_correlation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    y, example = x + rng.normal(size=2000), np.arange(2000) // 2
    few, many = (equal_rows(x, y, example, rows, 400, 5) for rows in (100, 1600))
    assert few.std() / many.std() == pytest.approx(4, rel=0.25)  # √(1600 / 100)
    assert few.mean() == pytest.approx(stats.spearmanr(x, y).statistic, abs=0.02)
