"""Bins of performance against counts: always one for zero and one for very frequent pairs (docs/method.md §9).

    log        `bins` of equal ratio, from the smallest positive x to the 95th percentile of the positive ones
    linear     of equal width, over the same
    quantile   of equal numbers of examples, over the same; equal counts are never split, so heavy ties make fewer bins

The overflow bin holds the x above that percentile, at most 5 % of the positive x: the paper's scripts drop them, here they
have their own point. The bins depend only on x, which comes from the corpus, so that models can be compared bin by bin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.correlation import Floats

OVERFLOW_ABOVE = 95
"""percentile of the positive x"""


@dataclass(frozen=True)
class Bins:
    """The bin of each example (0: zero, last: overflow), and what each bin covers, in words."""

    code: NDArray[np.int64]
    cover: list[str]

    def end(self, code: int) -> str:
        """`zero` for the bin of zeros, `overflow` for the last one, else nothing."""
        return "zero" if code == 0 else "overflow" if code == len(self.cover) - 1 else ""


def log_bins(x: Floats, bins: int) -> Bins:
    """Zero bin, `bins` log-spaced bins, overflow bin."""
    low, high = _range(x[x > 0])
    return _cut(x, x > 0, np.geomspace(low, high, bins + 1), "0")


def linear_bins(x: Floats, bins: int) -> Bins:
    """Zero bin, `bins` bins of equal width, overflow bin."""
    low, high = _range(x[x > 0])
    return _cut(x, x > 0, np.linspace(low, high, bins + 1), "0")


def quantile_bins(x: Floats, bins: int) -> Bins:
    """Zero bin, at most `bins` bins of as equal numbers of examples as ties allow, overflow bin. Edges are examples' counts."""
    positive = x[x > 0]
    low, high = _range(positive)
    inside = positive[positive <= high]
    shares = np.arange(1, bins) / bins
    inner = np.quantile(inside, shares, method="inverted_cdf") if len(inside) else np.empty(0)
    return _cut(x, x > 0, np.unique(np.concatenate([[low], inner, [high]])), "0")


def mean_log_bins(x: Floats, bins: int) -> Bins:
    """Bins of equal width of x that are logarithms already; bin 0 holds examples without any pair in the corpus (NaN)."""
    finite = np.isfinite(x)
    low, high = _range(x[finite])
    return _cut(x, finite, np.linspace(low, high, bins + 1), "no pair")


def _range(values: Floats) -> tuple[float, float]:
    """Smallest value and 95th percentile; if they are equal, the latter plus one. 1 to 2 without values."""
    values = values if len(values) else np.array([1.0])
    low, high = float(values.min()), float(np.percentile(values, OVERFLOW_ABOVE, method="inverted_cdf"))
    return low, high if high > low else low + 1


def _cut(x: Floats, inside: NDArray[np.bool_], edges: Floats, zero: str) -> Bins:
    """[a, b) …, the last [a, b]; overflow above it."""
    last = len(edges) - 1
    safe = np.where(inside, x, edges[0])
    code = np.clip(np.searchsorted(edges[:-1], safe, side="right"), 1, last) + (safe > edges[-1])
    cover = [f"[{a:.4g}, {b:.4g}{']' if i == last - 1 else ')'}" for i, (a, b) in enumerate(zip(edges, edges[1:], strict=False))]
    return Bins(np.where(inside, code, 0).astype(np.int64), [zero, *cover, f"> {edges[-1]:.4g}"])


def bucket_of(occurrences: int) -> int:
    """n of the bucket [2^{n/4}, 2^{(n+1)/4}) that a number of occurrences, at least 1, falls into; in whole numbers, thus exact.

    >>> [bucket_of(c) for c in (1, 2, 3, 4, 64)]
    [0, 4, 6, 8, 24]
    """
    return (occurrences**4).bit_length() - 1
