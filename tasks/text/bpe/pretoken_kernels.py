"""Finds the ends of pre-tokens in UTF-8 bytes: the regular expressions of GPT-2 and its successors, written by hand.

The class of each code point comes from a table that the caller made with the `tokenizers` library, so that both agree.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.text.bpe.byte_kernels import eight, njit_bare

LETTER, NUMBER, SPACE, NEWLINE, DIGIT = 1, 2, 4, 8, 16  # DIGIT: a numeral to the `Digits` pre-tokenizer
CODE_POINTS = 1 << 21  # all that four bytes of UTF-8 can spell
WHOLE, GPT2, CL100K = 0, 1, 2  # how a piece is cut into pre-tokens
_HIGH_BITS = np.uint64(0x8080808080808080)  # not one of them is set: eight ASCII bytes
NO_DIGITS, EACH_DIGIT, DIGIT_RUNS = 0, 1, 2  # what is cut out of a piece before


@njit_bare(inline="always")
def _look(data, i, classes):
    """Class << 3 | bytes of the code point at i."""
    b = np.int64(data[i])
    if b < 0x80:
        return (np.int64(classes[b]) << 3) | 1
    if b < 0xE0:
        return (np.int64(classes[((b & 0x1F) << 6) | (data[i + 1] & 0x3F)]) << 3) | 2
    if b < 0xF0:
        point = ((b & 0x0F) << 12) | (np.int64(data[i + 1] & 0x3F) << 6) | (data[i + 2] & 0x3F)
        return (np.int64(classes[point]) << 3) | 3
    point = ((b & 0x07) << 18) | (np.int64(data[i + 1] & 0x3F) << 12) | (np.int64(data[i + 2] & 0x3F) << 6)
    return (np.int64(classes[point | (data[i + 3] & 0x3F)]) << 3) | 4


@njit_bare()
def _run(data, i, end, classes, wanted, most):
    """Where the run of at most `most` code points with a class of `wanted` (0: a class of none) from i on ends."""
    if wanted == 0:
        while i < end:
            seen = _look(data, i, classes)
            if (seen >> 3) & (LETTER | NUMBER | SPACE):
                break
            i += seen & 7
        return i
    while i < end and most > 0:
        seen = _look(data, i, classes)
        if not (seen >> 3) & wanted:
            break
        i += seen & 7
        most -= 1
    return i


@njit_bare()
def _spaces(data, i, end, classes):
    r"""Where \s+(?!\S)|\s+ from i on ends."""
    last = i
    stop = i
    while stop < end:
        seen = _look(data, stop, classes)
        if not (seen >> 3) & SPACE:
            return last if last > i else stop
        last = stop
        stop += seen & 7
    return stop


@njit_bare()
def _contraction(data, i, end, any_case):
    """Where 's 't 're 've 'm 'll 'd from i on ends; i if there is none. With any case, ſ is an s."""
    if data[i] != 39 or i + 1 >= end:
        return i
    fold = 32 if any_case else 0
    a = data[i + 1] | fold if 65 <= data[i + 1] <= 90 else data[i + 1]
    if a == 115 or a == 116 or a == 109 or a == 100:  # s t m d
        return i + 2
    if i + 2 >= end:
        return i
    if any_case and a == 0xC5 and data[i + 2] == 0xBF:
        return i + 3
    b = data[i + 2] | fold if 65 <= data[i + 2] <= 90 else data[i + 2]
    if ((a == 114 or a == 118) and b == 101) or (a == 108 and b == 108):  # re ve ll
        return i + 3
    return i


@njit_bare()
def _gpt2(data, i, end, classes):
    r"""Where the match of 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ from i on ends."""
    stop = _contraction(data, i, end, False)
    if stop > i:
        return stop
    at = i + 1 if data[i] == 32 and i + 1 < end else i
    seen = _look(data, at, classes)
    kind = (seen >> 3) & (LETTER | NUMBER | SPACE)
    if kind & SPACE:
        return _spaces(data, i, end, classes)
    return _run(data, at + (seen & 7), end, classes, kind, end)


