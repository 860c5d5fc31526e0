"""Prior-aware memorization: is a suffix likely after its own prefix only, or after any (arXiv 2602.18733)?

    gain = log p(suffix | its prefix) − log (1/J) Σ_j p(suffix | prefix_j)        J prefixes of unrelated windows

A list of countries has a high p after any prefix: extracting it tells little about training. An extracted window is common if its
gain is no larger than that of 95 % of phantoms.
"""

from collections.abc import Sequence

import numpy as np

from schemas import Study
from tasks.measures import MetricRows
from tasks.memorization.scored_windows import of_windows, read_windows
from tasks.statistics import Estimate
from tasks.step import Work

QUANTILE = 0.95


def log_mean(values: Sequence[Sequence[float]]) -> list[float | None]:
    """The log of the mean of e^value of each list, right where e^value is 0 in float64; None for an empty list.

    >>> log_mean([[-1000.0, -1000.0], []])
    [-1000.0, None]
    """
    return [float(np.logaddexp.reduce(np.array(v, np.float64)) - np.log(len(v))) if len(v) else None for v in values]


def run(work: Work, rows: MetricRows) -> None:
    """Mean gain of every sample of each model's last checkpoint, and the share of extracted windows that are common."""
    for windows in read_windows(work, rows, "prior_aware", "extracted", "suffix_log_p", "unrelated_log_p"):
        gains = windows.values["suffix_log_p"] - windows.values["unrelated_log_p"].astype(np.float64)
        for sample in (s.where(~np.isnan(gains)) for s in windows.samples()):
            if len(sample.at):  # else an earlier checkpoint, or every window is related to every other
                sample.add_mean(gains, "gain")
                extracted, null = sample.where(windows.values["extracted"]), sample.null if sample.members else sample.at
                common = Estimate(None, note="no phantoms to compare with")
                if len(null):
                    common = extracted.share(gains <= np.quantile(gains[null], QUANTILE))
                extracted.add("common_share", common)


def applies(study: Study) -> bool:
    """A study with `[memorization]` whose suffixes are scored after unrelated prefixes."""
    return study.memorization is not None and bool(study.memorization.unrelated_prefixes)


MEASURE = of_windows("prior_aware", run, applies=applies)
