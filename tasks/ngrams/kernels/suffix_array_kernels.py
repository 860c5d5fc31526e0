"""Builds a suffix array of documents of integers: NumPy in, NumPy out. `suffix_kernels` queries it.

Documents come as `ids` (int32, ≥ 0), one after the other, and `offsets` (documents + 1). Ids are renumbered from 1 by falling
frequency; every document ends with a 0, which no query contains, so that no match spans two documents. The suffixes are
sorted by these ranks, so that those that begin with one n-gram are contiguous.

Sorting works on bytes, by libdivsufsort (MIT, through pydivsufsort). A rank is written as one byte where it is frequent, as
two or three where it is not, so that byte order is rank order and most text takes few bytes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import prefetch

_AHEAD = 32  # positions to prefetch ahead


class Suffixes(NamedTuple):
    """The suffix array of one shard. `text` and `suffixes` may be memory-mapped."""

    text: np.ndarray  # int32 [ids + documents]: ranks from 1, and 0 after each document
    suffixes: np.ndarray  # int32 [ids]: positions in `text`, in the order of the suffixes
    starts: np.ndarray  # int64 [documents + 1]: where each document begins in `text`
    ranks: np.ndarray  # int32 [largest id + 1]: rank of each id, 0 for ids that do not occur
    firsts: np.ndarray  # int64 [ranks + 2]: suffixes that begin with rank r are firsts[r] … firsts[r + 1]


def build(ids: np.ndarray, offsets: np.ndarray) -> Suffixes:
    """Index documents. Takes about 22 bytes per id while it runs. Raises ValueError for a negative id, and for more than 16 million
    distinct ones."""
    from pydivsufsort import divsufsort

    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"id {int(ids.argmin())} is negative: ids count from 0")
    counts = np.bincount(ids) if len(ids) else np.zeros(0, np.int64)
    distinct = np.count_nonzero(counts)
    by_frequency = np.argsort(-counts, kind="stable")[:distinct]
    ranks = np.zeros(len(counts), np.int32)
    ranks[by_frequency] = np.arange(1, distinct + 1, dtype=np.int32)
    frequencies = np.concatenate([[len(offsets) - 1], counts[by_frequency]]).astype(np.int64)
    text = np.insert(ranks[ids], offsets[1:], 0)
    starts = (offsets - offsets[0] + np.arange(len(offsets))).astype(np.int64)
    firsts = np.concatenate([[0, 0], np.cumsum(frequencies[1:])]).astype(np.int64)
    one, two, size = _shortest_code(frequencies)
    coded, place = np.empty(size, np.uint8), np.full(size, -1, np.int32)
    _encode(text, one, two, coded, place)
    sorted_bytes = divsufsort(coded) if size else np.empty(0, np.int32)
    return Suffixes(text, _only_ids(sorted_bytes, place, text, len(ids)), starts, ranks, firsts)


def _shortest_code(frequencies: np.ndarray) -> tuple[int, int, int]:
    """First bytes of one-byte and of two-byte codes, as the rest begin three-byte codes; and the bytes of the coded text."""
    two, three = (values.ravel() for values in np.meshgrid(np.arange(256), np.arange(256), indexing="ij"))
    one = 256 - two - three
    fits = (one >= 1) & (one + 256 * two + 65_536 * three >= len(frequencies))
    if not fits.any():
        raise ValueError(f"{len(frequencies):,} distinct ids in one shard are more than an index can hold; make parts smaller")
    upto = np.concatenate([[0], np.cumsum(frequencies)])
    last = len(frequencies)
    sizes = 3 * upto[last] - upto[np.minimum(one * fits, last)] - upto[np.minimum((one + 256 * two) * fits, last)]
    best = int(np.argmin(np.where(fits, sizes, np.iinfo(np.int64).max)))
    return int(one[best]), int(two[best]), int(sizes[best])


@njit(cache=True)
def _encode(text, one, two, coded, place):
    """Write the codes of all ranks, and for each code's first byte its position in the text."""
    at = 0
    for i in range(text.shape[0]):
        rank = text[i]
        place[at] = i
        if rank < one:
            coded[at] = rank
            at += 1
        elif rank < one + 256 * two:
            rest = rank - one
            coded[at], coded[at + 1] = one + (rest >> 8), rest & 255
            at += 2
        else:
            rest = rank - one - 256 * two
            coded[at], coded[at + 1], coded[at + 2] = one + two + (rest >> 16), (rest >> 8) & 255, rest & 255
            at += 3


@njit(cache=True)
def _only_ids(sorted_bytes, place, text, size):
    """The sorted bytes that begin the code of an id, as positions in the text."""
    suffixes = np.empty(size, np.int32)
    count = 0
    for i in range(sorted_bytes.shape[0]):
        if i + _AHEAD < sorted_bytes.shape[0]:
            prefetch(place, sorted_bytes[i + _AHEAD])
        at = place[sorted_bytes[i]]
        if at >= 0 and text[at] > 0:
            suffixes[count] = at
            count += 1
    return suffixes
