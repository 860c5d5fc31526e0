"""The statistics behind every number: rank correlations with ties, their intervals and p-values, shares, and families.

Rows of a task share examples and output n-grams, so they are not independent (task-grams §6b). Intervals resample whole
examples; p-values come from influence values summed over examples and over output n-grams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_ROWS = 3
FEWEST_CLUSTERS = 50.0
DRAWS_AT_ONCE = 64


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; `value` is None where it is not defined, and `note` says why.

    `standard_error` is given for scores: from the values themselves for shares, means and ratios, from the bootstrap for what
    only a whole corpus has.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    note: str = ""
    standard_error: float | None = None


@dataclass(frozen=True)
class Rows:
    """What is correlated: x and y, and the clusters each row belongs to (0-based codes)."""

    x: Floats
    y: Floats
    example: Ints
    output: Ints

    def __len__(self) -> int:
        return len(self.x)

    @property
    def examples(self) -> int:
        """Distinct examples."""
        return len(np.unique(self.example))

    def take(self, keep: NDArray[np.bool_]) -> Rows:
        """The rows where `keep` holds."""
        return Rows(self.x[keep], self.y[keep], self.example[keep], self.output[keep])


def undefined(rows: Rows, x_name: str = "x", y_name: str = "y") -> str:
    """Why a correlation of these rows has no value; empty if it has one."""
    if len(rows) < FEWEST_ROWS:
        return f"fewer than {FEWEST_ROWS} rows"
    if not (np.isfinite(rows.x).all() and np.isfinite(rows.y).all()):
        return "a value is not finite"
    for values, name in ((rows.x, x_name), (rows.y, y_name)):
        if values.min() == values.max():
            return f"{name} is the same in all rows"
    return ""


# -- correlations ---------------------------------------------------------------------------------------------------
def _ranks(x: Floats, method: str = "average") -> Floats:
    from scipy import stats  # here: all steps are imported to lay a study out, and most commands compute no statistics

    return stats.rankdata(x, method)


def spearman(x: Floats, y: Floats) -> float:
    """Pearson's correlation of mid-ranks."""
    return float(np.clip(np.corrcoef(_ranks(x), _ranks(y))[0, 1], -1.0, 1.0))


@dataclass(frozen=True)
class Order:
    """How the N(N-1)/2 pairs of rows compare: Kendall's counts, exact integers."""

    pairs: int
    concordant: int
    discordant: int
    tied_x: int
    tied_y: int

    @property
    def tau_b(self) -> float:
        """Kendall's τ_b, which corrects for ties on both sides."""
        scale = np.sqrt(float(self.pairs - self.tied_x)) * np.sqrt(float(self.pairs - self.tied_y))
        return float(np.clip((self.concordant - self.discordant) / scale, -1.0, 1.0)) if scale > 0 else float("nan")


