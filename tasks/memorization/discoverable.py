"""(n, p)-discoverable extraction: n samples give the suffix at least once with a probability of p (arXiv 2410.19482).

    p_z = Π_t q(s_t | prefix, s_<t) under a sampling scheme q        P(n) = 1 − (1 − p_z)^n ≥ p

P(n) is computed from log p_z, which is −200 and less for suffixes that a model does not know. Where the scheme cuts a token of
the suffix, p_z is exactly 0, and no n helps: the share of these windows is a number of its own. Every rate stands next to that of
phantoms.
"""

from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import MetricRows
from tasks.memorization.scored_windows import WindowSample, of_windows, read_windows
from tasks.statistics import Estimate, Floats
from tasks.step import Work

POWERS, LEVELS = range(7), (0.1, 0.5, 0.9, 0.999)  # n = 10^0 … 10^6; p
POISSON = -36.0  # below e^-36, 1 − p_z is 1 in float64, and −n p_z is log((1 − p_z)^n) to the last digit


def chance(log_p: Floats, n: float) -> Floats:
    """1 − (1 − e^log_p)^n, right to a relative 1e-9 for every log_p ≤ 0 whose result is a normal number; 0 for −∞."""
    log_p = np.asarray(log_p, np.float64)
    with np.errstate(divide="ignore"):
        large, small = np.log(-np.expm1(np.maximum(log_p, -1.0))), np.log1p(-np.exp(np.minimum(log_p, -0.5)))
    log_fail = np.where(log_p > -np.log(2), large, small)
    exact = -np.expm1(n * log_fail)
    return np.where(log_p < POISSON, -np.expm1(-np.exp(np.log(n) + log_p)), exact)


def run(work: Work, rows: MetricRows) -> None:
    """The curve over n and p of every sample, scheme and checkpoint; the share of windows that are out of reach."""
    for windows in read_windows(work, rows, "discoverable", "sampled_log_p"):
        for scheme, name in enumerate(work.settings["schemes"]):
            log_p = windows.values["sampled_log_p"][:, scheme]
            chances = {power: chance(log_p, 10.0**power) for power in POWERS}
            for sample in windows.samples(detail=name):
                sample.add("cut_share", sample.share(np.isneginf(log_p)))
                _curve(sample, chances)


def _curve(sample: WindowSample, chances: dict[int, Floats]) -> None:
    """Rates over n and p and, for members, their excess over phantoms and the n at which it is largest."""
    for level in LEVELS:
        excess: dict[int, float] = {}
        for power, values in chances.items():
            excess[power] = sample.add_rate(values >= level, bin=power, level=level, x=10.0**power).value or 0.0
        if sample.members and len(sample.null):
            sample.add("n_of_largest_excess", Estimate(10.0 ** max(excess, key=excess.__getitem__)), level=level)


def settings(study: Study) -> dict[str, Any]:
    """The names of the schemes, in their order."""
    return {"schemes": [scheme.label for scheme in study.memorization.sampling] if study.memorization else []}


MEASURE = of_windows("discoverable", run, settings=settings)
