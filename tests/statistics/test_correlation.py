"""The statistics equal scipy, or a slow reference that follows the definition."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tasks import statistics as s
from tasks.statistics import Rows


def data(seed: int, n: int = 60, values: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Correlated integers with many ties on both sides."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, values, n).astype(float)
    return x, np.round(0.5 * x + rng.normal(0, 1.5, n))


def rows(seed: int, n: int = 60, examples: int = 12, outputs: int = 9, values: int = 7) -> Rows:
    x, y = data(seed, n, values)
    rng = np.random.default_rng(seed + 1000)
    return Rows(x, y, rng.integers(0, examples, n), rng.integers(0, outputs, n))


@pytest.mark.parametrize("seed", range(5))
def test_spearman_and_kendall_equal_scipy_with_ties(seed):
    x, y = data(seed)
    assert s.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert s.kendall_order(x, y).tau_b == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_concordant_and_discordant_pairs_equal_a_count_over_all_pairs(seed):
    x, y = data(seed, n=41)
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in itertools.combinations(range(len(x)), 2)]
    order = s.kendall_order(x, y)
    assert (order.concordant, order.discordant, order.pairs) == (signs.count(1), signs.count(-1), len(signs))


@pytest.mark.parametrize("new_outputs", [False, True])
def test_each_bootstrap_draw_is_scipy_on_the_repeated_rows(new_outputs):
    r = rows(3)
    found = s.bootstrap_many(np.stack([r.x, r.y]), r.example, r.output if new_outputs else None, 20, 5)[:, 0, 1]
    example = np.unique(r.example, return_inverse=True)[1]
    output = np.unique(r.output, return_inverse=True)[1]
    weights = s.draw_counts(example.max() + 1, 20, 5)()
    others = s.draw_counts(output.max() + 1, 20, 6)()
    for d in range(20):
        repeat = weights[d][example] * (others[d][output] if new_outputs else 1)
        wanted = stats.spearmanr(np.repeat(r.x, repeat), np.repeat(r.y, repeat)).statistic
        assert found[d] == pytest.approx(wanted, abs=1e-10)


def test_the_bootstrap_of_pearson_is_pearson_on_the_repeated_rows():
    r = rows(4)
    found = s.bootstrap_correlation(r, 10, seed=5, ranked=False)
    codes = np.unique(r.example, return_inverse=True)[1]
    weights = s.draw_counts(codes.max() + 1, 10, 5)()
    for d in range(10):
        repeat = weights[d][codes]
        wanted = np.corrcoef(np.repeat(r.x, repeat), np.repeat(r.y, repeat))[0, 1]
        assert found[d] == pytest.approx(wanted, abs=1e-10)


def test_draws_take_as_many_examples_as_there_are_and_do_not_depend_on_the_chunk():
    source, total = s.draw_counts(17, 150, 1), []
    while (weights := source()) is not None:
        total.append(weights)
    drawn = np.concatenate(total)
    assert drawn.shape == (150, 17)
    assert (drawn.sum(axis=1) == 17).all()


def weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Spearman of a weighted sample, by definition: O(N²)."""

    def ranks(v):
        return np.array([weights[v < a].sum() + 0.5 * weights[v == a].sum() for a in v])

    rx, ry = ranks(x), ranks(y)
    c = np.cov(rx, ry, aweights=weights, ddof=0)
    return c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])


@pytest.mark.parametrize("seed", range(3))
def test_influence_is_the_derivative_of_rho_by_a_rows_weight(seed):
    x, y = data(seed, n=25)
    found, step = s.influence(x, y), 1e-5
    for i in range(len(x)):
        up, down = np.ones(len(x)), np.ones(len(x))
        up[i] += step
        down[i] -= step
        slope = (weighted_spearman(x, y, up) - weighted_spearman(x, y, down)) / (2 * step)
        assert found[i] / len(x) == pytest.approx(slope, abs=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_p_is_near_scipys_for_independent_rows_and_cautious_for_shared_outputs():
    rng = np.random.default_rng(0)
    n = 400
    x = rng.normal(size=n)
    alone = Rows(x, 0.12 * x + rng.normal(size=n), np.arange(n), np.arange(n))
    p = s.two_way(alone, s.spearman(alone.x, alone.y)).p_value
    assert np.log(p) == pytest.approx(np.log(stats.spearmanr(alone.x, alone.y).pvalue), rel=0.1)
    rejected_here, rejected_by_scipy = 0, 0
    for seed in range(200):  # x and y each depend on s_y, independently of each other: ρ = 0
        rng = np.random.default_rng(seed)
        output = rng.integers(0, 40, n)
        shared = Rows(
            rng.normal(size=40)[output] + 0.3 * rng.normal(size=n),
            rng.normal(size=40)[output] + 0.3 * rng.normal(size=n),
            np.arange(n),
            output,
        )
        rejected_here += s.two_way(shared, s.spearman(shared.x, shared.y)).p_value < 0.05
        rejected_by_scipy += stats.spearmanr(shared.x, shared.y).pvalue < 0.05
    assert rejected_by_scipy > 80
    assert rejected_here < 24


def test_null_rows_give_about_zero_and_an_interval_around_it():
    rng = np.random.default_rng(1)
    null = Rows(rng.normal(size=2000), rng.normal(size=2000), np.repeat(np.arange(500), 4), rng.integers(0, 300, 2000))
    found = s.correlate(null, 200, 0)
    assert abs(found.value) < 0.07
    assert found.low < 0 < found.high
    assert s.two_way(null, found.value).p_value > 0.01


def one_way_error(values, clusters):
    """The standard error of a mean of influence values, cluster by cluster."""
    sums = [values[clusters == c].sum() for c in set(clusters)]
    return np.sqrt(sum(v * v for v in sums) * len(sums) / (len(sums) - 1)) / len(values)


def test_p_and_its_interval_agree_and_new_outputs_never_add_certainty():
    """Where rows of an output repel each other, V_example + V_output - V_both comes out below V_example."""
    smaller = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        example, output = np.repeat(np.arange(60), 3), rng.integers(0, 25, 180)
        x, y = rng.normal(size=60)[example] + rng.normal(size=180), 0.1 * seed / 60 * example + rng.normal(size=180)
        values, rho = s.influence(x, y), s.spearman(x, y)
        found = s.two_way(Rows(x, y, example, output), rho)
        errors = [one_way_error(values, of) for of in (example, output, example * 25 + output)]
        squared = errors[0] ** 2 + errors[1] ** 2 - errors[2] ** 2
        smaller += squared < max(errors[:2]) ** 2
        free = min(60, len(set(output))) - 1
        error = max(squared**0.5 if squared > 0 else 0.0, *errors[:2])
        assert found.p_value == pytest.approx(2 * stats.t.sf(abs(rho) / error, free), rel=1e-9)
        assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, free, loc=rho, scale=error), rel=1e-9)
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
    assert 5 < smaller < 55


