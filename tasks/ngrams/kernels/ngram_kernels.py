"""Counting n-grams of integers: NumPy in, NumPy out. These kernels know neither words nor tokens (arXiv 2407.14985 §2).

A corpus is `ids` (int32, ≥ 0), one document after the other, and `offsets` (documents + 1): document d is
ids[offsets[d]:offsets[d + 1]]. No n-gram spans two documents.

N-grams are told apart by tries. A trie's edge is the exact int64 `node << 32 | id` in an open hash table: the hash only
says where to look, the key itself decides equality. Node 0 is the root, whose edges lie in an array indexed by id.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_EMPTY = np.int64(-1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.int64(0xFFFFFFFF)
_FILTER_BITS = 27  # 16 MB at most: a filter must stay in the cache to be worth asking


class Trie(NamedTuple):
    """Queries as a tree of ids. An edge is (query + 1) << 32 | node: the query that ends there, and the node if it goes on."""

    root: np.ndarray  # int64 [largest id + 1]: the edge of each id, 0 for none
    table: np.ndarray  # int64 [2 · slots]: node << 32 | id (or -1), and beside it, in the same cache line, the edge
    bits: np.ndarray  # uint64: a bit is set for each edge, so that most ids that lead nowhere cost no look into the table
    shift: int  # places a 64-bit hash among the slots
    bits_shift: int  # places it among the bits
    depth: int  # ids of the longest query


def slots_for(entries: int) -> tuple[int, int]:
    """Number of slots, a power of two at least 1.5 × entries, and the shift that places a 64-bit hash in them."""
    bits = max(4, int(np.ceil(np.log2(max(1, entries) * 1.5))))
    return 1 << bits, 64 - bits


def _prefetch(typing_context, array, index):
    """Ask for array[index] ahead of its use: a look-up that is under way while others are computed costs no waiting."""
    signature = types.void(array, index)

    def generate(context, builder, signature, arguments):
        values = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(values.data, [arguments[1]])
        place = builder.bitcast(place, ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return signature, generate


prefetch: Any = intrinsic(_prefetch)  # called with two arguments: the typing context is numba's


@njit(cache=True)
def _find(keys, shift, key):
    """Slot that holds `key`, or the empty slot where it belongs."""
    slot = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(shift))
    last = keys.shape[0] - 1
    while keys[slot] != key and keys[slot] != _EMPTY:
        slot = (slot + 1) & last
    return slot


@njit(cache=True)
def mix(value):
    """A bijection of 64-bit numbers that spreads every bit (the finalizer of SplitMix64)."""
    z = np.uint64(value) + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


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
def _insert_all(ids, offsets, root, table, shift, terminal, inner, same):
    """Put every query into the trie, its node numbers in the places of edges; returns the number of nodes, root included."""
    nodes, last = 1, (table.shape[0] >> 1) - 1
    for q in range(offsets.shape[0] - 1):
        begin, end = offsets[q], offsets[q + 1]
        if root[ids[begin]] == 0:
            root[ids[begin]] = nodes
            nodes += 1
        node = root[ids[begin]]
        for i in range(begin + 1, end):
            inner[node] = True
            key = (node << 32) | np.int64(ids[i])
            slot = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(shift))
            while table[2 * slot] != key and table[2 * slot] != _EMPTY:
                slot = (slot + 1) & last
            if table[2 * slot] == _EMPTY:
                table[2 * slot], table[2 * slot + 1] = key, nodes
                nodes += 1
            node = table[2 * slot + 1]
        if terminal[node] < 0:
            terminal[node] = q
        same[q] = terminal[node]
    return nodes


@njit(cache=True)
def _finish_edges(root, table, bits, bits_shift, terminal, inner):
    """Node numbers become edges; where no query goes on, an edge has no node."""
    for at in range(root.shape[0]):
        node = root[at]
        if node != 0:
            root[at] = (np.int64(terminal[node] + 1) << 32) | (node if inner[node] else 0)
    for slot in range(table.shape[0] >> 1):
        key = table[2 * slot]
        if key != _EMPTY:
            node = table[2 * slot + 1]
            table[2 * slot + 1] = (np.int64(terminal[node] + 1) << 32) | (node if inner[node] else 0)
            bit = (np.uint64(key) * _GOLDEN) >> np.uint64(bits_shift)
            bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


def build_trie(ids: np.ndarray, offsets: np.ndarray) -> tuple[Trie, np.ndarray]:
    """The trie of queries, laid out like a corpus; and for each query (int32) the first one that is equal to it.

    Only that first one is counted. ValueError for a query without ids.
    """
    lengths = np.diff(offsets)
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"query {int(lengths.argmin())} is empty: an n-gram has at least one word")
    edges = int(lengths.sum() - len(lengths))
    size, shift = slots_for(edges)
    root = np.zeros(int(ids.max()) + 1 if len(ids) else 0, np.int64)
    table = np.zeros(2 * size, np.int64)
    table[::2] = _EMPTY
    terminal, inner = np.full(len(ids) + 1, -1, np.int32), np.zeros(len(ids) + 1, np.bool_)
    same = np.empty(len(lengths), np.int32)
    nodes = _insert_all(ids, offsets, root, table, shift, terminal, inner, same)
    width = min(_FILTER_BITS, max(10, int(nodes).bit_length() + 3))
    bits = np.zeros(1 << (width - 6), np.uint64)
    _finish_edges(root, table, bits, 64 - width, terminal, inner)
    return Trie(root, table, bits, shift, 64 - width, int(lengths.max()) if len(lengths) else 0), same


def bytes_of_trie(queries: int, ids: int) -> int:
    """At most so many bytes hold the trie of so many queries, with so many ids together, and their counts; not the ids."""
    return (16 * 3 + 4 + 8) * ids + 64 * queries


# -- texts ---------------------------------------------------------------------------------------------------------
@njit(cache=True)
def hash_texts(data, offsets):
    """64 bits of each text data[offsets[i]:offsets[i + 1]] (uint8): FNV-1a, then `mix`. They choose, they decide no equality."""
    out = np.empty(offsets.shape[0] - 1, np.uint64)
    for i in range(out.shape[0]):
        value = np.uint64(0xCBF29CE484222325)
        for at in range(offsets[i], offsets[i + 1]):
            value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        out[i] = mix(value)
    return out


@njit(cache=True)
def fold(values, others):
    """mix(mix(value) ^ other) of each two 64-bit numbers: the hash of an ordered pair of hashes."""
    out = np.empty(values.shape[0], np.uint64)
    for i in range(out.shape[0]):
        out[i] = mix(mix(values[i]) ^ others[i])
    return out
