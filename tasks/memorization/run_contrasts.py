"""Every counterfactual estimate as a contrast of runs that have a sequence and runs that have not, on arrays [runs, sequences].

    Feldman-Zhang (2008.03703), Zhang (2112.12938)   token accuracy      difference of means
    van den Burg-Williams (2106.03216)               p(x)                difference of log-mean-exp
    Lesci (2406.04327), leverage's leave-one-out     log p(x)            difference of means
    counterfactual extraction                        1[extracted]        difference of means
    LiRA (2112.03570)                                log p(x)            log-ratio of two normal densities

A log-mean-exp grows with the number of runs that it is taken over, where seeds differ by several nats. As published, 90 % of the
runs are on one side and 10 % on the other, and a sequence that no run is trained on gets a positive score; with equal numbers on
both sides it does not. Standard errors are from runs: of complementary pairs from their differences, else as of two samples; of
log-mean-exps from a bootstrap over runs, whole pairs. `weights`, float [draws, runs], give each estimate for each draw of the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.statistics import Floats, Ints, spearman

Bools = NDArray[np.bool_]
PUBLISHED = 9  # runs with a sequence for each one without, in ten folds
SEQUENCES_AT_ONCE = 1_000
LEAST_VARIANCE = 1e-12  # of log p, in LiRA: scores that do not differ say nothing


@dataclass(frozen=True)
class Arms:
    """Runs that have a sequence, and runs that it is compared with; bool [runs, sequences] each. `paired`: rows 2p and 2p + 1 are
    complementary runs."""

    inside: Bools
    outside: Bools
    paired: bool = False

    def of(self, sequences: Ints | Bools) -> Arms:
        """The arms of some sequences."""
        return Arms(self.inside[:, sequences], self.outside[:, sequences], self.paired)

    def rows(self, runs: Ints | Bools) -> Arms:
        """The arms in some runs; whole pairs."""
        return Arms(self.inside[runs], self.outside[runs], self.paired)


def arms_of(assigned: Ints, copies: Ints, paired: bool) -> tuple[Arms, Arms]:
    """Leave-group-out and leave-one-out. assigned: int [runs, sequences], by the design; copies: int [sequences], d.

    d against 0 copies, of pairs the complements of the runs with d; and d against d − 1, which is the same for d = 1.
    """
    full, none = assigned == copies, assigned == 0
    if paired:
        partner = assigned.reshape(-1, 2, len(copies))[:, ::-1].reshape(assigned.shape)
        none = none & (partner == copies)
    one_less = np.where(copies == 1, none, assigned == copies - 1)
    return Arms(full, none, paired), Arms(full, one_less)


def total(values: Floats, weights: Floats | None = None) -> Floats:
    """float [sequences], or [draws, sequences]: the sum over runs, in one order: the bytes of a threaded product of matrices depend
    on the number of threads."""
    return np.asarray(values.sum(axis=0) if weights is None else np.einsum("dr,rn->dn", weights, values.astype(float)))


def mean(values: Floats, mask: Bools, weights: Floats | None = None) -> Floats:
    """float [sequences], or [draws, sequences]: the mean over the runs of a mask; NaN where there are none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return total(np.where(mask, values, 0.0), weights) / total(mask, weights)


def log_mean_exp(values: Floats, mask: Bools, weights: Floats | None = None) -> Floats:
    """float [sequences], or [draws, sequences]: log of the mean of exp over the runs of a mask; NaN where there are none."""
    kept = np.where(mask, values, -np.inf)
    most = kept.max(axis=0, initial=-np.inf)
    most = np.where(np.isfinite(most), most, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = total(np.exp(kept - most), weights) / total(mask, weights)
        return most + np.log(np.where(shares > 0, shares, np.nan))


def run_weights(runs: int, paired: bool, draws: int, seed: int) -> Floats:
    """float [draws, runs]: how often each draw has each run; whole pairs."""
    units = runs // 2 if paired else runs
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=draws).astype(float)
    return drawn.repeat(2, axis=1) if paired else drawn


def bootstrap_error(estimate: Callable[[Floats, Arms, Floats], Floats], values: Floats, arms: Arms, weights: Floats) -> Floats:
    """float [sequences]: standard deviation of an estimate over draws of the runs; NaN where a twentieth of them lacks a side, or
    without draws. Some sequences at a time."""
    out = np.full(values.shape[1], np.nan)
    for at in range(0, len(out) if len(weights) > 1 else 0, SEQUENCES_AT_ONCE):
        some = slice(at, at + SEQUENCES_AT_ONCE)
        part = Arms(arms.inside[:, some], arms.outside[:, some], arms.paired)
        drawn = estimate(values[:, some], part, weights)
        defined, drawn = np.isfinite(drawn), np.nan_to_num(drawn, nan=0.0)
        n = np.maximum(defined.sum(axis=0), 2)
        centred = np.where(defined, drawn - drawn.sum(axis=0) / n, 0.0)
        out[some] = np.where(n >= 0.95 * len(weights), np.sqrt((centred**2).sum(axis=0) / (n - 1)), np.nan)
    return out


