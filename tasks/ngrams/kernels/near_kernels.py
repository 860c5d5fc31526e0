"""Windows whose sets of 5-grams have a Jaccard similarity of .8 or more, without comparing all pairs: NumPy in, NumPy out.

A prefix-filter join (Chaudhuri, Ganti, Kaushik 2006; indexing prefixes: Xiao, Wang, Lin, Yu 2008). The 5-grams of each window are
sorted, rare ones first. Two windows of n ≥ m 5-grams that share 4/9 (n + m) of them, which is a Jaccard similarity of .8, share one
of the first n − ⌈4n/5⌉ + 1 of the one and the first m − ⌈8m/9⌉ + 1 of the other. Such pairs are compared
token by token. Hashes only order 5-grams: if they collide, more pairs are compared, and none is missed or taken for alike.

Most pairs are ruled out by two words of 64 bits each, in which every 5-gram of a window flips one bit: they differ in as many bits
at most as 5-grams are in only one of the two (Sandes, Teodoro, Melo 2020).

    near_copies([[1, 2, … 64], [1, 2, … 63, 9], [7, 7, … 7]])  ->  [0, 0, 1]        59 shared 5-grams of 61

A key is level << 59 | hash << 11 | place: the number of binary digits of the 5-gram's frequency, and its first token in the window.
"""

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import mix, slots_for

NGRAM = 5
_SLOTS, _SAMPLE = 1 << 18, 1 << 13  # frequencies need not be exact
PLACE = np.uint64(11)  # bits; a window has 2,048 tokens at most
_LEVEL, _FACTOR = np.uint64(59), np.uint64(0xD1342543DE82EF95)


@njit(cache=True)
def _hash_ngrams(window, n, keep, out):
    """`keep` of 48 bits of the hash of each n-gram of a window, into `out`: tests keep few, so that hashes collide."""
    value, leaving = np.uint64(0), np.uint64(1)
    for _ in range(n):
        leaving *= _FACTOR
    for at in range(len(window)):
        value = value * _FACTOR + np.uint64(window[at]) + np.uint64(1)
        if at >= n:
            value -= (np.uint64(window[at - n]) + np.uint64(1)) * leaving
        if at >= n - 1:
            out[at - n + 1] = mix(value) >> np.uint64(16) & keep


@njit(cache=True)
def _same(one, i, other, j, n):
    same = True
    for k in range(n):
        same &= one[i + k] == other[j + k]
    return same


