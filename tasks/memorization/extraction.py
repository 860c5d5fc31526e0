"""Extraction: the share of windows whose next tokens greedy decoding gives exactly (arXiv 2202.07646 Def. 3.1).

    extracted(k, l)      tokens k + 1 … k + l are all the likeliest ones, given the k before them
    longest run          the most likeliest tokens in a row, from any offset of the window
    strength             1 − min{k : tokens k + 1 … T are all likeliest} / T, and 0 if the last token is not

Every rate stands next to that of phantoms, which no model was trained on: the excess is their difference, with Newcombe's
interval. Rates have Wilson's interval, means one that draws whole clusters of near copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Study
from tasks.measures import Measure, MetricRows, draw_settings
from tasks.memorization.scored_windows import MEASURED, ScoredWindows, difference_of_means, mean, null_of, read_windows
from tasks.statistics import Ints, difference, wilson
from tasks.statistics.bins import bucket_of
from tasks.step import Work, asks_for_memorization

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
    for windows in read_windows(work, "extracted", "extracted_from", "longest_run", "strength", of="sequence_measures"):
        exact, samples = windows.values["extracted"], dict(windows.samples())
        groups = windows.table["group"].to_numpy()
        for name, at in samples.items():
            clusters, null = windows.clusters(at), samples.get(null_of(name), at[:0])
            more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": name}
            more |= {"rows": len(at), "examples": int(clusters.max()) + 1}
            _rates(windows, at, null, exact, rows, more)
            for k, count in enumerate(windows.values["extracted_from"][at].sum(axis=0).tolist(), 1):
                rows.add("extraction", "rate_by_prefix", wilson(count, len(at)), level=float(k), x=float(k), **more)
            both, members = np.concatenate([at, null]), np.arange(len(at) + len(null)) < len(at)
            for statistic in ("longest_run", "strength"):
                values = windows.values[statistic].astype(np.float64)
                rows.add("extraction", statistic, mean(values[at], clusters, work), **more)
                if null_of(name):
                    gap = difference_of_means(values[both], members, windows.clusters(both), work)
                    rows.add("extraction", f"{statistic}_excess", gap, **more)
            for kind in np.unique(groups[at]) if name in BY_KIND else ():
                here = at[groups[at] == kind]
                sizes = {"rows": len(here), "examples": len(np.unique(windows.clusters(here)))}
                _rates(windows, here, null[groups[null] == kind], exact, rows, {**more, **sizes, "detail": str(kind)})


def _rates(windows: ScoredWindows, at: Ints, null: Ints, exact: NDArray[np.bool_], rows: MetricRows, more: dict[str, Any]) -> None:
    """The rate of some windows and, of members, its excess over the phantoms `null`, and the rate of each bucket of occurrences."""
    rows.add("extraction", "rate", wilson(int(exact[at].sum()), len(at)), **more)
    if null_of(more["group"]):
        excess = difference(int(exact[at].sum()), len(at), int(exact[null].sum()), len(null))
        rows.add("extraction", "excess", excess, **more)
        _by_duplicates(windows, at, exact[at], rows, more)


def _by_duplicates(windows: ScoredWindows, at: Ints, exact: NDArray[np.bool_], rows: MetricRows, more: dict[str, Any]) -> None:
    """The rate of each bucket of occurrences that has windows; `x` is their mean number of occurrences."""
    occurrences = windows.table["occurrences"].to_numpy()[at]
    buckets = np.array([bucket_of(int(count)) for count in occurrences])
    for bucket in np.unique(buckets):
        here = buckets == bucket
        rate, sizes = wilson(int(exact[here].sum()), int(here.sum())), {"rows": int(here.sum())}
        sizes["examples"] = len(np.unique(windows.clusters(at)[here]))
        x = float(occurrences[here].mean())
        rows.add("extraction", "rate_by_duplicates", rate, bin=int(bucket), x=x, **{**more, **sizes})


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals; windows and scores decide the rest."""
    return draw_settings(study)


MEASURE = Measure("extraction", MEASURED, settings, run, applies=asks_for_memorization, keeps_contaminated=True, of_tasks=False)