def first(mask: Bools, count: Ints) -> Bools:
    """The first so many runs of a mask; count: int [sequences]."""
    return mask & (np.cumsum(mask, axis=0) <= count)


def difference(values: Floats, arms: Arms) -> tuple[Floats, Floats]:
    """(difference of means, its standard error), float [sequences]; NaN where a side has no run, or the error too few."""
    inside, outside, values = arms.inside, arms.outside, values - values[:1]  # equal scores have no difference, not one of rounding
    value = mean(values, inside) - mean(values, outside)
    with np.errstate(invalid="ignore", divide="ignore"):
        if arms.paired:
            signed = np.where(inside, values, 0.0) - np.where(outside, values, 0.0)
            signed = signed.reshape(-1, 2, values.shape[1]).sum(axis=1)
            used: Bools = np.stack([inside, outside]).reshape(2, -1, 2, values.shape[1]).any(axis=2).all(axis=0)  # type: ignore[assignment]
            return value, np.sqrt(_variance(signed, used) / used.sum(axis=0))
        return value, np.sqrt(sum(_variance(values, side) / side.sum(axis=0) for side in (inside, outside)))


def _variance(values: Floats, mask: Bools) -> Floats:
    """Unbiased, over the runs of a mask."""
    n, centred = mask.sum(axis=0), np.where(mask, values - mean(values, mask), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 1, (centred**2).sum(axis=0) / (n - 1), np.nan)


def log_density_ratio(log_p: Floats, arms: Arms, weights: Floats | None = None) -> Floats:
    """Calibrated: log-mean-exp of equal numbers of runs. The larger side is cut into groups of the smaller one's size, whose
    log-mean-exps are averaged."""
    sizes = arms.inside.sum(axis=0), arms.outside.sum(axis=0)
    size = np.minimum(*sizes)
    return _mean_of_groups(log_p, arms.inside, size, weights) - _mean_of_groups(log_p, arms.outside, size, weights)


