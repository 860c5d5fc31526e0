"""Shares, means and ratios with their intervals."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.bootstrap import bootstrap_statistic
from tasks.statistics.correlation import Estimate, Floats
from tasks.statistics.intervals import ONE_EXAMPLE, with_interval


def ratio(numerators: Floats, denominators: Floats, draws: int, seed: int) -> Estimate:
    """Σ numerators / Σ denominators, with a percentile interval over rows, one per example. A mean has denominators 1. Standard
    error: linearised, √(n/(n-1) Σ (a - r·b)²) / Σ b; for a mean s/√n."""
    total = float(denominators.sum()) if len(denominators) else 0.0
    if total == 0:
        return Estimate(None, note="nothing to divide by")
    value = float(numerators.sum()) / total
    if len(numerators) < 2:
        return Estimate(value, note=ONE_EXAMPLE)

    def of(weights: NDArray[np.int32]) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ numerators) / (weights @ denominators)

    rest, n = numerators - value * denominators, len(numerators)
    error = float(np.sqrt(n / (n - 1) * (rest**2).sum()) / abs(total))
    return replace(with_interval(value, bootstrap_statistic(n, draws, seed, of)), standard_error=error)


def wilson(successes: float, n: int) -> Estimate:
    """A share with Wilson's 95 % score interval and its standard error, √(p(1-p)/(n-1))."""
    from scipy import stats

    if n == 0:
        return Estimate(None, note="nothing to take a share of")
    z = float(stats.norm.ppf(0.975))
    share = successes / n
    centre, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
    error = float(np.sqrt(share * (1 - share) / (n - 1))) if n > 1 and 0 <= share <= 1 else None
    # rounding must not put an end beyond 0 of n, or n of n
    return Estimate(share, min(low, share), max(high, share), standard_error=error)


def difference(successes: int, n: int, others: int, m: int) -> Estimate:
    """successes / n − others / m with Newcombe's 95 % interval (1998, method 10), made of both Wilson intervals."""
    if n == 0 or m == 0:
        return Estimate(None, note="nothing to compare with" if n else "nothing to take a share of")
    a, b = wilson(successes, n), wilson(others, m)
    (p, low, high), (q, below, above) = ([float(x or 0.0) for x in (e.value, e.low, e.high)] for e in (a, b))
    return Estimate(p - q, p - q - float(np.hypot(p - low, above - q)), p - q + float(np.hypot(high - p, q - below)))


def share(values: Floats) -> Estimate:
    """Wilson's share of values in [0, 1]; the standard error, s/√n, knows that ties are not whole ones."""
    estimate = wilson(float(values.sum()), len(values))
    return replace(estimate, standard_error=float(values.std(ddof=1) / np.sqrt(len(values)))) if len(values) > 1 else estimate
