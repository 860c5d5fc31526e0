"""A single order counted by sorting numbers: the same counts as reading every n-gram of every document."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ngrams.kernels.count_kernels import count_order
from tests.ngrams.corpus import documents_with, flat, occurrences

ids = st.sampled_from([0, 1, 2, 255, 256, 65_535])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ids, max_size=14), max_size=6), st.integers(1, 4), st.integers(1, 3))
def test_one_order_equals_brute_force(documents, n, min_count):
    grams, times, holding = count_order(*flat(documents), n, min_count)
    every = {tuple(d[i : i + n]) for d in documents for i in range(len(d) - n + 1)}
    expected = {g: (occurrences(g, documents), len(documents_with(documents, g))) for g in every}
    names = [tuple(int(i) for i in np.frombuffer(row.tobytes(), ">i4")) for row in grams]
    assert names == sorted(names)
    counts = zip(times.tolist(), holding.tolist(), strict=True)
    assert dict(zip(names, counts, strict=True)) == {g: c for g, c in expected.items() if c[0] >= min_count}


def test_ids_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="5 ids below 65536 do not fit in 64 bits"):
        count_order(np.array([65_535], np.int32), np.array([0, 1]), 5)
