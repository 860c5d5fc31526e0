"""The analyzer defines words in the same way for corpus and tasks (docs/method.md §1)."""

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.words.analyzer import _ASCII_WORD, _WORD, normalise, segment, words_of
from tasks.text.words.word_ngrams import keep, kept_ngrams, ngrams, stop_words

CHARACTERS = "aZ é́Ḿßİıſŉﬁ½²٣๑०'’.,-_/=!? \t\n漢字カｶﾞーกำวัสំ។မ၊𝔸\U0001f600ﷺ‍"
IS_WORD_CHARACTER = regex.compile(r"[\p{L}\p{M}\p{N}]")
# What NFKC or casefolding changes, what is drawn onto its neighbour, and what is not drawn at all.
RESTLESS = [
    c
    for c in map(chr, (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)))
    if unicodedata.normalize("NFKC", c).casefold() != c or unicodedata.category(c) in ("Mn", "Mc", "Me", "Cf")
]
texts = (
    st.text(st.sampled_from(CHARACTERS), max_size=30)
    | st.text(max_size=20)
    | st.lists(st.sampled_from(RESTLESS) | st.sampled_from("aA1.,'ΑΣςゕカ각 "), max_size=12).map("".join)
)


def test_punctuation_separates_and_never_glues():
    assert normalise("48/2=24") == "48 2 24"
    assert normalise("e-mail_address: a@b.c") == "e mail address a b c"
    assert normalise("good\u200bbye \U0001f600fun\U0001f680") == "good bye fun"


def test_apostrophes_belong_to_a_word_only_inside_it():
    assert segment("'Don't' the dogs’ o’clock") == (["don't", "the", "dogs", "o'clock"], [1, 8, 12, 18], [6, 11, 16, 25])
    assert normalise("l’été l'été") == "l'été l'été", "a curly apostrophe is a straight one"
    assert normalise("rock 'n' roll, a''b") == "rock n roll a b"


def test_points_and_commas_belong_to_a_number_only_inside_it():
    assert normalise("It cost 1,234.50, not 3. a.b 5,x") == "it cost 1,234.50 not 3 a b 5 x"
    assert segment("3,000.5 1,a .5 1,,2 1.") == (
        ["3,000.5", "1", "a", "5", "1", "2", "1"],
        [0, 8, 10, 13, 15, 18, 20],
        [7, 9, 11, 14, 16, 19, 21],
    )
    assert normalise("٣٫٥ ٣.٥") == "٣ ٥ ٣.٥", "digits of every script, the point of one"


def test_devanagari_keeps_its_vowel_signs():
    assert segment("हिन्दी भाषा") == (["हिन्दी", "भाषा"], [0, 7], [6, 11])


def test_scripts_without_spaces_are_a_word_per_code_point():
    assert segment("漢字とカナ") == (["漢", "字", "と", "カ", "ナ"], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert normalise("ラーメンbar") == "ラ ー メ ン bar"
    assert segment("ที่") == (["ที่"], [0], [3]), "marks stay with their consonant"
    assert normalise("ก។ខ၊") == "ก ខ", "punctuation of these scripts is no word"


def test_turkish_dotted_capital_folds_without_moving_offsets():
    assert segment("İzmir X") == (["i̇zmir", "x"], [0, 6], [5, 7])


def test_a_form_that_falls_apart_gives_words_with_one_span():
    assert segment("a ½ b") == (["a", "1", "2", "b"], [0, 2, 2, 4], [1, 3, 3, 5])
    assert segment("3½") == (["31", "2"], [0, 0], [2, 2])


def test_a_mark_belongs_to_its_letter_however_it_is_written():
    assert segment("cafe\u0301 café") == (["café", "café"], [0, 6], [5, 10])
    assert normalise("q\u0323\u0307") == normalise("q\u0307\u0323"), "the order of marks says nothing"


def test_compatibility_forms_are_one_with_what_they_stand_for():
    assert normalise("ﬁne Ｆｕｌｌ ｶﾞ STRASSE Straße") == "fine full ガ strasse strasse"


def test_no_letter_mark_or_number_of_unicode_is_lost_and_each_normalises_once():
    for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20), *range(0xE0000, 0xE0200)):
        character = chr(code)
        words = segment(character)[0]
        assert bool(words) == bool(IS_WORD_CHARACTER.match(character)), hex(code)
        assert segment(" ".join(words))[0] == words, hex(code)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_spans_stand_in_order_and_cover_every_word_character(text):
    words, starts, ends = segment(text)
    assert len(words) == len(starts) == len(ends)
    spans = sorted(set(zip(starts, ends, strict=True)))
    assert list(zip(starts, ends, strict=True)) == sorted(zip(starts, ends, strict=True))
    assert all(0 <= a < b <= len(text) for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in zip(spans, spans[1:], strict=False))
    outside = "".join(" " if any(a <= i < b for a, b in spans) else c for i, c in enumerate(text))
    assert not IS_WORD_CHARACTER.search(outside)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_normalising_twice_is_normalising_once(text):
    words = words_of(text)
    assert words_of(" ".join(words)) == words
    assert all(words_of(word) == [word] for word in words)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from([c for c in RESTLESS if unicodedata.category(c)[0] == "L"]) | st.sampled_from("aéΣ각 "), max_size=9))
