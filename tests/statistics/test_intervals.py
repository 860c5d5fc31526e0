"""Intervals and p-values equal scipy, or a slow reference that follows the definition."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tasks import statistics as s
from tasks.statistics import Rows, correlation_kernels


def pearson(x, y, axis=-1):
    x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    return (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))


def ranked(x, y, axis=-1):
    return pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


@pytest.mark.parametrize("seed", range(3))
def test_bca_is_scipys_where_rows_are_independent(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=80)
    y = 2 * x + rng.normal(size=80)  # a skewed distribution of ρ, so that bias and acceleration matter
    rows = Rows(x, y, np.arange(80), np.arange(80))
    drawn = s.bootstrap_correlation(rows, 20_000, seed=1)
    low, high, note = s.bca_interval(rows, drawn, s.spearman(x, y))
    wanted = stats.bootstrap(
        (x, y), ranked, n_resamples=20_000, paired=True, vectorized=True, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    percentile = s.percentile_interval(drawn)[:2]
    assert note == ""
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.003)
    assert abs(low - percentile[0]) > 0.003 or abs(high - percentile[1]) > 0.003


def test_bca_takes_its_acceleration_from_whole_examples():
    """Against a jackknife that leaves out one example at a time."""
    rng = np.random.default_rng(0)
    example = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    x = rng.normal(size=60)[example] + 0.5 * rng.normal(size=len(example))
    rows = Rows(x, x + rng.normal(size=len(x)), example, np.arange(len(x)))
    value, drawn = s.spearman(rows.x, rows.y), s.bootstrap_correlation(rows, 4000, seed=1)
    left_out = np.array([s.spearman(rows.x[example != e], rows.y[example != e]) for e in range(60)])
    moves = left_out.mean() - left_out
    acceleration = (moves**3).sum() / (6 * (moves**2).sum() ** 1.5)
    bias = stats.norm.ppf((drawn < value).mean() + 0.5 * (drawn == value).mean())
    at = stats.norm.cdf([bias + (bias + z) / (1 - acceleration * (bias + z)) for z in stats.norm.ppf([0.025, 0.975])])
    assert s.bca_interval(rows, drawn, value)[:2] == pytest.approx(np.quantile(drawn, at), abs=0.004)


def test_bca_has_a_reason_where_there_is_none():
    rows = Rows(np.arange(9.0), np.arange(9.0), np.arange(9), np.arange(9))
    found = s.bca_interval(rows, s.bootstrap_correlation(rows, 100, 0), 1.0)
    assert found == (1.0, 1.0, "")
    assert s.bca_interval(rows, np.linspace(0.2, 0.5, 100), 1.0)[2] == (
        "no interval: all resamples lie on one side of the estimate"
    )
    assert s.bca_interval(rows, np.full(100, np.nan), 1.0)[2] == "no interval: most resamples are constant"


def slow_t(x, y):
    """ρ / √(mean squared influence)."""
    return s.spearman(x, y) / np.sqrt((s.influence(x, y) ** 2).mean())


def test_permuted_statistics_are_those_of_the_permuted_rows():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 30).astype(float), rng.integers(0, 5, 30).astype(float)
    codes = [np.unique(side, return_inverse=True)[1] for side in (x, y)]
    ends, random = np.array([12, 13, 30]), rng.random((5, 30))
    found = correlation_kernels.permuted_t(*codes, ends, random)
    assert found[0] == pytest.approx(slow_t(x, y), abs=1e-12)
    for d in range(5):
        shuffled, began = y.copy(), 0
        for end in ends:
            for i in range(end - 1, began, -1):
                j = began + int(random[d, i] * (i - began + 1))
                shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
            began = end
        assert found[1 + d] == pytest.approx(slow_t(x, shuffled), abs=1e-12)
        for low, high in ((0, 12), (12, 13), (13, 30)):  # within groups
            assert sorted(shuffled[low:high]) == sorted(y[low:high])


@pytest.mark.parametrize("groups", [[0] * 6, [0, 0, 0, 1, 1, 1]])
def test_the_permutation_p_nears_that_of_all_permutations(groups):
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 4, 3, 6, 6])
    rows = Rows(x, y, np.arange(6), np.arange(6))
    first, second = [i for i in range(6) if not groups[i]], [i for i in range(6) if groups[i]]
    orders = [[*a, *b] for a in itertools.permutations(first) for b in itertools.permutations(second)]
    observed = abs(slow_t(x, y))
    wanted = np.mean([abs(slow_t(x, y[order])) >= observed - 1e-9 for order in orders])
    found = s.permutation_p(rows, np.array(groups), 20_000, seed=0)
    assert found.p_value == pytest.approx(wanted, abs=0.012)
    assert found.value == pytest.approx(s.spearman(x, y))


def test_a_permutation_takes_the_mean_of_each_output():
    x, y = np.array([1.0, 3, 5, 7, 2]), np.array([1.0, 2, 3, 4, 9])
    shared = Rows(x, y, np.arange(5), np.array([0, 0, 1, 2, 3]))
    merged = Rows(np.array([2.0, 5, 7, 2]), np.array([1.5, 3, 4, 9]), np.arange(4), np.arange(4))
    assert s.permutation_p(shared, np.zeros(5, int), 500, 0) == s.permutation_p(merged, np.zeros(4, int), 500, 0)


def test_a_permutation_that_is_not_valid_says_why():
    x, y = np.arange(4.0), np.array([0.0, 2, 1, 3])
    several = Rows(x, y, np.array([0, 0, 1, 2]), np.arange(4))
    assert s.permutation_p(several, np.zeros(4, int), 50, 0).note == ("no permutation: an example has several output n-grams")
    astride = Rows(x, y, np.arange(4), np.array([0, 0, 1, 2]))
    assert "several groups" in s.permutation_p(astride, np.array([0, 1, 0, 0]), 50, 0).note
    alone = Rows(x, y, np.arange(4), np.arange(4))
    found = s.permutation_p(alone, np.arange(4), 50, 0)
    assert found.p_value is None and "each group has one output n-gram" in found.note
    assert "fewer than 3 rows" in s.permutation_p(Rows(x, y, np.arange(4), np.zeros(4, int)), np.zeros(4, int), 50, 0).note


def test_the_permutation_test_keeps_its_size_when_rho_is_0_and_rows_are_not_independent():
    """y's spread grows with |x|: ρ = 0, and without studentising too many are rejected."""
    rejected, plain = 0, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=100)
        y = rng.normal(size=100) * np.abs(x) ** 2
        rows = Rows(x, y, np.arange(100), np.arange(100))
        rejected += s.permutation_p(rows, np.zeros(100, int), 199, seed).p_value <= 0.05
        plain += stats.spearmanr(x, y).pvalue <= 0.05
    assert plain > 26
    assert 4 <= rejected <= 26  # 15 expected; binomial band