def kendall_order(x: Floats, y: Floats) -> Order:
    """Concordant, discordant and tied pairs, in O(N log N) (Knight 1966)."""
    from tasks.metrics.kernels import discordant_pairs

    dense_x, dense_y = _ranks(x, "dense").astype(np.int64), _ranks(y, "dense").astype(np.int64)
    order = np.argsort(dense_x, kind="stable")
    discordant = int(discordant_pairs(dense_y[order], dense_x[order]))
    n = len(x)

    def tied(codes: Ints) -> int:
        sizes = np.unique(codes, return_counts=True)[1].astype(np.int64)
        return int((sizes * (sizes - 1) // 2).sum())

    pairs, tied_x, tied_y = n * (n - 1) // 2, tied(dense_x), tied(dense_y)
    tied_both = tied(dense_x * np.int64(n + 1) + dense_y)
    return Order(pairs, pairs - tied_x - tied_y + tied_both - discordant, discordant, tied_x, tied_y)


def influence(x: Floats, y: Floats) -> Floats:
    """How much Spearman's ρ moves per unit of weight put on each row, the shift of all ranks included.

    With mid-distribution values U, V (mean ½ whatever the weights): cov = E[UV] - ¼. A row's weight enters E[UV] by its own
    product and by raising the ranks above it; the variances, which ties make random, are treated alike.
    """
    n = len(x)
    u, v = (_ranks(x) - 0.5) / n, (_ranks(y) - 0.5) / n

    def above(values: Floats, other: Floats) -> Floats:
        """For each row i: mean over rows j of other_j · ([value_j > value_i] + ½ [value_j = value_i])."""
        codes = np.unique(values, return_inverse=True)[1]
        sums = np.bincount(codes, weights=other)
        behind = np.concatenate([np.cumsum(sums[::-1])[::-1][1:], [0.0]])
        return (behind + 0.5 * sums)[codes] / n

    cross, xx, yy = (u * v).mean(), (u * u).mean(), (v * v).mean()
    covariance, variance_x, variance_y = cross - 0.25, xx - 0.25, yy - 0.25
    moves = u * v + above(x, v) + above(y, u) - 3 * cross
    moves_x = u * u + 2 * above(x, u) - 3 * xx
    moves_y = v * v + 2 * above(y, v) - 3 * yy
    scale = np.sqrt(variance_x * variance_y)
    return moves / scale - 0.5 * covariance / scale * (moves_x / variance_x + moves_y / variance_y)


def clustered_variance(values: Floats, clusters: Ints) -> float:
    """Variance of the mean of influence values whose clusters are independent; NaN with fewer than two clusters."""
    sums = np.bincount(clusters, weights=values)
    count = len(np.unique(clusters))
    return float("nan") if count < 2 else float((sums**2).sum() / len(values) ** 2 * count / (count - 1))


def effective_clusters(clusters: Ints) -> float:
    """n² / Σ n_c²: how many clusters of equal size would say as much."""
    sizes = np.bincount(clusters).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def two_way_p(rows: Rows, rho: float) -> tuple[float | None, str]:
    """Two-sided p of ρ = 0 for new examples and new outputs (§6b), and what a reader must know of it.

    t = ρ / SE, SE² = V_example + V_output - V_both, min(clusters) - 1 degrees of freedom.
    """
    from scipy import stats

    example = np.unique(rows.example, return_inverse=True)[1]
    output = np.unique(rows.output, return_inverse=True)[1]
    smallest = min(int(example.max()), int(output.max())) + 1
    if smallest < 2:
        return None, "no p: all rows share one example or one output n-gram"
    values = influence(rows.x, rows.y)
    by_example, by_output = clustered_variance(values, example), clustered_variance(values, output)
    both = clustered_variance(values, np.unique(example * (output.max() + 1) + output, return_inverse=True)[1])
    variance = by_example + by_output - both
    if variance <= 0:  # possible in small samples; the larger one-way variance is then the cautious answer
        variance = max(by_example, by_output)
    if not variance > 1e-24:
        return None, "no p: the standard error is 0"
    p = float(2 * stats.t.sf(abs(rho) / np.sqrt(variance), smallest - 1))
    few = [
        f"{effective_clusters(c):.1f} {name}"
        for c, name in ((example, "examples"), (output, "output n-grams"))
        if effective_clusters(c) < FEWEST_CLUSTERS
    ]
    return p, "few effective clusters: " + ", ".join(few) if few else ""


# -- intervals ------------------------------------------------------------------------------------------------------
def draw_counts(clusters: int, draws: int, seed: int) -> Callable[[], NDArray[np.int32] | None]:
    """A source of bootstrap weights: each call gives up to 64 draws (draws × clusters), None at the end.

    The weights depend on `seed` and the number of clusters only, so that two measures of the same rows share draws.
    """
    rng = np.random.default_rng(seed)
    left = [draws]

    def more() -> NDArray[np.int32] | None:
        count = min(DRAWS_AT_ONCE, left[0])
        left[0] -= count
        if count == 0:
            return None
        chosen = rng.integers(0, clusters, size=(count, clusters))
        chosen += np.arange(count)[:, None] * clusters
        return np.bincount(chosen.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.int32)

    return more


def bootstrap_correlation(rows: Rows, draws: int, seed: int, *, ranked: bool = True, new_outputs: bool = False) -> Floats:
    """Correlations of `draws` resamples of whole examples; with `new_outputs` of examples and output n-grams at once.

    Draws in which a side does not vary are NaN. Rows are sorted once; a draw costs O(rows).
    """
    from tasks.metrics.kernels import weighted_correlations

    by_x = np.argsort(rows.x, kind="stable")  # rows in the order of x: the kernel then walks memory forward
    x, y = np.ascontiguousarray(rows.x[by_x]), np.ascontiguousarray(rows.y[by_x])
    y_order = np.argsort(y, kind="stable")
    example = np.unique(rows.example[by_x], return_inverse=True)[1]
    output = np.unique(rows.output[by_x], return_inverse=True)[1] if new_outputs else np.zeros(len(x), dtype=np.int64)
    source = draw_counts(int(example.max()) + 1, draws, seed)
    other = draw_counts(int(output.max()) + 1, draws, seed + 1)
    found: list[Floats] = []
    while (weights := source()) is not None:
        second = other()
        assert second is not None
        found.append(
            weighted_correlations(x, y, np.arange(len(x)), x, y_order, y[y_order], example, weights, output, second, ranked)
        )
    return np.concatenate(found)


def percentile_interval(draws: Floats) -> tuple[float | None, float | None, str]:
    """The middle 95 % of the draws that have a value; none if more than half have no value."""
    defined = draws[np.isfinite(draws)]
    if len(defined) * 2 < len(draws) or not len(defined):
        return None, None, "no interval: most resamples are constant"
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high), ""


def correlate(
    rows: Rows,
    draws: int,
    seed: int,
    *,
    x_name: str = "x",
    y_name: str = "y",
    ranked: bool = True,
    new_outputs: bool = False,
) -> Estimate:
    """Spearman's ρ (or Pearson's r) with its bootstrap interval; for Spearman also the two-way clustered p."""
    why = undefined(rows, x_name, y_name)
    if why:
        return Estimate(None, note=why)
    value = spearman(rows.x, rows.y) if ranked else float(np.clip(np.corrcoef(rows.x, rows.y)[0, 1], -1.0, 1.0))
    p, note = two_way_p(rows, value) if ranked else (None, "")
    if rows.examples < 2:
        return Estimate(value, p_value=p, note=_join(note, "no interval: one example"))
    low, high, missing = percentile_interval(
        bootstrap_correlation(rows, draws, seed, ranked=ranked, new_outputs=new_outputs)
    )
    return Estimate(value, low, high, p, _join(note, missing))


def bootstrap_statistic(rows: int, draws: int, seed: int, statistic: Callable[[NDArray[np.int32]], Floats]) -> Floats:
    """`statistic` of weights (draws × rows), called for at most 64 draws at a time."""
    source, found = draw_counts(rows, draws, seed), []
    while (weights := source()) is not None:
        found.append(np.asarray(statistic(weights), dtype=np.float64))
    return np.concatenate(found)


def ratio(numerators: Floats, denominators: Floats, draws: int, seed: int) -> Estimate:
    """Σ numerators / Σ denominators, with a percentile interval over rows, one per example. A mean has denominators 1.

    Standard error: linearised, √(n/(n-1) Σ (a - r·b)²) / Σ b; for a mean s/√n.
    """
    total = float(denominators.sum()) if len(denominators) else 0.0
    if total == 0:
        return Estimate(None, note="nothing to divide by")
    value = float(numerators.sum()) / total
    if len(numerators) < 2:
        return Estimate(value, note="no interval: one example")

    def of(weights: NDArray[np.int32]) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ numerators) / (weights @ denominators)

    low, high, missing = percentile_interval(bootstrap_statistic(len(numerators), draws, seed, of))
    rest, n = numerators - value * denominators, len(numerators)
    return Estimate(
        value, low, high, note=missing, standard_error=float(np.sqrt(n / (n - 1) * (rest**2).sum()) / abs(total))
    )


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


def share(values: Floats) -> Estimate:
    """Wilson's share of values in [0, 1]; the standard error, s/√n, knows that ties are not whole ones."""
    found = wilson(float(values.sum()), len(values))
    return replace(found, standard_error=float(values.std(ddof=1) / np.sqrt(len(values)))) if len(values) > 1 else found


def bootstrap_error(draws: Floats) -> float | None:
    """Standard deviation of the draws that have a value; None with fewer than two, or where most have none."""
    defined = draws[np.isfinite(draws)]
    return float(defined.std(ddof=1)) if len(defined) > 1 and len(defined) * 2 >= len(draws) else None


def benjamini_hochberg(p_values: Floats) -> Floats:
    """q-values of one family (false discovery rate)."""
    from scipy import stats

    return np.maximum(stats.false_discovery_control(p_values), p_values) if len(p_values) else p_values


def _join(*notes: str) -> str:
    return "; ".join(n for n in notes if n)
