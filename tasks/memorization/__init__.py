"""Measures of windows that a model may have memorized, one file each. To add one: write its file, and add its `MEASURE` here."""

from tasks.measures import Measure
from tasks.memorization import (
    canary_exposure,
    counterfactual_memorization,
    discoverable,
    dynamics,
    eidetic,
    extraction,
    extraction_laws,
    forgetting,
    membership_inference,
    memorization_profile,
    prior_aware,
    recitation,
    taxonomy,
    token_accuracy,
)

MEASURES: tuple[Measure, ...] = (
    extraction.MEASURE,
    discoverable.MEASURE,
    membership_inference.MEASURE,
    token_accuracy.MEASURE,
    eidetic.MEASURE,
    taxonomy.MEASURE,
    prior_aware.MEASURE,
    canary_exposure.MEASURE,
    extraction_laws.MEASURE,
    recitation.MEASURE,
    dynamics.MEASURE,
    memorization_profile.MEASURE,
    forgetting.MEASURE,
    counterfactual_memorization.MEASURE,
)
