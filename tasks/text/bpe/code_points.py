"""Classes of code points as the tokenizers library sees them; taken from the library, so that Unicode versions agree."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np

_POINTS = (*range(0xD800), *range(0xE000, 0x110000))  # without surrogates, which no valid text contains


@lru_cache(maxsize=2)
def classes_of(digits: bool) -> np.ndarray:
    """uint8 [CODE_POINTS]: the bits LETTER, NUMBER, SPACE, NEWLINE, and with `digits` DIGIT, of each code point."""
    from tokenizers import NormalizedString, PreTokenizedString, Regex, pre_tokenizers

    from tasks.text.bpe.pretoken_kernels import CODE_POINTS, DIGIT, LETTER, NEWLINE, NUMBER, SPACE

    everything = "".join(map(chr, _POINTS))
    points = np.array(_POINTS)
    classes = np.zeros(CODE_POINTS, np.uint8)
    for expression, bit in ((r"\p{L}+", LETTER), (r"\p{N}+", NUMBER), (r"\s+", SPACE)):
        runs = [len(run.normalized) for run in NormalizedString(everything).split(Regex(expression), "isolated")]
        classes[points] |= _every_other(runs, bit)
    if digits:
        text = PreTokenizedString(everything)
        pre_tokenizers.Digits(individual_digits=False).pre_tokenize(text)
        classes[points] |= _every_other([len(run) for run, _, _ in text.get_splits("original", "byte")], DIGIT)
    classes[[0x0A, 0x0D]] |= NEWLINE
    return classes


def _every_other(runs: list[int], bit: int) -> np.ndarray:
    """The bit for runs 1, 3, 5 …: the first code point, NUL, is in no class."""
    return np.repeat(np.arange(len(runs)) % 2 * bit, runs).astype(np.uint8)


@lru_cache(maxsize=1)
def may_change_under_nfc() -> np.ndarray:
    """uint8 [CODE_POINTS]: 0 for code points that NFC leaves unchanged in any context and any version of Unicode.

    These are assigned, have canonical combining class 0, and are neither decomposed nor the second of a composed pair
    (UAX 15 §9, NFC_Quick_Check=Yes). The stability policy guarantees this; NFC leaves unassigned code points unchanged, too.
    """
    from tasks.text.bpe.pretoken_kernels import CODE_POINTS

    last = 0x30000  # all code points beyond are flagged
    flagged = np.ones(CODE_POINTS, np.uint8)
    flagged[:0x300] = 0
    for point in range(0x300, last):
        letter = chr(point)
        assigned = unicodedata.category(letter) not in ("Cn", "Cs")
        changes = unicodedata.combining(letter) or unicodedata.normalize("NFC", letter) != letter
        flagged[point] = not assigned or bool(changes)
    for point in range(last):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            flagged[int(parts[1], 16)] = 1
    flagged[0x1161:0x1176] = flagged[0x11A8:0x11C3] = 1  # the vowels and finals of Hangul syllables
    return flagged


@lru_cache(maxsize=1)
def byte_letters() -> dict[str, int]:
    """The byte of each letter of a byte-level vocabulary: printable bytes are themselves, the others 256, 257, …"""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printed]
    return {chr(b): b for b in printed} | {chr(256 + n): b for n, b in enumerate(others)}
