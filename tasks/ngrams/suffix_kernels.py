"""A suffix array of documents of integers, and questions put to it: NumPy in, NumPy out (arXiv 2407.14985 §2, Eq. 5-6).

Documents come as `ids` (int32, ≥ 0), one after the other, and `offsets` (documents + 1). Ids are renumbered from 1 by falling
frequency; every document ends with a 0, which no question holds, so that no match spans two documents. The suffixes are
sorted by these ranks; those that begin with one n-gram lie side by side, and binary search finds where.

Sorting works on bytes, by libdivsufsort (MIT, through pydivsufsort). A rank is written as one byte where it is frequent, as
two or three where it is not, so that byte order is rank order and most text takes few bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.ngrams.kernels import prefetch

_LANES = 32  # binary searches under way at once: while one waits for memory, others go on


class Suffixes(NamedTuple):
    """The suffix array of one shard. `text` and `suffixes` may be memory-mapped."""

    text: np.ndarray  # int32 [ids + documents]: ranks from 1, and 0 behind each document
    suffixes: np.ndarray  # int32 [ids]: places in `text`, in the order of what begins there
    starts: np.ndarray  # int64 [documents + 1]: where each document begins in `text`
    ranks: np.ndarray  # int32 [largest id + 1]: rank of each id, 0 for one that is not there
    firsts: np.ndarray  # int64 [ranks + 2]: suffixes that begin with rank r lie in firsts[r] … firsts[r + 1]


class Followed(NamedTuple):
    """∞-gram counts of (context, next): of the longest suffix that anything follows, and of the longest that `next` follows.

    int64 [questions] each. A suffix of length 0 is the empty context, which every id follows; -1: `next` stands nowhere.
    """

    suffix: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray
    backoff_suffix: np.ndarray
    backoff_numerator: np.ndarray
    backoff_denominator: np.ndarray


# -- building --------------------------------------------------------------------------------------------------------
def build(ids: np.ndarray, offsets: np.ndarray) -> Suffixes:
    """Index documents. Holds about 22 bytes an id while it works.

    ValueError for a negative id, and for more than 16 million distinct ones.
    """
    from pydivsufsort import divsufsort

    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"id {int(ids.argmin())} is negative: ids count from 0")
    counts = np.bincount(ids) if len(ids) else np.zeros(0, np.int64)
    distinct = np.count_nonzero(counts)
    by_frequency = np.argsort(-counts, kind="stable")[:distinct]
    ranks = np.zeros(len(counts), np.int32)
    ranks[by_frequency] = np.arange(1, distinct + 1, dtype=np.int32)
    frequencies = np.concatenate([[len(offsets) - 1], counts[by_frequency]]).astype(np.int64)
    text = _with_separators(ids, offsets, ranks)
    starts = (offsets - offsets[0] + np.arange(len(offsets))).astype(np.int64)
    firsts = np.concatenate([[0, 0], np.cumsum(frequencies[1:])]).astype(np.int64)
    one, two = _shortest_code(frequencies)
    size = _coded_size(frequencies, one, two)
    coded, place = np.empty(size, np.uint8), np.full(size, -1, np.int32)
    _encode(text, one, two, coded, place)
    sorted_bytes = divsufsort(coded) if size else np.empty(0, np.int32)
    return Suffixes(text, _only_ids(sorted_bytes, place, text, len(ids)), starts, ranks, firsts)


@njit(cache=True)
def _with_separators(ids, offsets, ranks):
    """The documents' ranks, each document with a 0 behind it."""
    text = np.zeros(ids.shape[0] + offsets.shape[0] - 1, np.int32)
    at = 0
    for d in range(offsets.shape[0] - 1):
        for i in range(offsets[d], offsets[d + 1]):
            text[at] = ranks[ids[i]]
            at += 1
        at += 1
    return text


def _shortest_code(frequencies: np.ndarray) -> tuple[int, int]:
    """How many lead bytes stand for one-byte and for two-byte codes; the rest begin three-byte codes."""
    two, three = (values.ravel() for values in np.meshgrid(np.arange(256), np.arange(256), indexing="ij"))
    one = 256 - two - three
    fits = (one >= 1) & (one + 256 * two + 65_536 * three >= len(frequencies))
    if not fits.any():
        raise ValueError(
            f"{len(frequencies):,} distinct ids in one shard are more than an index can hold; make parts smaller"
        )
    upto = np.concatenate([[0], np.cumsum(frequencies)])
    last = len(frequencies)
    sizes = 3 * upto[last] - upto[np.minimum(one * fits, last)] - upto[np.minimum((one + 256 * two) * fits, last)]
    best = int(np.argmin(np.where(fits, sizes, np.iinfo(np.int64).max)))
    return int(one[best]), int(two[best])


def _coded_size(frequencies: np.ndarray, one: int, two: int) -> int:
    """Bytes of the coded text."""
    upto = np.concatenate([[0], np.cumsum(frequencies)])
    last = len(frequencies)
    return int(3 * upto[last] - upto[min(one, last)] - upto[min(one + 256 * two, last)])


