"""Finds added tokens in UTF-8 bytes with a trie: leftmost first, the longest of those that begin at one position."""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.text.bpe.byte_kernels import njit_bare

NOT_ADDED, SPECIAL = -1, -2  # of a node of the trie: no token ends here; one does, and is left as text


@njit_bare()
def added_token(data, i, end, trie, ids):
    """(begin, end, id) of the first added token in data[i:end], the longest that begins there; (end, end, NOT_ADDED) if none.

    A special token is stepped over: no other is sought in what it covers.
    """
    while i < end:
        node = trie[0, data[i]]
        if node == 0:
            i += 1
            continue
        at, best, token = i + 1, i, np.int32(NOT_ADDED)
        while True:
            if ids[node] != NOT_ADDED:
                best, token = at, ids[node]
            node = trie[node, data[at]] if at < end else 0
            if node == 0:
                break
            at += 1
        if token >= 0:
            return i, best, token
        i = max(best, i + 1)
    return end, end, np.int32(NOT_ADDED)


@njit(cache=True)
def holds_added(data, offsets, trie, ids):
    """bool [texts]: whether a text holds an added token of a trie that is not left as text."""
    holds = np.zeros(offsets.shape[0] - 1, np.bool_)
    for t in range(holds.shape[0]):
        holds[t] = added_token(data, offsets[t], offsets[t + 1], trie, ids)[2] >= 0
    return holds
