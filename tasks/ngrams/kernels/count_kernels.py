"""Counting every n-gram of a corpus, order by order: NumPy in, NumPy out. Knows neither words nor tokens.

The suffixes that begin with the same n-gram are a group. Sorting them by (group, next id) splits every group into those of
order n + 1, in the order of their ids. A group of one stays a group of one in all longer orders, so it is dropped at once:

    the cat sat          the cat (2)  →  the cat sat (2)  →  the cat sat on (1)
    the cat sat on       the dog (1), dropped: all longer n-grams of it occur once as well
    the dog

Group, id and row fit in one 64-bit number, so a plain sort of numbers suffices, without hashing. Rows are in corpus order, so
the documents of a group are counted by the changes of document along it. Random access stays within a processor's cache if
the number of suffixes is small.

A single order whose n-grams fit in 64 bits is counted faster: a plain sort of these numbers groups equal ones. Sorting loses the
documents, but they follow from the repetitions: documents = occurrences − repetitions within a document. A small table per
document finds the repetitions, and their sorted list is merged with the sorted list of all n-grams.

A part writes its suffixes into buckets by a hash of their first two ids, several ids per 64-bit number:

    a b a c   N = 3   →   bucket of (a, b): a b a      bucket of (b, a): b a c      bucket of (a, c): a c ·
"""

import numpy as np
from numba import njit

from tasks.ngrams.kernels.ngram_kernels import _GOLDEN


def ids_per_number(ids: int) -> int:
    """How many ids, each plus 1, fit into 64 bits, if there are `ids` different ones: 4, 3 or 2."""
    return 4 if ids < 1 << 16 else 3 if ids < 1 << 21 else 2


