"""Counterfactual estimates on planted (Z, Y): they recover what was planted within their errors, and phantoms have none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from tasks.memorization.membership import fold_block, paired_block
from tasks.memorization.run_contrasts import (
    Arms,
    arms_of,
    auc,
    best_outside,
    contextual_values,
    difference,
    influence,
    likelihood_ratio,
    log_density_ratio,
    log_mean_exp,
    published_ratio,
    regression,
    reliability,
)

SD = 14.5  # nats of a suffix between seeds, as measured with 0.1 M parameters


def paired(copies: np.ndarray, runs: int, seed: int) -> np.ndarray:
    return np.concatenate([paired_block(np.arange(len(copies)), copies, b, seed) for b in range(runs // 4)])


def folds(sequences: int, repeats: int) -> np.ndarray:
    one = np.ones(sequences, np.int64)
    return np.concatenate([fold_block(np.arange(sequences), one, r, 0, 10, False) for r in range(repeats)])


def panel(copies: np.ndarray, effect: np.ndarray, seed: int, sd: float = SD, runs: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(assigned, log p), [runs, sequences]: each run has noise of its own; all copies add `effect`, d − 1 of them half of it."""
    z, draw = paired(copies, runs, seed), np.random.default_rng(seed)
    share = np.where(z == copies, 1.0, np.where(z > 0, 0.5, 0.0))
    return z, -100 + share * effect + sd * draw.standard_normal(z.shape) + draw.standard_normal((runs, 1))


def test_intervals_of_m_cover_what_was_planted() -> None:
    """400 additive panels: 95 % intervals cover the planted M of a sequence in 368 to 391 of them, whatever its arm."""
    copies, effect, hits = np.repeat([1, 4], 10), np.linspace(0, 60, 20), np.zeros((3, 20))
    from scipy import stats

    for seed in range(400):
        z, y = panel(copies, effect, seed)
        group, one = arms_of(z, copies, True)
        for row, (arms, truth) in enumerate(((group, effect), (one, np.where(copies == 1, effect, effect / 2)))):
            value, error = difference(y, arms)
            t = stats.t.ppf(0.975, arms.inside.sum(axis=0) - 1)
            hits[row] += np.abs(value - truth) < t * error
    assert hits[0].min() >= 360 and hits[0].max() <= 395 and 368 <= hits[0].mean() <= 391, hits[0]
    assert 368 <= hits[1].mean() <= 391, hits[1]


def test_phantoms_have_no_m_but_in_the_published_estimator() -> None:
    """Its bias in closed form: half the variance of log p between seeds, as far as the runs of each side reach (Monte Carlo)."""
    ones, draw = np.ones(2_000, np.int64), np.random.default_rng(9)
    z, y = panel(ones, np.zeros(2_000), 1)
    arms, _ = arms_of(z, ones, True)
    for value in (difference(y, arms)[0], log_density_ratio(y, arms)):
        assert abs(value.mean()) < 2 * value.std() / 2_000**0.5 + 2 * 2**0.5 / 8  # the runs' common noise
    value = difference(y, arms)[0] / difference(y, arms)[1]
    assert 0.03 < (np.abs(value) > 1.96).mean() < 0.09
    expected = [np.mean(logsumexp(SD * draw.standard_normal((20_000, n)), axis=1) - np.log(n)) for n in (32, 4)]
    bias = published_ratio(y, arms).mean()
    assert bias > 4 and bias == pytest.approx(expected[0] - expected[1], abs=0.8)
    z, y = folds(2_000, 6), SD * draw.standard_normal((60, 2_000))
    arms, _ = arms_of(z, ones, False)
    expected = [np.mean(logsumexp(SD * draw.standard_normal((20_000, n)), axis=1) - np.log(n)) for n in (54, 6)]
    assert published_ratio(y, arms).mean() == pytest.approx(expected[0] - expected[1], abs=1.0)
    assert abs(log_density_ratio(y, arms).mean()) < 1.0 and abs(difference(y, arms)[0].mean()) < 0.6


