"""Packing suffixes into buckets and reading them back: NumPy in, NumPy out. Knows neither words nor tokens.

A suffix is a position of the corpus with the ids that follow it, up to the longest order N and the document's end. A part
writes its suffixes into buckets by a hash of their first two ids, several ids per 64-bit number:

    a b a c   N = 3   →   bucket of (a, b): a b a      bucket of (b, a): b a c      bucket of (a, c): a c ·

A bucket is read in ranges of first ids, small enough that counting a range stays within a processor's cache.
"""

import numpy as np
from numba import njit


def ids_per_number(ids: int) -> int:
    """How many ids, each plus 1, fit into 64 bits, if there are `ids` different ones: 4, 3 or 2."""
    return 4 if ids < 1 << 16 else 3 if ids < 1 << 21 else 2


@njit(cache=True)
def bucket_of(first, second, buckets):
    """The bucket of all n-grams whose first two ids have these 32-bit hashes."""
    z = (np.uint64(first) << np.uint64(32)) | np.uint64(second)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.int64(((z >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32))


@njit(cache=True)
def scatter(ids, offsets, hashes, buckets):
    """The suffixes of at least two ids, bucket by bucket, in corpus order within a bucket. Returns starts (int64 [buckets + 1]),
    positions (int32, from the first id given) and documents (int32, from 0)."""
    begin = offsets[0]
    bucket = np.empty(offsets[-1] - begin, np.uint16)
    size = np.zeros(buckets + 1, np.int64)
    for d in range(offsets.shape[0] - 1):
        if offsets[d + 1] > offsets[d]:
            first = hashes[ids[offsets[d]]]
            for i in range(offsets[d], offsets[d + 1] - 1):
                second = hashes[ids[i + 1]]
                to = bucket_of(first, second, buckets)
                bucket[i - begin] = to
                size[to + 1] += 1
                first = second
    starts = np.cumsum(size)
    positions, documents = np.empty(starts[buckets], np.int32), np.empty(starts[buckets], np.int32)
    at = starts[:buckets].copy()
    for d in range(offsets.shape[0] - 1):
        for i in range(offsets[d] - begin, offsets[d + 1] - 1 - begin):
            row = at[bucket[i]]
            at[bucket[i]] = row + 1
            positions[row], documents[row] = i, d
    return starts, positions, documents


@njit(cache=True)
def roll(ids, offsets, per):
    """uint64 per position: its id and the next ids of its document, `per` ids in total, each plus 1, the first highest."""
    begin = offsets[0]
    width, top = np.uint64(64 // per), np.uint64(64 // per * (per - 1))
    rolled = np.empty(offsets[-1] - begin, np.uint64)
    for d in range(offsets.shape[0] - 1):
        value = np.uint64(0)
        for i in range(offsets[d + 1] - 1, offsets[d] - 1, -1):
            value = (np.uint64(ids[i] + 1) << top) | (value >> width)
            rolled[i - begin] = value
    return rolled


@njit(cache=True)
def pack(rolled, offsets, positions, documents, longest, per):
    """uint64 [ceil(longest / per), suffixes] from the result of `roll`: 0 after the document's end and after the longest order."""
    numbers = (longest + per - 1) // per
    packed = np.empty((numbers, positions.shape[0]), np.uint64)
    unused = np.uint64(64 // per * (numbers * per - longest))  # bits of the last number that no order needs
    for c in range(numbers):
        drop = unused if c == numbers - 1 else np.uint64(0)
        for row in range(positions.shape[0]):
            i = positions[row] + c * per
            inside = i < offsets[documents[row] + 1] - offsets[0]
            packed[c, row] = (rolled[i] >> drop) << drop if inside else np.uint64(0)
    return packed


@njit(cache=True)
def ranges(packed, per, range_of, low, high, size):
    """int32 [suffixes]: the range of each suffix minus `low`; −1 outside [low, high). Adds the number in each range to `size`.
    `packed` is the first of a suffix's numbers (uint64); `range_of` (int32) has the range of the part's id + 1."""
    place = np.uint64(64 // per * (per - 1))
    mask = np.uint64((1 << (64 // per)) - 1)
    range_ids = np.empty(packed.shape[0], np.int32)
    for row in range(packed.shape[0]):
        at = range_of[np.int64((packed[row] >> place) & mask)]
        inside = low <= at < high
        range_ids[row] = at - low if inside else -1
        if inside:
            size[at - low] += 1
    return range_ids


@njit(cache=True)
def place(packed, per, renumbered, which, documents, base, at, columns, holders):
    """Write suffixes into the columns of their range, in order; `at` (int64 [ranges]) is each range's next free position. columns:
    int32 [longest, all suffixes], the corpus' id + 1 or 0, which `renumbered` (int32) maps from the part's id + 1; holders: int32,
    documents from `base`."""
    longest = columns.shape[0]
    width, mask = np.uint64(64 // per), np.uint64((1 << (64 // per)) - 1)
    to = np.empty(which.shape[0], np.int32)
    for row in range(which.shape[0]):
        to[row] = -1
        if which[row] >= 0:
            to[row] = at[which[row]]
            at[which[row]] += 1
            holders[to[row]] = base + documents[row]
    for n in range(longest):
        values, shift = packed[n // per], width * np.uint64(per - 1 - n % per)
        column = columns[n]
        for row in range(to.shape[0]):
            if to[row] >= 0:
                column[to[row]] = renumbered[np.int64((values[row] >> shift) & mask)]
