"""The analyzer for whole corpora: the words of `words_of`, as integers, many texts at a time (docs/method.md §1).

`tasks.text.words.analyzer` defines words; this gives the same result faster. The classes of code points come from the
patterns there, a kernel finds the surface forms in Arrow's UTF-8 bytes, and each form is normalised once, when first seen.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import regex

from tasks.text.words.analyzer import _RUN, _SINGLE, _normal_forms

Texts: TypeAlias = pa.StringArray | pa.LargeStringArray | pa.ChunkedArray
_CODE_POINTS = 0x110000
_FORMS_AT_FIRST = 1 << 12


@cache
def _classes() -> tuple[np.ndarray, np.ndarray]:
    """The `classes` (uint8 [0x110000]) and `plain` (uint8 [256]) tables that `word_kernels` needs."""
    from tasks.text.words import word_kernels as kernels

    every = "".join(map(chr, range(_CODE_POINTS)))
    patterns = {
        kernels.RUN: _RUN,
        kernels.NUMBER: r"\p{N}+",
        kernels.APOSTROPHE: "['’]",
        kernels.POINT: "[.,]",
        kernels.SINGLE: rf"[{_SINGLE}&&[\p{{L}}\p{{N}}]]+",
        kernels.FOLLOWS: r"[\p{M}\uFF9E\uFF9F]+",
        kernels.MARK: r"\p{M}+",
    }
    classes = np.zeros(_CODE_POINTS, dtype=np.uint8)
    for bit, pattern in patterns.items():
        for match in regex.finditer(pattern, every, flags=regex.V1):
            classes[match.start() : match.end()] |= np.uint8(bit)
    plain = np.ones(256, dtype=np.uint8)
    plain[:128] = [ord(c.lower()) if classes[ord(c)] & kernels.RUN else classes[ord(c)] > 0 for c in every[:128]]
    return classes, plain


class WordIds:
    """Maps texts to provisional word ids, numbered in the order of discovery across all batches. Memory: the distinct surface forms
    (bytes) and words (str), and four bytes per form of the current batch."""

    def __init__(self) -> None:
        self._ids_of_words: dict[str, int] = {}
        self._forms = self._normalised = 0
        self._table = np.zeros(4 * _FORMS_AT_FIRST, dtype=np.uint64)  # pairs (key, form), at most half full
        self._arena = np.empty(16 * _FORMS_AT_FIRST, dtype=np.uint8)
        self._bounds = np.zeros(_FORMS_AT_FIRST + 1, dtype=np.int64)
        self._first = np.zeros(_FORMS_AT_FIRST + 1, dtype=np.int64)  # form f becomes words[first[f]:first[f + 1]]
        self._words = np.empty(_FORMS_AT_FIRST, dtype=np.int32)

    def add(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(ids, offsets): the provisional word ids of the texts (int32), and each text's range in them (int64 [texts + 1]). Raises
        pa.ArrowInvalid for bytes that are not UTF-8, ValueError for a null text, TypeError if not given strings."""
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            raise TypeError(f"texts are Arrow strings, not {texts.type}")
        if texts.null_count:
            raise ValueError(f"text {texts.is_null().to_numpy(zero_copy_only=False).argmax()} is null")
        pieces = [self._add(data, offsets) for data, offsets in _bytes_of(texts)]
        ids = [np.empty(0, np.int32), *(ids for ids, _ in pieces)]
        lengths = [np.zeros(1, np.int64), *(np.diff(offsets) for _, offsets in pieces)]
        return ids[1] if len(pieces) == 1 else np.concatenate(ids), np.cumsum(np.concatenate(lengths))

    @property
    def words(self) -> list[str]:
        return list(self._ids_of_words)

    def sorted(self) -> tuple[list[str], np.ndarray]:
        vocabulary = sorted(self._ids_of_words)
        rank = np.empty(len(vocabulary), dtype=np.int32)
        places = np.fromiter(map(self._ids_of_words.__getitem__, vocabulary), dtype=np.int64, count=len(vocabulary))
        rank[places] = np.arange(len(vocabulary), dtype=np.int32)
        return vocabulary, rank

    def _add(self, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from tasks.text.words import word_kernels as kernels

        classes, plain = _classes()
        position = np.array([0, offsets[0], 0], dtype=np.int64)
        forms = np.empty((offsets[-1] - offsets[0]) // 4 + 16, dtype=np.int32)
        ends = np.empty(len(offsets) - 1, dtype=np.int64)
        while True:
            self._forms, needed = kernels.scan(
                data, offsets, position, classes, plain, self._table, self._arena, self._bounds, self._forms, forms, ends
            )
            if not needed:
                break
            if position[2] == len(forms):
                forms = _larger(forms, 0)
            self._make_room(needed)
        self._normalise()
        return kernels.expand(forms[: position[2]], ends, self._first, self._words)

    def _make_room(self, needed: int) -> None:
        """Enlarge whichever array is full, so that a form of `needed` bytes fits."""
        from tasks.text.words import word_kernels as kernels

        if 4 * self._forms + 4 > len(self._table):
            larger = np.zeros(2 * len(self._table), dtype=np.uint64)
            kernels.move(self._table, larger)
            self._table = larger
        if self._forms + 2 > len(self._bounds):
            self._bounds = _larger(self._bounds, 0)
        if self._bounds[self._forms] + needed > len(self._arena):
            self._arena = _larger(self._arena, needed)

    def _normalise(self) -> None:
        bounds = self._bounds[self._normalised : self._forms + 1]
        raw = self._arena[bounds[0] : bounds[-1]].tobytes()
        characters = raw.decode("latin-1")  # one per byte: slicing is cheaper than decoding, and most forms are ASCII
        ids = self._ids_of_words
        words, ends = [], []
        for begin, end in pairwise((bounds - bounds[0]).tolist()):
            form = characters[begin:end]
            if form.isascii():  # letters, digits, and the signs between them: one word, in lower case already
                words.append(ids.setdefault(form, len(ids)))
            else:
                # Each form comes here once, so the cache of `_normal_forms` would only keep a copy of all of them.
                forms = _normal_forms.__wrapped__(raw[begin:end].decode())
                words += [ids.setdefault(word, len(ids)) for word in forms]
            ends.append(len(words))
        start = self._first[self._normalised]
        self._first = _placed(self._first, self._normalised + 1, start + np.array(ends, dtype=np.int64))
        self._words = _placed(self._words, start, np.array(words, dtype=np.int32))
        self._normalised = self._forms


def _placed(array: np.ndarray, at: int, values: np.ndarray) -> np.ndarray:
    """The array, enlarged if necessary, with the values written at index `at`."""
    if at + len(values) > len(array):
        array = _larger(array, len(values))
    array[at : at + len(values)] = values
    return array


def _larger(array: np.ndarray, needed: int) -> np.ndarray:
    larger = np.empty(len(array) + max(len(array), needed), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def _bytes_of(texts: Texts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(UTF-8 bytes, int64 offsets into them) of each Arrow array, without a copy of the bytes."""
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        if len(chunk):
            chunk.validate(full=True)
            _, places, data = chunk.buffers()
            kind = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
            offsets = np.frombuffer(places, dtype=kind)[chunk.offset : chunk.offset + len(chunk) + 1].astype(np.int64)
            values = np.frombuffer(data or b"", dtype=np.uint8)
            values.flags.writeable = False  # always read-only: a kernel is compiled for each kind of array
            yield values, offsets
