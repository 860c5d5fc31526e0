"""Membership inference: how well a score of a window's tokens tells members from phantoms, as AUC and as true positives.

    loss         mean log p_t                            zlib      Σ log p_t / bytes of the compressed text (arXiv 2012.07805)
    min-k        mean of the lowest 20 % of log p_t      min-k++   the same of z_t = (log p_t − mean_t) / √variance_t

Higher scores mean members. min-k is of arXiv 2310.16789, min-k++ of arXiv 2404.02936: mean_t and variance_t are those of log p
over the vocabulary. At least one token counts, and a variance is at least 1e-6: where the model is certain both are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Study
from tasks.measures import Measure, MetricRows, draw_settings
from tasks.memorization.scored_windows import MEASURED, null_of, read_windows
from tasks.statistics import Estimate, Floats, bootstrap_statistic, percentile_interval, wilson
from tasks.step import Work, asks_for_memorization

LOWEST, LEAST_VARIANCE = 0.2, 1e-6
SCORES = {"loss": "loss", "zlib": "zlib", "min-k": "min_k", "min-k++": "min_k_plus_plus"}  # columns of `sequence_measures`
FALSE_POSITIVES = (0.001, 0.01, 0.05)


def lowest_mean(values: Floats, share: float = LOWEST) -> Floats:
    """float64 [windows]: the mean of the lowest share of [windows, tokens], of at least one token."""
    count = max(1, int(values.shape[1] * share))
    return np.sort(values, axis=1)[:, :count].mean(axis=1)


def standardised(log_p: Floats, means: Floats, variances: Floats) -> Floats:
    """z of each token; finite where the model is certain."""
    return (log_p - means) / np.sqrt(np.maximum(variances, LEAST_VARIANCE))


def auc(scores: Floats, members: NDArray[np.bool_], weights: NDArray[Any]) -> Floats:
    """float64 [draws]: the chance that a member scores higher than a phantom, ties one half. weights: [draws, windows]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    by_score = weights[:, order].astype(np.float64)
    positive = np.add.reduceat(by_score * members[order], starts, axis=1)
    negative = np.add.reduceat(by_score * ~members[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))


def true_positives(members: Floats, phantoms: Floats, rate: float) -> Estimate:
    """The share of members above the lowest threshold that no more than this share of phantoms exceeds."""
    allowed = int(rate * len(phantoms) + 1e-9)
    threshold = np.sort(phantoms)[::-1][allowed]
    estimate = wilson(int((members > threshold).sum()), len(members))
    note = f"{len(phantoms)} phantoms: no false positive is allowed" if not allowed else ""
    return Estimate(estimate.value, estimate.low, estimate.high, note=note, standard_error=estimate.standard_error)


def run(work: Work, rows: MetricRows) -> None:
    """AUC and true positives of each score, for each sample of members and each checkpoint."""
    for windows in read_windows(work, *SCORES.values(), of="sequence_measures"):
        samples = dict(windows.samples())
        for sample, at in samples.items():
            if not null_of(sample):
                continue
            phantoms = samples.get(null_of(sample), at[:0])
            both = np.concatenate([at, phantoms])
            clusters, members = windows.clusters(both), np.arange(len(both)) < len(at)
            more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": sample}
            more |= {"rows": len(both), "examples": int(clusters.max()) + 1}
            for name, column in SCORES.items():
                values = windows.values[column]
                if not len(phantoms):
                    none = Estimate(None, note="no phantoms to tell members from")
                    rows.add("membership_inference", "auc", none, detail=name, **more)
                    continue
                estimate = _auc(values[both], members, clusters, work)
                rows.add("membership_inference", "auc", estimate, detail=name, **more)
                for rate in FALSE_POSITIVES:
                    share = true_positives(values[at], values[phantoms], rate)
                    rows.add("membership_inference", "true_positives", share, detail=name, level=rate, **more)


def _auc(scores: Floats, members: NDArray[np.bool_], clusters: NDArray[np.int64], work: Work) -> Estimate:
    """The AUC, with an interval that draws whole clusters."""
    value = float(auc(scores, members, np.ones((1, len(scores))))[0])
    drawn = bootstrap_statistic(
        int(clusters.max()) + 1,
        work.settings["draws"],
        work.settings["seed"],
        lambda weights: auc(scores, members, weights[:, clusters]),
    )
    low, high, note = percentile_interval(drawn)
    return Estimate(value, low, high, note=note)


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals; windows and scores decide the rest."""
    return draw_settings(study)


MEASURE = Measure(
    "membership_inference", MEASURED, settings, run, applies=asks_for_memorization, keeps_contaminated=True, of_tasks=False
)
