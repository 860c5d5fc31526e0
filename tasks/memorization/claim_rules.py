"""How each claim is decided: pure functions from arrays of sequences to a `Claim` (docs/memorization.md).

Arrays that end in [splits, 2, sequences] are estimates from the two halves of the runs, for several ways to halve them. Whatever is
compared with a score comes from the other half: M = U − V is related to its own U and V by its definition, whatever was memorized.
Intervals are at LEVEL, from a bootstrap over sequences within their strata, with rings whole; errors from runs are in them, because
each sequence has a membership of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.memorization.claims import LEVEL, Claim, Verdict, without_data
from tasks.memorization.run_contrasts import Bools
from tasks.statistics import Floats, Ints
from tasks.statistics.partial import partial_correlation

DRAWS = 1_000
IDENTICAL = 0.9  # rank correlation from which two orders are called the same
RELIABLE = 0.8  # reliability of a score from which a group decides
PICKED = 0.2  # share of the sequences on which the best leverage is chosen; the others decide
NEGLIGIBLE = 0.02  # gain in AUC below which a score adds nothing
SPECIFIC, SHARED, AS_HIGH = 0.9, 0.7, 0.5  # ω of canaries, ω of rings, and how high a ring's M is next to a canary's
HIGH, CENTRAL = 0.95, (0.05, 0.95)  # quantiles of arXiv 2106.03216: highly memorized, and the central 90 %
FOLDS, MOST_LEVERAGE, WORLDS = 5, 0.9, 400
Strings = NDArray[Any]


# -- resamples ---------------------------------------------------------------------------------------------------------
class Bounds(NamedTuple):
    """An estimate and its interval at LEVEL; NaN where not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Resamples:
    """Weights [1 + draws, sequences]: once each, and a bootstrap over units within strata; `free`: degrees of freedom."""

    weights: Floats
    free: int

    def bounds(self, of: Floats, tests: int = 1) -> Bounds:
        """The estimate ± t·SE at LEVEL, shared by so many tests; of: it and its draws. No interval if a twentieth of the draws has
        no value."""
        from scipy import stats  # imported here, because every command imports all steps

        value, drawn = float(of[0]), of[1:][np.isfinite(of[1:])]
        if not np.isfinite(value) or self.free < 1 or len(drawn) < 0.95 * (len(of) - 1):
            return Bounds(value, np.nan, np.nan)
        half = float(stats.t.ppf(1 - (1 - LEVEL) / 2 / tests, self.free) * drawn.std(ddof=1))
        return Bounds(value, value - half, value + half)

    def mean(self, values: Floats) -> Floats:
        """[1 + draws]: the mean of values [sequences]."""
        return np.asarray((self.weights * values).sum(axis=1) / self.weights.sum(axis=1), np.float64)


def resamples(unit: Ints, stratum: Strings | Ints, draws: int, seed: int, free: int | None = None) -> Resamples:
    """Draw units with replacement within their strata, one less of each, so that the variance is unbiased. unit, stratum:
    [sequences]; a unit is in one stratum."""
    units, first, code = np.unique(unit, return_index=True, return_inverse=True)
    random, drawn, of = np.random.default_rng(seed), np.ones((1 + draws, len(units))), stratum[first]
    strata = np.unique(of)
    for name in strata:
        here = np.flatnonzero(of == name)
        few = max(1, len(here) - 1)
        drawn[1:, here] = random.multinomial(few, np.full(len(here), 1 / len(here)), size=draws) * (len(here) / few)
    return Resamples(drawn[:, code], len(units) - len(strata) if free is None else free)


