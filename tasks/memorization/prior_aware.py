"""Prior-aware memorization: is a suffix likely after its own prefix only, or after any (arXiv 2602.18733)?

    gain = log p(suffix | its prefix) − log (1/J) Σ_j p(suffix | prefix_j)        J prefixes of unrelated windows

A list of countries has a high p after any prefix: extracting it tells little about training. An extracted window is common if its
gain is no larger than that of 95 % of phantoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import Measure, MetricRows, draw_settings
from tasks.memorization.scored_windows import MEASURED, difference_of_means, mean, null_of, read_windows
from tasks.statistics import Estimate, wilson
from tasks.step import Work, asks_for_memorization

QUANTILE = 0.95


def log_mean(values: Sequence[Sequence[float]]) -> list[float | None]:
    """The log of the mean of e^value of each list, right where e^value is 0 in float64; None for an empty list.

    >>> log_mean([[-1000.0, -1000.0], []])
    [-1000.0, None]
    """
    return [float(np.logaddexp.reduce(np.array(v, np.float64)) - np.log(len(v))) if len(v) else None for v in values]


def run(work: Work, rows: MetricRows) -> None:
    """Mean gain of every sample of each model's last checkpoint, and the share of extracted windows that are common."""
    for windows in read_windows(work, "extracted", "suffix_log_p", "unrelated_log_p", of="sequence_measures"):
        gains = windows.values["suffix_log_p"] - windows.values["unrelated_log_p"].astype(np.float64)
        samples = {name: at[~np.isnan(gains[at])] for name, at in windows.samples()}
        for sample, at in samples.items():
            if not len(at):  # an earlier checkpoint, or every window related to every other
                continue
            more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": sample}
            clusters, null = windows.clusters(at), samples.get(null_of(sample) or sample, at[:0])
            more |= {"rows": len(at), "examples": int(clusters.max()) + 1}
            rows.add("prior_aware", "gain", mean(gains[at], clusters, work), **more)
            given = at[windows.values["extracted"][at]]
            extracted, sizes = gains[given], {"rows": len(given), "examples": len(np.unique(windows.clusters(given)))}
            common = Estimate(None, note="no phantoms to compare with")
            if len(null):
                common = wilson(int((extracted <= np.quantile(gains[null], QUANTILE)).sum()), len(extracted))
            rows.add("prior_aware", "common_share", common, **{**more, **sizes})
            if null_of(sample):
                both, members = np.concatenate([at, null]), np.arange(len(at) + len(null)) < len(at)
                excess = difference_of_means(gains[both], members, windows.clusters(both), work)
                rows.add("prior_aware", "excess", excess, **more)


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals; windows and scores decide the rest."""
    return draw_settings(study)


def applies(study: Study) -> bool:
    """A study with `[memorization]` whose suffixes are scored after unrelated prefixes."""
    return asks_for_memorization(study) and bool(study.memorization and study.memorization.unrelated_prefixes)


MEASURE = Measure("prior_aware", MEASURED, settings, run, applies=applies, keeps_contaminated=True, of_tasks=False)
