"""Measures of windows that a model may have memorized, one file each. To add one: write its file, and add its `MEASURE` here."""

from tasks.measures import Measure
from tasks.memorization import discoverable, dynamics, extraction, forgetting, membership_inference, memorization_profile

MEASURES: tuple[Measure, ...] = (
    extraction.MEASURE,
    discoverable.MEASURE,
    membership_inference.MEASURE,
    dynamics.MEASURE,
    memorization_profile.MEASURE,
    forgetting.MEASURE,
)
