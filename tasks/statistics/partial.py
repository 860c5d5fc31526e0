"""Partial rank correlations, all from one matrix of rank correlations (docs/method.md §6b).

    partial ρ(x, y | Z)  = Pearson of the residuals of the mid-ranks of x and y on those of Z, with intercept
    R²(y | Z)            = share of the variance of y's mid-ranks that the mid-ranks of Z explain, linearly
Both are functions of the correlations alone, so that a bootstrap needs the matrix of each draw and no rows. Matrices come as a
stack (draws, k, k); a draw in which a column that is used does not vary is NaN and gives NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.correlation import Floats

SINGULAR = 1e-9  # controls whose ranks are the same but for rounding count once
NOTHING_LEFT = 1e-9  # residual variance, of 1, that counts as rounding


def rank_correlations(columns: Floats, weights: Floats | None = None) -> Floats:
    """Spearman's matrix (k, k) of the columns (k, n), with weighted mid-ranks where rows have weights; NaN for constants."""
    w = np.ones(columns.shape[1]) if weights is None else weights
    ranks = np.empty(columns.shape)
    for row, values in enumerate(columns):
        code = np.unique(values, return_inverse=True)[1]
        sizes = np.bincount(code, weights=w)
        ranks[row] = (np.cumsum(sizes) - 0.5 * sizes)[code] / w.sum()
    ranks -= (ranks @ w / w.sum())[:, None]
    cross = (ranks * w) @ ranks.T
    scale = np.sqrt(np.diag(cross))
    scale[[len(np.unique(values)) < 2 for values in columns]] = np.nan
    return np.clip(cross / np.outer(scale, scale), -1.0, 1.0)


def partial_correlation(matrices: Floats, controls: Sequence[int], x: int = 0, y: int = 1) -> Floats:
    """Partial correlation of columns x and y in every matrix of a stack; NaN where the controls fix x or y."""
    values, usable = _usable(matrices, [x, y, *controls])
    kept = matrices[usable]
    if not controls:
        values[usable] = kept[:, x, y]
    elif len(kept):
        of_x, of_y, inverse = kept[:, x][:, controls], kept[:, y][:, controls], _inverse(kept, controls)
        cross, rest_x, rest_y = (np.einsum("di,dij,dj->d", a, inverse, b) for a, b in ((of_x, of_y), (of_x, of_x), (of_y, of_y)))
        rest, rest_x, rest_y = kept[:, x, y] - cross, 1 - rest_x, 1 - rest_y
        with np.errstate(invalid="ignore", divide="ignore"):
            partial = np.clip(rest / np.sqrt(rest_x * rest_y), -1.0, 1.0)
        values[usable] = np.where((rest_x > NOTHING_LEFT) & (rest_y > NOTHING_LEFT), partial, np.nan)
    return values


def explained(matrices: Floats, predictors: Sequence[int], y: int = 0) -> Floats:
    """R² of column y on the predictors in every matrix of a stack."""
    values, usable = _usable(matrices, [y, *predictors])
    kept = matrices[usable]
    if not predictors:
        values[usable] = 0.0
    elif len(kept):
        of_y = kept[:, y][:, predictors]
        values[usable] = np.clip(np.einsum("di,dij,dj->d", of_y, _inverse(kept, predictors), of_y), 0.0, 1.0)
    return values


def _usable(matrices: Floats, used: list[int]) -> tuple[Floats, NDArray[np.bool_]]:
    """NaN for each matrix, and which of them have a value in all of these columns."""
    usable = np.isfinite(matrices[:, used][:, :, used]).all(axis=(1, 2))
    return np.full(len(matrices), np.nan), np.asarray(usable, np.bool_)


def _inverse(matrices: Floats, controls: Sequence[int]) -> Floats:
    return np.asarray(np.linalg.pinv(matrices[:, controls][:, :, controls], rcond=SINGULAR, hermitian=True), np.float64)
