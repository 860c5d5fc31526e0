"""One pass over a corpus that counts all queries: occurrences and documents of n-grams, documents of pairs.

Memory depends on the queries, time on the corpus; counts of pieces are added. Time is dominated by memory latency, so BLOCK
positions walk down the trie together, one id per step: their lookups are independent and overlap. An n-gram is found at one
depth only, so its occurrences come in order.
"""

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import _EMPTY, _GOLDEN, _LOW, Trie, empty_bits, prefetch, slots_for
from tasks.ngrams.kernels.pair_kernels import RECORD, join, note, prepare

BLOCK = 2_048
BYTES = 60  # of an n-gram: at most three slots, its byte, length and last word
AT_ONCE = 64  # lookups that overlap


def empty_records(queries: int) -> np.ndarray:
    """RECORD [queries] for the first piece; they are passed on from piece to piece, in document order. `occurrences`, `documents`,
    and `first_document` (-1: none) are the results; at most 2^31 - 1 documents."""
    records = np.zeros(queries, RECORD)
    for name in ("first_document", "last", "begin", "end"):
        records[name] = -1
    return records


@njit(cache=True)
def _walk(ids, low, high, stops, trie, hits, hits_at, active, active_at, keys, least):
    """Every query that begins in [low, high): hits (query), hits_at (position); how many, and the first of at least `least` ids."""
    root, table, bits, shift, bits_shift, depth = trie
    last, size = (table.shape[0] >> 1) - 1, root.shape[0]
    n_hits, n, short = np.int64(0), np.int64(0), np.int64(-1)
    for i in range(low, high):
        edge = root[ids[i]] if ids[i] < size else np.int64(0)
        hits[n_hits], hits_at[n_hits] = (edge >> 32) - 1, i
        n_hits += edge > _LOW
        active[n], active_at[n] = edge & _LOW, i
        n += (edge & _LOW) != 0 and i + 1 < stops[i - low]
    for k in range(1, depth):
        if n == 0:
            break
        if k + 1 == least:
            short = n_hits
        m = np.int64(0)
        for a in range(n):
            i = active_at[a]
            key = (active[a] << 32) | np.int64(ids[i + k])
            bit = (np.uint64(key) * _GOLDEN) >> np.uint64(bits_shift)
            keys[m], active_at[m] = key, i
            m += np.int64((bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1))
        for a in range(m):
            prefetch(table, np.int64(((np.uint64(keys[a]) * _GOLDEN) >> np.uint64(shift)) << np.uint64(1)))
        n = np.int64(0)
        for a in range(m):
            i, key = active_at[a], keys[a]
            slot = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(shift))
            while table[2 * slot] != key and table[2 * slot] != _EMPTY:
                slot = (slot + 1) & last
            edge = table[2 * slot + 1]
            hits[n_hits], hits_at[n_hits] = (edge >> 32) - 1, i
            n_hits += edge > _LOW
            active[n], active_at[n] = edge & _LOW, i
            n += (edge & _LOW) != 0 and i + k + 1 < stops[i - low]
    return n_hits, (short if short >= 0 else n_hits)


@njit(cache=True)
def _by_document(hits, hits_at, n_hits, low, documents, first, count, sorted_hits, sorted_at):
    """Sort hits by their documents first, first + 1, …, stably; returns where each document's hits begin."""
    starts = np.zeros(count + 1, np.int64)
    for h in range(n_hits):
        starts[documents[hits_at[h] - low] - first + 1] += 1
    for d in range(count):
        starts[d + 1] += starts[d]
    at = np.empty(count, np.int64)
    for d in range(count):
        at[d] = starts[d]
    for h in range(n_hits):
        d = documents[hits_at[h] - low] - first
        sorted_hits[at[d]], sorted_at[at[d]] = hits[h], hits_at[h]
        at[d] += 1
    return starts


@njit(cache=True)
def _grown(values):
    wide = np.empty(2 * values.shape[0], values.dtype)
    for at in range(values.shape[0]):  # a slice takes ten times as long to compile
        wide[at] = values[at]
    return wide


