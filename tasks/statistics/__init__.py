"""The statistics of every number, in one place to import from: correlations, resamples, intervals, p-values and shares.

Rows of a task share examples and output n-grams, so they are not independent (docs/method.md §6b). Intervals resample whole
examples; p-values come from influence values summed over examples and over output n-grams.
"""

from tasks.statistics.bootstrap import bootstrap_many, bootstrap_statistic, draw_counts
from tasks.statistics.correlation import Estimate, Floats, Ints, Order, Rows, influence, kendall_order, spearman, undefined
from tasks.statistics.intervals import (
    bca_interval,
    bootstrap_correlation,
    bootstrap_error,
    clustered_variance,
    correlate,
    effective_clusters,
    percentile_interval,
    permutation_p,
    two_way_p,
)
from tasks.statistics.multiple_testing import benjamini_hochberg
from tasks.statistics.proportions import difference, ratio, share, wilson

__all__ = [
    "Estimate",
    "Floats",
    "Ints",
    "Order",
    "Rows",
    "bca_interval",
    "benjamini_hochberg",
    "bootstrap_correlation",
    "bootstrap_error",
    "bootstrap_many",
    "bootstrap_statistic",
    "clustered_variance",
    "correlate",
    "difference",
    "draw_counts",
    "effective_clusters",
    "influence",
    "kendall_order",
    "percentile_interval",
    "permutation_p",
    "ratio",
    "share",
    "spearman",
    "two_way_p",
    "undefined",
    "wilson",
]
