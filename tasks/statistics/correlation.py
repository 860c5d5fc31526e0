"""Rank correlations with ties, the reason where one is undefined, and the influence of each row (docs/method.md §6, §6b, §8)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_ROWS = 3


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; `value` is None where it is not defined, and `note` says why. `standard_error` is given for
    scores: from the values themselves for shares, means and ratios, from the bootstrap for scores of a whole corpus. `clusters` is
    the effective number of clusters of a correlation (n² / Σ n_c²): of examples, or of examples and output n-grams, whichever is
    smaller, where the interval is for both."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    note: str = ""
    standard_error: float | None = None
    clusters: float | None = None


def effective_clusters(clusters: Ints) -> float:
    """n² / Σ n_c²: the number of clusters of equal size with the same information."""
    sizes = np.bincount(clusters).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


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

    @property
    def clusters(self) -> float | None:
        """Effective examples."""
        return effective_clusters(self.example) if len(self) else None

    def take(self, keep: NDArray[np.bool_]) -> "Rows":
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


def _ranks(x: Floats) -> Floats:
    from scipy import stats  # imported here, because every command imports all steps and most compute no statistics

    return stats.rankdata(x)


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
    """Concordant, discordant and tied pairs: exact, since what τ_b is rounded by is far less than a pair."""
    from scipy import stats

    def tied(values: NDArray[np.generic]) -> int:
        sizes = np.unique(values, return_counts=True)[1].astype(np.int64)
        return int((sizes * (sizes - 1) // 2).sum())

    both = np.unique(x, return_inverse=True)[1] * np.int64(len(x)) + np.unique(y, return_inverse=True)[1]
    pairs, tied_x, tied_y = len(x) * (len(x) - 1) // 2, tied(x), tied(y)
    untied = pairs - tied_x - tied_y + tied(both)
    tau = stats.kendalltau(x, y, method="asymptotic").statistic if untied else 0.0
    more = round(float(tau * np.sqrt(float(pairs - tied_x)) * np.sqrt(float(pairs - tied_y))))  # concordant than discordant
    return Order(pairs, (untied + more) // 2, (untied - more) // 2, tied_x, tied_y)


def influence(x: Floats, y: Floats) -> Floats:
    """How much Spearman's ρ moves per unit of weight put on each row, the shift of all ranks included. With mid-distribution values
    U, V (mean ½ whatever the weights): cov = E[UV] - ¼. A row's weight enters E[UV] by its own product and by raising the ranks
    above it; the variances, which ties make random, are treated in the same way."""
    n = len(x)
    u, v = (_ranks(x) - 0.5) / n, (_ranks(y) - 0.5) / n

    def above(values: Floats, other: Floats) -> Floats:
        """For each row i: mean over rows j of other_j · ([value_j > value_i] + ½ [value_j = value_i])."""
        codes = np.unique(values, return_inverse=True)[1]
        sums = np.bincount(codes, weights=other)
        after = np.concatenate([np.cumsum(sums[::-1])[::-1][1:], [0.0]])
        return (after + 0.5 * sums)[codes] / n

    cross, xx, yy = (u * v).mean(), (u * u).mean(), (v * v).mean()
    covariance, variance_x, variance_y = cross - 0.25, xx - 0.25, yy - 0.25
    moves = u * v + above(x, v) + above(y, u) - 3 * cross
    moves_x = u * u + 2 * above(x, u) - 3 * xx
    moves_y = v * v + 2 * above(y, v) - 3 * yy
    scale = np.sqrt(variance_x * variance_y)
    return moves / scale - 0.5 * covariance / scale * (moves_x / variance_x + moves_y / variance_y)
