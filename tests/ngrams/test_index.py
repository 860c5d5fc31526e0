"""The index is exact: every function against brute force over small corpora."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.ngrams import index as index_step
from tasks.ngrams.index import INDEX, Index, Scan
from tasks.ngrams.kernels import suffix_kernels as kernels
from tasks.storage.store import Store
from tests.ngrams.corpus import documents_with, flat, make_study, occurrences, places, write_corpus
from tests.support import read_rows, run_step, write_part

LONGEST = 4
texts = st.lists(st.integers(0, 3), max_size=7)
corpora = st.lists(texts, min_size=1, max_size=6)
ngrams = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=6)


def build(documents: Sequence[Sequence[int]], shards: int = 1) -> list[kernels.Suffixes]:
    """One suffix array for each run of documents."""
    cuts = [len(documents) * i // shards for i in range(shards + 1)]
    return [kernels.build(*flat(documents[a:b])) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def followed(context: Sequence[int], documents: Sequence[Sequence[int]]) -> Counter[int]:
    """What follows a context, by checking every position."""
    n = len(context)
    return Counter(d[i + n] for d in documents for i in range(len(d) - n) if list(d[i : i + n]) == list(context))


def by_hand(text: Sequence[int], documents: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """∞-gram counts of the last id of a text: suffix, numerator, denominator, and the same for back-off."""
    *context, asked = text
    after = [followed(context[len(context) - n :], documents) for n in range(min(len(context), LONGEST) + 1)]
    suffix = max((n for n, counts in enumerate(after) if counts), default=0)
    seen = max((n for n, counts in enumerate(after) if counts[asked]), default=-1)
    backed = (seen, after[seen][asked], after[seen].total()) if seen >= 0 else (-1, 0, 0)
    return (suffix, after[suffix][asked], after[suffix].total(), *backed)


@settings(max_examples=60)
@given(corpora, ngrams, st.integers(1, 3))
def test_counts_equal_brute_force_in_any_number_of_shards(documents: list[list[int]], asked: list[list[int]], shards: int) -> None:
    asked = asked + asked[:1]  # the same n-gram twice is counted twice
    arrays, (ids, offsets) = build(documents, shards), flat(asked)
    assert kernels.counts(arrays, [ids] * shards, offsets).tolist() == [occurrences(g, documents) for g in asked]


@settings(max_examples=60)
@given(corpora, texts.filter(len))
def test_places_equal_brute_force(documents: list[list[int]], asked: list[int]) -> None:
    document, before = kernels.places(build(documents)[0], np.array(asked, np.int32))
    wanted = [(d, at) for d, text in enumerate(documents) for at in places(asked, text)]
    assert list(zip(document.tolist(), before.tolist(), strict=True)) == wanted


@settings(max_examples=60)
@given(corpora, ngrams, st.integers(1, 3))
def test_infinigram_counts_equal_brute_force(documents: list[list[int]], asked: list[list[int]], shards: int) -> None:
    ids, offsets = flat(asked)
    found = kernels.infinigram(build(documents, shards), [ids] * shards, offsets, LONGEST)
    assert list(zip(*(v.tolist() for v in found), strict=True)) == [by_hand(text, documents) for text in asked]


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 70_000), max_size=6), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_many_distinct_ids_are_sorted_as_few_are(documents: list[list[int]], seed: int) -> None:
    """With 70,000 ids in one shard codes of one, two and three bytes are in use; suffixes must be in the order of ranks."""
    common = np.random.default_rng(seed).permutation(70_000).astype(np.int32)
    everything = [common.tolist(), *documents, *documents]
    array = kernels.build(*flat(everything))
    text = array.text.tolist()
    some = array.suffixes[:: max(1, len(array.suffixes) // 200)].tolist()
    assert all(text[a : a + 20] <= text[b : b + 20] for a, b in zip(some[:-1], some[1:], strict=True))
    assert sorted(array.suffixes.tolist()) == [i for i, rank in enumerate(text) if rank]
    grams = [d[i : i + 2] for d in documents for i in range(len(d) - 1)] or [[0]]
    ids, offsets = flat(grams)
    pairs = Counter(pair for d in everything for pair in zip(d[:-1], d[1:], strict=True))
    wanted = [pairs[g[0], g[1]] if len(g) == 2 else occurrences(g, everything) for g in grams]
    assert kernels.counts([array], [ids], offsets).tolist() == wanted


def test_no_match_spans_two_documents() -> None:
    array = build([[1, 2], [3, 1], [2]])[0]
    ids, offsets = flat([[1, 2], [2, 3], [1, 2, 3], [3, 1, 2]])
    assert kernels.counts([array], [ids], offsets).tolist() == [1, 0, 0, 0]
    found = kernels.infinigram([array], [np.array([2, 3], np.int32)], np.array([0, 2]))
    assert (found.suffix[0], found.denominator[0]) == (0, 5), "nothing follows 2 inside a document, so only the empty context"


def test_ids_beyond_the_vocabulary_count_nothing_and_wrong_questions_are_named() -> None:
    array = build([[0, 1]])[0]
    assert kernels.counts([array], [np.array([7, 2**31 - 1, 1, 9], np.int32)], np.array([0, 1, 2, 4])).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="id 1 is negative"):
        kernels.counts([array], [np.array([0, -1], np.int32)], np.array([0, 2]))
    with pytest.raises(ValueError, match="query 1 is empty"):
        kernels.counts([array], [np.array([0], np.int32)], np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="text 0 is empty"):
        kernels.infinigram([array], [np.array([0], np.int32)], np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="id 0 is negative"):
        kernels.build(np.array([-3], np.int32), np.array([0, 1]))


def test_an_empty_corpus_answers_everything_with_nothing() -> None:
    array = kernels.build(np.empty(0, np.int32), np.zeros(1, np.int64))
    ids, offsets = flat([[0], [1, 2]])
    assert kernels.counts([array], [ids], offsets).tolist() == [0, 0]
    found = kernels.infinigram([array], [ids], offsets)
    assert found.backoff_suffix.tolist() == [-1, -1] and found.denominator.tolist() == [0, 0]


# -- the step, and questions in words --------------------------------------------------------------------------------
WORDS = ["a", "b", "c", "zero"]
documents_of_words = st.lists(st.lists(st.sampled_from(WORDS[:3]), max_size=7), min_size=1, max_size=7)


def make(root: Path, documents: list[list[str]], parts: int) -> tuple[Index, Scan]:
    """An index made by the step, and a scan, over the same words."""
    tables = write_corpus(root, documents, parts)
    found = run_step(INDEX, make_study(counting={"index": True}), root, {**tables, "tokens": ()})
    store = Store(str(root))
    return Index.of_words(store, found["ngram_index"], tables["vocabulary"]), Scan.of_words(
        store, tables["words"], tables["vocabulary"]
    )


@settings(max_examples=25)
@given(
    documents_of_words,
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_index_and_scan_give_the_same_answers_and_both_are_right(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]], asked: list[list[str]], parts: int
) -> None:
    index, scan = make(tmp_path_factory.mktemp("i"), documents, parts)
    phrases = [" ".join(words) for words in asked]
    answer = index.ask(phrases, 3)
    assert answer == scan.ask(phrases, 3)
    assert [c.occurrences for c in answer.counted] == [occurrences(g, documents) for g in asked]
    assert [c.documents for c in answer.counted] == [len(documents_with(documents, g)) for g in asked]
    both = documents_with(documents, *asked)
    assert answer.together == len(both)
    cuts = [len(documents) * i // parts for i in range(parts)]
    assert [cuts[p.part] + p.document for p in answer.places] == both[:3]
    assert [p.words for p in answer.places] == [tuple(places(g, documents[d])[0] for g in asked) for d in both[:3]]
    assert index.counts(phrases).tolist() == [c.occurrences for c in answer.counted]


def test_parts_with_other_vocabularies_add_up(tmp_path: Path) -> None:
    """`b` has another id in each part, and occurs in only two of three."""
    index, scan = make(tmp_path, [["a", "b", "b"], ["b", "c"], ["c", "a"]], 3)
    assert index.ask(["b"]) == scan.ask(["b"]) and index.ask(["b"]).counted[0].occurrences == 3
    assert index.ask(["c"], 5) == scan.ask(["c"], 5)
    assert index.ask(["b", "c"]).together == scan.ask(["b", "c"]).together == 1
    found = [v.tolist() for v in index.infinigrams(["a b c", "zero"])]
    b_follows_b, nothing = zip(*found, strict=True)
    assert b_follows_b == (2, 0, 1, 1, 1, 2), "b is followed twice, once by c; a b once, by b"
    assert nothing == (0, 0, 7, -1, 0, 0)


def test_a_large_part_is_cut_into_shards_between_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [["a"], ["a", "b", "a"], [], ["b"], ["a", "b", "c", "a", "b"], ["a"]]
    monkeypatch.setattr(index_step, "LARGEST", 4)
    tables = write_corpus(tmp_path, documents)
    found = run_step(INDEX, make_study(counting={"index": True}), tmp_path, {**tables, "tokens": ()})
    rows = read_rows(tmp_path, found["ngram_index"])
    assert [(r["first_document"], r["documents"], r["words"]) for r in rows] == [(0, 3, 4), (3, 1, 1), (4, 1, 5), (5, 1, 1)]
    store = Store(str(tmp_path))
    index = Index.of_words(store, found["ngram_index"], tables["vocabulary"])
    assert index.ask(["a b", "a"], 9) == Scan.of_words(store, tables["words"], tables["vocabulary"]).ask(["a b", "a"], 9)
    folder = store.folder("ngram_index", found["ngram_index"][0].key)
    assert sorted(p.name for p in folder.iterdir()) == sorted(name for r in rows for name in r["files"])
    assert sum(p.stat().st_size for p in folder.iterdir()) == sum(r["bytes"] for r in rows)


def test_tokens_are_indexed_too_and_mean_the_same_in_every_part(tmp_path: Path) -> None:
    documents = [[[5, 6, 7], [5, 6]], [[6, 7, 8]]]
    tokenizer = write_part(tmp_path, "tokenizer", {"name": ["t"], "vocabulary_size": [10], "end_of_document": [0], "json": [""]})
    parts = tuple(
        write_part(tmp_path, "tokens", {"document": list(range(len(d))), "ids": d}, {"file": str(i)})
        for i, d in enumerate(documents)
    )
    found = run_step(
        INDEX, make_study(counting={"index": True}), tmp_path, {"tokens": parts, "words": (), "tokenizer": (tokenizer,)}
    )
    index = Index.of_tokens(Store(str(tmp_path)), found["token_index"], 10)
    assert (index.ask([[6, 7]]).counted[0].occurrences, index.ask([[9]]).counted[0].documents) == (2, 0)
    assert tuple(v.item() for v in index.infinigrams([[5, 6, 7]])) == (2, 1, 1, 2, 1, 1)
    for wrong in ([10], [-1], "a word"):
        with pytest.raises(StudyError, match="is not a token id from 0 to 9"):
            index.ask([wrong])


def test_without_the_setting_nothing_is_planned_and_its_bytes_are_always_the_same(tmp_path: Path) -> None:
    documents = [["a", "b"], ["b"]]
    tables = {**write_corpus(tmp_path / "1", documents), "tokens": ()}
    assert run_step(INDEX, make_study(), tmp_path / "1", tables)["ngram_index"] == ()
    files = []
    for name in ("1", "2"):
        tables = {**write_corpus(tmp_path / name, documents), "tokens": ()}
        part = run_step(INDEX, make_study(counting={"index": True}), tmp_path / name, tables)["ngram_index"][0]
        folder = Store(str(tmp_path / name)).folder("ngram_index", part.key)
        files.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert files[0] == files[1] and len(files[0]) == 5


def test_questions_without_a_word_and_lost_files_are_named(tmp_path: Path) -> None:
    index, scan = make(tmp_path, [["a", "b"]], 1)
    for corpus in (index, scan):
        assert corpus.ask(["a b a b a"]).counted[0].occurrences == 0, "longer than any document"
        with pytest.raises(StudyError, match="n-gram 2 is empty"):
            corpus.ask(["a", ""])
        with pytest.raises(StudyError, match="one space between"):
            corpus.ask(["a  b"])
        with pytest.raises(StudyError, match="give at least one n-gram"):
            corpus.ask([])
    with pytest.raises(StudyError, match="n-gram 1 is empty"):
        index.counts([""])
    lost = next((tmp_path / "ngram_index" / "files").glob("*/*-suffixes.npy"))
    lost.write_bytes(lost.read_bytes()[:-4])
    with pytest.raises(StudyError, match="Run the study again"):
        index_step.load(lost.parent, 0)
