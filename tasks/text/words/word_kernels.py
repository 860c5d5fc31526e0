"""Finds and numbers surface forms in UTF-8 text: NumPy in, NumPy out. These kernels know neither scripts nor words.

The classes of code points are an argument (`classes`, uint8, the bits below for each of Unicode's 0x110000 code points), so
only the grammar is implemented here:

    form := SINGLE FOLLOWS*                                              a script without spaces
          | RUN+ ((APOSTROPHE | POINT between two NUMBERs) RUN+)*        all others
          | MARK+

A form is identified by its bytes. They are stored in `arena`, form f at bounds[f]:bounds[f + 1], and found through an open
hash table of uint64 pairs: a key and f + 1 (0 for an empty slot). The key of at most eight bytes is those bytes, so it
decides equality; the key of more is a hash, and the bytes in the arena decide. The top bit of f + 1 distinguishes the two.
A form of ASCII letters and digits is stored in lower case, which is its only word.
"""

import numpy as np
from numba import njit

RUN = 1  # letter, mark or number of a script with spaces
NUMBER = 2  # number among them
APOSTROPHE = 4
POINT = 8  # inside a number
SINGLE = 16  # letter or number of a script without spaces
FOLLOWS = 32  # belongs to the SINGLE before it
MARK = 64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BYTE = np.uint64(8)
_TURN = np.uint64(29)
_LONG = np.uint64(1 << 63)  # set in the number of a form of more than eight bytes
_NUMBER = np.uint64((1 << 63) - 1)


