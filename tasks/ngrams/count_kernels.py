"""Counting every n-gram of a corpus by sorting its suffixes: NumPy in, NumPy out. Knows neither words nor tokens.

A suffix is a position of the corpus seen with the ids that follow it, up to the longest order N and the document's end. Sorted
suffixes put equal n-grams of every order next to each other, so one walk over them counts all orders at once:

    a b a c     occurrences of an n-gram = suffixes in its run; the run of "a" holds those of "a b" and "a c"
    a c         documents of an n-gram   = suffixes in its run − suffixes whose document was met in the same run before
    b a c

The second line needs no sorting by document: with last[d] the latest sorted place of a suffix of document d, a suffix repeats
its document in every run that began at or before last[d]; runs of shorter orders begin earlier, so these are orders 1, 2, … m.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.ngrams.order_kernels import big_endian

_DIGIT = 11


@njit(cache=True)
def bucket_of(first, second, buckets):
    """The bucket of all n-grams that begin with two ids whose 32-bit hashes are these."""
    z = (np.uint64(first) << np.uint64(32)) | np.uint64(second)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) % np.uint64(buckets))


@njit(cache=True)
def scatter(ids, offsets, hashes, buckets, longest, first_document):
    """The suffixes of at least two ids, bucket by bucket, in corpus order within a bucket.

    Returns starts (int64 [buckets + 1]), positions (int32, from the first id given), documents (int32) and the suffixes as
    int64 [ceil(longest / 2), suffixes]: two ids each, plus one; 0 is what lies behind the document's end.
    """
    size = np.zeros(buckets + 1, np.int64)
    for d in range(offsets.shape[0] - 1):
        for i in range(offsets[d], offsets[d + 1] - 1):
            size[bucket_of(hashes[ids[i]], hashes[ids[i + 1]], buckets) + 1] += 1
    starts = np.cumsum(size)
    total = starts[buckets]
    positions, documents = np.empty(total, np.int32), np.empty(total, np.int32)
    suffixes = np.empty(((longest + 1) // 2, total), np.int64)
    at = starts[:buckets].copy()
    begin = offsets[0]
    for d in range(offsets.shape[0] - 1):
        end = offsets[d + 1]
        for i in range(offsets[d], end - 1):
            bucket = bucket_of(hashes[ids[i]], hashes[ids[i + 1]], buckets)
            row = at[bucket]
            at[bucket] += 1
            positions[row], documents[row] = i - begin, first_document + d
            for k in range(suffixes.shape[0]):
                left, right = i + 2 * k, i + 2 * k + 1
                high = np.int64(ids[left]) + 1 if left < end else np.int64(0)
                low = np.int64(ids[right]) + 1 if right < end and 2 * k + 1 < longest else np.int64(0)
                suffixes[k, row] = (high << 32) | low
    return starts, positions, documents, suffixes


@njit(cache=True)
def pair_keys(suffixes, renumbered):
    """int64: the first two ids, renumbered (int32, by id + 1; renumbered[0] = 0), as one number that sorts as they do."""
    found = np.empty(suffixes.shape[0], np.int64)
    for row in range(suffixes.shape[0]):
        high, low = suffixes[row] >> 32, suffixes[row] & 0xFFFFFFFF
        found[row] = (np.int64(renumbered[high]) << 32) | renumbered[low]
    return found


@njit(cache=True)
def pack(suffixes, renumbered, bits, rows, keys, at):
    """Write the chosen rows of `suffixes` (int64 [halves, suffixes]) as sortable keys into keys[at:].

    A key (uint64 [columns]) holds 64 // bits renumbered ids each, the first ones highest, so that comparing keys column by
    column compares the suffixes.
    """
    per = 64 // bits
    width = np.uint64(bits)
    for r in range(rows.shape[0]):
        row, to = rows[r], at + r
        for c in range(keys.shape[1]):
            value = np.uint64(0)
            for k in range(c * per, (c + 1) * per):
                value <<= width
                if k // 2 < suffixes.shape[0]:
                    two = suffixes[k // 2, row]
                    value |= np.uint64(renumbered[two >> 32 if k % 2 == 0 else two & 0xFFFFFFFF])
            keys[to, c] = value


@njit(cache=True)
def _radix(values, order, bits):
    """Sort `values` (uint64) and `order` along with them by their lowest `bits` bits, in place."""
    rows = values.shape[0]
    other, moved = np.empty(rows, np.uint64), np.empty(rows, np.int32)
    mask = np.uint64((1 << _DIGIT) - 1)
    for shift in range(0, bits, _DIGIT):
        place = np.uint64(shift)
        size = np.zeros((1 << _DIGIT) + 1, np.int64)
        for i in range(rows):
            size[np.int64((values[i] >> place) & mask) + 1] += 1
        if size.max() == rows:  # one digit for all
            continue
        start = np.cumsum(size)
        for i in range(rows):
            digit = np.int64((values[i] >> place) & mask)
            to = start[digit]
            start[digit] += 1
            other[to], moved[to] = values[i], order[i]
        values[:], order[:] = other, moved


@njit(cache=True)
def _arrange(keys, documents, order):
    """Put rows into this order."""
    sorted_keys, sorted_documents = np.empty_like(keys), np.empty_like(documents)
    for i in range(order.shape[0]):
        sorted_documents[i] = documents[order[i]]
        for c in range(keys.shape[1]):
            sorted_keys[i, c] = keys[order[i], c]
    keys[:], documents[:] = sorted_keys, sorted_documents


@njit(cache=True)
def _insert(keys, documents, begin, end, column):
    """Sort a short run by its columns from this one on, by insertion."""
    columns = keys.shape[1]
    row = np.empty(columns, np.uint64)
    for i in range(begin + 1, end):
        for c in range(columns):
            row[c] = keys[i, c]
        document, j = documents[i], i
        while j > begin:
            c = column
            while c < columns and keys[j - 1, c] == row[c]:
                c += 1
            if c == columns or keys[j - 1, c] < row[c]:
                break
            for c in range(column, columns):
                keys[j, c] = keys[j - 1, c]
            documents[j] = documents[j - 1]
            j -= 1
        for c in range(column, columns):
            keys[j, c] = row[c]
        documents[j] = document


@njit(cache=True)
def sort_suffixes(keys, documents, bits):
    """Sort `keys` (uint64 [suffixes, columns]) and `documents` [suffixes] along with them, in place.

    All are sorted by the first column; only runs that tie there are read again, column by column.
    """
    rows, columns = keys.shape
    used = (64 // bits) * bits
    values, order = keys[:, 0].copy(), np.arange(rows).astype(np.int32)
    _radix(values, order, used)
    _arrange(keys, documents, order)
    for column in range(1, columns):
        end = 0
        while end < rows:
            begin, end = end, end + 1
            while end < rows and _same(keys, begin, end, column):
                end += 1
            if end - begin > 2048:
                values[begin:end] = keys[begin:end, column]
                by = np.arange(end - begin).astype(np.int32)
                _radix(values[begin:end], by, used)
                _arrange(keys[begin:end], documents[begin:end], by)
            elif end - begin > 32:
                by = np.argsort(keys[begin:end, column].copy()).astype(np.int32)
                _arrange(keys[begin:end], documents[begin:end], by)
            elif end - begin > 1:
                _insert(keys, documents, begin, end, column)


@njit(cache=True)
def _same(keys, left, right, columns):
    """Whether two rows agree in their first columns, the latest one first, since it differs most often."""
    for c in range(columns - 1, -1, -1):  # noqa: SIM110 - numba compiles no generator
        if keys[left, c] != keys[right, c]:
            return False
    return True


@njit(cache=True)
def _length(keys, row, bits, longest):
    """How many ids a suffix has: nearly always the most there can be."""
    per = 64 // bits
    mask = np.uint64((1 << bits) - 1)
    n = longest
    while n > 0 and (keys[row, (n - 1) // per] >> np.uint64(bits * (per - 1 - (n - 1) % per))) & mask == 0:
        n -= 1
    return n


@njit(cache=True)
def _shared(keys, left, right, bits):
    """How many leading ids two suffixes share; an end that both have counts as one."""
    per, shared = 64 // bits, 0
    for c in range(keys.shape[1]):
        different = keys[left, c] ^ keys[right, c]
        if different != 0:
            place = bits * (per - 1)
            while different >> np.uint64(place) == 0:
                place -= bits
                shared += 1
            return shared
        shared += per
    return shared


@njit(cache=True)
def count_sorted(keys, documents, bits, longest, wanted, min_count, last):
    """Every n-gram of the wanted orders (bool [longest + 1]) that stands at least `min_count` times, in sorted order.

    `keys` are sorted; `documents` numbers each suffix's document; `last` (int32 [documents], -1) is scratch. The n-grams of
    order n are at places[n]:places[n] + found[n] of the next three. Returns places, found, a row that begins with the n-gram,
    occurrences, documents (int32), and per order the n-grams and occurrences that were too rare (int64 [longest + 1]).
    """
    rows = keys.shape[0]
    places, found = np.zeros(longest + 2, np.int64), np.zeros(longest + 2, np.int64)
    for n in range(longest + 1):
        places[n + 1] = places[n] + (rows // min_count if wanted[n] else 0)
    first = np.empty(places[longest + 1], np.int32)
    occurrences, holding = np.empty_like(first), np.empty_like(first)
    rare, rare_occurrences = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    start, repeated = np.zeros(longest + 2, np.int64), np.zeros(longest + 2, np.int64)
    have = 0  # ids of the suffix before: the orders whose run is open
    for i in range(rows + 1):
        shared, length = 0, 0
        if i < rows:
            length = _length(keys, i, bits, longest)
            shared = min(length, have, _shared(keys, i - 1, i, bits)) if i > 0 else 0
        for n in range(have, shared, -1):
            if wanted[n]:
                count = i - start[n]
                if count >= min_count:
                    to = places[n] + found[n]
                    first[to], occurrences[to], holding[to] = start[n], count, count - repeated[n]
                    found[n] += 1
                else:
                    rare[n] += 1
                    rare_occurrences[n] += count
        for n in range(shared + 1, length + 1):
            start[n], repeated[n] = i, 0
        have = length
        if i < rows:
            before = last[documents[i]]
            n = 1
            while n <= length and start[n] <= before:
                repeated[n] += 1
                n += 1
            last[documents[i]] = i
    return places[: longest + 1], found[: longest + 1], first, occurrences, holding, rare, rare_occurrences


@njit(cache=True)
def ngram_bytes(keys, rows, n, bits):
    """uint8 [rows, 4n]: the first n ids of these rows, less the one that was added, as big-endian 32-bit numbers."""
    per = 64 // bits
    mask = np.uint64((1 << bits) - 1)
    out = np.empty((rows.shape[0], n), np.uint32)
    for r in range(rows.shape[0]):
        for c in range((n + per - 1) // per):
            key = keys[rows[r], c]
            for k in range(c * per, min(n, (c + 1) * per)):
                out[r, k] = big_endian(((key >> np.uint64(bits * (per - 1 - (k - c * per)))) & mask) - np.uint64(1))
    return out.view(np.uint8)


@njit(cache=True)
def count_ids(ids, offsets, occurrences, documents, last, base):
    """Add one piece to the occurrences and documents (int64 [ids]) of each id; its first document is number `base`."""
    for d in range(offsets.shape[0] - 1):
        for i in range(offsets[d], offsets[d + 1]):
            occurrences[ids[i]] += 1
            if last[ids[i]] != base + d:
                last[ids[i]] = base + d
                documents[ids[i]] += 1
