"""Membership inference: how well a score of a window's tokens tells members from phantoms, as AUC and as true positives.

    loss         mean log p_t                            zlib      Σ log p_t / bytes of the compressed text (arXiv 2012.07805)
    min-k        mean of the lowest 20 % of log p_t      min-k++   the same of z_t = (log p_t − mean_t) / √variance_t

Higher scores mean members. min-k is of arXiv 2310.16789, min-k++ of arXiv 2404.02936: mean_t and variance_t are those of log p
over the vocabulary. At least one token counts, and a variance is at least 1e-6: where the model is certain both are 0.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.measures import MetricRows
from tasks.memorization.scored_windows import of_windows, read_windows
from tasks.statistics import Estimate, Floats, resample, wilson, with_interval
from tasks.step import Work

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
    return replace(estimate, note=note)


def run(work: Work, rows: MetricRows) -> None:
    """AUC and true positives of each score, for each sample of members and each checkpoint."""
    for windows in read_windows(work, rows, "membership_inference", *SCORES.values()):
        for sample in (s for s in windows.samples() if s.members):
            both, members, clusters = sample.both
            size: dict[str, Any] = {"rows": len(both), "examples": int(clusters.max()) + 1}
            for name, column in SCORES.items():
                values, estimate = windows.values[column], Estimate(None, note="no phantoms to tell members from")
                if len(sample.null):
                    of = partial(_auc, values[both], members, clusters)
                    estimate = with_interval(*resample(size["examples"], work.settings, of))
                    for rate in FALSE_POSITIVES:
                        share = true_positives(values[sample.at], values[sample.null], rate)
                        sample.add("true_positives", share, detail=name, level=rate, **size)
                sample.add("auc", estimate, detail=name, **size)


def _auc(scores: Floats, members: NDArray[np.bool_], clusters: NDArray[np.int64], weights: NDArray[Any]) -> Floats:
    return auc(scores, members, weights[:, clusters])


MEASURE = of_windows("membership_inference", run)