@njit(cache=True)
def _encode(text, one, two, coded, place):
    """Write the codes of all ranks, and for each code's first byte which place of the text it is."""
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
    """Of the sorted bytes those that begin the code of an id, as places in the text."""
    suffixes = np.empty(size, np.int32)
    found = 0
    for i in range(sorted_bytes.shape[0]):
        if i + _LANES < sorted_bytes.shape[0]:
            prefetch(place, sorted_bytes[i + _LANES])
        at = place[sorted_bytes[i]]
        if at >= 0 and text[at] > 0:
            suffixes[found] = at
            found += 1
    return suffixes


# -- counting --------------------------------------------------------------------------------------------------------
def translate(index: Suffixes, ids: np.ndarray) -> np.ndarray:
    """Ids as this shard's ranks (int32); 0, which matches nothing, for an id that the shard does not have.

    ValueError for a negative id.
    """
    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"id {int(ids.argmin())} is negative: ids count from 0")
    found = np.zeros(len(ids), np.int32)
    known = ids < len(index.ranks)
    found[known] = index.ranks[ids[known]]
    return found


@njit(cache=True)
def _compare(text, at, asked, begin, length):
    """Below 0 where the text is smaller than asked[begin : begin + length], above 0 where it is greater, 0 where it is it."""
    for i in range(length):
        difference = text[at + i] - asked[begin + i]
        if difference != 0:  # at the end of a document at the latest: asked ranks are above 0
            return difference
    return 0


@njit(cache=True)
def _search(text, suffixes, firsts, asked, begins, lengths, lows, highs):
    """Where suffixes that begin with each question lie: `_LANES` binary searches side by side, each looking ahead."""
    left, right, middle = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64), np.empty(_LANES, np.int64)
    place, step = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64)
    for group in range(0, begins.shape[0], _LANES):
        lanes = min(_LANES, begins.shape[0] - group)
        for lane in range(lanes):
            begin, length = begins[group + lane], lengths[group + lane]
            left[lane], right[lane], step[lane] = 0, suffixes.shape[0], 0
            if length > 0:
                first = asked[begin]
                left[lane], right[lane] = firsts[first], firsts[first + 1]
                for i in range(length):
                    if asked[begin + i] == 0:
                        right[lane] = left[lane]
            highs[group + lane] = right[lane]
        for upper in range(2):
            if upper:
                for lane in range(lanes):
                    lows[group + lane] = left[lane]
                    right[lane], step[lane] = highs[group + lane], 1  # most n-grams are rare: their end is near
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
                        difference = _compare(text, place[lane], asked, begins[q], lengths[q])
                        if difference < 0 or (upper and difference == 0):
                            left[lane] = middle[lane] + 1
                            step[lane] *= 2
                        else:
                            right[lane], step[lane] = middle[lane], 0
        for lane in range(lanes):
            highs[group + lane] = left[lane]


