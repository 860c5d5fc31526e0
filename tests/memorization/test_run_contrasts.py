"""Counterfactual estimates on planted (Z, Y): they recover what was planted within their errors, and phantoms have none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from tasks.memorization.membership import fold_block, paired_block
from tasks.memorization.run_contrasts import (
    Arms,
    arms_of,
    best_outside,
    bootstrap_error,
    contextual_values,
    difference,
    first,
    halved,
    influence,
    likelihood_ratio,
    lira_auc,
    log_density_ratio,
    log_mean_exp,
    published_ratio,
    regression,
    reliability,
    run_weights,
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
    for seed in range(400):
        z, y = panel(copies, effect, seed)
        group, one = arms_of(z, copies, True)
        for row, (arms, truth) in enumerate(((group, effect), (one, np.where(copies == 1, effect, effect / 2)))):
            value, error = difference(y, arms)
            t = stats.t.ppf(0.975, arms.inside.sum(axis=0) - 1)
            hits[row] += np.abs(value - truth) < t * error
    assert hits[0].min() >= 360 and hits[0].max() <= 395 and 368 <= hits[0].mean() <= 391, hits[0]
    assert 368 <= hits[1].mean() <= 391, hits[1]


def test_intervals_of_group_means_cover_what_was_planted() -> None:
    """400 additive panels, as the measure has its means: for new runs, which have noise in common, and for new sequences, too."""
    from tasks.memorization.counterfactual_memorization import _mean

    hits, copies, groups = 0, np.ones(25, np.int64), np.arange(64) // 4
    for seed in range(400):
        effect = np.random.default_rng([seed, 1]).normal(30, 8, 25)
        z, y = panel(copies, effect, seed)
        arms, _ = arms_of(z, copies, True)
        columns = [
            dict(zip(("m", "m_se"), difference(y[kept], arms.rows(kept)), strict=True))
            for kept in ([True] * 64, *(groups != g for g in range(16)))
        ]
        made = _mean(columns[0], columns[1:], "m", np.ones(25, bool))
        hits += made.low < 30 < made.high
    assert 368 <= hits <= 391, hits


def bias_of_log_mean_exp(sd: float, runs: int) -> float:
    """E log((1/n) Σ exp(sd · zᵢ)) of n standard normal z, in closed form: log x = ∫ (e⁻ᵗ − e⁻ˣᵗ) / t dt, so that with t = eᵘ and
    φ(u) = E exp(−exp(u + sd · z)) it is ∫ exp(−eᵘ) − φ(u)ⁿ du − log n."""
    u, z = np.linspace(-10 * sd - 40, 10 * sd + 10, 4_001), np.linspace(-9, 9, 1_801)
    phi = np.exp(-np.exp(np.minimum(u[:, None] + sd * z, 50))) @ np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    return float(np.trapezoid(np.exp(-np.exp(np.minimum(u, 50))) - phi**runs, u) - np.log(runs))


def test_phantoms_have_no_m_but_in_the_published_estimator() -> None:
    """Contrasts of equal sides are not biased; the published one is, by the difference of two log-mean-exps: 36 runs against 4."""
    for sd in (0.3, SD):  # nearly half a variance, where a few runs are enough for it
        drawn = logsumexp(sd * np.random.default_rng(0).standard_normal((50_000, 4)), axis=1) - np.log(4)
        assert bias_of_log_mean_exp(sd, 4) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 50_000**0.5)
    ones, draw = np.ones(2_000, np.int64), np.random.default_rng(9)
    z, y = panel(ones, np.zeros(2_000), 1)
    arms, _ = arms_of(z, ones, True)
    for value in (difference(y, arms)[0], log_density_ratio(y, arms)):
        assert abs(value.mean()) < 2 * value.std() / 2_000**0.5 + 2 * 2**0.5 / 8  # the runs' common noise
    value = difference(y, arms)[0] / difference(y, arms)[1]
    assert 0.03 < (np.abs(value) > 1.96).mean() < 0.09
    y, unequal = SD * draw.standard_normal((60, 2_000)), arms_of(folds(2_000, 6), ones, False)[0]
    for design, noise, sides in (
        (arms, SD * draw.standard_normal((64, 2_000)), (32, 4)),
        (unequal, y, (54, 6)),
        (unequal, y / SD, (54, 6)),
    ):
        expected = np.subtract(*(bias_of_log_mean_exp(noise.std(), runs) for runs in sides))
        value = published_ratio(noise, design)
        assert expected > 0.05 and value.mean() == pytest.approx(expected, abs=4 * value.std() / 2_000**0.5)
    assert abs(log_density_ratio(y, unequal).mean()) < 1.0 and abs(difference(y, unequal)[0].mean()) < 0.6


@pytest.mark.parametrize(("copies", "runs"), [(1, 16), (1, 64), (4, 16)])
def test_lira_says_nothing_about_phantoms(copies: int, runs: int) -> None:
    """One half, of each sequence and of all together, also where an arm has four runs."""
    d = np.full(2_000, copies)
    z, y = panel(d, np.zeros(2_000), 1, runs=runs)
    arms, _ = arms_of(z, d, True)
    value, scores = lira_auc(y, arms), likelihood_ratio(y, arms)
    assert value.mean() == pytest.approx(0.5, abs=4 * value.std() / 2_000**0.5)
    area = stats.mannwhitneyu(scores[arms.inside], scores[arms.outside]).statistic / arms.inside.sum() / arms.outside.sum()
    assert area == pytest.approx(0.5, abs=0.01)


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


@pytest.mark.parametrize("pairs", [True, False])
def test_lira_equals_loops_over_runs(pairs: bool) -> None:
    """Scores without the run, of pairs without the pair; the area by fits without the two runs that are compared."""
    z, y = panel(np.ones(6, np.int64), np.linspace(0, 30.0, 6), 5, runs=16)
    arms, numbers = replace(arms_of(z, np.ones(6, np.int64), True)[0], paired=pairs), np.arange(16)
    scores, areas = likelihood_ratio(y, arms), lira_auc(y, arms)

    def ratio(run: int, i: int, without: list[int]) -> float:
        fits = [y[side[:, i] & ~np.isin(numbers, without), i] for side in (arms.inside, arms.outside)]
        return float(np.subtract(*(stats.norm.logpdf(y[run, i], fit.mean(), fit.std(ddof=1)) for fit in fits)))

    for i in range(6):
        for run in numbers:
            assert scores[run, i] == pytest.approx(ratio(run, i, [run, run ^ 1] if pairs else [run]), abs=1e-9)
        sides = (np.flatnonzero(side[:, i]) for side in (arms.inside, arms.outside))
        assert areas[i] == np.mean([ratio(a, i, [a, b]) > ratio(b, i, [a, b]) for a, b in itertools.product(*sides)])


@pytest.mark.parametrize("estimate", [log_density_ratio, published_ratio])
def test_errors_of_log_mean_exps_equal_a_loop_over_draws_of_the_runs(estimate: Callable[..., np.ndarray]) -> None:
    """Each draw has whole pairs, as often as it has them; runs that hardly differ give the error of the difference of means."""
    copies = np.repeat([1, 4], 4)
    z, y = panel(copies, np.linspace(0, 60, 8), 6)
    weights = run_weights(64, True, 60, 0)
    assert (weights[:, ::2] == weights[:, 1::2]).all() and set(weights.sum(axis=1)) == {64}
    for arms in arms_of(z, copies, True):
        few = np.maximum(1, np.round(arms.inside.sum(axis=0) / 9))
        sides = arms.inside, arms.outside if estimate is log_density_ratio else first(arms.outside, few)
        drawn = np.full((60, 2, 8), np.nan)
        for draw, side, i in np.ndindex(drawn.shape):
            runs = np.repeat(np.arange(64), weights[draw].astype(int))
            values = y[runs, i][sides[side][runs, i]]
            if len(values):
                drawn[draw, side, i] = logsumexp(values) - np.log(len(values))
        ratios = drawn[:, 0] - drawn[:, 1]
        wanted = np.where(np.isfinite(ratios).mean(axis=0) >= 0.95, np.nanstd(ratios, axis=0, ddof=1), np.nan)
        np.testing.assert_allclose(bootstrap_error(estimate, y, arms, weights), wanted, atol=1e-9)
    z, y = panel(np.ones(200, np.int64), np.zeros(200), 7)
    arms, small = arms_of(z, np.ones(200, np.int64), True)[0], 1e-3 * y
    errors = bootstrap_error(log_density_ratio, small, arms, run_weights(64, True, 2_000, 0))
    assert errors / difference(small, arms)[1] == pytest.approx(np.full(200, (31 / 32) ** 0.5), abs=0.08)
    assert np.isnan(bootstrap_error(log_density_ratio, small, arms, run_weights(64, True, 0, 0))).all()


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
        arms = arms_of(z, ones, True)[0]
        return float(np.mean(reliability(halved(lambda some: difference(y[some], arms.rows(some))[0], runs, 4, 0))))

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
    assert np.isnan(scores[:, 1]).all() and lira_auc(y, arms)[2] == 0.5 and np.isnan(lira_auc(y, arms)[1])
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
