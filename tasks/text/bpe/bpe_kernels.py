"""Byte-level BPE over UTF-8 bytes: text in, token ids out, the same ids as the `tokenizers` library (arXiv 1508.07909 §3.2).

A text is split at added tokens, each piece into pre-tokens, each pre-token into bytes that are merged: the pair of lowest
rank first, the leftmost of equals. Most pre-tokens repeat, so their ids are cached in a table keyed by their bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tasks.text.bpe.added_kernels import added_token
from tasks.text.bpe.byte_kernels import njit_bare, prefetch, word_at
from tasks.text.bpe.merge_kernels import merge_long, merge_short
from tasks.text.bpe.pretoken_kernels import ascii_end, digits_end, pretoken_end

_SLOTS = 1 << 19
_KEPT_BYTES = 64  # longer pre-tokens hardly ever come twice
_BYTES_ROOM, _IDS_ROOM = 1 << 22, 1 << 20
_AT_ONCE = 128  # pre-tokens: as many as memory can be asked for together
_SHORT = 64  # symbols up to which looking at all pairs beats a heap
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Rules(NamedTuple):
    """A tokenizer as arrays."""

    kinds: np.ndarray  # uint8 [256]: pretoken_kernels.byte_kinds
    classes: np.ndarray  # uint8 [CODE_POINTS]: the bits LETTER … DIGIT of pretoken_kernels
    pattern: int  # WHOLE, GPT2, CL100K
    numbers: int  # CL100K: most numerals in a pre-token (Llama 3: 3, Qwen 2: 1)
    digits: int  # NO_DIGITS, EACH_DIGIT, DIGIT_RUNS: what is cut out before the pattern sees a piece
    prefix: bool  # a piece that begins with no space gets one
    byte_ids: np.ndarray  # int32 [256]
    merges: np.ndarray  # int64 [2 · slots]: left << 32 | right (or -1), followed by rank << 32 | the new id
    shift: int  # places a 64-bit hash among the merges' slots
    new_ids: np.ndarray  # int32 [ranks]: the token each merge makes
    one_way: bool  # no two merges make the same token
    raw: np.ndarray  # int32 [nodes, 256]: the trie of the tokens sought in the text as it is; 0: no such node
    raw_ids: np.ndarray  # int32 [nodes]: the token's id, NOT_ADDED or SPECIAL of added_kernels
    normal: np.ndarray  # the same for the tokens sought in the normalised text
    normal_ids: np.ndarray


class Cache(NamedTuple):
    """Pre-tokens met before. Up to 8 bytes are their own key; longer ones have a hash, and their bytes are compared."""

    table: np.ndarray  # int64 [4 · slots]: key, bytes << 32 | ids (0: empty), where the bytes are, where the ids are or the id
    letters: np.ndarray  # uint8
    values: np.ndarray  # int32
    used: np.ndarray  # int64 [3]: entries, letters, values
    first: np.ndarray  # the table as it was at the start, if anything was in it: what emptying the cache comes back to
    first_used: np.ndarray  # int64 [3]
    longest: int  # bytes of the longest pre-token that may be in it


class Room(NamedTuple):
    """What the kernels write on while they work."""

    stops: np.ndarray  # int64 [pre-tokens at once]
    keys: np.ndarray  # the same
    symbols: np.ndarray  # int32 [bytes of a short pre-token]
    ranks: np.ndarray  # int64, as many
    prefixed: np.ndarray  # uint8: a piece with the space before it
    read: np.ndarray  # the same memory, read only as all text is


def room_for(longest: int) -> Room:
    """Buffers for pieces of at most `longest` bytes with the space before them."""
    prefixed = np.empty(longest, np.uint8)
    read = prefixed.view()
    read.flags.writeable = False
    stops, keys = np.empty((2, _AT_ONCE), np.int64)
    return Room(stops, keys, np.empty(_SHORT, np.int32), np.empty(_SHORT, np.int64), prefixed, read)


# -- pre-token to ids -------------------------------------------------------------------------------------------------
def empty_cache(extra: int = 0, longest: int = 0) -> Cache:
    """Room for some 260 thousand pre-tokens, 24 MB, and `extra` ones of at most `longest` bytes; it is emptied when it is full."""
    slots = _SLOTS
    while slots // 2 < _SLOTS // 2 + extra:
        slots *= 2
    room = np.zeros(4 * slots, np.int64), np.zeros(_BYTES_ROOM + extra * longest, np.uint8), np.zeros(_IDS_ROOM, np.int32)
    nothing = np.zeros(0, np.int64)
    return Cache(*room, np.zeros(3, np.int64), nothing, np.zeros(3, np.int64), max(longest, _KEPT_BYTES))


@njit_bare(inline="always")
def _key(data, i, length):
    """The bytes data[i : i + length] themselves if they are at most 8, else a hash of them."""
    key = word_at(data, i, length)
    if length > 8:
        key = np.uint64(length)
        for k in range(0, length, 8):
            key = (key ^ word_at(data, i + k, length - k)) * _GOLDEN
            key ^= key >> np.uint64(29)
    return np.int64(key)


@njit_bare(inline="always")
def _first_slot(key, table):
    """Where the search for a key begins."""
    mixed = (np.uint64(key) ^ (np.uint64(key) >> np.uint64(32))) * _GOLDEN
    return np.int64(mixed >> np.uint64(40)) & ((table.shape[0] >> 2) - 1)


@njit_bare(inline="always")
def _find(data, i, length, key, table, letters):
    """Where in the table the entry of the pre-token data[i : i + length] is, or the empty one where it belongs."""
    slot, last = _first_slot(key, table), (table.shape[0] >> 2) - 1
    while table[4 * slot + 1] != 0:
        if table[4 * slot] == key and table[4 * slot + 1] >> 32 == length:
            at, k = table[4 * slot + 2], 0
            if length > 8:
                while k < length and word_at(data, i + k, length - k) == word_at(letters, at + k, length - k):
                    k += 8
            if length <= 8 or k >= length:
                break
        slot = (slot + 1) & last
    return 4 * slot


@njit_bare()
def keep(data, i, length, ids, first, count, cache):
    """Note ids[first : first + count] of the pre-token data[i : i + length], which is not in the table; False if that is full."""
    used, entries = cache.used, cache.table.shape[0] >> 3
    stored = length if length > 8 else 0
    if used[0] >= entries or used[1] + stored > cache.letters.shape[0] or used[2] + count > cache.values.shape[0]:
        return False
    key = _key(data, i, length)
    entry = _find(data, i, length, key, cache.table, cache.letters)
    cache.table[entry], cache.table[entry + 1] = key, (np.int64(length) << 32) | count
    cache.table[entry + 2] = used[1]
    for k in range(stored):
        cache.letters[used[1] + k] = data[i + k]
    if count == 1:
        cache.table[entry + 3] = ids[first]
    else:
        cache.table[entry + 3] = used[2]
        for k in range(count):
            cache.values[used[2] + k] = ids[first + k]
        used[2] += count
    used[0] += 1
    used[1] += stored
    return True


@njit_bare()
def _empty(cache):
    """Back to what the cache began with."""
    for k in range(cache.table.shape[0]):
        cache.table[k] = cache.first[k] if cache.first.shape[0] else 0
    for k in range(3):
        cache.used[k] = cache.first_used[k]


@njit_bare()
def _new(data, i, length, rules, cache, room, out, n):
    """Ids of a pre-token not met before, to out[n:]; the new n."""
    if rules.one_way and length <= _SHORT:
        for k in range(length):
            room.symbols[k] = rules.byte_ids[data[i + k]]
        count = merge_short(room.symbols, room.ranks, length, rules.merges, rules.shift)
        for k in range(count):
            out[n + k] = room.symbols[k]
    else:
        for k in range(length):
            out[n + k] = rules.byte_ids[data[i + k]]
        count = merge_long(out, n, length, rules.merges, rules.shift, rules.new_ids)
    if length <= _KEPT_BYTES and not keep(data, i, length, out, n, count, cache):
        _empty(cache)
        keep(data, i, length, out, n, count, cache)
    return n + count


@njit_bare()
def _cut(data, i, end, kinds, classes, pattern, numbers, table, longest, stops, keys):
    """Ends and keys of the pre-tokens from i on, at most as many as there is room for; how many. Their entries are asked for.

    Every array costs a call: the functions that do most of the work get what they read, and are left for what is rare.
    """
    count = 0
    while i < end and count < stops.shape[0]:
        stop = ascii_end(data, i, end, kinds, pattern)
        if stop == i:
            stop = pretoken_end(data, i, end, classes, pattern, numbers)
        key = _key(data, i, stop - i) if stop - i <= longest else np.int64(0)
        prefetch(table, 4 * _first_slot(key, table))
        stops[count], keys[count] = stop, key
        count += 1
        i = stop
    return count


@njit_bare()
def _known(data, i, first, count, stops, keys, table, letters, values, longest, out, n):
    """Ids of the pre-tokens first, first + 1 … count - 1 to out[n:], up to one that is not in the table: it, its begin, and n."""
    for k in range(first, count):
        length = stops[k] - i
        if length > longest:
            return k, i, n
        entry = _find(data, i, length, keys[k], table, letters)
        ids = table[entry + 1] & 0xFFFFFFFF
        if ids == 0:
            return k, i, n
        at = table[entry + 3]
        if ids == 1:
            out[n] = at
        else:
            for m in range(ids):
                out[n + m] = values[at + m]
        n += ids
        i = stops[k]
    return count, i, n


@njit_bare()
def _part(data, i, end, rules, cache, room, out, n):
    """Ids of data[i:end], in which no added token is sought, to out[n:]; the new n."""
    while i < end:
        count = _cut(
            data,
            i,
            end,
            rules.kinds,
            rules.classes,
            rules.pattern,
            rules.numbers,
            cache.table,
            cache.longest,
            room.stops,
            room.keys,
        )
        k = 0
        while k < count:
            k, i, n = _known(
                data, i, k, count, room.stops, room.keys, cache.table, cache.letters, cache.values, cache.longest, out, n
            )
            if k < count:
                n = _new(data, i, room.stops[k] - i, rules, cache, room, out, n)
                i = room.stops[k]
                k += 1
    return n


# -- texts ------------------------------------------------------------------------------------------------------------
@njit_bare()
def _piece(data, i, end, rules, cache, room, out, n):
    """Ids of a piece between added tokens."""
    while i < end:
        stop = digits_end(data, i, end, rules.classes, rules.digits)
        if rules.prefix and data[i] != 32:
            room.prefixed[0] = 32
            for k in range(stop - i):
                room.prefixed[1 + k] = data[i + k]
            n = _part(room.read, 0, 1 + stop - i, rules, cache, room, out, n)
        else:
            n = _part(data, i, stop, rules, cache, room, out, n)
        i = stop
    return n


@njit(cache=True)
def encode(data, offsets, rules, cache, room, out, starts):
    """Ids of the texts data[offsets[t] : offsets[t + 1]] (uint8, valid UTF-8, normalised), into out; the number of ids.

    starts, int64 [texts + 1], gets where each text's ids begin. `out`, int32, has room for one id a byte, two if rules.prefix.
    """
    n = 0
    for t in range(offsets.shape[0] - 1):
        starts[t] = n
        i, end = offsets[t], offsets[t + 1]
        while i < end:
            begin, after, token = added_token(data, i, end, rules.raw, rules.raw_ids)
            while i < begin:
                inner, inner_after, inner_token = added_token(data, i, begin, rules.normal, rules.normal_ids)
                n = _piece(data, i, inner, rules, cache, room, out, n)
                if inner_token >= 0:
                    out[n] = inner_token
                    n += 1
                i = inner_after
            if token >= 0:
                out[n] = token
                n += 1
            i = after
    starts[offsets.shape[0] - 1] = n
    return n
