"""Exposure of canaries: bits by which a planted suffix outranks equal ones that were never inserted (arXiv 1802.08232 §4.2).

    exposure = log₂ |R| − log₂ rank        R: the window and all planted phantoms of its group, ranked by log p of the suffix

Of a canary that the model has not learned, rank / |R| is uniform and the mean exposure about log₂ e = 1.44 bits; log₂ |R| is the
most that can be seen. Beyond it, exposure is extrapolated: −log₂ of the share of the references' log p above the canary's, by a
skew-normal distribution with their mean, variance and skewness. Ties count against a canary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.measures import Measure, MetricRows, draw_settings
from tasks.memorization.scored_windows import MEASURED, ScoredWindows, difference_of_means, mean, null_of, read_windows
from tasks.statistics import Floats, Ints
from tasks.statistics.bins import bucket_of
from tasks.step import Work, asks_for_memorization

PLANTED = "planted"
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
        null = np.flatnonzero((samples == null_of(PLANTED)) & (groups == group))
        for sample in (PLANTED, null_of(PLANTED)):
            at = np.flatnonzero((samples == sample) & (groups == group))
            if len(at) and len(null):
                bits["exposure"][at] = exposure(suffix_log_p[at], suffix_log_p[null], among=sample != PLANTED)
                if (values := extrapolated(suffix_log_p[at], suffix_log_p[null])) is not None:
                    bits["exposure_extrapolated"][at] = values
    return {name: pl.Series(values, nan_to_null=True) for name, values in bits.items()}


def run(work: Work, rows: MetricRows) -> None:
    """Mean exposure of each group of planted windows and each bucket of occurrences, next to that of planted phantoms."""
    for windows in read_windows(work, "exposure", "exposure_extrapolated", of="sequence_measures"):
        groups = windows.table["group"].to_numpy()
        samples = {name: at for name, at in windows.samples() if name in (PLANTED, null_of(PLANTED))}
        for sample, at in samples.items():
            for group in np.unique(groups[at]):
                mine = at[groups[at] == group]
                null = samples.get(null_of(PLANTED), at[:0])
                _of_group(windows, mine, null[groups[null] == group], sample, str(group), work, rows)


def _of_group(windows: ScoredWindows, mine: Ints, null: Ints, sample: str, group: str, work: Work, rows: MetricRows) -> None:
    values, tail = (windows.values[name].astype(np.float64) for name in ("exposure", "exposure_extrapolated"))
    more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": sample, "detail": group}
    more |= {"rows": len(mine), "examples": len(np.unique(windows.clusters(mine)))}
    if not len(null):
        none = mean(np.empty(0), np.empty(0, np.int64), work)
        rows.add("canary_exposure", "mean", none, note="no planted phantoms to rank it among", **more)
        return
    few = f"extrapolated from {len(null)} references, fewer than {MANY_REFERENCES}" if len(null) < MANY_REFERENCES else ""
    rows.add("canary_exposure", "mean", mean(values[mine], windows.clusters(mine), work), **more)
    if np.isfinite(tail[mine]).all():
        rows.add("canary_exposure", "extrapolated", mean(tail[mine], windows.clusters(mine), work), note=few, **more)
    if sample == PLANTED:
        both, members = np.concatenate([mine, null]), np.arange(len(mine) + len(null)) < len(mine)
        excess = difference_of_means(values[both], members, windows.clusters(both), work)
        rows.add("canary_exposure", "excess", excess, **more)
        occurrences = windows.table["occurrences"].to_numpy()[mine]
        buckets = np.array([bucket_of(int(count)) for count in occurrences])
        for bucket in np.unique(buckets):
            here = buckets == bucket
            estimate = mean(values[mine[here]], windows.clusters(mine[here]), work)
            sizes = {"rows": int(here.sum()), "examples": len(np.unique(windows.clusters(mine[here])))}
            which: dict[str, Any] = {"bin": int(bucket), "x": float(occurrences[here].mean())}
            rows.add("canary_exposure", "by_duplicates", estimate, **{**more, **sizes, **which})


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals; windows and scores decide the rest."""
    return draw_settings(study)


MEASURE = Measure(
    "canary_exposure", MEASURED, settings, run, applies=asks_for_memorization, keeps_contaminated=True, of_tasks=False
)
