"""A hinge through the points of a ladder: slope(N) = max(0, b · (log N - log N₀)). NumPy in, NumPy out.

The least-squares hinge is found exactly. Between two neighbouring sizes the sum of squares is smooth and the models above the
onset are fixed, so its minimum there is an ordinary line through those models if that line meets zero between the two sizes;
otherwise it is at one of the sizes. So the candidates are one line and one size for each step of the ladder.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.correlation import Floats


def fit_hinges(sizes: Floats, slopes: Floats) -> tuple[Floats, Floats]:
    """Onset and b of the best hinge of each draw. Shapes: log sizes (m,), slopes (draws, m) → (draws,), (draws,). An onset of -inf:
    all slopes are above zero on a line that does not fall, so it is at or below the smallest size. +inf: no slope is above zero, or
    only the largest size's, so that it may be anywhere above the last but one; b is NaN then. Sizes may repeat; there must be three
    different ones."""
    order = np.argsort(sizes, kind="stable")
    t, s = sizes[order], slopes[:, order]
    knots, draws = np.unique(t), len(s)
    squares = (s**2).sum(axis=1)
    best, onset, rise = squares.copy(), np.full(draws, np.inf), np.full(draws, np.nan)  # b = 0: no onset

    def offer(at: Floats, b: Floats, error: Floats, allowed: NDArray[np.bool_]) -> None:
        better = allowed & (error < best - 1e-12 * squares)
        best[better], onset[better], rise[better] = error[better], at[better], b[better]

    for k in range(-1, len(knots) - 2):  # the onset lies between knots k and k + 1; -1: below all
        active = t > knots[k] if k >= 0 else np.ones(len(t), dtype=bool)
        away = t[active] - t[active].mean()
        mean = s[:, active].mean(axis=1)
        b = s[:, active] @ away / (away @ away)
        if k < 0:
            b = np.maximum(b, 0)  # a falling line is no hinge; the flat one is the limit of hinges that begin far below
        error = (s[:, ~active] ** 2).sum(axis=1) + ((s[:, active] - mean[:, None] - b[:, None] * away) ** 2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            zero = t[active].mean() - mean / b
        if k < 0:
            offer(np.full(draws, -np.inf), b, error, (mean > 0) & (zero < knots[0]))
        else:
            offer(zero, b, error, (b > 0) & (zero >= knots[k]) & (zero < knots[k + 1]))
    for k, knot in enumerate(knots[:-1]):
        height = np.maximum(t - knot, 0)
        b = s @ height / (height @ height)
        last = k == len(knots) - 2
        offer(np.full(draws, np.inf if last else knot), b * (np.nan if last else 1), squares - b * (s @ height), b > 0)
    return onset, rise
