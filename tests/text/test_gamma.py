"""γ as a percentile is the order statistic of all candidates, rounded up to a multiple of 2^-14."""

import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.text.gamma import STEPS, at_most, percentile, resolved


def spread(similarities):
    """(at most, candidates) of similarities, one by one."""
    steps = [min(max(math.ceil(Fraction(s) * STEPS), -STEPS), STEPS) for s in similarities]
    found, candidates = np.unique(steps, return_counts=True)
    return found / STEPS, candidates


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40), st.sampled_from(["0.1", "10", "50", "90", "99.9"]))
@hypothesis_settings(max_examples=300, deadline=None)
def test_a_percentile_is_the_order_statistic_rounded_up(similarities, share):
    at = math.ceil(Fraction(share) * len(similarities) / 100)  # how many it must not exceed
    expected = Fraction(math.ceil(Fraction(sorted(similarities)[at - 1]) * STEPS), STEPS)
    found = percentile(f"p{share}", *spread(similarities))
    assert found == expected
    assert 100 * sum(s > found for s in similarities) <= (100 - Fraction(share)) * len(similarities)


def test_steps_are_held_exactly_by_float32():
    steps = np.arange(2 * STEPS + 1)
    assert [Fraction(float(x)) for x in at_most(steps[::997])] == [Fraction(int(s) - STEPS, STEPS) for s in steps[::997]]


def test_each_order_has_its_own_percentile_and_numbers_stay():
    table = pl.DataFrame(
        {"task": ["t", "t", "t", "u"], "order": [1, 1, 2, 1], "at_most": [0.25, 0.5, 0.75, 1.0], "candidates": [9, 1, 5, 99]}
    )
    assert resolved({"1": "p90", "2": "p1", "3": 0.6}, table, 0.1, "t") == {"1": 0.25, "2": 0.75, "3": 0.6}
    assert resolved({"1": "p90.1"}, table, 0.1, "t") == {"1": 0.5}


def test_where_nothing_was_a_candidate_nothing_lies_above():
    assert percentile("p50", np.zeros(0), np.zeros(0, np.int64)) == 1.0


def test_a_percentile_below_the_lowest_gamma_says_what_to_set():
    table = pl.DataFrame({"task": ["t"], "order": [2], "at_most": [0.219], "candidates": [5]})
    with pytest.raises(StudyError, match=r"task 't', n = 2: γ = p10 is 0.2190 .* lowest_gamma to 0.21 or less"):
        resolved({"2": "p10"}, table, 0.3, "t")
