"""∞-gram counts in one pass: for each asked (context, token) and each suffix of the context, how often the suffix stands in
the corpus with a token behind it, and how often that token is the asked one (arXiv 2407.14985 §2, Eq. 5-6).

Contexts are read backwards into a trie, so that a node is a suffix and its parent the suffix one token shorter. The scan
takes each token of the corpus as the one that follows, and walks back from it as far as some context goes. Memory follows
from what is asked, time from the corpus; counts of pieces add up. A walk ends at the beginning of its document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.ngrams.kernels import _EMPTY, Trie, _descend, _descend_or_add, _find, slots_for


class Asked(NamedTuple):
    """A trie of contexts read backwards, and the asked tokens of each node: `token_keys` holds node << 32 | token."""

    trie: Trie
    token_keys: np.ndarray  # int64 [slots], or -1
    token_shift: int


@njit(cache=True)
def _insert(ids, offsets, begins, longest, root, keys, children, shift, token_keys, token_shift):
    """Put every suffix, up to `longest` tokens, of every asked position into both tables; returns the number of nodes."""
    nodes = 1
    for text in range(offsets.shape[0] - 1):
        for at in range(offsets[text] + begins[text], offsets[text + 1]):
            node = np.int32(0)
            for length in range(min(longest, at - offsets[text]) + 1):
                if length > 0:
                    node, nodes = _descend_or_add(root, keys, children, shift, node, ids[at - length], nodes)
                key = (np.int64(node) << 32) | np.int64(ids[at])
                token_keys[_find(token_keys, token_shift, key)] = key
    return nodes


def ask(ids: np.ndarray, offsets: np.ndarray, begins: np.ndarray, longest: int) -> Asked:
    """Prepare the positions begins[i], begins[i] + 1, … of each text i; texts lie in `ids` (int32) as documents do."""
    lengths = np.diff(offsets)
    entries = int(sum(np.minimum(np.arange(b, n), longest).sum() + n - b for b, n in zip(begins, lengths, strict=True)))
    size, shift = slots_for(entries + 1)
    root = np.full(int(ids.max()) + 1 if len(ids) else 0, -1, np.int32)
    keys, children = np.full(size, _EMPTY, np.int64), np.empty(size, np.int32)
    token_keys = np.full(size, _EMPTY, np.int64)
    nodes = _insert(ids, offsets, begins, longest, root, keys, children, shift, token_keys, shift)
    return Asked(Trie(root, keys, children, shift, nodes), token_keys, shift)


@njit(cache=True)
def scan_contexts(ids, offsets, asked, denominators, numerators):
    """Add one piece of corpus to `denominators` (int64 [nodes]) and `numerators` (int64, a place per slot of token_keys)."""
    trie, token_keys, token_shift = asked
    root, keys, children, shift, _ = trie
    for d in range(offsets.shape[0] - 1):
        begin = offsets[d]
        for at in range(begin, offsets[d + 1]):
            node, back = np.int32(0), at - 1
            while True:
                denominators[node] += 1
                slot = _find(token_keys, token_shift, (np.int64(node) << 32) | np.int64(ids[at]))
                if token_keys[slot] != _EMPTY:
                    numerators[slot] += 1
                if back < begin:
                    break
                node = _descend(root, keys, children, shift, node, ids[back])
                if node < 0:
                    break
                back -= 1


@njit(cache=True)
def _answer(ids, offsets, begins, longest, asked, denominators, numerators, out):
    """Fill rows (text, position, suffix, denominator, numerator) with denominator > 0; returns how many there are."""
    trie, token_keys, token_shift = asked
    root, keys, children, shift, _ = trie
    rows = 0
    for text in range(offsets.shape[0] - 1):
        for at in range(offsets[text] + begins[text], offsets[text + 1]):
            node = np.int32(0)
            for length in range(min(longest, at - offsets[text]) + 1):
                if length > 0:
                    node = _descend(root, keys, children, shift, node, ids[at - length])
                if denominators[node] == 0:  # a longer suffix stands in no more places than a shorter one
                    break
                if out.shape[0] > rows:
                    slot = _find(token_keys, token_shift, (np.int64(node) << 32) | np.int64(ids[at]))
                    out[rows] = (text, at - offsets[text] - begins[text], length, denominators[node], numerators[slot])
                rows += 1
    return rows


def answers(
    ids: np.ndarray, offsets: np.ndarray, begins: np.ndarray, longest: int, asked: Asked, denominators: np.ndarray,
    numerators: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """int64 [rows, 5]: text, position behind begins[text], suffix length, denominator (> 0), numerator; in that order."""
    empty = np.empty((0, 5), np.int64)
    rows = _answer(ids, offsets, begins, longest, asked, denominators, numerators, empty)
    out = np.empty((rows, 5), np.int64)
    _answer(ids, offsets, begins, longest, asked, denominators, numerators, out)
    return out