@njit(cache=True, inline="always")
def _code_point(data, at):
    """The code point at a byte, and how many bytes it has; `data` is valid UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    second = np.int64(data[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(data[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | (np.int64(data[at + 3]) & 0x3F), 4


@njit(cache=True)
def _end_of_run(data, at, end, classes):
    """The end of the form that begins with a RUN at `at`, and whether it is ASCII."""
    ascii_only = True
    last = np.uint8(0)
    while at < end:
        code, width = _code_point(data, at)
        here = classes[code]
        if here & RUN:
            last = here
            at += width
            ascii_only &= width == 1
            continue
        if not (here & APOSTROPHE or (here & POINT and last & NUMBER)) or at + width >= end:
            break
        code, next_width = _code_point(data, at + width)
        after = classes[code]
        if not after & RUN or (here & POINT and not after & NUMBER):
            break
        last = after
        at += width + next_width
        ascii_only &= width + next_width == 2
    return at, ascii_only


@njit(cache=True)
def _end_of(data, at, end, classes, bit):
    while at < end:
        code, width = _code_point(data, at)
        if not classes[code] & bit:
            break
        at += width
    return at


@njit(cache=True, inline="always")
def _byte(data, at, lower):
    """One byte of a form, in lower case with `lower`."""
    byte = data[at]
    return byte | np.uint8(32) if lower and np.uint8(65) <= byte <= np.uint8(90) else byte


@njit(cache=True)
def _key(data, start, stop, lower):
    """Up to eight bytes as they are (none is zero, so keys are unique), or a hash of more."""
    hashed = packed = np.uint64(0)
    for at in range(start, stop):
        packed = packed << _BYTE | np.uint64(_byte(data, at, lower))
        if (stop - at) & 7 == 1:  # eight, or the first few
            hashed = (hashed ^ packed) * _GOLDEN
            hashed ^= hashed >> _TURN
    return packed if stop - start <= 8 else hashed


@njit(cache=True, inline="always")
def _slot(key, slots):
    hashed = key * _GOLDEN
    return np.int64(hashed >> np.uint64(32)) & (slots - 1)


@njit(cache=True)
def _same(data, start, stop, lower, arena, begin, end):
    size = stop - start
    same = 0
    while end - begin == size and same < size and _byte(data, start + same, lower) == arena[begin + same]:
        same += 1
    return same == size


@njit(cache=True)
def _find_long(data, start, stop, lower, key, table, arena, bounds):
    """The slot of a form of more than eight bytes, or the empty one where it belongs."""
    slots = len(table) >> 1
    slot = _slot(key, slots)
    while table[2 * slot + 1]:
        if table[2 * slot] == key:
            form = np.int64(table[2 * slot + 1] & _NUMBER) - 1
            if _same(data, start, stop, lower, arena, bounds[form], bounds[form + 1]):
                break
        slot = (slot + 1) & (slots - 1)
    return slot


@njit(cache=True)
def scan(data, offsets, place, classes, plain, table, arena, bounds, n_forms, numbers, ends):
    """Find the forms of texts and their numbers; new forms get the next numbers, in order of discovery. `data` (uint8) is UTF-8;
    text t is data[offsets[t]:offsets[t + 1]]. `place` (int64 [3]: text, byte, forms found so far) is where to begin, and is
    advanced. `plain` (uint8 [256]) is the lower case of an ASCII letter or digit, 1 for bytes that may continue a form after one,
    else 0. Writes the number of each form into `numbers` (int32) and, for each text, the forms found up to its end into `ends`
    (int64 [texts]); `table`, `arena` and `bounds` contain `n_forms` forms; new ones are added. Returns the number of forms now, and
    the size of the next one in bytes if an array is too small for it, 0 at the end."""
    text, at, count = place
    slots = len(table) >> 1
    while text < len(offsets) - 1:
        end = offsets[text + 1]
        while at < end:
            # Most forms are ASCII and end before a space, say; others are read again with the full grammar.
            stop = at
            key = np.uint64(0)
            byte = np.uint8(0)
            while stop < end:
                byte = plain[data[stop]]
                if byte <= 1:
                    break
                key = key << _BYTE | np.uint64(byte)
                stop += 1
            lower = stop > at
            if stop == end or byte == 0:
                if stop == at:
                    at += 1
                    continue
                if stop - at > 8:
                    key = _key(data, at, stop, True)
            else:
                code, width = _code_point(data, at)
                here = classes[code]
                lower = False
                if here & RUN:
                    stop, lower = _end_of_run(data, at, end, classes)
                elif here & SINGLE:
                    stop = _end_of(data, at + width, end, classes, FOLLOWS)
                elif here & MARK:
                    stop = _end_of(data, at, end, classes, MARK)
                else:
                    at += width
                    continue
                key = _key(data, at, stop, lower)
            size = stop - at
            if count == len(numbers) or 2 * n_forms + 2 > slots or n_forms + 2 > len(bounds) or bounds[n_forms] + size > len(arena):
                place[0], place[1], place[2] = text, at, count
                return n_forms, size
            if size > 8:
                slot = _find_long(data, at, stop, lower, key, table, arena, bounds)
            else:
                slot = _slot(key, slots)
                while table[2 * slot + 1] and (table[2 * slot] != key or table[2 * slot + 1] & _LONG):
                    slot = (slot + 1) & (slots - 1)
            if table[2 * slot + 1] == 0:
                for k in range(size):
                    arena[bounds[n_forms] + k] = _byte(data, at + k, lower)
                bounds[n_forms + 1] = bounds[n_forms] + size
                n_forms += 1
                table[2 * slot] = key
                table[2 * slot + 1] = np.uint64(n_forms) | (_LONG if size > 8 else np.uint64(0))
            numbers[count] = np.int64(table[2 * slot + 1] & _NUMBER) - 1
            count += 1
            at = stop
        ends[text] = count
        text += 1
        at = end
    place[0], place[1], place[2] = text, at, count
    return n_forms, 0


@njit(cache=True)
def move(table, larger):
    """Copy all entries of a hash table into an empty, larger one. Slots are a power of two, 2³² at most."""
    slots = len(larger) >> 1
    for entry in range(0, len(table), 2):
        if table[entry + 1]:
            slot = _slot(table[entry], slots)
            while larger[2 * slot + 1]:
                slot = (slot + 1) & (slots - 1)
            larger[2 * slot], larger[2 * slot + 1] = table[entry], table[entry + 1]


@njit(cache=True)
def expand(forms, ends, first, words):
    """Replace each form by its words, words[first[form]:first[form + 1]] (int32; none, one or several). Returns the words (int32)
    and each text's range in them (int64 [texts + 1])."""
    offsets = np.zeros(len(ends) + 1, np.int64)
    begin = 0
    for text in range(len(ends)):
        total = 0
        for k in range(begin, ends[text]):
            total += first[forms[k] + 1] - first[forms[k]]
        begin = ends[text]
        offsets[text + 1] = offsets[text] + total
    ids = np.empty(offsets[-1], np.int32)
    count = 0
    for form in forms:
        for k in range(first[form], first[form + 1]):
            ids[count] = words[k]
            count += 1
    return ids, offsets


@njit(cache=True)
def count(ids, offsets, document, occurrences, holding, seen):
    """Count the ids of documents ids[offsets[d]:offsets[d + 1]], of which the first has number `document`. Adds per id (int64) to
    `occurrences` and to the documents `holding` it; `seen`: its last document so far (initially -1)."""
    for d in range(len(offsets) - 1):
        for k in range(offsets[d], offsets[d + 1]):
            word = ids[k]
            occurrences[word] += 1
            if seen[word] != document + d:
                seen[word] = document + d
                holding[word] += 1