def intervals(index: Suffixes, asked: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in `suffixes` those lie that begin with asked[begins[i] : begins[i] + lengths[i]]: int64 [low, high) each.

    asked: ranks, from `translate`. high - low is the number of occurrences; the empty n-gram begins every suffix.
    """
    lows, highs = np.empty(len(begins), np.int64), np.empty(len(begins), np.int64)
    _search(index.text, index.suffixes, index.firsts, asked, begins.astype(np.int64), lengths.astype(np.int64), lows, highs)
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


@njit(cache=True)
def _distinct_documents(suffixes, starts, lows, highs, documents):
    """How many documents hold each interval's occurrences."""
    last = np.full(starts.shape[0], -1, np.int64)
    for q in range(lows.shape[0]):
        for i in range(lows[q], highs[q]):
            document = np.searchsorted(starts, suffixes[i], side="right")
            if last[document] != q:
                last[document] = q
                documents[q] += 1


def _checked(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Lengths of n-grams laid out like a corpus; ValueError for one without ids."""
    lengths = np.diff(offsets)
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"query {int(lengths.argmin())} is empty: an n-gram has at least one word")
    return lengths


def counts(shards: Sequence[Suffixes], ids: Sequence[np.ndarray], offsets: np.ndarray) -> np.ndarray:
    """Occurrences (int64) of n-grams laid out like a corpus, in all shards together; `ids` holds their ids in each shard.

    Ids that stand nowhere count 0. ValueError for an empty n-gram or a negative id.
    """
    found = np.zeros(len(offsets) - 1, np.int64)
    for index, own in zip(shards, ids, strict=True):
        lengths = _checked(own, offsets)
        lows, highs = intervals(index, translate(index, own), offsets[:-1], lengths)
        found += highs - lows
    return found


def document_counts(shards: Sequence[Suffixes], ids: Sequence[np.ndarray], offsets: np.ndarray) -> np.ndarray:
    """Documents (int64) that hold each n-gram; as `counts`, but time grows with the occurrences."""
    found = np.zeros(len(offsets) - 1, np.int64)
    for index, own in zip(shards, ids, strict=True):
        lows, highs = intervals(index, translate(index, own), offsets[:-1], _checked(own, offsets))
        _distinct_documents(index.suffixes, index.starts, lows, highs, found)
    return found


def places(index: Suffixes, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every occurrence of one n-gram, in the order of the text: its document, and how many ids stand before it there."""
    lows, highs = intervals(index, translate(index, ids), np.zeros(1, np.int64), _checked(ids, np.array([0, len(ids)])))
    found = np.sort(index.suffixes[lows[0] : highs[0]]).astype(np.int64)
    document = np.searchsorted(index.starts, found, side="right") - 1
    return document, found - index.starts[document]


# -- what follows ----------------------------------------------------------------------------------------------------
@njit(cache=True)
def _next_ranks(text, suffixes, low, high, length, ranks, occurrences):
    """The distinct ranks that follow an interval's n-gram and how often; steps over equal ones in leaps."""
    found, left = 0, low
    while left < high:
        rank = text[suffixes[left] + length]
        begin, right, step = left, high, 1
        while left < right:
            near = left + step - 1
            middle = near if step > 0 and near < right else (left + right) >> 1
            if text[suffixes[middle] + length] == rank:
                left = middle + 1
                step *= 2
            else:
                right, step = middle, 0
        if rank > 0:
            ranks[found], occurrences[found] = rank, left - begin
            found += 1
    return found


def continuations(index: Suffixes, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ids, occurrences) of what follows a context inside a document, sorted by id; for an empty one, of all ids."""
    lows, highs = intervals(index, translate(index, context), np.zeros(1, np.int64), np.array([len(context)]))
    room = min(int(highs[0] - lows[0]), len(index.firsts))
    ranks, occurrences = np.empty(room, np.int64), np.empty(room, np.int64)
    found = _next_ranks(index.text, index.suffixes, lows[0], highs[0], len(context), ranks, occurrences)
    id_of = np.argsort(index.ranks, kind="stable")[np.count_nonzero(index.ranks == 0) :]
    ids = id_of[ranks[:found] - 1]
    order = np.argsort(ids)
    return ids[order], occurrences[:found][order]


def infinigram(
    shards: Sequence[Suffixes], contexts: Sequence[np.ndarray], offsets: np.ndarray, longest: int = 64
) -> Followed:
    """∞-gram counts of the last id of each text after those before it, in all shards together.

    Text i is contexts[s][offsets[i] : offsets[i + 1]] in the ids of shard s: the context, then the id asked about. No more
    than `longest` ids of a context are looked up. ValueError for a text without an id.
    """
    lengths, ends = np.diff(offsets), offsets[1:] - 1
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"text {int(lengths.argmin())} is empty: it must end with the id asked about")
    asked = [translate(index, own) for index, own in zip(shards, contexts, strict=True)]
    most = np.minimum(lengths - 1, longest).astype(np.int64)

    def with_next(which: np.ndarray, suffix: np.ndarray) -> np.ndarray:
        found = np.zeros(len(which), np.int64)
        for index, own in zip(shards, asked, strict=True):
            lows, highs = intervals(index, own, ends[which] - suffix, suffix + 1)
            found += highs - lows
        return found

    def with_any(which: np.ndarray, suffix: np.ndarray) -> np.ndarray:
        found = np.zeros(len(which), np.int64)
        for index, own in zip(shards, asked, strict=True):
            lows, highs = intervals(index, own, ends[which] - suffix, suffix)
            last = np.empty(len(which), np.int64)
            _end_with_document(index.text, index.suffixes, lows, highs, suffix, last)
            found += highs - lows - last
        return found

    everything = np.arange(len(lengths))
    seen, seen_numerator = _longest(with_next, np.full(len(lengths), -1, np.int64), most)
    seen_denominator = with_any(everything, np.maximum(seen, 0)) * (seen >= 0)
    suffix, denominator = _longest(with_any, np.maximum(seen, 0) - 1, most)
    numerator = np.where(suffix == seen, seen_numerator, 0)
    return Followed(np.maximum(suffix, 0), numerator, denominator, seen, seen_numerator, seen_denominator)


def _longest(
    count: Callable[[np.ndarray, np.ndarray], np.ndarray], known: np.ndarray, most: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The largest length in (known, most] with a count above 0, and that count; (known, 0) if there is none.

    A longer suffix stands in no more places than a shorter one, so lengths are tried in leaps, then halved.
    """
    low, high, step = known.copy(), most.copy(), np.ones(len(most), np.int64)
    found = np.zeros(len(most), np.int64)
    while len(open_ := np.flatnonzero(low < high)):
        near = low[open_] + step[open_]
        length = np.where((step[open_] > 0) & (near < high[open_]), near, (low[open_] + high[open_] + 1) >> 1)
        times = count(open_, length)
        stands = times > 0
        low[open_[stands]], found[open_[stands]] = length[stands], times[stands]
        step[open_[stands]] *= 2
        high[open_[~stands]], step[open_[~stands]] = length[~stands] - 1, 0
    return low, found
