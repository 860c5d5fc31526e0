"""Intervals and p-values of a correlation whose rows share examples and output n-grams (docs/method.md §6b).

percentile    the middle 95 % of resamples of whole examples: these facts, new examples
BCa           the same, corrected for bias and skewness (Efron 1987); the acceleration comes from influence values
two-way       ρ ± t · SE and its p, SE² = V_example + V_s_y - V_both of influence values, but no less than either (Cameron, Gelbach
              & Miller 2011): new facts too
permutation   of one row per s_y, studentised (DiCiccio & Romano 2017); only where each example has one s_y
"""

from dataclasses import replace

import numpy as np

from tasks.statistics.bootstrap import bootstrap_many, bootstrap_pearson
from tasks.statistics.correlation import Estimate, Floats, Ints, Rows, effective_clusters, influence, spearman, undefined

ONE_EXAMPLE = "no interval: one example"
FEW_CLUSTERS = 50.0  # noted
FEWEST_CLUSTERS = 10.0  # no p and no verdict below
PERMUTATIONS_AT_ONCE = 64


# -- intervals ------------------------------------------------------------------------------------------------------
def percentile_interval(draws: Floats) -> tuple[float | None, float | None, str]:
    """The middle 95 % of the draws that have a value; none if more than half have no value."""
    defined = draws[np.isfinite(draws)]
    if len(defined) * 2 < len(draws) or not len(defined):
        return None, None, "no interval: most resamples are constant"
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high), ""


def with_interval(value: float | Floats, draws: Floats | None, note: str = "", undefined: str = "") -> Estimate:
    """A number with the middle 95 % of its draws, without any if there was one example alone; `undefined`: why it is not finite."""
    if not np.isfinite(value):
        return Estimate(None, note=undefined or note)
    low, high, missing = percentile_interval(draws) if draws is not None and len(draws) else (None, None, ONE_EXAMPLE)
    return Estimate(float(value), low, high, note=join(note, missing))