@njit(cache=True)
def scan_pairs(ids, offsets, base, trie, records, pairs, document_hashes, least):
    """Add one piece of corpus to the counts of each query and of each pair; the piece's first document is number `base`.
    `document_hashes` (uint64 [documents of the piece]) are needed where documents are kept, else empty. Returns (query, document),
    int32, of every occurrence of a query of at least `least` ids (≥ 2); of none for 0."""
    total, windows, entries = offsets[-1], pairs.widths.shape[0] > 0, pairs.entries
    met = np.empty(entries.shape[0] if windows or pairs.kept.used.shape[0] > 0 else 0, np.int64)
    room = BLOCK * max(1, trie.depth)
    hits, hits_at = np.empty(room, np.int32), np.empty(room, np.int64)
    sorted_hits, sorted_at = np.empty(room, np.int32), np.empty(room, np.int64)
    active, active_at, keys = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    documents, stops = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    present, here, bits = np.empty(records.shape[0], np.int32), np.int64(0), np.zeros((records.shape[0] >> 6) + 1, np.uint64)
    heads = np.empty(records.shape[0] if windows else 0, np.int32)
    tails = np.empty(records.shape[0] if windows else 0, np.int32)
    places, follow, placed = np.empty(1024, np.int64), np.empty(1024, np.int32), 0
    noted, noted_in, notes = np.empty(1024, np.int32), np.empty(1024, np.int32), 0
    low, d = np.int64(0), 0
    while low < total:
        high = min(low + BLOCK, total)
        while offsets[d + 1] <= low:
            d += 1
        first = d
        for i in range(low, high):
            while offsets[d + 1] <= i:
                d += 1
            documents[i - low], stops[i - low] = d, offsets[d + 1]
        n_hits, short = _walk(ids, low, high, stops, trie, hits, hits_at, active, active_at, keys, least)
        for h in range(short, n_hits):
            if notes == noted.shape[0]:
                noted, noted_in = _grown(noted), _grown(noted_in)
            noted[notes], noted_in[notes] = hits[h], base + documents[hits_at[h] - low]
            notes += 1
        starts = _by_document(hits, hits_at, n_hits, low, documents, first, d - first + 1, sorted_hits, sorted_at)
        for e in range(first, d + 1):
            document = np.int32(base + e)
            for h in range(starts[e - first], starts[e - first + 1]):
                if h + 16 < n_hits:
                    prefetch(records, np.int64(sorted_hits[h + 16]))
                q = sorted_hits[h]
                records[q].occurrences += 1
                if records[q].last != document:
                    records[q].last = document
                    records[q].first = sorted_at[h] - offsets[e]
                    if records[q].documents == 0:
                        records[q].first_document = document
                    records[q].documents += 1
                    if records[q].begin >= 0:
                        present[here] = q
                        here += 1
                        bits[q >> 6] |= np.uint64(1) << np.uint64(q & 63)
                        if windows:
                            heads[q] = -1
                if windows and records[q].begin >= 0:
                    if placed == places.shape[0]:
                        places, follow = _grown(places), _grown(follow)
                    places[placed], follow[placed] = sorted_at[h], -1
                    if heads[q] < 0:
                        heads[q] = placed
                    else:
                        follow[tails[q]] = placed
                    tails[q] = placed
                    placed += 1
            if offsets[e + 1] <= high:
                joined = join(entries, present, here, bits, records, met)
                if met.shape[0] > 0:
                    note(met, joined, e, document, records, pairs, document_hashes, heads, places, follow)
                for a in range(here):
                    bits[present[a] >> 6] = 0
                here, placed = np.int64(0), 0
        low = high
    return noted[:notes], noted_in[:notes]


def scan_ngrams(ids: np.ndarray, offsets: np.ndarray, base: int, trie: Trie, records: np.ndarray) -> None:
    """Add one piece of corpus to the counts of each query; the piece's first document is number `base`."""
    none = prepare(np.empty((0, 2), np.int64), np.empty(0), np.empty(0, np.int64), np.zeros(0, RECORD))
    scan_pairs(ids, offsets, base, trie, records, none, np.zeros(0, np.uint64), 0)


# -- presence: without counts and documents a hit is one byte --------------------------------------------------------------
# The n-grams are sorted, and with each are its beginnings ("a", "a b" for "a b c"): so they are a trie in preorder, and an n-gram's
# row, from 1, is its node. An n-gram is looked up only where its beginning was found.
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
