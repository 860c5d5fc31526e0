"""How each claim is decided: pure functions from arrays of sequences to a `Claim` (docs/memorization.md).

Arrays that end in [splits, 2, sequences] are estimates from the two halves of the runs, for several ways to halve them. Whatever is
compared with a score comes from the other half: M = U − V is related to its own U and V by its definition, whatever was memorized.
Intervals are at LEVEL, from a bootstrap over sequences within their strata, with rings whole; errors from runs are in them, because
each sequence has a membership of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.memorization.claims import LEVEL, Claim, Verdict, without_data
from tasks.memorization.run_contrasts import Bools
from tasks.statistics import Floats, Ints

DRAWS = 1_000
IDENTICAL = 0.9  # rank correlation from which two orders are called the same
RELIABLE, FEWEST = 0.8, 50  # reliability of score and leverage, and sequences, from which a group decides
PICKED = 0.2  # share of the sequences on which the best leverage is chosen; the others decide
SPECIFIC, SHARED, AS_HIGH = 0.9, 0.7, 0.5  # ω of canaries, ω of rings, and how high a ring's M is next to a canary's
HIGH, CENTRAL = 0.95, (0.05, 0.95)  # quantiles of arXiv 2106.03216: highly memorized, and the central 90 %
FOLDS, MOST_LEVERAGE = 5, 0.9
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
    picked = np.asarray(np.random.default_rng(seed).random(score.shape[-1]) < PICKED)
    columns = [score.mean(axis=(0, 1))[picked], *leverage.mean(axis=(0, 2))[:, picked]]
    agree = rank_matrices(columns, np.ones((1, int(picked.sum()))))[0, 0, 1:] if picked.sum() > 2 else np.zeros(1)
    return int(np.nan_to_num(agree, nan=-2.0).argmax()), ~picked


def disattenuated(score: Floats, leverage: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(ρ*, the lower reliability of score and leverage from all runs), [draws]. Spearman's ρ of one half's score and the other's
    leverage, over the root of both reliabilities of a half. score, leverage: [splits, 2, n]. NaN where one is not positive."""
    matrices = np.mean([rank_matrices([*m, *h], weights) for m, h in zip(score, leverage, strict=True)], axis=0)
    cross, of_score, of_leverage = (matrices[:, 0, 3] + matrices[:, 1, 2]) / 2, matrices[:, 0, 1], matrices[:, 2, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where((of_score > 0) & (of_leverage > 0), cross / np.sqrt(of_score * of_leverage), np.nan)
        lower = np.minimum(of_score, of_leverage)
        return rho, 2 * lower / (1 + lower)


def _per_token(leverage: Floats, tokens: int) -> Floats:
    """Leverage of a token. A network has several outputs for each, so that it may exceed 1: all are then scaled down."""
    h = np.maximum(leverage / tokens, 1e-12)
    return np.asarray(h * min(1.0, MOST_LEVERAGE / float(h.max())), np.float64)


def leverage_world(outside: Floats, leverage: Floats, tokens: int) -> tuple[Floats, Floats]:
    """(M, log p with it) that leverage makes of log p without it, V: U = V·(1 − h)², so M = −V·h(2 − h), exact in least squares,
    where leaving a row out divides its residual by 1 − h. h: leverage of a token. All [n] (docs/memorization.md)."""
    h = _per_token(leverage, tokens)
    return -outside * h * (2 - h), outside * (1 - h) ** 2


def noise_ceiling(leverage: Floats, tokens: int, seed: int) -> tuple[float, float]:
    """(Spearman's ρ, R² of the logarithms) that leverage reaches where residuals are luck: M = Σ r²·h(2 − h) / (2(1 − h)) over the
    tokens, r² ~ χ²₁."""
    from scipy.special import polygamma

    h = _per_token(leverage, tokens)
    expected = h * (2 - h) / (2 * (1 - h))
    worlds = expected * np.random.default_rng(seed).chisquare(tokens, (50, len(h)))
    rho = float(np.mean([rank_matrices([leverage, m], np.ones((1, len(m))))[0, 0, 1] for m in worlds]))
    spread = float(np.log(expected).var())
    return rho, spread / (spread + float(polygamma(1, tokens / 2)))


class Agreement(NamedTuple):
    """ρ* of score and leverage in a group, and the lower reliability of the two; `group` empty: over all."""

    group: str
    rho: Bounds
    reliability: float
    sequences: int

    @property
    def decides(self) -> bool:
        """Whether both are reliable enough in it, and it is large enough."""
        return self.reliability >= RELIABLE and self.sequences >= FEWEST and np.isfinite(self.rho.low)


def agreements(score: Floats, leverage: Floats, group: Strings, unit: Ints, draws: int, seed: int) -> list[Agreement]:
    """Over all sequences and within each group; intervals share LEVEL between those that decide."""
    rows = []
    for name in ("", *sorted(set(group.tolist()))):
        here = (group == name) if name else np.ones(len(group), bool)
        m, h, drawn = score[..., here], leverage[..., here], resamples(unit[here], group[here], draws, seed)
        if here.sum() > 9 and not unusable(m=m, h=h):
            rows.append((name, drawn, *disattenuated(m, h, drawn.weights), int(here.sum())))
    tests = max(1, sum(reliability[0] >= RELIABLE and n >= FEWEST for *_, reliability, n in rows))
    return [Agreement(name, drawn.bounds(rho, tests), float(reliability[0]), n) for name, drawn, rho, reliability, n in rows]


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
        f"refuted if the upper end of ρ* is below {IDENTICAL} over all or in a group of {FEWEST} sequences in which score and "
        f"leverage have a reliability of {RELIABLE}; supported if there is such a group, and all these lower ends are above"
    )
    if not by_group or by_group[0].group or not by_group[0].decides:
        shown = f"{by_group[0].reliability:.2f}" if by_group and not by_group[0].group else "not defined"
        return without_data(name, f"the reliability of score and leverage, {shown}, is too low to correct for"), by_group
    sure = [a for a in by_group if a.decides]
    ceiling, explained = noise_ceiling(h.mean(axis=(0, 1)), tokens, seed)
    within = ", ".join(f"{a.group} {a.rho.value:.2f}" for a in by_group if a.group)
    note = (
        f"{kinds[best]}; within groups {within}; leverage times luck gives {ceiling:.2f}, R² of logarithms {explained:.2f}; "
        f"decided by {', '.join(a.group or 'all' for a in sure)}"
    )
    same = len(sure) > 1 and all(a.rho.low >= IDENTICAL for a in sure)
    verdict = decide(same, any(a.rho.high < IDENTICAL for a in sure))
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


