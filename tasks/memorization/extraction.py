"""Extraction: the share of windows whose next tokens greedy decoding gives exactly (arXiv 2202.07646 Def. 3.1).

    extracted(k, l)      tokens k + 1 … k + l are all the likeliest ones, given the k before them
    longest run          the most likeliest tokens in a row, from any offset of the window
    strength             1 − min{k : tokens k + 1 … T are all likeliest} / T, and 0 if the last token is not

Every rate stands next to that of phantoms, which no model was trained on: the excess is their difference, with Newcombe's
interval. Rates have Wilson's interval, means one that draws whole clusters of near copies.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.measures import MetricRows
from tasks.memorization.scored_windows import Mask, WindowSample, of_windows, read_windows
from tasks.statistics import Ints, wilson
from tasks.step import Work

LEFT_OUT = (  # sums of the step `sequences`
    ("short_documents", "shorter than a window", "documents"),
    ("held_out_short_documents", "held out, and shorter than a window", "documents"),
    ("phantoms_in_corpus", "of held-out text, but occurs in the corpus", "windows"),
)
BY_KIND = ("planted", "planted_phantoms")  # canaries and sentences have rows of their own
Hits = NDArray[np.bool_]  # [windows, tokens]: whether the token is the likeliest


def extracted_from(hits: Hits, prefix: int) -> NDArray[np.bool_]:
    """bool [windows, prefix]: whether greedy decoding from the first 1, 2 … `prefix` tokens gives as many as a suffix has."""
    suffix = hits.shape[1] - prefix
    right = np.cumsum(hits, axis=1, dtype=np.int32)
    return right[:, suffix:] - right[:, :prefix] == suffix


def longest_run(hits: Hits) -> Ints:
    """int64 [windows]: the most hits in a row."""
    longest = run = np.zeros(len(hits), np.int64)
    for column in hits.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return longest


def strength(hits: Hits) -> NDArray[np.float64]:
    """float64 [windows]: the share of the window that is given back after the shortest prefix; 0 if its last token is wrong."""
    return np.logical_and.accumulate(hits[:, ::-1], axis=1).sum(axis=1) / hits.shape[1]


def run(work: Work, rows: MetricRows) -> None:
    """Rates, runs and strengths of every sample of every checkpoint; what has no window, or is no phantom, is excluded."""
    for part in work.parts("sequences"):
        for name, why, counted in LEFT_OUT:
            if number := work.store.footer(part).get("sums", {}).get(name):
                rows.exclude("extraction", why, number, counted)
    for windows in read_windows(work, rows, "extraction", "extracted", "extracted_from", "longest_run", "strength"):
        exact, groups = windows.values["extracted"], windows.table["group"].to_numpy()
        for sample in windows.samples():
            _add_rates(sample, exact)
            for k, count in enumerate(windows.values["extracted_from"][sample.at].sum(axis=0).tolist(), 1):
                sample.add("rate_by_prefix", wilson(count, len(sample.at)), level=float(k), x=float(k))
            for statistic in ("longest_run", "strength"):
                sample.add_mean(windows.values[statistic], statistic, f"{statistic}_excess")
            for kind in np.unique(groups[sample.at]) if sample.name in BY_KIND else ():
                _add_rates(sample.where(groups == kind, detail=str(kind)), exact)


def _add_rates(sample: WindowSample, exact: Mask) -> None:
    """The rate of some windows and, of members, its excess over the phantoms and the rate of each bucket of occurrences."""
    sample.add_rate(exact)
    for bucket in sample.by_duplicates() if sample.members else ():
        bucket.add("rate_by_duplicates", bucket.share(exact))


MEASURE = of_windows("extraction", run)
