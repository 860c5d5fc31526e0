"""Many tests at once: p-values corrected for their family (docs/method.md §6b)."""

import numpy as np

from tasks.statistics.correlation import Floats


def benjamini_hochberg(p_values: Floats) -> Floats:
    """q-values of one family (false discovery rate)."""
    from scipy import stats

    return np.maximum(stats.false_discovery_control(p_values), p_values) if len(p_values) else p_values