def test_what_is_not_defined_says_why():
    flat = Rows(np.ones(5), np.arange(5.0), np.arange(5), np.arange(5))
    assert s.correlate(flat, 50, 0, x_name="log P_n") == s.Estimate(None, note="log P_n is the same in all rows")
    short = flat.take(np.array([True, True, False, False, False]))
    assert s.correlate(short, 50, 0).note == "fewer than 3 rows"
    infinite = Rows(np.array([0.0, 1, -np.inf]), np.arange(3.0), np.arange(3), np.arange(3))
    assert s.correlate(infinite, 50, 0).note == "a value is not finite"
    one = Rows(np.arange(4.0), np.array([0.0, 2, 1, 3]), np.zeros(4, dtype=int), np.arange(4))
    found = s.correlate(one, 50, 0)
    assert found.value == pytest.approx(0.8)
    assert found.low is None
    assert "one example" in found.note
    assert s.two_way(one, 0.8).p_value is None
    perfect = Rows(np.arange(19.0), np.arange(19.0), np.arange(19), np.arange(19))
    assert s.correlate(perfect, 50, 0).value == pytest.approx(1.0)
    assert s.two_way(perfect, 1.0).note == "no p: the standard error is 0"


def test_few_clusters_are_flagged_and_fewer_than_ten_have_no_p():
    x, y = data(1, n=60)
    for groups, note in (
        (60, ""),
        (20, "few effective clusters: 20.0 output n-grams"),
        (10, "few effective clusters: 10.0 output n-grams"),
    ):
        found = s.two_way(Rows(x, y, np.arange(60), np.arange(60) % groups), 0.3)
        assert (found.clusters, found.note) == (pytest.approx(groups), note)
        assert found.low < 0.3 < found.high
    few = s.two_way(Rows(x, y, np.arange(60), np.arange(60) // 7), 0.3)
    assert (few.value, few.low, few.p_value) == (0.3, None, None)
    assert few.note == f"no p: few effective clusters: {few.clusters:.1f} output n-grams" and few.clusters < 10
    assert s.correlate(Rows(x, y, np.arange(60), np.arange(60) // 7), 50, 0).clusters == pytest.approx(60), (
        "its interval is of examples"
    )
    assert s.effective_clusters(np.repeat(np.arange(7), 5)) == pytest.approx(7)
    assert s.effective_clusters(np.array([0] * 9 + [1])) == pytest.approx(100 / 82)


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 10), (40, 300)])
def test_wilson_equals_scipy(successes, n):
    found = s.wilson(successes, n)
    wanted = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((successes / n, wanted.low, wanted.high), abs=1e-9)
    assert s.wilson(0, 0).value is None


def test_a_ratio_weighs_by_its_denominators():
    found = s.ratio(np.array([1.0, 0, 3]), np.array([2.0, 0, 8]), 200, 0)
    assert found.value == pytest.approx(0.4)
    assert found.low <= 0.4 <= found.high
    assert s.ratio(np.array([]), np.array([]), 50, 0).value is None


def test_benjamini_hochberg_by_its_definition():
    p = np.array([0.01, 0.04, 0.03, 0.5])
    in_order = np.sort(p)
    slow = [min(in_order[k] * len(p) / (k + 1) for k in range(len(p)) if in_order[k] >= v) for v in p]
    assert s.benjamini_hochberg(p) == pytest.approx(slow)


def test_the_bootstrap_is_fast_enough():
    import time

    r = rows(0, n=5000, examples=500, outputs=300, values=4000)
    s.bootstrap_correlation(r, 2, 0)
    began = time.process_time()
    s.bootstrap_correlation(r, 1000, 0)
    assert time.process_time() - began < 1.0  # measured: 0.04 s on one core
