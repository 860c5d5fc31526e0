"""(n, p)-discoverable extraction: n samples give the suffix at least once with a probability of p (arXiv 2410.19482).

    p_z = Π_t q(s_t | prefix, s_<t) under a sampling scheme q        P(n) = 1 − (1 − p_z)^n ≥ p

P(n) is computed from log p_z, which is −200 and less for suffixes that a model does not know. Where the scheme cuts a token of
the suffix, p_z is exactly 0, and no n helps: the share of these windows is a number of its own. Every rate stands next to that of
phantoms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import Measure, MetricRows
from tasks.memorization.scored_windows import MEASURED, null_of, read_windows
from tasks.statistics import Estimate, Floats, difference, wilson
from tasks.step import Work, asks_for_memorization

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
    for windows in read_windows(work, "sampled_log_p", of="sequence_measures"):
        samples = dict(windows.samples())
        for scheme, name in enumerate(work.settings["schemes"]):
            log_p = {sample: windows.values["sampled_log_p"][at, scheme] for sample, at in samples.items()}
            for sample, values in log_p.items():
                more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": sample, "detail": name}
                more |= {"rows": len(values), "examples": int(windows.clusters(samples[sample]).max()) + 1}
                rows.add("discoverable", "cut_share", wilson(int(np.isneginf(values).sum()), len(values)), **more)
                _curve(values, log_p.get(null_of(sample), np.empty(0)), not null_of(sample), rows, more)


def _curve(values: Floats, phantoms: Floats, alone: bool, rows: MetricRows, more: dict[str, Any]) -> None:
    """Rates over n and p and, for members, their excess over phantoms and the n at which it is largest."""
    excess: dict[float, list[float]] = {level: [] for level in LEVELS}
    for power in POWERS:
        chances, of_phantoms = chance(values, 10.0**power), chance(phantoms, 10.0**power)
        for level in LEVELS:
            here, there = int((chances >= level).sum()), int((of_phantoms >= level).sum())
            which: dict[str, Any] = {"bin": power, "level": level, "x": 10.0**power}
            rows.add("discoverable", "rate", wilson(here, len(values)), **which, **more)
            if not alone:
                estimate = difference(here, len(values), there, len(phantoms))
                rows.add("discoverable", "excess", estimate, **which, **more)
                excess[level].append(estimate.value if estimate.value is not None else -np.inf)
    if not alone and len(phantoms):
        for level, by_power in excess.items():
            best = Estimate(10.0 ** int(np.argmax(by_power)))
            rows.add("discoverable", "n_of_largest_excess", best, level=level, **more)


def settings(study: Study) -> dict[str, Any]:
    """The names of the schemes, in their order."""
    return {"schemes": [scheme.label for scheme in study.memorization.sampling] if study.memorization else []}


MEASURE = Measure("discoverable", MEASURED, settings, run, applies=asks_for_memorization, keeps_contaminated=True, of_tasks=False)