@njit(cache=True)
def bucket_of(first, second, buckets):
    """The bucket of all n-grams whose first two ids have these 32-bit hashes."""
    z = (np.uint64(first) << np.uint64(32)) | np.uint64(second)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.int64(((z >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32))


@njit(cache=True)
def scatter(ids, offsets, hashes, buckets):
    """The suffixes of at least two ids, bucket by bucket, in corpus order within a bucket. Returns starts (int64 [buckets + 1]),
    positions (int32, from the first id given) and documents (int32, from 0)."""
    begin = offsets[0]
    bucket = np.empty(offsets[-1] - begin, np.uint16)
    size = np.zeros(buckets + 1, np.int64)
    for d in range(offsets.shape[0] - 1):
        if offsets[d + 1] > offsets[d]:
            first = hashes[ids[offsets[d]]]
            for i in range(offsets[d], offsets[d + 1] - 1):
                second = hashes[ids[i + 1]]
                to = bucket_of(first, second, buckets)
                bucket[i - begin] = to
                size[to + 1] += 1
                first = second
    starts = np.cumsum(size)
    positions, documents = np.empty(starts[buckets], np.int32), np.empty(starts[buckets], np.int32)
    at = starts[:buckets].copy()
    for d in range(offsets.shape[0] - 1):
        for i in range(offsets[d] - begin, offsets[d + 1] - 1 - begin):
            row = at[bucket[i]]
            at[bucket[i]] = row + 1
            positions[row], documents[row] = i, d
    return starts, positions, documents


@njit(cache=True)
def roll(ids, offsets, per):
    """uint64 per position: its id and the next ids of its document, `per` ids in total, each plus 1, the first highest."""
    begin = offsets[0]
    width, top = np.uint64(64 // per), np.uint64(64 // per * (per - 1))
    rolled = np.empty(offsets[-1] - begin, np.uint64)
    for d in range(offsets.shape[0] - 1):
        value = np.uint64(0)
        for i in range(offsets[d + 1] - 1, offsets[d] - 1, -1):
            value = (np.uint64(ids[i] + 1) << top) | (value >> width)
            rolled[i - begin] = value
    return rolled


@njit(cache=True)
def pack(rolled, offsets, positions, documents, longest, per):
    """uint64 [ceil(longest / per), suffixes] from the result of `roll`: 0 after the document's end and after the longest order."""
    numbers = (longest + per - 1) // per
    packed = np.empty((numbers, positions.shape[0]), np.uint64)
    unused = np.uint64(64 // per * (numbers * per - longest))  # bits of the last number that no order needs
    for c in range(numbers):
        drop = unused if c == numbers - 1 else np.uint64(0)
        for row in range(positions.shape[0]):
            i = positions[row] + c * per
            inside = i < offsets[documents[row] + 1] - offsets[0]
            packed[c, row] = (rolled[i] >> drop) << drop if inside else np.uint64(0)
    return packed


@njit(cache=True)
def ranges(packed, per, range_of, low, high, size):
    """int32 [suffixes]: the range of each suffix minus `low`; −1 outside [low, high). Adds the number in each range to `size`.
    `packed` is the first of a suffix's numbers (uint64); `range_of` (int32) has the range of the part's id + 1."""
    place = np.uint64(64 // per * (per - 1))
    mask = np.uint64((1 << (64 // per)) - 1)
    range_ids = np.empty(packed.shape[0], np.int32)
    for row in range(packed.shape[0]):
        at = range_of[np.int64((packed[row] >> place) & mask)]
        inside = low <= at < high
        range_ids[row] = at - low if inside else -1
        if inside:
            size[at - low] += 1
    return range_ids


@njit(cache=True)
def place(packed, per, renumbered, which, documents, base, at, columns, holders):
    """Write suffixes into the columns of their range, in order; `at` (int64 [ranges]) is each range's next free position. columns:
    int32 [longest, all suffixes], the corpus' id + 1 or 0, which `renumbered` (int32) maps from the part's id + 1; holders: int32,
    documents from `base`."""
    longest = columns.shape[0]
    width, mask = np.uint64(64 // per), np.uint64((1 << (64 // per)) - 1)
    to = np.empty(which.shape[0], np.int32)
    for row in range(which.shape[0]):
        to[row] = -1
        if which[row] >= 0:
            to[row] = at[which[row]]
            at[which[row]] += 1
            holders[to[row]] = base + documents[row]
    for n in range(longest):
        values, shift = packed[n // per], width * np.uint64(per - 1 - n % per)
        column = columns[n]
        for row in range(to.shape[0]):
            if to[row] >= 0:
                column[to[row]] = renumbered[np.int64((values[row] >> shift) & mask)]


@njit(cache=True)
def split(keys, row_bits, documents, following, alone, bits, next_row_bits):
    """Split the groups of one order. `keys` (uint64), sorted: the number of a group, then in `row_bits` bits the row. Groups of one
    are left out unless `alone`. Returns for each group its number, occurrences and documents (int32), and for all rows in them that
    continue by `following` (int32 by row; 0 is the document's end) the keys (group, next id), followed by the row if
    `next_row_bits` > 0, and the rows. An empty `following` means that this is the last order."""
    rows = keys.shape[0]
    below = np.uint64(row_bits)
    mask = np.uint64((1 << row_bits) - 1)
    # Unwanted rows are written to index 0, which is faster than an unpredictable branch.
    numbers = np.empty(rows + 1, np.uint64)
    occurrences, holding = np.empty(rows + 1, np.int32), np.empty(rows + 1, np.int32)
    on = following.shape[0] > 0
    longer = np.empty(rows + 1 if on else 0, np.uint64)
    of_rows = np.empty(rows + 1 if on and next_row_bits == 0 else 0, np.int32)
    group, kept, count, holders, before = 0, 0, 0, 0, np.int32(-1)
    number, previous = keys[0] >> below if rows else np.uint64(0), np.uint64(0)
    for i in range(rows):
        next_number = keys[i + 1] >> below if i + 1 < rows else ~number
        new = i == 0 or number != previous
        keep = alone or not (new and next_number != number)
        row = np.int64(keys[i] & mask)
        document = documents[row]
        group += 1 if new and keep else 0
        count = 1 if new else count + 1
        holders = 1 if new else holders + (1 if document != before else 0)
        at = group if keep else 0
        numbers[at], occurrences[at], holding[at] = number, count, holders
        before = document
        if on:
            value = following[row]
            key = (np.uint64(group - 1) << np.uint64(bits)) | np.uint64(value)
            if next_row_bits > 0:
                longer[kept] = (key << np.uint64(next_row_bits)) | np.uint64(row)
            else:
                longer[kept], of_rows[kept] = key, row
            kept += 1 if keep and value != 0 else 0
        previous, number = number, next_number
    chosen = slice(1, group + 1)
    return numbers[chosen], occurrences[chosen], holding[chosen], longer[:kept], of_rows[:kept]


@njit(cache=True)
def _grams(ids, offsets, n, bits):
    """Every n-gram as a number (uint64), the first id highest; no n-gram spans two documents."""
    size = 0
    for d in range(offsets.shape[0] - 1):
        size += max(0, offsets[d + 1] - offsets[d] - n + 1)
    grams, ends = np.empty(size, np.uint64), np.empty(offsets.shape[0] - 1, np.int64)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) if n * bits == 64 else np.uint64((1 << (n * bits)) - 1)
    width, at = np.uint64(bits), 0
    for d in range(offsets.shape[0] - 1):
        value = np.uint64(0)
        for i in range(offsets[d], offsets[d + 1]):
            value = ((value << width) | np.uint64(ids[i])) & mask
            if i - offsets[d] >= n - 1:
                grams[at] = value
                at += 1
        ends[d] = at
    return grams, ends


@njit(cache=True)
def repetitions(grams, ends):
    """The members of `grams` that occurred earlier in their document; document d's grams end at ends[d]."""
    longest, begin = 1, 0
    for d in range(ends.shape[0]):
        longest, begin = max(longest, ends[d] - begin), ends[d]
    bits = 4
    while (1 << bits) < 2 * longest:
        bits += 1
    keys, document = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int32)
    count, again, begin = 0, np.empty(grams.shape[0], np.uint64), 0
    for d in range(ends.shape[0]):
        size = 4
        while (1 << size) < 2 * (ends[d] - begin):
            size += 1
        shift, last = np.uint64(64 - size), (1 << size) - 1
        for i in range(begin, ends[d]):
            slot = np.int64((grams[i] * _GOLDEN) >> shift)
            while document[slot] == d and keys[slot] != grams[i]:
                slot = (slot + 1) & last
            if document[slot] == d:
                again[count] = grams[i]
                count += 1
            else:
                document[slot], keys[slot] = d, grams[i]
        begin = ends[d]
    return again[:count]


@njit(cache=True)
def runs(grams, again, min_count):
    """(n-grams, occurrences, documents) of those with at least `min_count` occurrences, and the number of n-grams and of
    occurrences below. `grams` and the repetitions `again` are sorted."""
    most = grams.shape[0] // min_count
    distinct, occurrences, documents = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    kept, rare, rare_occurrences, i, j = 0, 0, 0, 0, 0
    while i < grams.shape[0]:
        begin, gram = i, grams[i]
        while i < grams.shape[0] and grams[i] == gram:
            i += 1
        before = j
        while j < again.shape[0] and again[j] == gram:
            j += 1
        if i - begin >= min_count:
            distinct[kept], occurrences[kept], documents[kept] = gram, i - begin, i - begin - (j - before)
            kept += 1
        else:
            rare += 1
            rare_occurrences += i - begin
    return distinct[:kept], occurrences[:kept], documents[:kept], rare, rare_occurrences


@njit(cache=True)
def ids_of(grams, n, bits):
    """uint32 [rows, n]: the ids of n-grams."""
    out = np.empty((grams.shape[0], n), np.uint32)
    mask = np.uint64((1 << bits) - 1)
    for row in range(grams.shape[0]):
        for k in range(n):
            out[row, k] = (grams[row] >> np.uint64(bits * (n - 1 - k))) & mask
    return out


def big_endian(ids: np.ndarray) -> np.ndarray:
    """uint8 [rows, 4n] of ids (uint32 [rows, n]), whose bytes are swapped where they are."""
    return ids.byteswap(inplace=True).view(np.uint8)


def count_order(ids: np.ndarray, offsets: np.ndarray, n: int, min_count: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every n-gram with at least `min_count` occurrences, sorted: big-endian ids (uint8 [rows, 4n]), occurrences, documents. `ids`
    (int32, ≥ 0) and `offsets` (documents + 1) are a corpus in the layout of all kernels. Raises ValueError if n ids do not fit in
    64 bits; `tasks.ngrams.count.bucket` has no such limit."""
    bits = max(1, int(ids.max(initial=0)).bit_length())
    if n * bits > 64:
        raise ValueError(f"{n} ids below {int(ids.max()) + 1} do not fit in 64 bits")
    grams, ends = _grams(ids, offsets, n, bits)
    again = repetitions(grams, ends)
    grams.sort()
    again.sort()
    distinct, occurrences, documents, _, _ = runs(grams, again, min_count)
    return big_endian(ids_of(distinct, n, bits)), occurrences, documents