def bca_interval(rows: Rows, drawn: Floats, value: float) -> tuple[float | None, float | None, str]:
    """Bias-corrected and accelerated ends of resamples of whole examples. z₀ = Φ⁻¹(share of draws below ρ, half of those equal to
    it); a = Σ U³ / (6 (Σ U²)^{3/2}), U the influence of an example."""
    from scipy import stats

    low, high, missing = percentile_interval(drawn)
    if missing:
        return low, high, missing
    drawn = drawn[np.isfinite(drawn)]
    below = ((drawn < value).sum() + 0.5 * (drawn == value).sum()) / len(drawn)
    if not 0 < below < 1:
        return None, None, "no interval: all resamples lie on one side of the estimate"
    sums = np.bincount(np.unique(rows.example, return_inverse=True)[1], weights=influence(rows.x, rows.y))
    squares = float((sums**2).sum())
    acceleration = float((sums**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    bias, ends = stats.norm.ppf(below), stats.norm.ppf([0.025, 0.975])
    at = stats.norm.cdf(bias + (bias + ends) / (1 - acceleration * (bias + ends)))
    interval = np.quantile(drawn, at)
    return float(interval.min()), float(interval.max()), ""


# -- p-values -------------------------------------------------------------------------------------------------------
def clustered_variance(values: Floats, clusters: Ints) -> float:
    """Variance of the mean of influence values whose clusters are independent; NaN with fewer than two clusters."""
    sums = np.bincount(clusters, weights=values)
    count = len(np.unique(clusters))
    return float("nan") if count < 2 else float((sums**2).sum() / len(values) ** 2 * count / (count - 1))


def cluster_sizes(rows: Rows) -> tuple[float, float, str]:
    """Effective examples and effective output n-grams, and a note where either is few."""
    examples, outputs = effective_clusters(rows.example), effective_clusters(rows.output)
    sizes = ((examples, "examples"), (outputs, "output n-grams"))
    few = ", ".join(f"{size:.1f} {name}" for size, name in sizes if size < FEW_CLUSTERS)
    return examples, outputs, f"few effective clusters: {few}" if few else ""


def two_way(rows: Rows, rho: float) -> Estimate:
    """ρ with its p and the interval that belongs to it, for new examples and new outputs (docs/method.md §6b). t = ρ / SE, SE² =
    V_example + V_output - V_both, but no less than either of the first two: the sum of sampling errors cannot be smaller than one
    of them, its estimate can. min(clusters) - 1 degrees of freedom; ρ ± t.975 · SE excludes 0 where p < .05. Neither p nor interval
    with fewer than ten effective clusters."""
    from scipy import stats

    examples, outputs, note = cluster_sizes(rows)
    clusters = min(examples, outputs)
    example = np.unique(rows.example, return_inverse=True)[1]
    output = np.unique(rows.output, return_inverse=True)[1]
    smallest = min(int(example.max()), int(output.max())) + 1
    if smallest < 2:
        return Estimate(rho, note="no p: all rows share one example or one output n-gram", clusters=clusters)
    if clusters < FEWEST_CLUSTERS:
        return Estimate(rho, note=f"no p: {note}", clusters=clusters)
    values = influence(rows.x, rows.y)
    by_example, by_output = clustered_variance(values, example), clustered_variance(values, output)
    both = clustered_variance(values, np.unique(example * (output.max() + 1) + output, return_inverse=True)[1])
    variance = max(by_example + by_output - both, by_example, by_output)
    if not variance > 1e-24:
        return Estimate(rho, note="no p: the standard error is 0", clusters=clusters)
    error = float(np.sqrt(variance))
    p, half = float(2 * stats.t.sf(abs(rho) / error, smallest - 1)), float(stats.t.ppf(0.975, smallest - 1)) * error
    return Estimate(rho, max(-1.0, rho - half), min(1.0, rho + half), p, note, clusters=clusters)


def benjamini_hochberg(p_values: Floats) -> Floats:
    """q-values of one family (false discovery rate)."""
    from scipy import stats

    return np.maximum(stats.false_discovery_control(p_values), p_values) if len(p_values) else p_values


def permutation_p(rows: Rows, group: Ints, permutations: int, seed: int) -> Estimate:
    """ρ of one row per distinct s_y (means) and its two-sided permutation p, y permuted within groups; or a note why there is none.
    group: of each row. The statistic is ρ / SE, so that the test holds for ρ = 0 and not for independence alone; p = (1 + b) / (1 +
    B). B has to be at least 20 times the family it is corrected in."""
    from tasks.statistics.correlation_kernels import permuted_t

    pairs = np.unique(np.column_stack([rows.example, rows.output]), axis=0)
    if len(np.unique(pairs[:, 0])) < len(pairs):
        return Estimate(None, note="no permutation: an example has several output n-grams")
    output = np.unique(rows.output, return_inverse=True)[1]
    size = np.bincount(output)
    of = np.zeros(len(size), dtype=np.int64)
    of[output] = group
    if (of[output] != group).any():
        return Estimate(None, note="no permutation: an output n-gram occurs in several groups")
    # rounded: means of equal numbers have to be equal
    x, y = (np.round(np.bincount(output, weights=side) / size, 12) for side in (rows.x, rows.y))
    merged = Rows(x, y, np.arange(len(size)), np.arange(len(size)))
    if why := undefined(merged):
        return Estimate(None, note=f"no permutation: of one row per output n-gram, {why}")
    order = np.argsort(of, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(of[order])) + 1, len(of))
    if len(ends) == len(of):
        return Estimate(spearman(x, y), note="no permutation: each group has one output n-gram")
    codes_x, codes_y = (np.unique(side[order], return_inverse=True)[1] for side in (x, y))
    rng = np.random.default_rng(seed)
    observed = abs(permuted_t(codes_x, codes_y, ends, np.empty((0, len(x))))[0])
    as_far = 0
    for first in range(0, permutations, PERMUTATIONS_AT_ONCE):
        shape = (min(PERMUTATIONS_AT_ONCE, permutations - first), len(x))
        as_far += int((np.abs(permuted_t(codes_x, codes_y, ends, rng.random(shape))[1:]) >= observed * (1 - 1e-12)).sum())
    return Estimate(spearman(x, y), p_value=(1 + as_far) / (1 + permutations))


# -- both -----------------------------------------------------------------------------------------------------------
def correlate(rows: Rows, draws: int, seed: int, *, x_name: str = "x", y_name: str = "y", ranked: bool = True) -> Estimate:
    """Spearman's ρ (or Pearson's r) with its bootstrap interval; no p, which has an interval of its own (`two_way`)."""
    if why := undefined(rows, x_name, y_name):
        return Estimate(None, note=why)
    value = spearman(rows.x, rows.y) if ranked else float(np.clip(np.corrcoef(rows.x, rows.y)[0, 1], -1.0, 1.0))
    examples, _, note = cluster_sizes(rows)
    drawn = bootstrap_correlation(rows, draws, seed, ranked=ranked) if rows.examples > 1 else None
    return replace(with_interval(value, drawn, note), clusters=examples)


def bootstrap_correlation(rows: Rows, draws: int, seed: int, *, ranked: bool = True) -> Floats:
    """Correlations of `draws` resamples of whole examples; NaN where a side does not vary in a draw."""
    if ranked:
        return bootstrap_many(np.stack([rows.x, rows.y]), rows.example, None, draws, seed)[:, 0, 1]
    return bootstrap_pearson(rows.x, rows.y, rows.example, draws, seed)


def bootstrap_error(draws: Floats) -> float | None:
    """Standard deviation of the draws that have a value; None with fewer than two, or where most have none."""
    defined = draws[np.isfinite(draws)]
    return float(defined.std(ddof=1)) if len(defined) > 1 and len(defined) * 2 >= len(draws) else None


def join(*notes: str) -> str:
    """The notes that there are."""
    return "; ".join(n for n in notes if n)