def near_copies(windows: np.ndarray, hash_bits: int = 48) -> np.ndarray:
    """int64 [windows]: the number of each window's cluster, a connected component of near copies, from 0 in the order of first
    windows. windows: int32 [windows, tokens], of at most 2,048 tokens. A window of fewer than five is near its equals alone."""
    count, tokens = windows.shape
    if not count:
        return np.empty(0, np.int64)
    n = min(NGRAM, tokens)
    keys = _keys(windows, n, np.uint64((1 << hash_bits) - 1))
    keys.sort(axis=1)  # numba would compile a sort for seconds
    sizes, bits = _distinct(windows, keys, n)
    parents = np.arange(count, dtype=np.int32)
    remain = _join_equal(windows, keys, sizes, bits, n, np.lexsort((bits[:, 1], bits[:, 0])), parents)
    by_size = np.argsort(sizes, kind="stable")
    by_size = by_size[remain[by_size]]
    _join_near(windows, keys, sizes, bits, n, by_size, slots_for(len(by_size) * (keys.shape[1] // 9 + 1))[0], parents)
    while (parents != (above := parents[parents])).any():
        parents = above
    return np.unique(parents, return_inverse=True)[1]


@njit(cache=True)
def _keys(windows, n, keep):
    """The key of each window's n-grams, in the order of the text."""
    count, places = windows.shape[0], windows.shape[1] - n + 1
    frequency, mask = np.zeros(_SLOTS, np.uint32), np.uint64(_SLOTS - 1)  # of a sample, which stays in the cache
    keys = np.empty((count, places), np.uint64)
    for x in range(0, count, 1 + count // _SAMPLE):
        _hash_ngrams(windows[x], n, keep, keys[x])
        for at in range(places):
            frequency[keys[x, at] & mask] += np.uint32(1)
    for x in range(count):
        row = keys[x]
        _hash_ngrams(windows[x], n, keep, row)
        for at in range(places):
            level, left = np.uint64(0), np.int64(frequency[row[at] & mask]) >> 1
            while left:
                level, left = level + np.uint64(1), left >> 1
            row[at] = level << _LEVEL | row[at] << PLACE | np.uint64(at)
    return keys


@njit(cache=True)
def _distinct(windows, keys, n):
    """Leave out, in place, n-grams that a window has before, and move the others to the front: sizes, bits."""
    sizes, bits = np.empty(len(keys), np.int32), np.zeros((len(keys), 2), np.uint64)
    for x in range(len(keys)):
        row = keys[x]
        size, first = 0, 0  # first: of the kept keys with the same hash as this one
        for k in range(len(row)):
            if size and row[k] >> PLACE != row[size - 1] >> PLACE:
                first = size
            repeated = False
            for other in range(first, size):
                repeated |= _same(windows[x], _at(row[k]), windows[x], _at(row[other]), n)
            if not repeated:
                row[size] = row[k]
                size += 1
                bits[x, row[k] >> np.uint64(17) & np.uint64(1)] ^= np.uint64(1) << (row[k] >> PLACE & np.uint64(63))
        sizes[x] = size
    return sizes, bits


@njit(cache=True)
def _ones(word):
    """How many bits of a word are set."""
    word -= word >> np.uint64(1) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (word >> np.uint64(2) & np.uint64(0x3333333333333333))
    return (word + (word >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(0x0101010101010101) >> np.uint64(56)


@njit(cache=True)
def _at(key):
    return np.int64(key & np.uint64((1 << 11) - 1))


@njit(cache=True)
def _shared(windows, keys, sizes, n, x, y, least):
    """How many n-grams two windows share, or fewer than `least`, once they cannot share as many."""
    i, j, shared, one, other = 0, 0, 0, keys[x], keys[y]
    while i < sizes[x] and j < sizes[y] and shared + min(sizes[x] - i, sizes[y] - j) >= least:
        a, b = one[i] >> PLACE, other[j] >> PLACE
        if a == b:
            if not _same(windows[x], _at(one[i]), windows[y], _at(other[j]), n):
                return _shared_one_by_one(windows, keys, sizes, n, x, y)
            shared += 1
        i, j = i + (a <= b), j + (b <= a)
    return shared


@njit(cache=True)
def _shared_one_by_one(windows, keys, sizes, n, x, y):
    """The same where different n-grams have the same hash."""
    shared = 0
    for i in range(sizes[x]):
        for j in range(sizes[y]):
            shared += _same(windows[x], _at(keys[x, i]), windows[y], _at(keys[y, j]), n)
    return shared


@njit(cache=True)
def _root(parents, x):
    while parents[x] != x:
        parents[x] = parents[parents[x]]
        x = parents[x]
    return x


@njit(cache=True)
def _joined(parents, x, y):
    """Join two components; the smaller number is the root of both."""
    x, y = _root(parents, x), _root(parents, y)
    parents[max(x, y)] = min(x, y)


@njit(cache=True)
def _join_equal(windows, keys, sizes, bits, n, by_bits, parents):
    """Join windows of equal sets to the first of them, in the order `by_bits`; bool [windows]: those that remain to be compared."""
    remain, first = np.ones(len(sizes), np.bool_), 0
    for place in range(1, len(by_bits)):
        x, y = by_bits[first], by_bits[place]
        if bits[x, 0] != bits[y, 0] or bits[x, 1] != bits[y, 1]:
            first = place
        elif sizes[x] == sizes[y] == _shared(windows, keys, sizes, n, x, y, sizes[x]):
            _joined(parents, x, y)
            remain[y] = False
    return remain


@njit(cache=True)
def _join_near(windows, keys, sizes, bits, n, by_size, slots, parents):
    """Join windows whose n-grams have a Jaccard similarity of .8 or more. by_size: the windows, small sets first. Windows with a
    rare n-gram in one of `slots` are a list. A list whose windows are all of one component is left once one of them is near:
    otherwise a text in a million variants would be compared with itself a million times a million times."""
    mask = np.uint64(slots - 1)
    ends = np.zeros(slots + 1, np.int64)
    for x in by_size:
        for k in range(sizes[x] - (8 * sizes[x] + 8) // 9 + 1):
            ends[np.int64(keys[x, k] >> PLACE & mask) + 1] += 1
    begin, end = np.empty(slots, np.int64), np.empty(slots, np.int64)
    for at in range(slots):
        begin[at], end[at] = ends[at], ends[at]
        ends[at + 1] += ends[at]
    members = np.empty(ends[slots], np.int32)
    one_component, compared = np.ones(slots, np.bool_), np.full(len(sizes), -1, np.int32)
    for x in by_size:
        size = sizes[x]
        least = (4 * size + 4) // 5
        for k in range(size - least + 1):
            slot = np.int64(keys[x, k] >> PLACE & mask)
            while begin[slot] < end[slot] and sizes[members[begin[slot]]] < least:
                begin[slot] += 1  # too small for this window and for all after it
            if begin[slot] == end[slot]:
                one_component[slot] = True
                continue
            one = one_component[slot]
            if one and _root(parents, members[end[slot] - 1]) == _root(parents, x):
                continue
            all_near = True
            for place in range(end[slot] - 1, begin[slot] - 1, -1):
                y = members[place]
                near = _root(parents, y) == _root(parents, x)
                if not near and compared[y] != x:
                    compared[y] = x
                    overlap = (4 * (size + sizes[y]) + 8) // 9
                    differ = _ones(bits[x, 0] ^ bits[y, 0]) + _ones(bits[x, 1] ^ bits[y, 1])
                    if np.int64(differ) <= size + sizes[y] - 2 * overlap:
                        near = _shared(windows, keys, sizes, n, x, y, overlap) >= overlap
                    if near:
                        _joined(parents, x, y)
                all_near &= near
                if near and one:
                    break
            one_component[slot] = one or all_near
        for k in range(size - (8 * size + 8) // 9 + 1):
            slot = np.int64(keys[x, k] >> PLACE & mask)
            if begin[slot] < end[slot] and one_component[slot]:
                one_component[slot] = _root(parents, members[end[slot] - 1]) == _root(parents, x)
            members[end[slot]] = x
            end[slot] += 1