def mid_ranks(values: Floats, weights: Floats) -> Floats:
    """[draws, sequences]: weight of lower values plus half of that of equal ones. values: [n]; weights: [draws, n]."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(values[order]) > 0))
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.empty(weights.shape)
    ranks[:, order] = np.repeat(np.cumsum(sizes, axis=1) - sizes / 2, np.diff(np.append(starts, len(order))), axis=1)
    return ranks


def rank_matrices(columns: Sequence[Floats], weights: Floats) -> Floats:
    """[draws, k, k]: Spearman's correlations of k columns in each draw; NaN where one does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    ranks = np.stack([mid_ranks(c, weights) for c in columns], axis=1) / total[:, :, None]
    ranks -= 0.5  # the mean of mid-ranks, whatever the ties
    cross = np.einsum("dkn,dln->dkl", ranks * weights[:, None], ranks)
    scale = np.sqrt(np.einsum("dkk->dk", cross))
    scale[scale < 1e-9] = np.nan
    return np.asarray(cross / (scale[:, :, None] * scale[:, None]), np.float64)


def weighted_auc(scores: Floats, positive: Floats, weights: Floats) -> Floats:
    """[draws]: chance that a positive scores above a negative; `positive`: how much of a sequence is one, from 0 to 1."""
    ones, zeros = weights * positive, weights * (1 - positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((ones * mid_ranks(scores, zeros)).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1)), np.float64)


def decide(supported: bool, refuted: bool) -> Verdict:
    """Neither, or both, is inconclusive."""
    return "inconclusive" if bool(supported) == bool(refuted) else "supported" if supported else "refuted"


def unusable(**arrays: Floats) -> str:
    """Why arrays decide nothing, or an empty text: nothing there, not defined, or all the same."""
    for name, values in arrays.items():
        if values.shape[-1] < 3:
            return f"{values.shape[-1]} sequences are too few"
        if not np.isfinite(values).all():
            return f"{name} is not defined for each sequence"
        if np.ptp(values) == 0:
            return f"{name} is the same for all sequences"
    return ""


# -- T6: is the score leverage? ----------------------------------------------------------------------------------------
def best_leverage(score: Floats, leverage: Floats, seed: int) -> tuple[int, Bools]:
    """(the leverage that agrees best with the score on a fifth of the sequences, the others). leverage: [splits, kinds, 2, n]."""
    picked = np.random.default_rng(seed).random(score.shape[-1]) < PICKED
    columns = [score.mean(axis=(0, 1))[picked], *leverage.mean(axis=(0, 2))[:, picked]]
    agree = rank_matrices(columns, np.ones((1, int(picked.sum()))))[0, 0, 1:] if picked.sum() > 2 else np.zeros(1)
    return int(np.nan_to_num(agree, nan=-2.0).argmax()), ~picked


