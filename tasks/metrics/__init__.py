"""The measures, one file each. To add one: write its file, and add its `MEASURE` to the list here."""

from tasks.measures import Measure
from tasks.metrics import (
    attribution,
    comparisons,
    confounds,
    contamination,
    count_response,
    coverage,
    distributional_generalization,
    distributional_memorization,
    emergence,
    novelty,
    paper_v1,
    performance,
    placebo,
    planted_truth,
    scores,
    sweeps,
)

MEASURES: tuple[Measure, ...] = (
    distributional_memorization.MEASURE,
    distributional_generalization.MEASURE,
    comparisons.MEASURE,
    confounds.MEASURE,
    attribution.MEASURE,
    count_response.MEASURE,
    scores.MEASURE,
    performance.MEASURE,
    emergence.MEASURE,
    novelty.MEASURE,
    coverage.MEASURE,
    contamination.MEASURE,
    paper_v1.MEASURE,
    sweeps.MEASURE,
    placebo.MEASURE,
    planted_truth.MEASURE,
)
