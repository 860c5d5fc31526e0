"""Suffix arrays of documents of integers, and queries to one or several shards of them: NumPy in, NumPy out.

Documents come as `ids` (int32, ≥ 0), one after the other, and `offsets` (documents + 1). Ids are renumbered from 1 by falling
frequency; every document ends with a 0, which no query contains, so that no match spans two documents. The suffixes are
sorted by these ranks, so that those that begin with one n-gram are contiguous, and binary search finds them.

Sorting works on bytes, by libdivsufsort (MIT, through pydivsufsort). A rank is written as one byte where it is frequent, as
two or three where it is not, so that byte order is rank order and most text takes few bytes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import prefetch

_AHEAD = 32  # positions to prefetch ahead
CountAll = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (which texts, lengths of their suffixes) -> counts
_LANES = 32  # simultaneous binary searches: while one waits for memory, others proceed


class Suffixes(NamedTuple):
    """The suffix array of one shard. `text` and `suffixes` may be memory-mapped."""

    text: np.ndarray  # int32 [ids + documents]: ranks from 1, and 0 after each document
    suffixes: np.ndarray  # int32 [ids]: positions in `text`, in the order of the suffixes
    starts: np.ndarray  # int64 [documents + 1]: where each document begins in `text`
    ranks: np.ndarray  # int32 [largest id + 1]: rank of each id, 0 for ids that do not occur
    firsts: np.ndarray  # int64 [ranks + 2]: suffixes that begin with rank r are firsts[r] … firsts[r + 1]


def build(ids: np.ndarray, offsets: np.ndarray) -> Suffixes:
    """Index documents. Takes about 22 bytes per id while it runs. ValueError for a negative id, or over 16 million ids."""
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


class Followed(NamedTuple):
    """∞-gram counts of (context, next): of the longest suffix that any id follows, and of the longest that `next` follows. int64
    [queries] each. A suffix of length 0 is the empty context, which every id follows; -1: `next` does not occur."""

    suffix: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray
    backoff_suffix: np.ndarray
    backoff_numerator: np.ndarray
    backoff_denominator: np.ndarray


# -- counting --------------------------------------------------------------------------------------------------------
def translate(index: Suffixes, ids: np.ndarray) -> np.ndarray:
    """Ids as this shard's ranks (int32); 0, which matches nothing, for ids it does not have. ValueError for a negative id."""
    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"id {int(ids.argmin())} is negative: ids count from 0")
    ranks = np.zeros(len(ids), np.int32)
    in_shard = ids < len(index.ranks)
    ranks[in_shard] = index.ranks[ids[in_shard]]
    return ranks


@njit(cache=True)
def _compare(text, at, queries, begin, length):
    """< 0 if the text is smaller than queries[begin : begin + length], > 0 if it is greater, 0 if it begins with it."""
    for i in range(length):
        difference = text[at + i] - queries[begin + i]
        if difference != 0:  # at the latest at the end of a document, as queried ranks are above 0
            return difference
    return 0


@njit(cache=True)
def _search(text, suffixes, firsts, queries, begins, lengths, lows, highs):
    """The interval of suffixes that begin with each query: `_LANES` simultaneous binary searches with prefetching."""
    left, right, middle = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64), np.empty(_LANES, np.int64)
    place, step = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64)
    for group in range(0, begins.shape[0], _LANES):
        lanes = min(_LANES, begins.shape[0] - group)
        for lane in range(lanes):
            begin, length = begins[group + lane], lengths[group + lane]
            left[lane], right[lane], step[lane] = 0, suffixes.shape[0], 0
            if length > 0:
                first = queries[begin]
                left[lane], right[lane] = firsts[first], firsts[first + 1]
                for i in range(length):
                    if queries[begin + i] == 0:
                        right[lane] = left[lane]
            highs[group + lane] = right[lane]
        for upper in range(2):
            if upper:
                for lane in range(lanes):
                    lows[group + lane] = left[lane]
                    right[lane], step[lane] = highs[group + lane], 1  # most n-grams are rare, so their end is near
            active = True
            while active:
                active = False
                for lane in range(lanes):
                    if left[lane] < right[lane]:
                        active = True
                        near = left[lane] + step[lane] - 1
                        middle[lane] = near if step[lane] > 0 and near < right[lane] else (left[lane] + right[lane]) >> 1
                        prefetch(suffixes, middle[lane])
                for lane in range(lanes):
                    if left[lane] < right[lane]:
                        place[lane] = suffixes[middle[lane]]
                        prefetch(text, place[lane])
                for lane in range(lanes):
                    if left[lane] < right[lane]:
                        q = group + lane
                        difference = _compare(text, place[lane], queries, begins[q], lengths[q])
                        if difference < 0 or (upper and difference == 0):
                            left[lane] = middle[lane] + 1
                            step[lane] *= 2
                        else:
                            right[lane], step[lane] = middle[lane], 0
        for lane in range(lanes):
            highs[group + lane] = left[lane]


