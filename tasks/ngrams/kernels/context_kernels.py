"""∞-gram counts in one pass: for each queried (context, token) and each suffix of the context, how often the suffix occurs in
the corpus followed by a token, and how often that token is the queried one (arXiv 2407.14985 §2, Eq. 5-6).

Read backwards, a context is a path from the root of a trie, a suffix is a node, and context ⊕ token is the path of the next
position, so one trie gives both counts. From each position of the corpus, a walk goes back along the trie within the document
and counts a visit at each node; visits of a document's last token, which nothing follows, are excluded from denominators.

An unshared path is not stored: its first node refers to the text where it continues, and gets a child only when the corpus
follows it. So memory depends on what the contexts share and what the corpus contains of them, not on the longest suffix. This
is known only while the corpus is read, so a trie has a limit, and `full` says that it was reached.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import _EMPTY, _GOLDEN, prefetch, slots_for

BLOCK = 2_048
NODE = np.dtype([("key", "i8"), ("visits", "i8"), ("ends", "i4"), ("node", "i4"), ("path", "i4"), ("unused", "i4")])
_BESIDE = 4  # extra bits per slot, in powers of two, of the filter
_SLOT_BYTES = NODE.itemsize + (1 << _BESIDE >> 3)
_FREE = 1 << 60  # slots of a trie without a limit


@dataclass
class ContextTrie:
    """The trie of contexts read backwards, with its visits. A node's slot: its key (parent << 32 | token), visits, visits of the
    last tokens of documents, its number, and in `path` where its only path continues in `text` (-1: it has children)."""

    root: np.ndarray  # NODE [largest id + 1]; number 0: no node
    table: np.ndarray  # NODE [slots]
    bits: np.ndarray  # uint64: a bit is set for each key
    nodes: int
    text: np.ndarray  # int32: the queried texts, with -1 before each and after the last
    longest: int  # ids of the longest path
    most: int  # slots the table may grow to
    full: bool  # the limit was reached: the counts are invalid, query fewer texts at once
    tokens: int = 0  # tokens of the corpus read


@njit(cache=True)
def _slot(table, key):
    """The slot of `key`, or the empty slot where it belongs, in a table of 2^k slots."""
    last = np.uint64(table.shape[0] - 1)
    slot = _home(table, key)
    while table[slot].key != key and table[slot].key != _EMPTY:
        slot = np.int64((np.uint64(slot) + np.uint64(1)) & last)
    return slot


@njit(cache=True)
def _home(table, key):
    """Where the search for `key` begins: the high bits of its hash, folded and masked."""
    return np.int64(_bit(table.shape[0], key))


@njit(cache=True)
def _bit(size, key):
    value = np.uint64(key) * _GOLDEN
    return (value ^ (value >> np.uint64(32))) & np.uint64(size - 1)


@njit(cache=True)
def _put(table, bits, slot, key, node, path):
    table[slot].key, table[slot].visits, table[slot].ends = key, 0, 0
    table[slot].node, table[slot].path = node, path
    bit = _bit(bits.shape[0] << 6, key)
    bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@njit(cache=True)
def _room(table, bits, nodes, more):
    """The table and its filter, or larger ones with room for `more` nodes; never more than two thirds full."""
    size = table.shape[0]
    if 3 * (nodes + more) <= 2 * size:
        return table, bits
    while 3 * (nodes + more) > 2 * size:
        size *= 2
    wide, wide_bits = np.zeros(size, table.dtype), np.zeros(size << _BESIDE >> 6, np.uint64)
    for slot in range(size):
        wide[slot].key = _EMPTY
    for old in range(table.shape[0]):
        if table[old].key != _EMPTY:
            slot = _slot(wide, table[old].key)
            _put(wide, wide_bits, slot, table[old].key, np.int64(table[old].node), table[old].path)
            wide[slot].visits, wide[slot].ends = table[old].visits, table[old].ends
    return wide, wide_bits


@njit(cache=True)
def _is_full(table, nodes, more, most):
    """Whether room for `more` nodes would take the table beyond its limit."""
    return 3 * (nodes + more) > 2 * max(most, np.int64(table.shape[0]))


@njit(cache=True)
def _insert(text, end, longest, root, table, bits, nodes):
    """Insert the path text[end - 1], text[end - 2] … into the trie, as far as it is shared; returns the number of nodes."""
    if text[end - 1] < 0:
        return nodes
    first = text[end - 1]
    if root[first].node == 0:
        root[first].node, root[first].path = nodes, end
        return nodes + 1
    node, other, slot, depth = np.int64(root[first].node), root[first].path, np.int64(-1), 1
    while other < 0:
        value = text[end - 1 - depth]
        if depth == longest or value < 0:
            return nodes
        key = (node << 32) | np.int64(value)
        slot = _slot(table, key)
        if table[slot].key == _EMPTY:
            _put(table, bits, slot, key, nodes, end)
            return nodes + 1
        node, other = np.int64(table[slot].node), table[slot].path
        depth += 1
    same = depth
    while same < longest and text[end - 1 - same] == text[other - 1 - same] and text[end - 1 - same] >= 0:
        same += 1
    if same == longest or text[end - 1 - same] < 0:  # a prefix of the other path
        return nodes
    longer = text[other - 1 - same] < 0
    path = end if longer else -1
    if slot < 0:
        root[first].path = path
    else:
        table[slot].path = path
    if longer:
        return nodes
    for at in range(depth, same):
        key = (node << 32) | np.int64(text[end - 1 - at])
        _put(table, bits, _slot(table, key), key, nodes, np.int32(-1))
        node = np.int64(nodes)
        nodes += 1
    for branch in (other, end):
        key = (node << 32) | np.int64(text[branch - 1 - same])
        _put(table, bits, _slot(table, key), key, nodes, branch)
        nodes += 1
    return nodes


@njit(cache=True)
def _insert_all(text, offsets, begins, longest, root, table, bits, most):
    nodes = np.int64(1)  # a plain 0 or 1 is a type of its own: every kernel it is passed to would be compiled twice
    for number in range(begins.shape[0]):
        shift = number + 1  # the separators before
        for end in range(offsets[number] + begins[number] + shift, offsets[number + 1] + shift + 1):
            if _is_full(table, nodes, longest + 2, most):
                return table, bits, nodes, True
            table, bits = _room(table, bits, nodes, longest + 2)
            nodes = _insert(text, np.int32(end), longest, root, table, bits, nodes)
    return table, bits, nodes, False


def build_context_trie(ids: np.ndarray, offsets: np.ndarray, begins: np.ndarray, longest: int, memory: int = 0) -> ContextTrie:
    """The trie for the positions begins[i], begins[i] + 1, … of each text i; texts are laid out in `ids` (int32) like documents.
    `memory`: limit of the trie in bytes, also while the corpus is read; 0: no limit."""
    text = np.insert(np.append(ids, -1).astype(np.int32), offsets[:-1], -1)
    if len(text) >= 2**31:
        raise ValueError(f"{len(text)} tokens in one query; the limit is 2^31 - 1")
    size, _ = slots_for(2 * len(ids) + longest)
    # At most as many slots, a power of two, as fit into the memory together with the half-size table it grows from.
    most = 1 << max(4, int(memory * 2 // (3 * _SLOT_BYTES)).bit_length() - 1) if memory else _FREE
    if size > most:
        size, _ = slots_for(1)
    root = np.zeros(int(ids.max()) + 1 if len(ids) else 0, NODE)
    root["path"] = -1
    table, bits = np.zeros(size, NODE), np.zeros(size << _BESIDE >> 6, np.uint64)
    table["key"] = _EMPTY
    table, bits, nodes, full = _insert_all(text, offsets, begins, longest + 1, root, table, bits, most)
    return ContextTrie(root, table, bits, nodes, text, longest + 1, most, full)


@njit(cache=True)
def _goes_on(text, path, depth, longest, value):
    """Whether a walk of `depth` ids may continue with this id: there are children, or the only path has it."""
    return depth < longest and (path < 0 or text[path - 1 - depth] == value)


@njit(cache=True)
def _scan(ids, offsets, text, longest, root, table, bits, nodes, most):
    """Walk back from each position, BLOCK walks at a time; a walk's slot is found by its key, as tables may move. Returns the
    table, its filter, the number of nodes, and whether the limit was reached."""
    total, size = offsets[-1], root.shape[0]
    at, node, path = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int32)
    parent, keys = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    begins, closing = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int32)
    low, d = np.int64(0), 0
    while low < total:
        high = min(low + BLOCK, total)
        n = np.int64(0)
        for i in range(low, high):
            while offsets[d + 1] <= i:
                d += 1
            begins[i - low], closing[i - low] = offsets[d], i + 1 == offsets[d + 1]
            value = ids[i]
            if value >= size or root[value].node == 0:
                continue
            root[value].visits += 1
            root[value].ends += closing[i - low]
            if i > offsets[d] and _goes_on(text, root[value].path, np.int64(1), longest, ids[i - 1]):
                at[n], node[n], path[n], parent[n] = i, root[value].node, root[value].path, value
                n += 1
        depth = np.int64(1)
        while n > 0:
            if _is_full(table, nodes, n, most):
                return table, bits, nodes, True
            table, bits = _room(table, bits, nodes, n)
            m = np.int64(0)
            for a in range(n):
                i = at[a]
                key = (node[a] << 32) | np.int64(ids[i - depth])
                bit = _bit(bits.shape[0] << 6, key)
                there = np.int64((bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1))
                keys[m], at[m], path[m], parent[m] = key, i, path[a], parent[a]
                m += there | np.int64(path[a] >= 0)
            for a in range(m):
                prefetch(table, _home(table, keys[a]))
            n = np.int64(0)
            for a in range(m):
                i, key = at[a], keys[a]
                slot = _slot(table, key)
                if table[slot].key == _EMPTY:
                    if path[a] < 0:
                        continue
                    if depth == 1:
                        root[parent[a]].path = -1
                    else:
                        table[_slot(table, parent[a])].path = -1
                    _put(table, bits, slot, key, nodes, path[a])
                    nodes += 1
                table[slot].visits += 1
                table[slot].ends += closing[i - low]
                back = i - depth - 1
                if back >= begins[i - low] and _goes_on(text, table[slot].path, depth + 1, longest, ids[back]):
                    at[n], node[n], path[n], parent[n] = i, table[slot].node, table[slot].path, key
                    n += 1
            depth += 1
        low = high
    return table, bits, nodes, False


def scan_contexts(ids: np.ndarray, offsets: np.ndarray, trie: ContextTrie) -> None:
    """Add the visits of one piece of the corpus, unless the trie is full."""
    if not trie.full:
        state = trie.text, trie.longest, trie.root, trie.table, trie.bits, trie.nodes, trie.most
        trie.table, trie.bits, trie.nodes, trie.full = _scan(ids, offsets, *state)
    trie.tokens += int(offsets[-1])


@njit(cache=True)
def _chain(text, end, longest, root, table, visits, ends):
    """Visits of the suffixes of length 1, 2 … that end before `end`; returns the longest length with visits."""
    if text[end - 1] < 0 or root[text[end - 1]].visits == 0:
        return 0
    here = root[text[end - 1]]
    visits[1], ends[1], node, length = here.visits, here.ends, np.int64(here.node), 1
    while length < longest and text[end - 1 - length] >= 0:
        slot = _slot(table, (node << 32) | np.int64(text[end - 1 - length]))
        if table[slot].key == _EMPTY or table[slot].visits == 0:
            break
        length += 1
        visits[length], ends[length], node = table[slot].visits, table[slot].ends, np.int64(table[slot].node)
    return length


@njit(cache=True)
def _suffix_counts(text, offsets, begins, first, last, longest, root, table, tokens):
    """Rows (text, position, suffix, denominator, numerator) with denominator > 0, and how many there are."""
    out, rows = np.empty((1024, 5), np.int64), 0
    visits, ends = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    next_visits, next_ends = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    for number in range(first, last):
        begin = offsets[number] + begins[number] + number + 1
        length = _chain(text, begin, longest, root, table, visits, ends)
        for end in range(begin, offsets[number + 1] + number + 1):
            next_length = _chain(text, end + 1, longest, root, table, next_visits, next_ends)
            for suffix in range(min(length, longest - 1) + 1):
                denominator = visits[suffix] - ends[suffix] if suffix > 0 else tokens
                if denominator == 0:  # a longer suffix occurs no more often than a shorter one
                    break
                if rows == out.shape[0]:
                    wide = np.empty((2 * rows, 5), np.int64)
                    for row in range(rows):  # slices take long to compile
                        for k in range(5):
                            wide[row, k] = out[row, k]
                    out = wide
                numerator = next_visits[suffix + 1] if suffix < next_length else np.int64(0)
                out[rows, 0], out[rows, 1], out[rows, 2] = number, end - begin, suffix
                out[rows, 3], out[rows, 4] = denominator, numerator
                rows += 1
            visits, next_visits, ends, next_ends, length = next_visits, visits, next_ends, ends, next_length
    return out, rows


def suffix_counts(offsets: np.ndarray, begins: np.ndarray, trie: ContextTrie, first: int, last: int) -> np.ndarray:
    """int64 [rows, 5] of texts first … last - 1: text, position relative to begins[text], suffix length, denominator (> 0),
    numerator; sorted. `offsets` and `begins` are those of `build_context_trie`."""
    out, rows = _suffix_counts(trie.text, offsets, begins, first, last, trie.longest, trie.root, trie.table, trie.tokens)
    return out[:rows].copy()
