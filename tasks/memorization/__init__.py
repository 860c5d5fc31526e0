"""Measures of windows that a model may have memorized, one file each. To add one: write its file, and name it in the list here."""

from importlib import import_module

from tasks.measures import Measure

NAMES = (
    *("extraction", "discoverable", "membership_inference", "token_accuracy", "eidetic", "taxonomy", "prior_aware"),
    *("canary_exposure", "extraction_laws", "recitation", "dynamics", "memorization_profile", "forgetting"),
    *("counterfactual_memorization", "label_resampling", "capacity", "leverage_agreement"),
)
MEASURES: tuple[Measure, ...] = tuple(import_module(f"{__name__}.{name}").MEASURE for name in NAMES)
