"""Documents that contain both n-grams of a pair: C(s_x, s_y), never min(C(s_x), C(s_y)) (docs/method.md §3).

A pair is owned by the rarer of its n-grams. After a document has been read, only the pairs owned by its n-grams are checked,
against a bit per n-gram, which stay in the cache. For windows, the shortest passage with both n-grams is determined as well;
kept documents are those with the smallest hashes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import mix, prefetch

_INT32 = ("documents", "first_document", "last", "first", "begin", "end")
RECORD = np.dtype([("occurrences", "i8"), *((name, "i4") for name in _INT32)])
ENTRY = np.dtype([("other", "i4"), ("documents", "i4")])


class Kept(NamedTuple):
    """The documents with the smallest hashes of each pair: pair p has the slots offsets[p]:offsets[p + 1]."""

    offsets: np.ndarray  # int64 [pairs + 1]
    used: np.ndarray  # int64 [pairs]: slots in use
    hashes: np.ndarray  # int64, increasing within a pair
    documents: np.ndarray  # int64
    inputs: np.ndarray  # int32: position of the first word of s_x
    outputs: np.ndarray  # int32: position of the first word of s_y


class Pairs(NamedTuple):
    """Pairs in the order of their owners, then of the other n-gram. `order` is the index of each pair in the query."""

    order: np.ndarray  # int64 [pairs]
    entries: np.ndarray  # ENTRY [pairs]: the other n-gram, documents with both
    ends: np.ndarray  # int32 [pairs, 2]: s_x and s_y
    hashes: np.ndarray  # uint64 [pairs]
    kept: Kept
    widths: np.ndarray  # int64 [widths], increasing: words
    windows: np.ndarray  # int64 [pairs, widths]: documents with both within a window's words
    lengths: np.ndarray  # int64 [queries]: words of each n-gram


def prepare(
    pairs: np.ndarray,
    frequency: np.ndarray,
    lengths: np.ndarray,
    records: np.ndarray,
    rooms: np.ndarray | None = None,
    hashes: np.ndarray | None = None,
    widths: tuple[int, ...] = (),
) -> Pairs:
    """Lay out `pairs` (int [pairs, 2], numbers of queries) for a scan, and write into `records` the pairs that each query owns.
    `frequency` [queries] is an estimate of each n-gram's frequency; it affects speed, not results. `lengths` [queries]: words.
    `rooms` [pairs]: how many documents to keep; their order is that of mix(hash of pair ^ mix(hash of document)) >> 1."""
    n = len(pairs)
    left = frequency[pairs[:, 0]] <= frequency[pairs[:, 1]]
    owner, other = np.where(left, pairs[:, 0], pairs[:, 1]), np.where(left, pairs[:, 1], pairs[:, 0])
    order = _by_owner(owner, other)
    entries = np.zeros(n, ENTRY)
    entries["other"] = other[order]
    records["begin"], records["end"] = -1, -1
    records["begin"][other] = records["end"][other] = 0  # other n-gram of some pair, owns nothing
    ends = np.flatnonzero(np.diff(owner[order], append=-1)) + 1
    owners = owner[order[ends - 1]]
    records["begin"][owners], records["end"][owners] = np.concatenate([[0], ends[:-1]]), ends
    room = rooms[order] if rooms is not None else np.zeros(0, np.int64)
    slots = np.concatenate([[0], np.cumsum(room)]).astype(np.int64)
    kept = Kept(slots, np.zeros(len(room), np.int64), *(np.empty(slots[-1], kind) for kind in ("i8", "i8", "i4", "i4")))
    ordered = hashes[order] if hashes is not None else np.zeros(0, np.uint64)
    wide = np.array(sorted(set(widths)), np.int64)
    windows = np.zeros((n, len(wide)), np.int64)
    return Pairs(order, entries, pairs[order].astype(np.int32), ordered, kept, wide, windows, lengths.astype(np.int64))


def _by_owner(owner: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The order of (owner, other). If both and the row fit in one number, sorting is ten times as fast as with two columns."""
    size = int(max(owner.max(initial=0), other.max(initial=0))).bit_length()
    rows = len(owner).bit_length()
    if 2 * size + rows > 64:
        return np.lexsort((other, owner))
    keys = (owner.astype(np.uint64) << np.uint64(size)) | other.astype(np.uint64)
    keys = (keys << np.uint64(rows)) | np.arange(len(owner), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64((1 << rows) - 1)).astype(np.int64)


