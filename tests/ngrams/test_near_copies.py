"""Clusters of near copies equal those of brute force, whatever the hashes."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ngrams.kernels.near_kernels import near_copies


def brute_force(windows: np.ndarray) -> list[int]:
    """Every pair that shares a 5-gram is compared, with exact fractions; clusters are numbered by their first windows."""
    n = min(5, windows.shape[1])
    sets = [{tuple(w[i : i + n]) for i in range(len(w) - n + 1)} for w in windows.tolist()]
    holders: dict[Any, list[int]] = defaultdict(list)
    for number, ngrams in enumerate(sets):
        for ngram in ngrams:
            holders[ngram].append(number)
    shared = Counter(pair for numbers in holders.values() for pair in combinations(numbers, 2))
    cluster = list(range(len(sets)))
    for (a, b), both in shared.items():
        if 5 * both >= 4 * len(sets[a] | sets[b]) and cluster[a] != cluster[b]:
            old, new = max(cluster[a], cluster[b]), min(cluster[a], cluster[b])
            cluster = [new if c == old else c for c in cluster]
    return [sorted(set(cluster)).index(c) for c in cluster]


def with_near_copies(count: int, copies: int) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Windows of 67 random tokens, thus 63 5-grams; the last ones are copies of earlier ones that differ in their last tokens.

    With c other tokens the similarity is (63 − c) / (63 + c): exactly .75 for 9, .8 for 7, and .853 for 5.
    """
    draw, other = np.random.default_rng(3), {}
    windows = draw.integers(0, 3_000, (count, 67)).astype(np.int32)
    for number, tokens in zip(range(count - copies, count), [9, 7, 5] * copies, strict=False):
        windows[number] = windows[number - copies]
        windows[number, -tokens:] = 3_000 + draw.integers(0, 3_000, tokens)
        other.setdefault(tokens, []).append(number)
    return windows, other


def test_five_thousand_windows_with_planted_near_copies() -> None:
    windows, other = with_near_copies(5_000, 900)
    found = near_copies(windows)
    assert found.tolist() == brute_force(windows)
    for tokens, near in ((9, False), (7, True), (5, True)):
        copies = np.array(other[tokens])
        assert len(copies) == 300 and ((found[copies] == found[copies - 900]) == near).all(), "Jaccard ≥ .8, and .75 is not"


@settings(max_examples=150)
@given(st.data())
def test_small_sets_equal_brute_force_even_if_hashes_collide(data: st.DataObject) -> None:
    tokens, symbols = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 3))
    row = st.lists(st.integers(0, symbols), min_size=tokens, max_size=tokens)
    windows = np.array(data.draw(st.lists(row, min_size=1, max_size=14)), np.int32)
    expected = brute_force(windows)
    for bits in (48, 4, 1):
        assert near_copies(windows, bits).tolist() == expected


@pytest.mark.parametrize("bits", [48, 5])
def test_neither_the_order_of_windows_nor_collisions_change_a_cluster(bits: int) -> None:
    draw = np.random.default_rng(1)
    windows = draw.integers(0, 40, (30, 40))[draw.integers(0, 30, 300)].astype(np.int32)
    windows[np.arange(300), draw.integers(33, 40, 300)] = draw.integers(0, 4, 300)
    windows[np.arange(300), draw.integers(0, 7, 300)] = draw.integers(0, 4, 300)
    order = draw.permutation(300)
    expected = brute_force(windows)
    assert near_copies(windows, bits).tolist() == expected and 30 < len(set(expected)) < 290
    assert near_copies(windows[order], bits).tolist() == brute_force(windows[order])


def test_all_windows_in_one_cluster() -> None:
    """Equal windows; and a text in 20,000 variants, which are compared with one of them, and not with each other."""
    variants = np.tile(np.arange(64, dtype=np.int32), (20_000, 1))
    variants[:, 30] = np.arange(20_000) + 64
    for windows in (np.ones((20_000, 64), np.int32), variants):
        assert not near_copies(windows).any()


def test_windows_of_fewer_than_five_tokens_are_near_their_equals_alone() -> None:
    assert near_copies(np.array([[1, 2, 3], [1, 2, 3], [1, 2, 4]], np.int32)).tolist() == [0, 0, 1]
    assert near_copies(np.empty((0, 64), np.int32)).tolist() == []