def added_to_leverage(
    score: Floats,
    leverage: Floats,
    outside: Floats,
    sparsity: Floats,
    extracted: Floats,
    group: Strings,
    unit: Ints,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Bounds, Bounds]:
    """L4: gains in AUC for extraction when the score joins leverage, and when it joins leverage, V and sparsity. All
    [splits, 2, n]: leverage of all copies, V `outside`, and `extracted`, the share of runs with a sequence that extract it where
    their complements do not. With V the score is log p with the sequence, so that some gain follows from its definition: it
    decides nothing."""
    drawn, gains = resamples(unit, group, draws, seed), list[list[Floats]]()
    for split, a in product(range(len(score)), (0, 1)):  # everything from one half of the runs, and the score from the other
        y, m = extracted[split, a], score[split, 1 - a]
        h, rivals = np.log(np.maximum(leverage[split, a], 1e-12)), (outside[split, a], sparsity[split, a])
        fits = [
            cross_fitted(np.column_stack([_scaled(c) for c in of]), y, unit, seed)
            for of in ((h,), (h, m), (h, *rivals), (h, *rivals, m))
        ]
        areas = [weighted_auc(fit, y, drawn.weights) for fit in fits]
        gains.append([areas[1] - areas[0], areas[3] - areas[2]])
    alone, with_rivals = np.mean(gains, axis=0)
    return drawn.bounds(alone), drawn.bounds(with_rivals)


def _scaled(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9), np.float64)


def t6_in_expectation(by_group: Sequence[Agreement], added: Sequence[Bounds] = ()) -> Claim:
    """L1: does the score rise with leverage, over all and within groups? by_group: of `t6_strong`, added: of
    `added_to_leverage`."""
    name = "T6 in expectation"
    if not by_group or by_group[0].group or not np.isfinite(by_group[0].rho.low):
        return without_data(name, "score and leverage are not defined, or not reliable, over all sequences")
    sure = [a for a in by_group if a.group and a.decides]
    rule = (
        "supported if ρ* of score and leverage is above 0 over all and in each group that decides, at least one; refuted if "
        "it is below 0 over all or in such a group"
    )
    note = "within groups " + ", ".join(f"{a.group} {a.rho.value:.2f}" for a in by_group if a.group)
    note += f"; decided by {', '.join(a.group for a in sure) or 'no group'}"
    if added:
        note += f"; the score adds {added[0]} to the AUC of leverage for extraction, and {added[1]} to leverage, V and sparsity"
    whole = by_group[0].rho
    rises = whole.low > 0 and bool(sure) and all(a.rho.low > 0 for a in sure)
    verdict = decide(rises, whole.high < 0 or any(a.rho.high < 0 for a in sure))
    return Claim(name, *whole, 0.0, verdict, rule, note, "Spearman's ρ*")


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
    area = float(weighted_auc(score, (~ring).astype(float), np.ones((1, len(score))))[0])
    note = f"ω of canaries {canaries}, of lone rings {rings}; M ranks a canary above a lone ring with a chance of {area:.2f}"
    note += "" if apart else "; ω does not tell them apart"
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


def _share(bounds: Bounds) -> Bounds:
    """A share is between 0 and 1."""
    return Bounds(bounds.value, max(0.0, bounds.low), min(1.0, bounds.high))


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
    """L6: the central share next to that in a world of leverage alone. score; inside: log p with it. [splits, 2, n]; leverage:
    [kinds, n], of sequences of so many tokens; the null is that of the best of them."""
    name = "T9"
    if reason := unusable(score=score, log_p=inside, leverage=leverage):
        return without_data(name, reason)
    drawn = resamples(unit, group, draws, seed)
    pairs = [(m[1 - a], u[a]) for m, u in zip(score, inside, strict=True) for a in (0, 1)]
    share = _share(drawn.bounds(np.mean([central_share(m, u, drawn.weights) for m, u in pairs], axis=0)))
    outside = (inside - score).mean(axis=(0, 1))
    worlds = [_share(drawn.bounds(central_share(*leverage_world(outside, h, tokens), drawn.weights))) for h in leverage]
    null = worlds[best]
    rule = (
        "supported if the share is above .5, and below .5 where log p is what leverage makes of log p without it; refuted if it is "
        "below .5, or above .5 there, too: then it tells nothing"
    )
    others = [world.value for world in worlds]
    note = f"leverage alone has {null}, other measures of leverage {min(others):.2f} to {max(others):.2f}"
    verdict = decide(share.low > 0.5 > null.high, share.high < 0.5 or null.low > 0.5)
    return Claim(name, *share, null.value, verdict, rule, note, "share in the central 90 %")