@njit(cache=True)
def _keep(kept, pair, value, document, input_word, output_word):
    """Insert a document among the smallest hashes of its pair if it belongs there; equal hashes keep document order."""
    offsets, used, hashes, documents, inputs, outputs = kept
    low, room = offsets[pair], offsets[pair + 1] - offsets[pair]
    at = low + used[pair]
    if used[pair] == room:
        if room == 0 or hashes[at - 1] <= value:
            return
        at -= 1
    else:
        used[pair] += 1
    while at > low and hashes[at - 1] > value:
        hashes[at], documents[at] = hashes[at - 1], documents[at - 1]
        inputs[at], outputs[at] = inputs[at - 1], outputs[at - 1]
        at -= 1
    hashes[at], documents[at], inputs[at], outputs[at] = value, document, input_word, output_word


@njit(cache=True)
def _shortest(heads, places, follow, x, y, x_length, y_length):
    """Words of the shortest passage of the document with both n-grams, from the first word of the one that begins first. The
    nearest occurrence before or after is always the best, so both lists of positions are merged in one pass."""
    best, a, b = np.int64(1) << 62, heads[x], heads[y]
    while a >= 0 and b >= 0:
        p, q = places[a], places[b]
        best = min(best, max(p + x_length, q + y_length) - min(p, q))
        if p <= q:
            a = follow[a]
        else:
            b = follow[b]
    return best


@njit(cache=True)
def note(met, joined, d, document, records, pairs, document_hashes, heads, places, follow):
    _, entries, ends, hashes, kept, widths, windows, lengths = pairs
    for m in range(joined):
        at = met[m]
        x, y = ends[at, 0], ends[at, 1]
        if kept.used.shape[0] > 0 and kept.offsets[at + 1] > kept.offsets[at]:
            value = np.int64(mix(hashes[at] ^ mix(document_hashes[d])) >> np.uint64(1))
            _keep(kept, at, value, document, records[x].first, records[y].first)
        if widths.shape[0] > 0:
            length = _shortest(heads, places, follow, x, y, lengths[x], lengths[y])
            for w in range(widths.shape[0] - 1, -1, -1):
                if length > widths[w]:
                    break
                windows[at, w] += 1


@njit(cache=True)
def join(entries, present, here, bits, records, met):
    """Count the pairs of one document, whose n-grams are present[:here] and the set bits, through the shorter of two lists. The
    indices of these pairs are written to `met` (int64, empty or [pairs]) as far as it has room; returns how many."""
    joined, room, far = 0, met.shape[0], np.int64(8 * here)
    for a in range(here):
        if a + 8 < here:
            prefetch(entries, np.int64(max(0, records[present[a + 8]].begin)))
        owner = present[a]
        low, high = np.int64(records[owner].begin), np.int64(records[owner].end)
        if high - low > far:
            for b in range(here):
                other, left, right = present[b], low, high
                while left < right:
                    middle = (left + right) >> 1
                    if entries[middle].other < other:
                        left = middle + 1
                    else:
                        right = middle
                while left < high and entries[left].other == other:
                    entries[left].documents += 1
                    if joined < room:
                        met[joined] = left
                    joined += 1
                    left += 1
        elif room == 0:
            for at in range(low, high):  # adding 0 is faster than an unpredictable branch
                other = entries[at].other
                entries[at].documents += np.int32((bits[other >> 6] >> np.uint64(other & 63)) & np.uint64(1))
        else:
            for at in range(low, high):
                other = entries[at].other
                if (bits[other >> 6] >> np.uint64(other & 63)) & np.uint64(1):
                    entries[at].documents += 1
                    if joined < room:
                        met[joined] = at
                    joined += 1
    return joined