def test_estimators_equal_loops_over_runs() -> None:
    """Each is what its definition says, sequence by sequence; at equal counts in blocks, the smaller side whole."""
    z, y = folds(30, 3), np.random.default_rng(0).normal(-50, 5, (30, 30))
    arms, _ = arms_of(z, np.ones(30, np.int64), False)
    ratio, published, (value, error) = log_density_ratio(y, arms), published_ratio(y, arms), difference(y, arms)
    for i in range(30):
        a, b = y[arms.inside[:, i], i], y[arms.outside[:, i], i]
        assert (len(a), len(b)) == (27, 3)
        assert value[i] == pytest.approx(a.mean() - b.mean(), abs=1e-9)
        assert error[i] == pytest.approx((a.var(ddof=1) / 27 + b.var(ddof=1) / 3) ** 0.5, abs=1e-9)
        lme = [logsumexp(x) - np.log(len(x)) for x in (a, b)]
        assert published[i] == pytest.approx(lme[0] - lme[1], abs=1e-9)
        blocks = np.mean([logsumexp(x) - np.log(3) for x in a.reshape(9, 3)])
        assert ratio[i] == pytest.approx(blocks - lme[1], abs=1e-9)
        assert log_mean_exp(y, arms.inside)[i] == pytest.approx(lme[0], abs=1e-9)
    z, y = panel(np.ones(20, np.int64), np.full(20, 30.0), 5, runs=16)
    arms, _ = arms_of(z, np.ones(20, np.int64), True)
    scores = likelihood_ratio(y, arms)
    for i in range(20):
        for run in (0, 7):
            logs = []
            for side in (arms.inside, arms.outside):
                others = y[side[:, i] & (np.arange(16) != run), i]
                logs.append(-np.log(others.std(ddof=1)) - (y[run, i] - others.mean()) ** 2 / (2 * others.var(ddof=1)))
            assert scores[run, i] == pytest.approx(logs[0] - logs[1], abs=1e-9)
        a, b = scores[arms.inside[:, i], i], scores[arms.outside[:, i], i]
        assert auc(scores, arms)[i] == pytest.approx((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2)


def test_influence_and_regression_recover_what_one_sequence_does_to_others() -> None:
    draw, members = np.random.default_rng(3), paired(np.ones(6, np.int64), 64, 2)
    effect = draw.normal(0, 20, (6, 3))
    y = members @ effect + draw.standard_normal((64, 3))
    arms = Arms(members > 0, members == 0, True)
    value, error = influence(y, arms)
    for i in range(6):
        copied = Arms(*(np.repeat(side[:, [i]], 3, axis=1) for side in (arms.inside, arms.outside)), True)
        for got, wanted in zip((value[i], error[i]), difference(y, copied), strict=True):
            assert got == pytest.approx(wanted, abs=1e-9)
    unpaired = influence(y, Arms(arms.inside, arms.outside))[0]
    assert unpaired == pytest.approx(value)
    coefficients, errors = regression(y, members > 0)
    assert np.abs((coefficients - effect) / errors).max() < 4 and errors.mean() < 0.1 * error.mean()
    assert regression(y[:6], members[:6] > 0) is None, "fewer runs than sequences"
    assert regression(y, np.repeat(members[:, :1] > 0, 2, axis=1)) is None, "two that are always together"


def test_reliability_rises_with_the_spread_of_m_and_with_runs() -> None:
    ones = np.ones(150, np.int64)

    def of(spread: float, runs: int) -> float:
        z, y = panel(ones, np.random.default_rng(1).normal(0, spread, 150), 2, runs=runs)
        return float(np.mean(reliability(y, arms_of(z, ones, True)[0], 4, 0)))

    few, many, none = of(10, 16), of(10, 64), of(0, 64)
    assert 0.2 < few < many and abs(none) < 0.3
    m, error = 100.0, 2 * SD**2 / 32
    assert many == pytest.approx(m / (m + error), abs=0.07), "var(M) / (var(M) + its error variance)"


def test_contextual_takes_later_overfitting_out() -> None:
    """Out-likelihood sinks from chance while the model overfits: a canary has more bits than entropy, but not contextual ones."""
    z, chance = paired(np.ones(10, np.int64), 64, 0), -88.7
    arms, _ = arms_of(z, np.ones(10, np.int64), True)
    noise = np.random.default_rng(0).normal(0, 1, (3, 64, 10))
    outside = np.array([-100.0, chance, -122.0])[:, None, None]
    y = np.where(z > 0, np.array([-100.0, -60.0, -1.0])[:, None, None], outside) + noise
    best, when = best_outside(y, arms)
    assert (when == 1).all() and best == pytest.approx(chance, abs=0.8)
    value, error = difference(contextual_values(y, 2, arms), arms)
    assert value == pytest.approx(-1 - chance, abs=1.5) and difference(y[2], arms)[0].min() > 115
    assert error == pytest.approx(2**0.5 / 32**0.5, rel=0.5)


@given(runs=st.integers(0, 3), seed=st.integers(0, 5))
def test_missing_arms_and_constant_scores_are_no_numbers_and_no_errors(runs: int, seed: int) -> None:
    """A sequence in no run, in all, in too few for an error; scores that do not differ, and log p = 0."""
    inside = np.zeros((8, 3), bool)
    inside[: runs * 2, 0], inside[:, 1], inside[::2, 2] = True, True, True
    arms = Arms(inside, ~inside)
    y = np.zeros((8, 3))
    value, error = difference(y, arms)
    assert np.isnan(value[0]) == (runs == 0) and np.isnan(value[1]) and value[2] == error[2] == 0
    assert np.isnan(log_density_ratio(y, arms)[1]) and np.isnan(published_ratio(y, arms)[1]) and log_density_ratio(y, arms)[2] == 0
    scores = likelihood_ratio(y, arms)
    assert auc(scores, arms)[2] == 0.5 and np.isnan(auc(scores, arms)[1])
    assert np.isnan(influence(y[:, :1], arms)[0][1]).all()


def test_folds_of_single_copies_leave_one_out_but_no_group() -> None:
    """Of four copies a run lacks one at most, so that there is no run without any: leave-group-out is not defined there."""
    copies = np.array([1] * 20 + [4] * 20)
    z = np.concatenate([fold_block(np.arange(40), copies, r, 0, 10, True) for r in range(4)])
    y = -50 + 5.0 * z + np.random.default_rng(0).standard_normal(z.shape)
    group, one = arms_of(z, copies, False)
    value, error = difference(y, one)
    assert np.abs((value - 5) / error).max() < 5
    values = difference(y, group)[0]
    assert np.isfinite(values[:20]).all() and values[:20] == pytest.approx(value[:20])
    assert np.isnan(values[20:][~group.outside[:, 20:].any(axis=0)]).all() and (~group.outside[:, 20:].any(axis=0)).sum() > 15
