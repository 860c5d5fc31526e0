"""Merging symbols by a table of ranked merges: the pair of lowest rank first, the leftmost of equals (arXiv 1508.07909 §3.2)."""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.text.bpe.byte_kernels import njit_bare

_EMPTY = np.int64(-1)
_NONE = np.int64(0x7FFFFFFFFFFFFFFF)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def merge_table(pairs: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, int]:
    """The `merges` and `shift` of Rules: pairs int64 [merges] = left << 32 | right, each once; values = rank << 32 | new id."""
    bits = max(4, int(np.ceil(np.log2(max(1, len(pairs)) * 2))))
    table = np.full(2 << bits, _EMPTY, np.int64)
    _fill(table, 64 - bits, pairs, values)
    return table, 64 - bits


@njit(cache=True)
def _fill(table, shift, pairs, values):
    last = (table.shape[0] >> 1) - 1
    for m in range(pairs.shape[0]):
        slot = np.int64((np.uint64(pairs[m]) * _GOLDEN) >> np.uint64(shift))
        while table[2 * slot] != _EMPTY:
            slot = (slot + 1) & last
        table[2 * slot], table[2 * slot + 1] = pairs[m], values[m]


@njit_bare(inline="always")
def _merge(table, shift, left, right):
    """rank << 32 | new id of a pair, or the largest int64."""
    last = (table.shape[0] >> 1) - 1
    key = (np.int64(left) << 32) | np.int64(right)
    slot = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(shift))
    while table[2 * slot] != key:
        if table[2 * slot] == _EMPTY:
            return _NONE
        slot = (slot + 1) & last
    return table[2 * slot + 1]


@njit_bare()
def merge_short(symbols, ranks, count, table, shift):
    """Merge symbols[:count] in place; how many are left. `ranks` is room for as many."""
    for k in range(count - 1):
        ranks[k] = _merge(table, shift, symbols[k], symbols[k + 1])
    while count > 1:
        best = 0
        for k in range(1, count - 1):
            if ranks[k] < ranks[best]:
                best = k
        if ranks[best] == _NONE:
            break
        symbols[best] = np.int32(ranks[best] & 0xFFFFFFFF)
        count -= 1
        for k in range(best + 1, count):
            symbols[k] = symbols[k + 1]
            ranks[k - 1] = ranks[k]
        if best > 0:
            ranks[best - 1] = _merge(table, shift, symbols[best - 1], symbols[best])
        if best < count - 1:
            ranks[best] = _merge(table, shift, symbols[best], symbols[best + 1])
    return count


@njit_bare()
def _push(heap, size, key):
    at = size
    while at > 0 and heap[(at - 1) >> 1] > key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = key


@njit_bare()
def _pop(heap, size):
    """The smallest of heap[:size]; the rest is then heap[: size - 1]."""
    top, moved, at = heap[0], heap[size - 1], 0
    while 2 * at + 1 < size - 1:
        child = 2 * at + 1
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= moved:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moved
    return top


# Compiled at once, since what a bare function calls must not be compiled from within it if it needs memory of its own.
@njit("int64(int32[::1], int64, int64, int64[::1], int64, int32[::1])", cache=True)
def merge_long(ids, first, count, table, shift, new_ids):
    """Merge ids[first : first + count] in place, with a heap of rank << 32 | place; how many are left.

    As in the library, a pair that is met again at a place its rank was queued for is merged then if it makes the same token,
    even if its own rank is another.
    """
    symbols = ids[first : first + count]
    before, after = np.arange(-1, count - 1), np.arange(1, count + 1)
    heap, size = np.empty(3 * count, np.int64), 0
    for k in range(count - 1):
        merge = _merge(table, shift, symbols[k], symbols[k + 1])
        if merge != _NONE:
            _push(heap, size, ((merge >> 32) << 32) | k)
            size += 1
    while size > 0:
        top = _pop(heap, size)
        size -= 1
        at = top & 0xFFFFFFFF
        right = after[at]
        if symbols[at] < 0 or right >= count:
            continue
        merge = _merge(table, shift, symbols[at], symbols[right])
        if merge == _NONE or np.int32(merge & 0xFFFFFFFF) != new_ids[top >> 32]:
            continue
        symbols[at], symbols[right] = np.int32(merge & 0xFFFFFFFF), -1
        after[at] = after[right]
        if after[at] < count:
            before[after[at]] = at
            merge = _merge(table, shift, symbols[at], symbols[after[at]])
            if merge != _NONE:
                _push(heap, size, ((merge >> 32) << 32) | at)
                size += 1
        if before[at] >= 0:
            merge = _merge(table, shift, symbols[before[at]], symbols[at])
            if merge != _NONE:
                _push(heap, size, ((merge >> 32) << 32) | before[at])
                size += 1
    kept = 0
    for k in range(count):
        if symbols[k] >= 0:
            symbols[kept] = symbols[k]
            kept += 1
    return kept
