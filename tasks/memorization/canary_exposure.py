"""Exposure of canaries: bits by which a planted suffix outranks equal ones that were never inserted (arXiv 1802.08232 §4.2).

    exposure = log₂ |R| − log₂ rank        R: the window and all planted phantoms of its group, ranked by log p of the suffix

Of a canary that the model has not learned, rank / |R| is uniform and the mean exposure about log₂ e = 1.44 bits; log₂ |R| is the
most that can be seen. Beyond it, exposure is extrapolated: −log₂ of the share of the references' log p above the canary's, by a
skew-normal distribution with their mean, variance and skewness. Ties count against a canary.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from schemas.tables.sequences import NULLS
from tasks.measures import MetricRows
from tasks.memorization.scored_windows import WindowSample, of_windows, read_windows
from tasks.statistics import Estimate, Floats
from tasks.step import Work

PLANTED, NULL = "planted", NULLS["planted"]
FEWEST_REFERENCES, MANY_REFERENCES = 10, 10_000  # for a distribution to be fitted; for its tail to be known


def exposure(scores: Floats, references: Floats, among: bool = False) -> Floats:
    """Bits of each score, higher ones being likelier, among the references and itself; `among`: the scores are the references.

    >>> exposure(np.array([5.0, 0.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [2.0, 0.0]
    """
    at_least = len(references) - np.searchsorted(np.sort(references), scores, side="left")
    size, ranks = (len(references), at_least) if among else (len(references) + 1, at_least + 1)
    return np.log2(size) - np.log2(ranks)


def extrapolated(scores: Floats, references: Floats) -> Floats | None:
    """The same by the skew-normal distribution of the references; None for fewer than ten, or if they do not vary."""
    from scipy import special, stats

    if len(references) < FEWEST_REFERENCES or np.ptp(references) == 0:
        return None
    skewness = float(np.clip(stats.skew(-references), -0.99, 0.99))
    power = abs(skewness) ** (2 / 3)
    delta = np.sign(skewness) * np.sqrt(np.pi / 2 * power / (power + ((4 - np.pi) / 2) ** (2 / 3)))
    shape, scale = delta / np.sqrt(1 - delta**2), references.std() / np.sqrt(1 - 2 * delta**2 / np.pi)
    z = (-scores + references.mean() + scale * delta * np.sqrt(2 / np.pi)) / scale
    steps = np.concatenate([[0.0], np.geomspace(1e-8, 40, 4000)])  # a closed form loses all digits in the tail
    values = np.empty(len(z))
    for i, end in enumerate(z):
        at = end - steps
        log_density = np.log(2) - at * at / 2 - np.log(2 * np.pi) / 2 + special.log_ndtr(shape * at)
        top = log_density.max()
        values[i] = top + np.log(np.trapezoid(np.exp(log_density - top), steps))
    return np.maximum(0.0, -values / np.log(2))


def exposures(places: pl.DataFrame, suffix_log_p: Floats) -> Mapping[str, pl.Series]:
    """The columns `exposure` and `exposure_extrapolated` for rows of `sequences`; null but for planted windows and phantoms."""
    bits = {name: np.full(len(places), np.nan) for name in ("exposure", "exposure_extrapolated")}
    samples, groups = places["sample"].to_numpy(), places["group"].to_numpy()
    for group in np.unique(groups):
        null = np.flatnonzero((samples == NULL) & (groups == group))
        for sample in (PLANTED, NULL):
            at = np.flatnonzero((samples == sample) & (groups == group))
            if len(at) and len(null):
                bits["exposure"][at] = exposure(suffix_log_p[at], suffix_log_p[null], among=sample != PLANTED)
                if (values := extrapolated(suffix_log_p[at], suffix_log_p[null])) is not None:
                    bits["exposure_extrapolated"][at] = values
    return {name: pl.Series(values, nan_to_null=True) for name, values in bits.items()}


def run(work: Work, rows: MetricRows) -> None:
    """Mean exposure of each group of planted windows and each bucket of occurrences, next to that of planted phantoms."""
    for windows in read_windows(work, rows, "canary_exposure", "exposure", "exposure_extrapolated"):
        groups = windows.table["group"].to_numpy()
        for sample in windows.samples():
            for group in np.unique(groups[sample.at]) if sample.name in (PLANTED, NULL) else ():
                _add(sample.where(groups == group, detail=str(group)), windows.values)


def _add(sample: WindowSample, values: Mapping[str, Floats]) -> None:
    references = len(sample.null if sample.members else sample.at)
    bits, tail = values["exposure"], values["exposure_extrapolated"]
    if not references:
        sample.add("mean", Estimate(None, note="no planted phantoms to rank it among; nothing to divide by"))
        return
    sample.add_mean(bits)
    if np.isfinite(tail[sample.at].astype(np.float64)).all():
        few = f"extrapolated from {references} references, fewer than {MANY_REFERENCES}" if references < MANY_REFERENCES else ""
        sample.add("extrapolated", sample.mean(tail), note=few)
    for bucket in sample.by_duplicates() if sample.members else ():
        bucket.add("by_duplicates", bucket.mean(bits))


MEASURE = of_windows("canary_exposure", run)
