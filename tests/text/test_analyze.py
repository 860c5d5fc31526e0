"""The fast analyzer gives the words of the reference for every text, however texts are batched."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.study_files import study_path
from schemas import load_study
from tasks.text.lines import json_records
from tasks.text.words import word_kernels
from tasks.text.words.analyzer import words_of
from tasks.text.words.word_ids import WordIds
from tests.machine import without

NASTY = [
    *"aZİıßſé9٣৩Ⅳ½²'’.,_- \t\n\0",
    "\u0301",
    "\u0323",
    "\u20dd",
    "\u0fff",
    "\u200d",
    "\u200b",
    "\u00ad",
    "\ufe0f",
    "ﬁ",
    "ŉ",
    "ﷺ",
    *"漢〇々カｶﾞﾟーｰ가각กำั๑ລະ០ំក។မ၊၁",
    "\u3099",
    "\u302a",
    "\U00020000",
    "\U0001f468",
    "\U0001d518",
    "\U000e0101",
    "\U0010ffff",
]
texts_of_any_kind = (
    st.text(max_size=30)
    | st.text(st.sampled_from(NASTY), max_size=30)
    | st.text(st.sampled_from("aB1'.,’ é"), max_size=30)
    | st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "replace"))
)
BY_SCRIPT = {
    "Latin": "Don’t o'clock 'tis the dogs' l’été ŉ ﬁne ﬀ Straße ſoft Ǆ e-mail_x a''b rock 'n' roll",
    "numbers": "It cost 1,000.50, or 3.14.15; .5 5. 1,,2 1.a a.1 1'000 x² ½ 3½ ⅷ ① ٣.٥ ٣٫٥ 1.٥ 48/2=24 1.๑ ๑.๑",
    "Turkish": "İstanbul IĞDIR ılık DİYARBAKIR i̇",
    "Greek and Cyrillic": "ΣΊΣΥΦΟΣ ὈΔΥΣΣΕΎΣ ᾳ Ёлка и́ з",
    "Devanagari": "हिन्दी भाषा क्षत्रिय १२३.४",
    "Arabic": "اَلْعَرَبِيَّةُ ﷺ ـــ",
    "Han": "漢字，〇々々 1漢2 a漢'b 漢\u0301字 \U00020000\U0002a6df",
    "Kana": "とカナラーメン ｶﾞｷﾞｸﾟｰ ﾞa が\u3099 ㍿ ㌔",
    "Thai": "ที่นี่ กำลัง ๑๒๓ ฿5 \u0e31ก a\u0e31b ก'ข",
    "Lao": "ພາສາລາວ ໐໑ \u0eb1",
    "Khmer": "ភាសាខ្មែរ ។ ០១ \u17c6\u17c6a",
    "Myanmar": "မြန်မာဘာသာ ၊ ၀၁",
    "Hangul": "한국어 각\u11a8",
    "marks first": "\u0301 \u0301a \u0323\u0e31 \u0e31\u0323b a\u0301'\u0301b 1\u0301.2 1.\u03012",
    "what is not drawn": "\U0001f468\u200d\U0001f469\u200d\U0001f467 न\u200dन a\u200db c\u00add ☂\ufe0f 1\ufe0f\u20e3 \ufeffx\0y",
}


def check(texts: list[str], *arrays: pa.Array | pa.ChunkedArray) -> None:
    """The arrays, one after the other, give the words of the texts."""
    words = WordIds()
    found: list[list[int]] = []
    for array in arrays or (pa.array(texts, pa.string()),):
        ids, offsets = words.add(array)
        assert (ids.dtype, offsets.dtype, len(offsets), offsets[0]) == (np.int32, np.int64, len(array) + 1, 0)
        assert offsets[-1] == len(ids)
        found += [ids[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    known: dict[str, int] = {}
    assert found == [[known.setdefault(word, len(known)) for word in words_of(text)] for text in texts]
    assert words.words == list(known), "provisional ids are in order of discovery"
    vocabulary, rank = words.sorted()
    assert vocabulary == sorted(known)
    assert rank.dtype == np.int32
    assert [vocabulary[i] for i in rank] == list(known)


@pytest.mark.parametrize("script", BY_SCRIPT)
def test_every_script_gives_the_words_of_the_reference(script):
    text = BY_SCRIPT[script]
    assert words_of(text)
    check([text, *text.split(), text[::-1], text.upper(), text.lower()])


@settings(max_examples=400, deadline=None)
@given(st.lists(texts_of_any_kind, max_size=6))
def test_any_texts_give_the_words_of_the_reference(texts):
    check(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts_of_any_kind, max_size=8), st.data())
def test_it_does_not_matter_how_texts_are_cut_into_batches_chunks_and_slices(texts, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=3)))
    kind = data.draw(st.sampled_from([pa.string(), pa.large_string()]))
    whole = pa.array(texts, kind)
    slices = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(texts)], strict=True)]
    check(texts, *slices)
    check(texts, pa.chunked_array(slices))
    check(texts[1:], whole[1:])


@pytest.mark.parametrize(
    "around",
    ["{}", "a{}b", "1{}2", "漢{}漢", "ก{}\u0e31", "A{}", "{}é"],
    ids=["alone", "Latin", "digits", "Han", "Thai", "end", "start"],
)
def test_every_code_point_is_what_the_reference_takes_it_for(around):
    each = [around.format(chr(c)) for c in (*range(0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE0200), 0xF0000, 0x10FFFF)]
    check([" ".join(each[i : i + 500]) for i in range(0, len(each), 500)])


def test_very_long_words_and_lines():
    check(["x" * 3_000_000, "X" * 3_000_000, "漢" * 300_000, "é" * 500_000, "1." * 400_000, "a" + "\u0301" * 300_000, "a'" * 5])
    check(["".join(f"{i:x} " for i in range(200_000))])


def test_words_that_differ_in_one_byte_or_in_length_are_told_apart():
    stems = ["a" * length for length in range(1, 40)]
    check([*stems, *(s[:k] + "b" + s[k + 1 :] for s in stems for k in range(len(s))), *(s + "é" for s in stems)])
    check([f"{i:09d}{j:08d}" for i in range(300) for j in range(300)])


def test_long_words_with_the_same_hash_are_told_apart():
    """Sixteen letters, h = m(m(first) ^ second): where m(first) ^ m(first′) is a difference of letters, second can undo it."""
    first = random_eights(2_000)
    mixed = mix(first)
    differences = [{x ^ y for x in LETTERS for y in LETTERS}] * 8
    found = []
    for i in range(len(first)):
        for j in np.flatnonzero(((mixed[i] ^ mixed[i + 1 :]) & HIGH_BITS) == 0) + i + 1:
            difference = int(mixed[i] ^ mixed[j]).to_bytes(8, "big")
            if all(d in possible for d, possible in zip(difference, differences, strict=True)):
                halves = [next((x, x ^ d) for x in LETTERS if x ^ d in LETTERS) for d in difference]
                found += [eight(first[i]) + bytes(x for x, _ in halves), eight(first[j]) + bytes(y for _, y in halves)]
    keys = [key_of(word) for word in found]
    assert len(found) == len(set(found)) >= 2
    assert keys[::2] == keys[1::2]
    check([word.decode() for word in found])
    check([word.decode() for word in found[::-1]])


def test_a_long_word_whose_hash_is_a_short_word_is_told_apart_from_it():
    short, first = random_eights(6_000), random_eights(6_000)
    before = short ^ short >> np.uint64(29) ^ short >> np.uint64(58)
    before *= np.uint64(pow(GOLDEN, -1, 1 << 64))
    mixed = mix(first)
    found = []
    for i in range(len(short)):
        second = before[i] ^ mixed
        for j in np.flatnonzero((second & HIGH_BITS) == 0):
            if set(eight(second[j])) <= LETTERS:
                found += [eight(short[i]), eight(first[j]) + eight(second[j])]
    keys = [key_of(word) for word in found]
    assert len(found) >= 2
    assert keys[::2] == keys[1::2]
    check([word.decode() for word in found])
    check([word.decode() for word in found[::-1]])


GOLDEN = 0x9E3779B97F4A7C15
HIGH_BITS = np.uint64(0x8080808080808080)
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")


def random_eights(count: int) -> np.ndarray:
    """Random words of eight letters, packed (uint64)."""
    letters = np.random.default_rng(count).choice(np.array(sorted(LETTERS), dtype=np.uint8), (count, 8))
    return letters.view(">u8").ravel().astype(np.uint64)


def eight(packed: np.uint64) -> bytes:
    return int(packed).to_bytes(8, "big")


def mix(packed: np.ndarray) -> np.ndarray:
    """What the key of a long word makes of its eight bytes at a time."""
    product = packed * np.uint64(GOLDEN)
    return product ^ product >> np.uint64(29)


def key_of(word: bytes) -> int:
    return int(word_kernels._key(np.frombuffer(word, np.uint8), 0, len(word), False))


def test_texts_without_words_and_no_texts_at_all():
    check(["", "!!!", "", " ", "\u200b"])
    check([])
    check([], pa.chunked_array([], pa.string()))
    check(["a", ""], pa.array(["a"]), pa.array([], pa.string()), pa.array([""]))


def test_a_text_that_is_null_or_no_text_is_refused():
    with pytest.raises(ValueError, match="text 1 is null"):
        WordIds().add(pa.array(["a", None]))
    with pytest.raises(ValueError, match="text 2 is null"):
        WordIds().add(pa.chunked_array([["a", "b"], [None]]))
    with pytest.raises(TypeError, match="binary"):
        WordIds().add(pa.array([b"a"]))
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"a\xe9"))
    with pytest.raises(pa.ArrowInvalid):
        WordIds().add(broken)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=8), st.integers(0, 8))
def test_occurrences_and_documents_of_each_word_add_up_over_batches(documents, cut):
    occurrences, holding = np.zeros((2, 6), dtype=np.int64)
    seen = np.full(6, -1, dtype=np.int64)
    for first, batch in ((0, documents[:cut]), (len(documents[:cut]), documents[cut:])):
        offsets = np.cumsum([0, *map(len, batch)])
        word_kernels.count(np.array(sum(batch, []), np.int32), offsets, first, occurrences, holding, seen)
    assert occurrences.tolist() == [sum(d.count(w) for d in documents) for w in range(6)]
    assert holding.tolist() == [sum(w in d for d in documents) for w in range(6)]


def test_a_sample_of_each_file_of_the_real_corpus_gives_the_words_of_the_reference():
    files = sorted((Path(load_study(study_path("debian")).data) / "corpus").glob("*.jsonl.*"))
    if not files:
        without("this test reads the debian study's corpus; set TASKGRAM_DATA to the folder that contains corpus/")
    for file in files:
        texts = [record["text"] for _, _, record in islice(json_records(file), 0, 400, 5) if isinstance(record, dict)]
        assert sum(len(words_of(text)) for text in texts) > 100
        check(texts)