def _mean_of_groups(log_p: Floats, mask: Bools, size: Ints, weights: Floats | None) -> Floats:
    sums, groups = np.zeros(1), mask.sum(axis=0) // np.maximum(size, 1)
    rank = np.cumsum(mask, axis=0) - 1
    for group in range(int(groups.max(initial=0))):
        some = mask & (rank // np.maximum(size, 1) == group)
        sums = sums + np.where(group < groups, log_mean_exp(log_p, some, weights), 0.0)
    return np.where(size > 0, sums / np.maximum(groups, 1), np.nan)


def published_ratio(log_p: Floats, arms: Arms, weights: Floats | None = None) -> Floats:
    """As published: log-mean-exp of all runs with a sequence, and of a ninth as many without it."""
    few = np.maximum(1, np.round(arms.inside.sum(axis=0) / PUBLISHED)).astype(np.int64)
    return log_mean_exp(log_p, arms.inside, weights) - log_mean_exp(log_p, first(arms.outside, few), weights)


def best_outside(log_p: Floats, arms: Arms) -> tuple[Floats, Ints]:
    """(best mean log p without the sequence over training, its checkpoint), [sequences]; log_p: [checkpoints, runs, sequences]."""
    means = np.stack([mean(one, arms.outside) for one in log_p])
    best = np.where(np.isnan(means), -np.inf, means).argmax(axis=0)
    return means[best, np.arange(len(best))], best


def contextual_values(log_p: Floats, at: int, arms: Arms) -> Floats:
    """Values [runs, sequences] whose contrast is contextual memorization at a checkpoint: in-likelihood beyond the best
    out-likelihood over training (arXiv 2507.14777), which later overfitting cannot lower."""
    best = best_outside(log_p, arms)[1]
    reference = np.take_along_axis(log_p, best[None, None, :], axis=0)[0]
    return np.where(arms.outside, reference, log_p[at])


def likelihood_ratio(log_p: Floats, arms: Arms) -> Floats:
    """LiRA: for each run and sequence the log-ratio of two normal densities of log p, with it and without, fitted to the other
    runs, and of pairs to the other pairs, so that both are of equal numbers; NaN for runs in neither arm and where fewer than three
    runs are on a side."""
    density = []
    for side in (arms.inside, arms.outside):
        centre, variance = _without_each(log_p, side, arms.paired)
        density.append(-0.5 * (np.log(variance) + (log_p - centre) ** 2 / variance))
    return np.where(arms.inside | arms.outside, density[0] - density[1], np.nan)


def lira_auc(log_p: Floats, arms: Arms) -> Floats:
    """float [sequences]: chance that LiRA ranks a run with the sequence above one without it, by densities fitted without the two;
    ties are counted half. NaN where fewer than three runs are on a side. With densities fitted without one of the two, phantoms
    are below one half (.44 with 64 runs): a run is then missing in the mean of its own side only, and looks like the other."""
    (inside, variance), (outside, spread) = (_without_each(log_p, side) for side in (arms.inside, arms.outside))
    wins, sizes = np.zeros(log_p.shape[1]), [side.sum(axis=0) for side in (arms.inside, arms.outside)]
    for row, here, mu, of in zip(log_p, arms.inside, inside, variance, strict=True):
        gain = ((log_p - mu) ** 2 - (row - mu) ** 2) / of - ((log_p - outside) ** 2 - (row - outside) ** 2) / spread
        wins += np.where(here & arms.outside, np.sign(gain) / 2 + 0.5, 0.0).sum(axis=0)
    return np.where(np.minimum(*sizes) > 2, wins / np.maximum(sizes[0] * sizes[1], 1), np.nan)


def _without_each(values: Floats, side: Bools, pairs: bool = False) -> tuple[Floats, Floats]:
    """(mean, unbiased variance), [runs, sequences], over the runs of a side but each, or but each pair; NaN with fewer than two."""
    centre = mean(values, side)
    powers = [np.where(side, (values - centre) ** k, 0.0) for k in (0, 1, 2)]
    each = [p.reshape(-1, 2, p.shape[1]).sum(axis=1).repeat(2, axis=0) if pairs else p for p in powers]
    n, total, squares = (p.sum(axis=0) - alone for p, alone in zip(powers, each, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum((squares - total**2 / n) / (n - 1), LEAST_VARIANCE)
        return np.where(n > 1, centre + total / n, np.nan), np.where(n > 1, variance, np.nan)


def influence(twins: Floats, arms: Arms) -> tuple[Floats, Floats]:
    """(influence of each sequence on each twin, its standard error), [sequences, twins]: differences of a twin's means over the
    runs with and without the sequence, as products of matrices. twins: float [runs, twins]."""
    n, m, twins = arms.inside.sum(axis=0)[:, None], arms.outside.sum(axis=0)[:, None], twins - twins[:1]
    with np.errstate(invalid="ignore", divide="ignore"):
        if arms.paired:
            shape = (-1, 2, arms.inside.shape[1])
            sign = arms.inside.reshape(shape)[:, 0].astype(float) - arms.inside.reshape(shape)[:, 1]
            used = np.abs(sign)
            gap = twins[0::2] - twins[1::2]
            value, squares = _product(sign, gap) / n, _product(used, gap**2) / n
            return value, np.sqrt(np.where(n > 1, (squares - value**2) / (n - 1), np.nan))
        sides = [
            (_product(side.astype(float), twins) / k, _product(side.astype(float), twins**2) / k, k)
            for side, k in ((arms.inside, n), (arms.outside, m))
        ]
        errors = sum(np.where(k > 1, (square - centre**2) / (k - 1), np.nan) for centre, square, k in sides)
        return sides[0][0] - sides[1][0], np.sqrt(np.maximum(errors, 0.0))


def _product(a: Floats, b: Floats) -> Floats:
    """aᵀb, summed in one order as in `total`."""
    return np.einsum("ri,rj->ij", a, b)


def regression(values: Floats, members: Bools) -> tuple[Floats, Floats] | None:
    """(coefficients, standard errors), [members, targets], of least squares of values [runs, targets] on who is in a run,
    [runs, members], and a constant; None where runs do not determine them."""
    x = np.column_stack([np.ones(len(members)), members.astype(float)])
    free = len(x) - x.shape[1]
    if free < 1 or np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    inverse, values = np.linalg.inv(x.T @ x), values - values[:1]
    coefficients = inverse @ x.T @ values
    variance = ((values - x @ coefficients) ** 2).sum(axis=0) / free
    return coefficients[1:], np.sqrt(np.diag(inverse)[1:, None] * variance)


def halved(estimate: Callable[[Ints], Floats], runs: int, unit: int, seed: int, splits: int = 20) -> Floats:
    """float [splits, 2, sequences]: an estimate from two halves of the runs, several times halved at random. unit: consecutive runs
    that are not separated, so that both halves have all arms."""
    blocks, random, out = np.arange(runs // unit * unit).reshape(-1, unit), np.random.default_rng(seed), []
    for _ in range(splits if len(blocks) > 1 else 0):
        order = random.permutation(blocks)[: len(blocks) // 2 * 2].reshape(2, -1)
        out.append([estimate(np.sort(rows)) for rows in order])
    return np.array(out)


def reliability(halves: Floats) -> Floats:
    """float [splits]: Spearman-Brown of the rank correlation of two halves over the sequences, 2r / (1 + |r|), so that −1 is the
    least; NaN where one has no spread. halves: [splits, 2, sequences]."""
    out = []
    for a, b in halves:
        defined = np.isfinite(a) & np.isfinite(b)
        varies = defined.sum() > 2 and np.ptp(a[defined]) > 0 and np.ptp(b[defined]) > 0
        r = spearman(a[defined], b[defined]) if varies else np.nan
        out.append(2 * r / (1 + abs(r)))
    return np.array(out)