@njit_bare()
def _cl100k(data, i, end, classes, numbers):
    r"""The same for (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,numbers}| ?[^\s\p{L}\p{N}]+[\r\n]*|
    \s*[\r\n]+|\s+(?!\S)|\s+."""
    stop = _contraction(data, i, end, True)
    if stop > i:
        return stop
    seen = _look(data, i, classes)
    kind, after = seen >> 3, i + (seen & 7)
    if kind & LETTER:
        return _run(data, after, end, classes, LETTER, end)
    if kind & NUMBER:
        return _run(data, i, end, classes, NUMBER, numbers)
    if after < end and not kind & NEWLINE:
        follows = _look(data, after, classes)
        if (follows >> 3) & LETTER:
            return _run(data, after + (follows & 7), end, classes, LETTER, end)
        if data[i] == 32 and not (follows >> 3) & (SPACE | NUMBER):
            return _run(data, _run(data, after, end, classes, 0, end), end, classes, NEWLINE, end)
    if not kind & SPACE:
        return _run(data, _run(data, after, end, classes, 0, end), end, classes, NEWLINE, end)
    stop = _run(data, i, end, classes, SPACE, end)
    for k in range(stop - 1, i - 1, -1):
        if data[k] == 10 or data[k] == 13:
            return k + 1
    return _spaces(data, i, end, classes)


def byte_kinds(classes: np.ndarray) -> np.ndarray:
    """uint8 [256]: the class of each ASCII byte, 0 if it is in none, and 128 for all other bytes."""
    kinds = np.full(256, 128, np.uint8)
    kinds[:128] = classes[:128] & (LETTER | NUMBER | SPACE)
    return kinds


@njit_bare(inline="always")
def ascii_end(data, i, end, kinds, pattern):
    """pretoken_end for the commonest: one space or none, then ASCII of one kind; i if that is not what is there."""
    at = i + 1 if data[i] == 32 and i + 1 < end else i
    kind = kinds[data[at]]
    if kind != LETTER and (pattern != GPT2 or kind > NUMBER or data[i] == 39) or pattern == WHOLE:
        return i
    stop = at + 1
    while stop < end and kinds[data[stop]] == kind:
        stop += 1
    return stop if stop == end or data[stop] < 128 else i


@njit_bare()
def pretoken_end(data, i, end, classes, pattern, numbers):
    """Where the pre-token that begins at byte i of the piece data[…:end] ends."""
    if pattern == GPT2:
        return _gpt2(data, i, end, classes)
    if pattern == CL100K:
        return _cl100k(data, i, end, classes, numbers)
    return end


@njit_bare()
def digits_end(data, i, end, classes, digits):
    """Where the part of the piece that begins at byte i ends, if digits are set apart from the rest: each, or in runs."""
    if digits == NO_DIGITS:
        return end
    seen = _look(data, i, classes)
    if (seen >> 3) & DIGIT:
        return i + (seen & 7) if digits == EACH_DIGIT else _run(data, i, end, classes, DIGIT, end)
    while i < end and not (seen >> 3) & DIGIT:
        i += seen & 7
        seen = _look(data, i, classes) if i < end else seen
    return i


@njit(cache=True)
def any_flagged(data, offsets, flagged):
    """bool [texts]: whether a text has a code point with flagged[code point] (uint8 [CODE_POINTS]); no ASCII is flagged."""
    has_flag = np.zeros(offsets.shape[0] - 1, np.bool_)
    for t in range(has_flag.shape[0]):
        i, end = offsets[t], offsets[t + 1]
        while i < end:
            if i + 8 <= end and eight(data, i) & _HIGH_BITS == 0:
                i += 8
                continue
            if data[i] < 0x80:
                i += 1
                continue
            seen = _look(data, i, flagged)
            if seen >> 3:
                has_flag[t] = True
                break
            i += seen & 7
    return has_flag
