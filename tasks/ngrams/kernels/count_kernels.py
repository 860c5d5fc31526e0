"""Counting every n-gram of a corpus, order by order: NumPy in, NumPy out. Knows neither words nor tokens.

The suffixes that begin with the same n-gram are a group. Sorting them by (group, next id) splits every group into those of
order n + 1, in the order of their ids. A group of one stays a group of one in all longer orders, so it is dropped at once:

    the cat sat          the cat (2)  →  the cat sat (2)  →  the cat sat on (1)
    the cat sat on       the dog (1), dropped: all longer n-grams of it occur once as well
    the dog

Group, id and row fit in one 64-bit number, so a plain sort of numbers suffices, without hashing. Rows are in corpus order, so
the documents of a group are counted by the changes of document along it. Random access stays within a processor's cache if
the number of suffixes is small.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def split(keys, row_bits, documents, following, alone, bits, next_row_bits):
    """Split the groups of one order. `keys` (uint64), sorted: the number of a group, then in `row_bits` bits the row.

    Groups of one are left out unless `alone`. Returns for each group its number, occurrences and documents (int32), and for
    all rows in them that continue by `following` (int32 by row; 0 is the document's end) the keys (group, next id), followed by
    the row if `next_row_bits` > 0, and the rows. An empty `following` means that this is the last order.
    """
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
