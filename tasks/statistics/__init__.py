"""The statistics of every number, in one place to import from: correlations, resamples, intervals, p-values and shares.

Rows of a task share examples and output n-grams, so they are not independent (docs/method.md §6b). Intervals resample whole
examples; p-values, and the intervals that belong to them, come from influence values summed over examples and output n-grams.
"""

from tasks.statistics.bootstrap import *
from tasks.statistics.correlation import *
from tasks.statistics.intervals import *
from tasks.statistics.proportions import *