def test_composed_and_decomposed_letters_are_the_same_words(text):
    forms = [words_of(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")]
    assert forms[0] == forms[1] == words_of(text)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_a_word_has_no_white_space_and_something_of_a_letter_mark_or_number(text):
    for word in words_of(text):
        assert not regex.search(r"\s", word)
        assert IS_WORD_CHARACTER.search(word)


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.sampled_from(" \n\t-/"))
def test_words_of_two_texts_are_the_words_of_each(one, two, between):
    assert words_of(one + between + two) == words_of(one) + words_of(two)
    assert normalise(f"{one} {two}").split() == words_of(one) + words_of(two)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_a_word_is_its_surface_form_normalised(text):
    words, starts, ends = segment(text)
    for start, end in set(zip(starts, ends, strict=True)):
        here = [w for w, a, b in zip(words, starts, ends, strict=True) if (a, b) == (start, end)]
        assert words_of(text[start:end]) == here


@settings(max_examples=400, deadline=None)
@given(st.text(st.sampled_from("aZ09'.,- \n"), max_size=30) | st.text(st.characters(max_codepoint=127), max_size=30))
def test_the_ascii_path_is_the_general_one(text):
    assert [m.span() for m in _ASCII_WORD.finditer(text)] == [m.span() for m in _WORD.finditer(text)]
    assert words_of(text) == words_of(text + " é")[:-1]


@given(texts)
def test_words_without_places_are_the_words_with_places(text):
    assert words_of(text) == segment(text)[0]


def test_there_are_max_0_words_minus_n_plus_1_ngrams():
    for length in range(6):
        for n in range(1, 5):
            assert len(list(ngrams(["w"] * length, n))) == max(0, length - n + 1)
    assert list(ngrams(["a", "b", "c"], 2)) == [("a", "b"), ("b", "c")]


def test_only_ngrams_of_nothing_but_stop_words_are_dropped():
    policy = "drop_all_stopword_ngrams"
    assert not keep(("of", "the"), policy, "en")
    assert keep(("capital", "of"), policy, "en")
    assert keep(("of", "the"), policy, "de"), "each language has its own list"
    assert keep(("of", "the"), "none", "en")


@given(st.lists(st.sampled_from(["capital", "of", "the", "land", "is", "velk"]), max_size=12), st.integers(1, 5))
def test_the_authors_delete_stop_words_first_where_n_is_at_most_three(words, n):
    """Transcribed from docs/method.md §1: [A] deletes them before forming n-grams when n ≤ 3."""
    left = []
    for word in words:
        if n > 3 or word not in ("of", "the", "is"):
            left.append(word)
    expected = set()
    for begin in range(len(left)):
        if begin + n <= len(left):
            expected.add(tuple(left[begin : begin + n]))
    assert kept_ngrams(words, n, "authors", "en") == expected


@pytest.mark.parametrize(
    ("language", "words", "content"),
    [
        ("en", "the of and is which", "capital river"),
        ("de", "der und nicht ein über", "hauptstadt fluss"),
        ("fr", "le les et est dans", "capitale fleuve"),
        ("es", "el los y es para", "ciudad río"),
        ("cs", "ale ano asi bez jsem", "město řeka"),
        ("hu", "a az és hogy nem", "főváros folyó"),
        ("it", "il gli di che sono", "capitale fiume"),
    ],
)
def test_a_list_holds_its_languages_function_words_and_no_names_of_things(language, words, content):
    assert set(words.split()) <= stop_words(language)
    assert not set(content.split()) & stop_words(language)
    assert 150 < len(stop_words(language)) < 350, "later versions of the package contain half the dictionary"


def test_seven_languages_have_stop_words_as_the_analyzer_writes_them():
    for language in ("en", "de", "fr", "es", "cs", "hu", "it"):
        assert len(stop_words(language)) > 100
        assert all(segment(w)[0] == [w] for w in stop_words(language))
    assert "don't" in stop_words("en")
    assert "über" in stop_words("de")
    assert stop_words("xx") == frozenset()
