"""Counting n-grams of integers: NumPy in, NumPy out. These kernels know neither words nor tokens (arXiv 2407.14985 §2).

A corpus is `ids` (int32, ≥ 0), one document after the other, and `offsets` (documents + 1): document d is
ids[offsets[d]:offsets[d + 1]]. No n-gram spans two documents.

N-grams are told apart by tries. A trie's edge is the exact int64 `node << 32 | id` in an open hash table: the hash only
says where to look, the key itself decides equality. Node 0 is the root, whose edges lie in an array indexed by id.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

_EMPTY = np.int64(-1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Trie(NamedTuple):
    """Queries as a tree of ids. `shift` places a hash among the 2^(64 - shift) slots of `keys` and `children`."""

    root: np.ndarray  # int32 [largest id + 1]: node below the root, or -1
    keys: np.ndarray  # int64 [slots]: node << 32 | id, or -1
    children: np.ndarray  # int32 [slots]
    shift: int
    nodes: int


class Kept(NamedTuple):
    """The documents with the smallest hashes of each pair: pair p owns the places offsets[p]:offsets[p + 1]."""

    offsets: np.ndarray  # int64 [pairs + 1]
    used: np.ndarray  # int64 [pairs]: places in use
    hashes: np.ndarray  # int64, increasing within a pair
    documents: np.ndarray  # int64
    inputs: np.ndarray  # int32: position of the first word of s_x
    outputs: np.ndarray  # int32: position of the first word of s_y


def slots_for(entries: int) -> tuple[int, int]:
    """Number of slots, a power of two at least 1.5 × entries, and the shift that places a 64-bit hash in them."""
    bits = max(4, int(np.ceil(np.log2(max(1, entries) * 1.5))))
    return 1 << bits, 64 - bits


@njit(cache=True)
def _find(keys, shift, key):
    """Slot that holds `key`, or the empty slot where it belongs."""
    slot = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(shift))
    last = keys.shape[0] - 1
    while keys[slot] != key and keys[slot] != _EMPTY:
        slot = (slot + 1) & last
    return slot


@njit(cache=True)
def _descend(root, keys, children, shift, node, value):
    """The node below `node` by the edge `value`, or -1."""
    if node == 0:
        return root[value] if value < root.shape[0] else np.int32(-1)
    slot = _find(keys, shift, (np.int64(node) << 32) | np.int64(value))
    return children[slot] if keys[slot] != _EMPTY else np.int32(-1)


@njit(cache=True)
def _descend_or_add(root, keys, children, shift, node, value, nodes):
    """The node below `node` by the edge `value`, made if it is not there; and the new number of nodes."""
    if node == 0:
        if root[value] < 0:
            root[value] = nodes
            nodes += 1
        return root[value], nodes
    key = (np.int64(node) << 32) | np.int64(value)
    slot = _find(keys, shift, key)
    if keys[slot] == _EMPTY:
        keys[slot], children[slot] = key, nodes
        nodes += 1
    return children[slot], nodes


# -- all n-grams of a corpus ---------------------------------------------------------------------------------------
@njit(cache=True)
def _extend(prefix, ids, offsets, order, keys, slots, shift):
    """Count the distinct (prefix, next id); `prefix` becomes the number of each position's n-gram, -1 where none fits."""
    found = 0
    size = 0
    for d in range(offsets.shape[0] - 1):
        size += max(0, offsets[d + 1] - offsets[d] - order + 1)
    seen_key, first = np.empty(size, np.int64), np.empty(size, np.int64)
    occurrences, documents = np.zeros(size, np.int32), np.zeros(size, np.int32)
    last = np.full(size, -1, np.int32)
    for d in range(offsets.shape[0] - 1):
        end = offsets[d + 1]
        for i in range(offsets[d], end):
            if i + order > end:
                prefix[i] = -1
                continue
            key = (np.int64(prefix[i]) << 32) | np.int64(ids[i + order - 1])
            slot = _find(keys, shift, key)
            if keys[slot] == _EMPTY:
                keys[slot], slots[slot] = key, found
                seen_key[found], first[found] = key, i
                found += 1
            gram = slots[slot]
            occurrences[gram] += 1
            if last[gram] != d:
                last[gram] = d
                documents[gram] += 1
            prefix[i] = gram
    return seen_key[:found], first[:found], occurrences[:found], documents[:found]


