"""Each draw of a bootstrap is scipy on the repeated rows."""

import numpy as np
import pytest
from scipy import stats

from tasks.statistics import bootstrap


def columns(seed: int, n: int) -> np.ndarray:
    """Three correlated columns: many ties, few ties, none."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 7, n).astype(float)
    return np.stack([x, np.round(0.5 * x + rng.normal(0, 1.5, n), 1), -x + rng.normal(0, 4, n)])


def weights_of(codes: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The weights that a bootstrap of these clusters draws: (draws, rows)."""
    codes = np.unique(codes, return_inverse=True)[1]
    source, found = bootstrap.draw_counts(codes.max() + 1, draws, seed), []
    while (counts := source()) is not None:
        found.append(counts)
    return np.concatenate(found).astype(int)[:, codes]


@pytest.mark.parametrize("n", [40, 5000])  # more rows than one piece of the kernel
@pytest.mark.parametrize("new_outputs", [False, True])
def test_every_pair_of_columns_is_scipys_on_the_repeated_rows(n, new_outputs):
    rng = np.random.default_rng(n)
    data, example, output = columns(1, n), rng.integers(3, n // 3, n), rng.integers(0, n // 4, n)
    found = bootstrap.bootstrap_many(data, example, output if new_outputs else None, 70, seed=5)
    assert found.shape == (70, 3, 3)
    repeats = weights_of(example, 70, 5) * (weights_of(output, 70, 6) if new_outputs else 1)
    for d in range(0, 70, 1 if n < 100 else 23):
        wanted = stats.spearmanr(np.repeat(data, repeats[d], axis=1), axis=1).statistic
        assert found[d] == pytest.approx(wanted, abs=1e-12)


def test_fixed_weights_of_rows_multiply_the_drawn_ones():
    data = columns(2, 60)
    example = np.arange(60) // 3
    whole = np.arange(60) % 4 + 1  # weights that are whole numbers are repeated rows
    found = bootstrap.bootstrap_many(data, example, None, 20, seed=5, weights=whole / 4)
    repeats = weights_of(example, 20, 5) * whole
    for d in range(20):
        wanted = stats.spearmanr(np.repeat(data, repeats[d], axis=1), axis=1).statistic
        assert found[d] == pytest.approx(wanted, abs=1e-10)


def test_a_column_that_does_not_vary_in_a_draw_has_no_correlation():
    data = np.array([[0.0, 0, 0, 1], [1.0, 2, 3, 4]])
    found = bootstrap.bootstrap_many(data, np.arange(4), None, 200, seed=0)
    varies = weights_of(np.arange(4), 200, 0)
    constant = (varies[:, 3] == 0) | (varies[:, 3] == 4)
    assert np.array_equal(np.isnan(found[:, 0, 1]), constant | ((varies > 0).sum(axis=1) == 1))
    assert np.array_equal(np.isnan(found[:, 0, 0]), constant)


def test_draws_of_many_rows_are_the_same_a_few_at_a_time(monkeypatch):
    from tasks.statistics import bootstrap

    def made(at_once):
        monkeypatch.setattr(bootstrap, "NUMBERS_AT_ONCE", at_once)
        monkeypatch.setattr(bootstrap, "KEPT", 0)
        means = bootstrap.bootstrap_statistic(101, 150, 3, lambda weights: weights @ np.arange(101.0) / 101)
        return np.concatenate(list(bootstrap._draws(101, 150, 3))), means

    (draws, means), (few, again) = made(2**23), made(700)
    assert draws.shape == (150, 101) and (draws.sum(axis=1) == 101).all() and np.array_equal(draws, few)
    assert np.allclose(means, again, rtol=1e-12) and len(np.unique(means)) > 100
