"""Tries of given n-grams, and hashes: NumPy in, NumPy out. These kernels know neither words nor tokens (arXiv 2407.14985 §2).

A corpus is `ids` (int32, ≥ 0), one document after the other, and `offsets` (documents + 1): document d is
ids[offsets[d]:offsets[d + 1]]. No n-gram spans two documents.

N-grams are identified by tries. A trie's edge is the exact int64 `node << 32 | id` in an open hash table: the hash only
gives the slot, the key itself decides equality. Node 0 is the root, whose edges are in an array indexed by id.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_EMPTY = np.int64(-1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.int64(0xFFFFFFFF)
_FILTER_BITS = 27  # 16 MB at most: a filter is only useful in the cache


class Trie(NamedTuple):
    """Queries as a tree of ids. An edge is (query + 1) << 32 | node: the query that ends there, and the node if others go on."""

    root: np.ndarray  # int64 [largest id + 1]: the edge of each id, 0 for none
    table: np.ndarray  # int64 [2 · slots]: node << 32 | id (or -1), and next to it, in the same cache line, the edge
    bits: np.ndarray  # uint64: a bit is set for each edge, so that most ids without an edge need no lookup in the table
    shift: int  # maps a 64-bit hash to a slot
    bits_shift: int  # maps it to a bit
    depth: int  # ids of the longest query


def slots_for(entries: int) -> tuple[int, int]:
    """Number of slots, a power of two at least 1.5 × entries, and the shift that maps a 64-bit hash to them."""
    bits = max(4, int(np.ceil(np.log2(max(1, entries) * 1.5))))
    return 1 << bits, 64 - bits


def empty_bits(edges: int) -> tuple[np.ndarray, int]:
    """The filter of a trie with so many edges, and the shift that maps a 64-bit hash to its bits."""
    width = min(_FILTER_BITS, max(10, edges.bit_length() + 3))
    return np.zeros(1 << (width - 6), np.uint64), 64 - width


def _prefetch(typing_context, array, index):
    """Prefetch array[index], so that the memory access overlaps with other computations."""
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


prefetch: Any = intrinsic(_prefetch)  # called with two arguments; numba adds the typing context


@njit(cache=True)
def mix(value):
    """A bijection of 64-bit numbers that spreads every bit (the finalizer of SplitMix64)."""
    z = np.uint64(value) + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# -- tries ---------------------------------------------------------------------------------------------------------
@njit(cache=True)
def _insert_all(ids, offsets, root, table, shift, terminal, inner, same):
    """Insert every query into the trie, with node numbers in place of edges; returns the number of nodes with the root."""
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
    """Turn node numbers into edges; an edge has no node if no query continues there."""
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
    """The trie of queries, laid out like a corpus, and for each query (int32) the first one that is equal to it. Only the first of
    equal queries is counted. Raises ValueError for a query without ids."""
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
    bits, bits_shift = empty_bits(int(nodes))
    _finish_edges(root, table, bits, bits_shift, terminal, inner)
    return Trie(root, table, bits, shift, bits_shift, int(lengths.max()) if len(lengths) else 0), same


def bytes_of_trie(queries: int, ids: int) -> int:
    """An upper bound in bytes for the trie of so many queries, with so many ids in total, and their counts; without the ids."""
    return (16 * 3 + 4 + 8) * ids + 64 * queries


# -- texts ---------------------------------------------------------------------------------------------------------
@njit(cache=True)
def hash_texts(data, offsets):
    """64 bits of each text data[offsets[i]:offsets[i + 1]] (uint8): FNV-1a, then `mix`. Only for sampling, never for equality."""
    out = np.empty(offsets.shape[0] - 1, np.uint64)
    for i in range(out.shape[0]):
        value = np.uint64(0xCBF29CE484222325)
        for at in range(offsets[i], offsets[i + 1]):
            value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        out[i] = mix(value)
    return out


@njit(cache=True)
def fold(values, others):
    """mix(mix(value) ^ other), elementwise: the hash of an ordered pair of hashes."""
    out = np.empty(values.shape[0], np.uint64)
    for i in range(out.shape[0]):
        out[i] = mix(mix(values[i]) ^ others[i])
    return out
