"""Which of given n-grams a corpus contains: without counts and documents, so that a hit is one byte.

The n-grams are sorted, and with each are its beginnings ("a", "a b" for "a b c"): so they are a trie in preorder, and an n-gram's
row, from 1, is its node. An n-gram is looked up only where its beginning was found.
"""

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import _EMPTY, _GOLDEN, Trie, empty_bits, prefetch, slots_for
from tasks.ngrams.kernels.scan_kernels import BLOCK, _walk

BYTES = 60  # of an n-gram: at most three slots, its byte, length and last word
AT_ONCE = 64  # lookups that overlap


@njit(cache=True)
def _insert_rows(lengths, longest, last, root, table, shift, bits, bits_shift):
    end, nodes = (table.shape[0] >> 1) - 1, np.zeros(longest + 1, np.int64)
    keys, edges = np.empty(AT_ONCE, np.int64), np.empty(AT_ONCE, np.int64)
    for low in range(0, lengths.shape[0], AT_ONCE):
        n = 0
        for row in range(low, min(low + AT_ONCE, lengths.shape[0])):
            length, node = lengths[row], np.int64(row + 1)
            nodes[length] = node
            inner = row + 1 < lengths.shape[0] and lengths[row + 1] > length
            edges[n] = (node << 32) | (node if inner else 0)
            if length == 1:
                root[last[row]] = edges[n]
            else:
                keys[n] = (nodes[length - 1] << 32) | np.int64(last[row])
                prefetch(table, np.int64(((np.uint64(keys[n]) * _GOLDEN) >> np.uint64(shift)) << np.uint64(1)))
                n += 1
        for a in range(n):
            hashed = np.uint64(keys[a]) * _GOLDEN
            slot, bit = np.int64(hashed >> np.uint64(shift)), hashed >> np.uint64(bits_shift)
            while table[2 * slot] != _EMPTY:
                slot = (slot + 1) & end
            table[2 * slot], table[2 * slot + 1] = keys[a], edges[a]
            bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


def trie_in_preorder(lengths: np.ndarray, last: np.ndarray, words: int) -> Trie:
    """The trie of sorted distinct n-grams whose beginnings are among them: `lengths` in words (int16), and the number of each
    n-gram's last word (int32), of so many `words`. Query q is row q."""
    size, shift = slots_for(len(lengths))
    root, table = np.zeros(words, np.int64), np.zeros(2 * size, np.int64)
    table[::2] = _EMPTY
    bits, bits_shift = empty_bits(len(lengths))
    longest = int(lengths.max())
    _insert_rows(lengths, longest, last, root, table, shift, bits, bits_shift)
    return Trie(root, table, bits, shift, bits_shift, longest)


@njit(cache=True)
def mark_present(ids, offsets, trie, seen):
    """Set `seen` (bool [queries]) for the queries that occur in this piece of corpus."""
    room, total, low, d = BLOCK * max(1, trie.depth), offsets[-1], np.int64(0), 0
    hits, hits_at, stops = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(BLOCK, np.int64)
    active, active_at, keys = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    while low < total:
        high = min(low + BLOCK, total)
        for i in range(low, high):
            while offsets[d + 1] <= i:
                d += 1
            stops[i - low] = offsets[d + 1]
        for h in range(_walk(ids, low, high, stops, trie, hits, hits_at, active, active_at, keys, np.int64(0))[0]):
            seen[hits[h]] = True
        low = high
