"""The measures, one file each. To add one: write its file, which exports `MEASURE`, and name it in the list here."""

from importlib import import_module

from tasks.measures import Measure

NAMES = (
    *("distributional_memorization", "distributional_generalization", "comparisons", "confounds", "attribution", "count_response"),
    *("scores", "performance", "emergence", "novelty", "coverage", "contamination", "paper_v1", "sweeps", "placebo"),
    "planted_truth",
)
MEASURES: tuple[Measure, ...] = tuple(import_module(f"{__name__}.{name}").MEASURE for name in NAMES)