@njit(cache=True)
def _renumber(values, rank):
    """Replace each value ≥ 0 by its rank, in place."""
    for i in range(values.shape[0]):
        if values[i] >= 0:
            values[i] = rank[values[i]]


def count_all(
    prefix: np.ndarray, ids: np.ndarray, offsets: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every distinct n-gram, in increasing order of its ids, from the numbering of the (n-1)-grams.

    `prefix` (int32 [words]) holds for each position the rank of the (n-1)-gram that begins there (zeros for n = 1) and is
    overwritten with the ranks of the n-grams, so that calls for n = 1, 2, 3 … follow each other. Ranks are lexicographic,
    hence so is the order of (rank, next id). Returns a position of each n-gram (int64), occurrences and documents (int32).
    """
    size, shift = slots_for(len(ids))
    keys, slots = np.full(size, _EMPTY, np.int64), np.empty(size, np.int32)
    seen, first, occurrences, documents = _extend(prefix, ids, offsets, order, keys, slots, shift)
    del keys, slots
    by_key = np.argsort(seen, kind="stable")
    rank = np.empty(len(seen), np.int32)
    rank[by_key] = np.arange(len(seen), dtype=np.int32)
    _renumber(prefix, rank)
    return first[by_key], occurrences[by_key], documents[by_key]


# -- given n-grams -------------------------------------------------------------------------------------------------
@njit(cache=True)
def _insert_all(ids, offsets, root, keys, children, shift, terminal):
    """Put every query into the trie; terminal[node] becomes the query that ends there."""
    nodes = 1
    for q in range(offsets.shape[0] - 1):
        node = np.int32(0)
        for i in range(offsets[q], offsets[q + 1]):
            node, nodes = _descend_or_add(root, keys, children, shift, node, ids[i], nodes)
        terminal[node] = q
    return nodes


def build_trie(ids: np.ndarray, offsets: np.ndarray) -> tuple[Trie, np.ndarray]:
    """The trie of distinct, non-empty queries, laid out like a corpus; and for each node the query that ends there, or -1."""
    size, shift = slots_for(len(ids))
    root = np.full(int(ids.max()) + 1 if len(ids) else 0, -1, np.int32)
    keys, children = np.full(size, _EMPTY, np.int64), np.empty(size, np.int32)
    terminal = np.full(len(ids) + 1, -1, np.int32)
    nodes = _insert_all(ids, offsets, root, keys, children, shift, terminal)
    return Trie(root, keys, children, shift, nodes), terminal[:nodes].copy()


@njit(cache=True)
def scan_ngrams(ids, offsets, base, trie, terminal, occurrences, documents, first_document, last):
    """Add one piece of corpus to the counts of each query; the piece's first document is number `base`.

    `occurrences`, `documents` (int64), `first_document` and `last` (int64, -1 before the first piece) are [queries] and
    carried from piece to piece, which come in document order.
    """
    root, keys, children, shift, _ = trie
    for d in range(offsets.shape[0] - 1):
        end = offsets[d + 1]
        for i in range(offsets[d], end):
            node = _descend(root, keys, children, shift, np.int32(0), ids[i])
            j = i + 1
            while node >= 0:
                q = terminal[node]
                if q >= 0:
                    occurrences[q] += 1
                    if last[q] != base + d:
                        last[q] = base + d
                        if documents[q] == 0:
                            first_document[q] = base + d
                        documents[q] += 1
                if j >= end:
                    break
                node = _descend(root, keys, children, shift, node, ids[j])
                j += 1


# -- given pairs ---------------------------------------------------------------------------------------------------
@njit(cache=True)
def mix(value):
    """A bijection of 64-bit numbers that spreads every bit (the finalizer of SplitMix64)."""
    z = np.uint64(value) + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True)
def _keep(kept, pair, value, document, input_word, output_word):
    """Put a document among the smallest hashes of its pair, if it belongs there; equal hashes keep document order."""
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
def _found(pair, d, document, counts, pairs, pair_hashes, document_hashes, first, kept):
    """One document holds both n-grams of a pair."""
    counts[pair] += 1
    if kept.offsets[pair + 1] > kept.offsets[pair]:
        value = np.int64(mix(pair_hashes[pair] ^ mix(document_hashes[d])) >> np.uint64(1))
        _keep(kept, pair, value, document, first[pairs[pair, 0]], first[pairs[pair, 1]])


@njit(cache=True)
def _join(present, here, seen, adjacency, d, document, counts, pairs, pair_hashes, document_hashes, first, kept):
    """All pairs of one document, each looked up from the n-gram that owns it, through the shorter of two lists."""
    starts, others, owned = adjacency
    for a in range(here):
        low, high = starts[present[a]], starts[present[a] + 1]
        if high - low <= 8 * here:
            for at in range(low, high):
                if seen[others[at]] == document:
                    _found(owned[at], d, document, counts, pairs, pair_hashes, document_hashes, first, kept)
            continue
        for b in range(here):
            at = low + np.searchsorted(others[low:high], present[b])
            while at < high and others[at] == present[b]:
                _found(owned[at], d, document, counts, pairs, pair_hashes, document_hashes, first, kept)
                at += 1


@njit(cache=True)
def scan_pairs(ids, offsets, base, trie, terminal, seen, adjacency, counts, pairs, pair_hashes, document_hashes, kept):
    """Add one piece of corpus to `counts` (int64 [pairs]): documents that hold both n-grams of a pair.

    `pairs` (int32 [pairs, 2]) are queries of the trie; `adjacency` is what `owners` returns; `seen` (int64 [queries], -1
    before the first piece) is carried; `document_hashes` (uint64) belongs to the piece; `kept` keeps the smallest
    mix(pair hash ^ mix(document hash)) >> 1.
    """
    root, keys, children, shift, _ = trie
    queries = seen.shape[0]
    present, first = np.empty(queries, np.int32), np.empty(queries, np.int32)
    for d in range(offsets.shape[0] - 1):
        begin, end, document, here = offsets[d], offsets[d + 1], np.int64(base + d), 0
        for i in range(begin, end):
            node = _descend(root, keys, children, shift, np.int32(0), ids[i])
            j = i + 1
            while node >= 0:
                q = terminal[node]
                if q >= 0 and seen[q] != document:
                    seen[q], first[q], present[here] = document, i - begin, q
                    here += 1
                if j >= end:
                    break
                node = _descend(root, keys, children, shift, node, ids[j])
                j += 1
        _join(present, here, seen, adjacency, d, document, counts, pairs, pair_hashes, document_hashes, first, kept)


def owners(pairs: np.ndarray, frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each query the pairs it owns: a pair belongs to the rarer of its two n-grams, where looking it up is cheapest.

    `frequency` [queries] is the number of documents. Returns starts (int64 [queries + 1]), and, by owner and then by the
    other n-gram, the other n-gram (int32) and the number of the pair (int32).
    """
    left = frequency[pairs[:, 0]] <= frequency[pairs[:, 1]]
    owner, other = np.where(left, pairs[:, 0], pairs[:, 1]), np.where(left, pairs[:, 1], pairs[:, 0])
    order = np.lexsort((other, owner)).astype(np.int32)
    starts = np.searchsorted(owner[order], np.arange(len(frequency) + 1)).astype(np.int64)
    return starts, other[order].astype(np.int32), order


def keep(rooms: np.ndarray) -> Kept:
    """Empty places for `rooms` [pairs] documents of each pair."""
    offsets = np.concatenate([[0], np.cumsum(rooms)]).astype(np.int64)
    total = int(offsets[-1])
    return Kept(offsets, np.zeros(len(rooms), np.int64), np.empty(total, np.int64), np.empty(total, np.int64),
                np.empty(total, np.int32), np.empty(total, np.int32))  # fmt: skip
