"""Token accuracy, the memorization M(f) of arXiv 2205.10770 §3: the share of a window's tokens that are the likeliest ones.

    M(f) = mean of 1[argmax f(s) = y]          excess = Σ_c w_c (M_c of members − M_c of phantoms)

Much of M(f) is generalization, which unseen text shows as well. Frequent tokens are predicted more often, so phantoms are matched:
c is a class of tokens that are as frequent in all windows, [2^c, 2^(c+1)) times, and w_c its share of the members' tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Study
from tasks.measures import Measure, MetricRows, draw_settings
from tasks.memorization.scored_windows import READS, as_array, mean, null_of, read_windows
from tasks.statistics import Estimate, Floats, Ints, bootstrap_statistic, percentile_interval
from tasks.step import Work, asks_for_memorization

Classes = NDArray[np.int8]  # [windows, tokens]


def frequency_classes(ids: Ints) -> Classes:
    """int8 of the shape of `ids`: ⌊log₂ of how often the token is in them⌋."""
    counts = np.bincount(ids.ravel())
    return (np.frexp(counts.astype(np.float64))[1] - 1).astype(np.int8)[ids]


def matched_difference(hits: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """(M of the phantoms, excess of members), float64 [draws] each, matched by class; NaN where no class has both.

    hits, sizes: [draws, members or phantoms, classes]. Classes that phantoms, or members, lack are left out of both.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = hits / sizes
        both = (sizes > 0).all(axis=1)
        weights = np.where(both, sizes[:, 0], 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
        null, members = ((weights * np.where(both, rates[:, side], 0.0)).sum(axis=1) for side in (1, 0))
    return null, members - null


def run(work: Work, rows: MetricRows) -> None:
    """M of every sample and checkpoint; for members, M of matched phantoms and the excess over it."""
    sequences = work.frame("sequences", "sequence", "ids").sort("sequence")
    classes = frequency_classes(as_array(sequences["ids"])) if len(sequences) else np.empty((0, 0), np.int8)
    for windows in read_windows(work, "hits"):
        hits, samples = windows.values["hits"], dict(windows.samples())
        of_token = classes[sequences["sequence"].search_sorted(windows.table["sequence"]).to_numpy()]
        for sample, at in samples.items():
            clusters = windows.clusters(at)
            more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": sample}
            more |= {"rows": len(at), "examples": int(clusters.max()) + 1}
            rows.add("token_accuracy", "mean", mean(hits[at].mean(axis=1), clusters, work), **more)
            if null_of(sample):
                both = np.concatenate([at, samples.get(null_of(sample), at[:0])])
                members = np.arange(len(both)) < len(at)
                null, excess = _matched(hits[both], of_token[both], members, windows.clusters(both), work)
                rows.add("token_accuracy", "matched", null, **more)
                rows.add("token_accuracy", "excess", excess, **more)


def _matched(
    hits: NDArray[np.bool_], of_token: Classes, members: NDArray[np.bool_], clusters: Ints, work: Work
) -> tuple[Estimate, Estimate]:
    """Both numbers of `matched_difference`, with intervals that draw whole clusters."""
    if members.all():
        return (Estimate(None, note="no phantoms to compare with"),) * 2
    number, classes = int(clusters.max()) + 1, int(of_token.max()) + 1
    sums = np.zeros((2, number, 2, classes))
    for of_class in range(classes):  # one after the other, because all of them at once are many times the windows
        mask = of_token == of_class
        for counted, tokens in enumerate(((mask & hits).sum(axis=1), mask.sum(axis=1))):
            for side, windows in enumerate((members, ~members)):
                sums[counted, :, side, of_class] = np.bincount(clusters, tokens * windows, number)

    def of(weights: NDArray[Any]) -> Floats:
        hits, sizes = ((weights @ s.reshape(number, -1)).reshape(-1, 2, classes) for s in sums)
        return np.stack(matched_difference(hits, sizes), axis=1)

    values = of(np.ones((1, number)))[0]
    drawn = bootstrap_statistic(number, work.settings["draws"], work.settings["seed"], of)
    null, excess = (
        Estimate(float(value), *percentile_interval(drawn[:, i])[:2], note=percentile_interval(drawn[:, i])[2])
        if np.isfinite(value)
        else Estimate(None, note="members and phantoms have no token of one class")
        for i, value in enumerate(values)
    )
    return null, excess


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals; windows and scores decide the rest."""
    return draw_settings(study)


MEASURE = Measure("token_accuracy", READS, settings, run, applies=asks_for_memorization, keeps_contaminated=True, of_tasks=False)
