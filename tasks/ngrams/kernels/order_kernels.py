"""Counting a single order whose n-grams fit in 64 bits, which is faster than sorting suffixes. NumPy in, NumPy out.

An n-gram is one number, so a plain sort of numbers groups equal ones, without hashing. Sorting loses the documents, but they
follow from the repetitions: documents = occurrences − repetitions within a document. A small table per document finds the
repetitions, and their sorted list is merged with the sorted list of all n-grams.
"""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def _grams(ids, offsets, n, bits):
    """Every n-gram as a number (uint64), the first id highest; no n-gram spans two documents."""
    size = 0
    for d in range(offsets.shape[0] - 1):
        size += max(0, offsets[d + 1] - offsets[d] - n + 1)
    grams, ends = np.empty(size, np.uint64), np.empty(offsets.shape[0] - 1, np.int64)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) if n * bits == 64 else np.uint64((1 << (n * bits)) - 1)
    width, at = np.uint64(bits), 0
    for d in range(offsets.shape[0] - 1):
        value = np.uint64(0)
        for i in range(offsets[d], offsets[d + 1]):
            value = ((value << width) | np.uint64(ids[i])) & mask
            if i - offsets[d] >= n - 1:
                grams[at] = value
                at += 1
        ends[d] = at
    return grams, ends


@njit(cache=True)
def repetitions(grams, ends):
    """The members of `grams` that occurred earlier in their document; document d's grams end at ends[d]."""
    longest, begin = 1, 0
    for d in range(ends.shape[0]):
        longest, begin = max(longest, ends[d] - begin), ends[d]
    bits = 4
    while (1 << bits) < 2 * longest:
        bits += 1
    keys, document = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int32)
    count, again, begin = 0, np.empty(grams.shape[0], np.uint64), 0
    for d in range(ends.shape[0]):
        size = 4
        while (1 << size) < 2 * (ends[d] - begin):
            size += 1
        shift, last = np.uint64(64 - size), (1 << size) - 1
        for i in range(begin, ends[d]):
            slot = np.int64((grams[i] * _GOLDEN) >> shift)
            while document[slot] == d and keys[slot] != grams[i]:
                slot = (slot + 1) & last
            if document[slot] == d:
                again[count] = grams[i]
                count += 1
            else:
                document[slot], keys[slot] = d, grams[i]
        begin = ends[d]
    return again[:count]


@njit(cache=True)
def runs(grams, again, min_count):
    """(n-grams, occurrences, documents) of those with at least `min_count` occurrences, and the number of n-grams and of
    occurrences below. `grams` and the repetitions `again` are sorted."""
    most = grams.shape[0] // min_count
    distinct, occurrences, documents = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    kept, rare, rare_occurrences, i, j = 0, 0, 0, 0, 0
    while i < grams.shape[0]:
        begin, gram = i, grams[i]
        while i < grams.shape[0] and grams[i] == gram:
            i += 1
        before = j
        while j < again.shape[0] and again[j] == gram:
            j += 1
        if i - begin >= min_count:
            distinct[kept], occurrences[kept], documents[kept] = gram, i - begin, i - begin - (j - before)
            kept += 1
        else:
            rare += 1
            rare_occurrences += i - begin
    return distinct[:kept], occurrences[:kept], documents[:kept], rare, rare_occurrences


@njit(cache=True)
def ids_of(grams, n, bits):
    """uint32 [rows, n]: the ids of n-grams."""
    out = np.empty((grams.shape[0], n), np.uint32)
    mask = np.uint64((1 << bits) - 1)
    for row in range(grams.shape[0]):
        for k in range(n):
            out[row, k] = (grams[row] >> np.uint64(bits * (n - 1 - k))) & mask
    return out


def big_endian(ids: np.ndarray) -> np.ndarray:
    """uint8 [rows, 4n] of ids (uint32 [rows, n]), whose bytes are swapped where they are."""
    return ids.byteswap(inplace=True).view(np.uint8)


def count_order(ids: np.ndarray, offsets: np.ndarray, n: int, min_count: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every n-gram with at least `min_count` occurrences, sorted: big-endian ids (uint8 [rows, 4n]), occurrences, documents. `ids`
    (int32, ≥ 0) and `offsets` (documents + 1) are a corpus in the layout of all kernels. Raises ValueError if n ids do not fit in
    64 bits; `tasks.ngrams.count.bucket` has no such limit."""
    bits = max(1, int(ids.max(initial=0)).bit_length())
    if n * bits > 64:
        raise ValueError(f"{n} ids below {int(ids.max()) + 1} do not fit in 64 bits")
    grams, ends = _grams(ids, offsets, n, bits)
    again = repetitions(grams, ends)
    grams.sort()
    again.sort()
    distinct, occurrences, documents, _, _ = runs(grams, again, min_count)
    return big_endian(ids_of(distinct, n, bits)), occurrences, documents
