"""One order alone, for n-grams that fit in 64 bits: quicker than sorting suffixes. NumPy in, NumPy out.

An n-gram is a number, so a plain sort of numbers puts equal ones together; no hash decides anything. That loses the documents,
but these need only the n-grams that a document says again: documents = occurrences − repetitions within a document. A small
table per document finds them, and their sorted list runs along with the sorted list of all.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fits(ids: int, n: int) -> bool:
    """Whether n ids out of so many fit in 64 bits."""
    return n * max(1, (ids - 1).bit_length()) <= 64


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
    """The members of `grams` that stand in their document before; document d's grams end at ends[d]."""
    longest, begin = 1, 0
    for d in range(ends.shape[0]):
        longest, begin = max(longest, ends[d] - begin), ends[d]
    bits = 4
    while (1 << bits) < 2 * longest:
        bits += 1
    keys, document = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int32)
    found, again, begin = 0, np.empty(grams.shape[0], np.uint64), 0
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
                again[found] = grams[i]
                found += 1
            else:
                document[slot], keys[slot] = d, grams[i]
        begin = ends[d]
    return again[:found]


@njit(cache=True)
def runs(grams, again, min_count):
    """Distinct members of `grams`, occurrences and documents, of those that stand `min_count` times; both lists are sorted.

    And how many were too rare, n-grams and occurrences.
    """
    most = grams.shape[0] // min_count
    distinct, occurrences, documents = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    found, rare, rare_occurrences, i, j = 0, 0, 0, 0, 0
    while i < grams.shape[0]:
        begin, gram = i, grams[i]
        while i < grams.shape[0] and grams[i] == gram:
            i += 1
        before = j
        while j < again.shape[0] and again[j] == gram:
            j += 1
        if i - begin >= min_count:
            distinct[found], occurrences[found], documents[found] = gram, i - begin, i - begin - (j - before)
            found += 1
        else:
            rare += 1
            rare_occurrences += i - begin
    return distinct[:found], occurrences[:found], documents[:found], rare, rare_occurrences


@njit(cache=True)
def bytes_of(grams, n, bits):
    """uint8 [rows, 4n]: the ids of n-grams as big-endian 32-bit numbers."""
    out = np.empty((grams.shape[0], n), np.uint32)
    mask = np.uint64((1 << bits) - 1)
    for row in range(grams.shape[0]):
        for k in range(n):
            value = np.uint32((grams[row] >> np.uint64(bits * (n - 1 - k))) & mask)
            out[row, k] = big_endian(value)
    return out.view(np.uint8)


@njit(cache=True)
def big_endian(value):
    """A 32-bit number that lies in memory with its highest byte first, on the little-endian machines numba runs on."""
    value = np.uint32(value)
    return (
        (value >> np.uint32(24))
        | ((value >> np.uint32(8)) & np.uint32(0xFF00))
        | ((value & np.uint32(0xFF00)) << np.uint32(8))
        | (value << np.uint32(24))
    )


def count_order(
    ids: np.ndarray, offsets: np.ndarray, n: int, min_count: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every n-gram that stands at least `min_count` times, sorted: big-endian ids (uint8 [rows, 4n]), occurrences, documents.

    `ids` (int32, ≥ 0) and `offsets` (documents + 1) are a corpus as all kernels read it. ValueError where n ids do not fit in
    64 bits; `tasks.ngrams.count.bucket` takes any.
    """
    size = int(ids.max()) + 1 if len(ids) else 1
    if not fits(size, n):
        raise ValueError(f"{n} ids below {size} do not fit in 64 bits")
    bits = max(1, (size - 1).bit_length())
    grams, ends = _grams(ids, offsets, n, bits)
    again = repetitions(grams, ends)
    grams.sort()
    again.sort()
    distinct, occurrences, documents, _, _ = runs(grams, again, min_count)
    return bytes_of(distinct, n, bits), occurrences, documents