def intervals(index: Suffixes, queries: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of `suffixes` that begin with queries[begins[i] : begins[i] + lengths[i]]: int64 [low, high) each. `queries`:
    ranks from `translate`. high - low is the number of occurrences; the empty n-gram begins every suffix."""
    lows, highs = np.empty(len(begins), np.int64), np.empty(len(begins), np.int64)
    _search(index.text, index.suffixes, index.firsts, queries, begins.astype(np.int64), lengths.astype(np.int64), lows, highs)
    return lows, highs


@njit(cache=True)
def _end_with_document(text, suffixes, lows, highs, lengths, ends):
    """How many of each interval's occurrences are the last of their document: separators sort first."""
    for q in range(lows.shape[0]):
        left, right, step = lows[q], highs[q], 1
        while lengths[q] > 0 and left < right:
            near = left + step - 1
            middle = near if step > 0 and near < right else (left + right) >> 1
            if text[suffixes[middle] + lengths[q]] == 0:
                left = middle + 1
                step *= 2
            else:
                right, step = middle, 0
        ends[q] = left - lows[q]


def _checked(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Lengths of n-grams laid out like a corpus. Raises ValueError for an empty one."""
    lengths = np.diff(offsets)
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"query {int(lengths.argmin())} is empty: an n-gram has at least one word")
    return lengths


def counts(shards: Sequence[Suffixes], ids: Sequence[np.ndarray], offsets: np.ndarray) -> np.ndarray:
    """Occurrences (int64) of n-grams laid out like a corpus, in all shards together; `ids` are their ids per shard. Unknown ids
    count 0. Raises ValueError for an empty n-gram or a negative id."""
    occurrences = np.zeros(len(offsets) - 1, np.int64)
    for index, shard_ids in zip(shards, ids, strict=True):
        lengths = _checked(shard_ids, offsets)
        lows, highs = intervals(index, translate(index, shard_ids), offsets[:-1], lengths)
        occurrences += highs - lows
    return occurrences


def places(index: Suffixes, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every occurrence of one n-gram, in the order of the text: its document, and its position there."""
    lows, highs = intervals(index, translate(index, ids), np.zeros(1, np.int64), _checked(ids, np.array([0, len(ids)])))
    positions = np.sort(index.suffixes[lows[0] : highs[0]]).astype(np.int64)
    document = np.searchsorted(index.starts, positions, side="right") - 1
    return document, positions - index.starts[document]


def infinigram(shards: Sequence[Suffixes], contexts: Sequence[np.ndarray], offsets: np.ndarray, longest: int = 64) -> Followed:
    """∞-gram counts of the last id of each text after those before it, in all shards together. Text i is contexts[s][offsets[i] :
    offsets[i + 1]] in the ids of shard s: the context, then the queried id. At most `longest` ids of a context are used. Raises
    ValueError for an empty text."""
    lengths, ends = np.diff(offsets), offsets[1:] - 1
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"text {int(lengths.argmin())} is empty: it must end with the queried id")
    queries = [translate(index, shard_ids) for index, shard_ids in zip(shards, contexts, strict=True)]
    most = np.minimum(lengths - 1, longest).astype(np.int64)

    def count(following: int, which: np.ndarray, suffix: np.ndarray) -> np.ndarray:
        occurrences = np.zeros(len(which), np.int64)
        for index, shard_ids in zip(shards, queries, strict=True):
            lows, highs = intervals(index, shard_ids, ends[which] - suffix, suffix + following)
            last = np.zeros(len(which), np.int64)
            if not following:
                _end_with_document(index.text, index.suffixes, lows, highs, suffix, last)
            occurrences += highs - lows - last
        return occurrences

    with_any, with_next = partial(count, 0), partial(count, 1)
    everything = np.arange(len(lengths))
    seen, seen_numerator = _longest(with_next, np.full(len(lengths), -1, np.int64), most)
    seen_denominator = with_any(everything, np.maximum(seen, 0)) * (seen >= 0)
    suffix, denominator = _longest(with_any, np.maximum(seen, 0) - 1, most)
    numerator = np.where(suffix == seen, seen_numerator, 0)
    return Followed(np.maximum(suffix, 0), numerator, denominator, seen, seen_numerator, seen_denominator)


def _longest(count: CountAll, lower: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest length in (lower, most] with a count above 0, and that count; (lower, 0) if there is none. A longer suffix occurs
    no more often than a shorter one, so lengths are found by galloping, then binary search."""
    low, high, step = lower.copy(), most.copy(), np.ones(len(most), np.int64)
    occurrences = np.zeros(len(most), np.int64)
    while len(open_ := np.flatnonzero(low < high)):
        near = low[open_] + step[open_]
        length = np.where((step[open_] > 0) & (near < high[open_]), near, (low[open_] + high[open_] + 1) >> 1)
        times = count(open_, length)
        occurs = times > 0
        low[open_[occurs]], occurrences[open_[occurs]] = length[occurs], times[occurs]
        step[open_[occurs]] *= 2
        high[open_[~occurs]], step[open_[~occurs]] = length[~occurs] - 1, 0
    return low, occurrences