def disattenuated(score: Floats, leverage: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(ρ*, reliability of the score from all runs), [draws]. Spearman's ρ of one half's score and the other's leverage, over the
    root of both reliabilities, which are those of a half. score, leverage: [splits, 2, n]. NaN where one is not positive."""
    matrices = np.mean([rank_matrices([*m, *h], weights) for m, h in zip(score, leverage, strict=True)], axis=0)
    cross, of_score, of_leverage = (matrices[:, 0, 3] + matrices[:, 1, 2]) / 2, matrices[:, 0, 1], matrices[:, 2, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where((of_score > 0) & (of_leverage > 0), cross / np.sqrt(of_score * of_leverage), np.nan)
        return rho, 2 * of_score / (1 + of_score)


def _per_token(leverage: Floats, tokens: int) -> Floats:
    """Leverage of a token. A network has several outputs for each, so that it may exceed 1: all are then scaled down."""
    h = np.maximum(leverage / tokens, 1e-12)
    return np.asarray(h * min(1.0, MOST_LEVERAGE / float(h.max())), np.float64)


def leverage_world(leverage: Floats, tokens: int, draws: int, seed: int) -> tuple[Floats, Floats]:
    """(M, log p with it up to a constant), [draws, n], of least squares in which nothing is memorized: a token has leverage h
    and a residual by luck, r² ~ χ²₁; M = Σ r²·h(2 − h) / (2(1 − h)), log p = −Σ r²·(1 − h) / 2 (docs/memorization.md)."""
    h = _per_token(leverage, tokens)
    luck = np.random.default_rng(seed).chisquare(tokens, (draws, len(h)))
    return luck * h * (2 - h) / (2 * (1 - h)), -luck * (1 - h) / 2


def noise_ceiling(leverage: Floats, tokens: int, seed: int) -> tuple[float, float]:
    """(Spearman's ρ, R² of the logarithms) that leverage reaches where M is leverage times luck."""
    from scipy.special import polygamma

    world = leverage_world(leverage, tokens, 50, seed)[0]
    rho = float(np.mean([rank_matrices([leverage, m], np.ones((1, len(m))))[0, 0, 1] for m in world]))
    h = _per_token(leverage, tokens)
    spread = float(np.log(h * (2 - h) / (2 * (1 - h))).var())
    return rho, spread / (spread + float(polygamma(1, tokens / 2)))


class Agreement(NamedTuple):
    """ρ* of score and leverage in a group; `group` empty: over all."""

    group: str
    rho: Bounds
    reliability: float

    @property
    def decides(self) -> bool:
        """Whether the score is reliable enough in it."""
        return self.reliability >= RELIABLE and np.isfinite(self.rho.low)


def agreements(score: Floats, leverage: Floats, group: Strings, unit: Ints, draws: int, seed: int) -> list[Agreement]:
    """Over all sequences and within each group; intervals share LEVEL between those that are reliable."""
    rows = []
    for name in ("", *sorted(set(group.tolist()))):
        here = (group == name) if name else np.ones(len(group), bool)
        m, h, drawn = score[..., here], leverage[..., here], resamples(unit[here], group[here], draws, seed)
        if here.sum() > 9 and not unusable(m=m, h=h):
            rows.append((name, drawn, *disattenuated(m, h, drawn.weights)))
    tests = max(1, sum(reliability[0] >= RELIABLE for *_, reliability in rows))
    return [Agreement(name, drawn.bounds(rho, tests), float(reliability[0])) for name, drawn, rho, reliability in rows]


def t6_strong(
    score: Floats,
    leverage: Floats,
    kinds: Sequence[str],
    group: Strings,
    unit: Ints,
    tokens: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Claim, list[Agreement]]:
    """L1: are the two orders the same? score: [splits, 2, n], leverage: [splits, kinds, 2, n], of sequences with one copy."""
    name = "T6 strong"
    if reason := unusable(score=score, leverage=leverage):
        return without_data(name, reason), []
    best, others = best_leverage(score, leverage, seed)
    h = leverage[:, best][..., others]
    by_group = agreements(score[..., others], h, group[others], unit[others], draws, seed)
    rule = (
        f"refuted if the upper end of ρ* is below {IDENTICAL} over all or in a group with reliability ≥ {RELIABLE}; "
        f"supported if all groups are as reliable, and all lower ends are above"
    )
    if not by_group or by_group[0].group or not by_group[0].decides:
        shown = f"{by_group[0].reliability:.2f}" if by_group and not by_group[0].group else "not defined"
        return without_data(name, f"the reliability of the score, {shown}, is too low to correct for"), by_group
    sure = [a for a in by_group if a.decides]
    ceiling, explained = noise_ceiling(h.mean(axis=(0, 1)), tokens, seed)
    within = ", ".join(f"{a.group} {a.rho.value:.2f}" for a in by_group if a.group)
    note = (
        f"{kinds[best]}; within groups {within}; leverage times luck gives {ceiling:.2f}, R² of logarithms {explained:.2f}; "
        f"decided by {', '.join(a.group or 'all' for a in sure)}"
    )
    verdict = decide(all(a.decides and a.rho.low >= IDENTICAL for a in by_group), any(a.rho.high < IDENTICAL for a in sure))
    return Claim(name, *by_group[0].rho, ceiling, verdict, rule, note, "Spearman's ρ*"), by_group


def cross_fitted(covariates: Floats, outcome: Floats, unit: Ints, seed: int) -> Floats:
    """Log-odds of each sequence from a logistic regression on other folds; covariates: [n, k]; outcome: [n], from 0 to 1."""
    fold = np.random.default_rng(seed).integers(0, FOLDS, int(unit.max()) + 1)[unit]
    x, out = np.column_stack([np.ones(len(outcome)), covariates]), np.zeros(len(outcome))
    ridge = np.diag([1e-6, *[1e-2] * covariates.shape[1]])  # keeps separated outcomes finite
    for held in range(FOLDS):
        z, y, b = x[fold != held], outcome[fold != held], np.zeros(x.shape[1])
        for _ in range(25):
            p = 1 / (1 + np.exp(-np.clip(z @ b, -30, 30)))
            step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + ridge, z.T @ (y - p) - ridge @ b)
            b += step
            if np.abs(step).max() < 1e-6:
                break
        out[fold == held] = x[fold == held] @ b
    return out


def _scaled_ranks(values: Floats) -> Floats:
    ranks = mid_ranks(values, np.ones((1, len(values))))[0]
    return np.asarray((ranks - ranks.mean()) / max(float(ranks.std()), 1e-9), np.float64)


def t6_in_expectation(
    score: Floats,
    leverage: Floats,
    outside: Floats,
    sparsity: Floats,
    extracted: Floats,
    copies: Ints,
    group: Strings,
    unit: Ints,
    draws: int = DRAWS,
    seed: int = 0,
) -> Claim:
    """L1 and L4: does the score rise with leverage, and add nothing to it? All [splits, 2, n], but copies, group, unit: [n].
    outside: V; extracted: share of runs with the sequence that extract it where their complements do not."""
    name = "T6 in expectation"
    if reason := unusable(score=score, leverage=leverage, V=outside, sparsity=sparsity, extraction=extracted):
        return without_data(name, reason)
    single, drawn = copies == 1, resamples(unit, group, draws, seed)
    alone = resamples(unit[single], group[single], draws, seed)
    rises = alone.bounds(disattenuated(score[..., single], leverage[..., single], alone.weights)[0])
    gains, partials, areas = [], [], []
    for split in range(len(score)):
        for a in (0, 1):  # everything from one half of the runs, and the score from the other
            y, m, h = extracted[split, a], score[split, 1 - a], leverage[split, a]
            rivals = [_scaled_ranks(outside[split, a]), _scaled_ranks(sparsity[split, a])]
            fits = [(of, cross_fitted(np.column_stack([of, *rivals]), y, unit, seed)) for of in map(_scaled_ranks, (h, h * copies))]
            of, without = max(fits, key=lambda fit: float(weighted_auc(fit[1], y, drawn.weights[:1])[0]))  # of one copy, or of all
            more = cross_fitted(np.column_stack([of, *rivals, _scaled_ranks(m)]), y, unit, seed)
            before, after = (weighted_auc(fit, y, drawn.weights) for fit in (without, more))
            gains.append(after - before)
            areas.append(before[0])
            partials.append(rank_matrices([m, of, *rivals, y], drawn.weights[:1])[0])
    adds, ranks = drawn.bounds(np.mean(gains, axis=0)), np.mean(partials, axis=0)[None]
    of_leverage, of_score = partial_correlation(ranks, [2, 3])[0], partial_correlation(ranks, [1, 2, 3], 0, 4)[0]
    rule = (
        f"supported if ρ* of score and leverage is above 0 and the gain in AUC for extraction, over leverage, V and sparsity, is "
        f"below {NEGLIGIBLE}; refuted if ρ* is below 0 or the gain above {NEGLIGIBLE}"
    )
    note = (
        f"ρ* {rises}; partial ρ of score and leverage given V and sparsity {of_leverage:.2f}, of score and extraction "
        f"given all three {of_score:.2f}; AUC without the score {np.mean(areas):.2f}"
    )
    verdict = decide(rises.low > 0 and adds.high < NEGLIGIBLE, rises.high < 0 or adds.low > NEGLIGIBLE)
    return Claim(name, *adds, 0.0, verdict, rule, note, "gain in AUC")


# -- T7: does the score tell memorizing from learning? -----------------------------------------------------------------
def t7(score: Floats, spill: Floats, ring: Bools, unit: Ints, draws: int = DRAWS, seed: int = 0) -> Claim:
    """L3: is M of a ring whose one trained member teaches its twins as high as a canary's? All [n]; `ring`: such rings, else
    canaries. ω = 1 − Σ spill / Σ M says which of them teach."""
    name = "T7"
    reason = unusable(score=score) or ("" if ring.any() and not ring.all() else "no canaries or no lone rings")
    if reason := reason or ("" if np.isfinite(spill).all() else "a sequence has no never-trained twin"):
        return without_data(name, reason)
    fewest = min(len(np.unique(unit[side])) for side in (ring, ~ring))  # the smaller side has nearly all of the error
    drawn = resamples(unit, ring, draws, seed, fewest - 1)
    of_rings, of_canaries = ([drawn.mean(np.where(side, v, 0.0)) for v in (score, spill)] for side in (ring, ~ring))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = of_rings[0] / of_canaries[0] * ((~ring).sum() / ring.sum())
        rings, canaries = (drawn.bounds(1 - spilt / m) for m, spilt in (of_rings, of_canaries))
    high = drawn.bounds(ratio)
    apart = canaries.low > SPECIFIC and rings.high < SHARED
    rule = (
        f"if ω of canaries is above {SPECIFIC} and of lone rings below {SHARED}: supported if the mean score of lone rings is "
        f"above {AS_HIGH} of a canary's, refuted if below"
    )
    note = f"ω of canaries {canaries}, of lone rings {rings}" + ("" if apart else "; ω does not tell them apart")
    verdict = decide(apart and high.low > AS_HIGH, apart and high.high < AS_HIGH)
    return Claim(name, *high, high.value * rings.value, verdict, rule, note, "of a canary's score")


# -- T8: does the score see what is memorized in many copies? ----------------------------------------------------------
def _slopes(values: Floats, copies: Ints, drawn: Resamples, log: bool) -> Bounds:
    """Slope of the mean of each number of copies on log₂ d; or of its logarithm, where what does not differ from 0 counts as its
    standard error."""
    numbers = np.unique(copies)
    means = np.stack([Resamples(drawn.weights[:, copies == d], 0).mean(values[copies == d]) for d in numbers])
    if log:
        means = np.log(np.maximum(means, np.maximum(means[:, 1:].std(axis=1, keepdims=True), 1e-6)))
    x = np.log2(numbers) - np.log2(numbers).mean()
    return drawn.bounds((x[:, None] * means).sum(axis=0) / (x**2).sum())


def t8(
    claim: str, score: Floats, extracted: Floats, copies: Ints, dense: Bools, unit: Ints, draws: int = DRAWS, seed: int = 0
) -> Claim:
    """L5: does the score fall with the number of copies, while extraction rises? score, extracted: [splits, 2, n], of canaries in
    copies and of dense sequences, these with one copy included; `dense`: which are."""
    if reason := unusable(score=score, extraction=extracted):
        return without_data(claim, reason)
    mean, share, slopes = score.mean(axis=(0, 1)), extracted.mean(axis=(0, 1)), []
    for side in (dense, ~dense):
        here = side & (copies > 1)
        if len(np.unique(copies[here])) < 2:
            return without_data(claim, "duplicates have fewer than two numbers of copies")
        drawn = resamples(unit[here], copies[here], draws, seed)
        slopes += [_slopes(mean[here], copies[here], drawn, True), _slopes(share[here], copies[here], drawn, False)]
    drawn = resamples(unit[dense], copies[dense], draws, seed)
    pairs = [(m[1 - a][dense], p[a][dense]) for m, p in zip(score, extracted, strict=True) for a in (0, 1)]
    area = drawn.bounds(np.mean([weighted_auc(m, p, drawn.weights) for m, p in pairs], axis=0))
    slope, rises, other, rises_too = slopes
    extracts = rises.low > 0 and rises_too.low > 0
    rule = (
        "if extraction rises with copies: supported if the score falls with log₂ d in dense text and among canaries, and its AUC "
        "for extraction in dense text is below .5; refuted if it rises in both and the AUC is above .5"
    )
    note = f"of canaries {other}; AUC in dense text {area}" + ("" if extracts else "; extraction does not rise with copies")
    falls = extracts and slope.high < 0 and other.high < 0 and area.high < 0.5
    verdict = decide(falls, extracts and slope.low > 0 and other.low > 0 and area.low > 0.5)
    return Claim(claim, *slope, 0.0, verdict, rule, note, "log nats per doubling")


# -- T9: are highly memorized sequences ordinary? ----------------------------------------------------------------------
def _quantile(values: Floats, weights: Floats, q: float) -> Floats:
    """[draws, 1]: the lowest value that has at least this share of the weight up to it. values: [n] or [draws, n]."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.broadcast_to(np.take_along_axis(values, order, -1), weights.shape)
    below = np.cumsum(np.take_along_axis(weights, np.broadcast_to(order, weights.shape), -1), axis=1)
    at = (below >= q * below[:, -1:] - 1e-9).argmax(axis=1)
    return np.asarray(np.take_along_axis(ordered, at[:, None], 1), np.float64)


def central_share(score: Floats, inside: Floats, weights: Floats) -> Floats:
    """[draws]: of the sequences with the highest twentieth of scores, the share in the central 90 % of log p; NaN without any.
    score, inside: [n] or [draws, n]."""
    high = (score > _quantile(score, weights, HIGH)) * weights
    central = (inside > _quantile(inside, weights, CENTRAL[0])) & (inside < _quantile(inside, weights, CENTRAL[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((high * central).sum(axis=1) / high.sum(axis=1), np.float64)


def t9(
    score: Floats,
    inside: Floats,
    leverage: Floats,
    best: int,
    tokens: int,
    group: Strings,
    unit: Ints,
    draws: int = DRAWS,
    seed: int = 0,
) -> Claim:
    """L6: the central share next to that of worlds of leverage and luck. score; inside: log p with it. [splits, 2, n]; leverage:
    [kinds, n], of sequences of so many tokens; the null is that of the best of them."""
    name = "T9"
    if reason := unusable(score=score, log_p=inside, leverage=leverage):
        return without_data(name, reason)
    drawn = resamples(unit, group, draws, seed)
    pairs = [(m[1 - a], u[a]) for m, u in zip(score, inside, strict=True) for a in (0, 1)]
    share = drawn.bounds(np.mean([central_share(m, u, drawn.weights) for m, u in pairs], axis=0))
    worlds = min(draws, WORLDS)
    null = [central_share(*leverage_world(h, tokens, worlds, seed), np.ones((worlds, len(unit)))) for h in leverage]
    medians, most = np.median(null, axis=1), float(np.quantile(null[best], LEVEL))
    mean = score.mean(axis=(0, 1))
    rank = (leverage[best][mean > np.quantile(mean, HIGH)][:, None] > leverage[best]).mean()
    rule = (
        "supported if the share is above .5, and below in 99 % of worlds of leverage and luck, in which nothing is memorized; "
        "refuted if it is below .5, or above .5 in most of these worlds, too: then it tells nothing"
    )
    note = (
        f"worlds of luck and other measures of leverage have {medians.min():.2f} to {medians.max():.2f}; leverage of the highly "
        f"memorized is above that of {100 * rank:.0f} % of all"
    )
    verdict = decide(share.low > 0.5 > most, share.high < 0.5 or medians[best] > 0.5)
    return Claim(name, *share, float(medians[best]), verdict, rule, note, "share in the central 90 %")
