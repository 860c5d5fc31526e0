"""Token accuracy, the memorization M(f) of arXiv 2205.10770 §3: the share of a window's tokens that are the likeliest ones.

    M(f) = mean of 1[argmax f(s) = y]          excess = Σ_c w_c (M_c of members − M_c of phantoms)

Much of M(f) is generalization, which unseen text shows as well. Frequent tokens are predicted more often, so phantoms are matched:
c is a class of tokens that are as frequent in all windows, [2^c, 2^(c+1)) times, and w_c its share of the members' tokens.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import MetricRows
from tasks.memorization.scored_windows import READS, WindowSample, as_array, of_windows, read_windows
from tasks.statistics import Estimate, Floats, Ints, resample, with_interval
from tasks.step import Work

Classes = NDArray[np.int8]  # [windows, tokens]
AT_ONCE = 2**14  # windows, or clusters, whose numbers are widened to 64 bits: a million at once would need gigabytes


def frequency_classes(ids: Ints) -> Classes:
    """int8 of the shape of `ids`: ⌊log₂ of how often the token is in them⌋."""
    size = int(ids.max()) + 1
    counts = sum(np.bincount(ids[first : first + AT_ONCE].ravel(), minlength=size) for first in range(0, len(ids), AT_ONCE))
    return (np.frexp(np.asarray(counts, np.float64))[1] - 1).astype(np.int8)[ids]


def matched_difference(hits: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """(M of the phantoms, excess of members), float64 [draws] each, matched by class; NaN where no class has both. hits, sizes:
    [draws, members or phantoms, classes]. Classes that phantoms, or members, lack are left out of both."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = hits / sizes
        both = (sizes > 0).all(axis=1)
        weights = np.where(both, sizes[:, 0], 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
        null, members = ((weights * np.where(both, rates[:, side], 0.0)).sum(axis=1) for side in (1, 0))
    return null, members - null


def run(work: Work, rows: MetricRows) -> None:
    """M of every sample and checkpoint; for members, M of matched phantoms and the excess over it."""
    names, places, classes = _classes(work)
    for windows in read_windows(work, rows, "token_accuracy", "hits", of="sequence_scores"):
        hits, of_token = windows.values["hits"], classes[places[names.search_sorted(windows.table["sequence"]).to_numpy()]]
        means = hits.mean(axis=1)
        for sample in windows.samples():
            sample.add("mean", sample.mean(means))
            if sample.members:
                null, excess = _matched(sample, hits, of_token)
                sample.add("matched", null)
                sample.add("excess", excess)


def _classes(work: Work) -> tuple[pl.Series, Ints, Classes]:
    """Names of all windows, sorted; the row of each; and by row the classes of its tokens."""
    sequences = work.frame("sequences", "sequence", "ids")
    names, ids = sequences["sequence"], as_array(sequences["ids"])
    order = names.arg_sort()
    return names[order], order.cast(pl.Int64).to_numpy(), frequency_classes(ids) if len(names) else np.empty((0, 0), np.int8)


def _matched(sample: WindowSample, hits: NDArray[np.bool_], of_token: Classes) -> tuple[Estimate, ...]:
    """Both numbers of `matched_difference`, with intervals that draw whole clusters."""
    if not len(sample.null):
        return (Estimate(None, note="no phantoms to compare with"),) * 2
    both, members, clusters = sample.both
    hits, of_token = hits[both], of_token[both]
    number, classes = int(clusters.max()) + 1, int(of_token.max()) + 1
    most = int(np.bincount(clusters).max()) * hits.shape[1]
    sums = np.zeros((2, number, 2 * classes), np.min_scalar_type(most))
    for of_class in range(classes):  # one after the other, because all of them at once are many times the windows
        mask = of_token == of_class
        for counted, tokens in enumerate(((mask & hits).sum(axis=1), mask.sum(axis=1))):
            for side, windows in enumerate((members, ~members)):
                sums[counted, :, side * classes + of_class] = np.bincount(clusters, tokens * windows, number)

    def of(weights: NDArray[Any]) -> Floats:
        totals = np.zeros((2, len(weights), 2 * classes))  # of integers, and so exact in any order
        for first in range(0, number, AT_ONCE):
            some = slice(first, first + AT_ONCE)
            totals += weights[:, some].astype(np.float64) @ sums[:, some].astype(np.float64)
        hits, sizes = totals.reshape(2, -1, 2, classes)
        return np.stack(matched_difference(hits, sizes), axis=1)

    values, drawn = resample(number, sample.windows.work.settings, of)
    none = "members and phantoms have no token of one class"
    return tuple(with_interval(value, drawn[:, i], undefined=none) for i, value in enumerate(values))


MEASURE = of_windows("token_accuracy", run, READS)
