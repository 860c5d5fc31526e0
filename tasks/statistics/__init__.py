"""The statistics of every number, in one place to import from: correlations, resamples, intervals, p-values and shares.

Rows of a task share examples and output n-grams, so they are not independent (docs/method.md §6b). Intervals resample whole
examples; p-values, and the intervals that belong to them, come from influence values summed over examples and output n-grams.
"""

from tasks.statistics.bootstrap import bootstrap_many, bootstrap_statistic, draw_counts, resample
from tasks.statistics.correlation import (
    Estimate,
    Floats,
    Ints,
    Order,
    Rows,
    effective_clusters,
    influence,
    kendall_order,
    spearman,
    undefined,
)
from tasks.statistics.intervals import (
    FEWEST_CLUSTERS,
    ONE_EXAMPLE,
    bca_interval,
    benjamini_hochberg,
    bootstrap_correlation,
    bootstrap_error,
    cluster_sizes,
    clustered_variance,
    correlate,
    join,
    percentile_interval,
    permutation_p,
    two_way,
    with_interval,
)
from tasks.statistics.proportions import difference, ratio, share, wilson
