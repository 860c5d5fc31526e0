"""`count`: all n-grams of a corpus, for any division into parts and any amount of memory."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.ngrams.count.count import COUNT
from tasks.step import Stage, Step
from tasks.storage.store import Store
from tests.ngrams.corpus import make_study, write_corpus
from tests.support import read_rows, run_step, write_part

words = st.sampled_from(["ape", "bat", "é", "zoo", "漢", "𝔸"])
corpora = st.lists(st.lists(words, max_size=10), min_size=1, max_size=8)


def with_memory(step: Step, memory: int) -> Step:
    """The step with this many bytes for each job."""

    def stage(old: Stage) -> Stage:
        return replace(old, plan=lambda study, inputs: [replace(job, memory=memory) for job in old.plan(study, inputs)])

    return replace(step, stages=tuple(stage(s) for s in step.stages))


def count(documents, parts, root, memory=1 << 30, **counting):
    inputs = write_corpus(root, documents, parts)
    return run_step(with_memory(COUNT, memory), make_study(counting=counting), root, inputs)


def counted(documents, parts, root, memory=1 << 30, **counting):
    """order → n-gram of words → (occurrences, documents)."""
    tables = count(documents, parts, root, memory, **counting)
    vocabulary = {r["id"]: r["word"] for r in read_rows(root, tables["ngram_vocabulary"])}
    found = {order: {} for order in counting["all_orders"]}
    for row in read_rows(root, tables["ngram_counts"]):
        gram = tuple(vocabulary[i] for i in np.frombuffer(row["ngram"], ">i4").tolist())
        assert gram not in found[row["order"]], "an n-gram is in one bucket"
        found[row["order"]][gram] = (row["occurrences"], row["documents"])
    return found


def brute_force(documents, order):
    """n-gram → (occurrences, documents)."""
    grams = [[tuple(d[i : i + order]) for i in range(len(d) - order + 1)] for d in documents]
    found, holding = Counter(g for d in grams for g in d), Counter(g for d in grams for g in set(d))
    return {g: (found[g], holding[g]) for g in found}


def bytes_of(root, tables, name):
    store = Store(str(root))
    return [Path(store.part_path(p)).read_bytes() for p in tables[name]]


@settings(max_examples=12, deadline=None)
@given(corpora, st.sampled_from([[1, 3], [2, 4], [1], [7, 16]]), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3]))
def test_counts_equal_brute_force_for_any_parts_and_buckets(documents, orders, parts, min_count, buckets):
    with tempfile.TemporaryDirectory() as folder:
        found = counted(documents, parts, Path(folder), all_orders=orders, min_count=min_count, buckets=buckets)
    for order in orders:
        assert found[order] == {g: c for g, c in brute_force(documents, order).items() if c[0] >= min_count}


def test_every_order_to_sixteen_on_repetitive_text(tmp_path):
    documents = [list("abcabcabcabcabcabcabcabc"), list("aaaaaaaaaaaaaaaaaaaaaaaaa"), list("abcabca"), []]
    orders = list(range(1, 17))
    found = counted(documents, 2, tmp_path, all_orders=orders, min_count=1, buckets=2)
    assert found == {order: brute_force(documents, order) for order in orders}


@pytest.fixture
def in_small(monkeypatch):
    """Ranges and chunks so small that a little text has many."""
    monkeypatch.setattr("tasks.ngrams.count.bucket.RANGE", 16)
    monkeypatch.setattr("tasks.ngrams.count.bucket.SUFFIXES_AT_ONCE", 64)


RANDOM = np.random.default_rng(1)
ZIPF = [[f"w{i}" for i in RANDOM.zipf(1.3, 200) % 50] for _ in range(30)]


@pytest.mark.parametrize("min_count", [1, 2, 3])
def test_many_passes_write_the_same_bytes_as_one(tmp_path, in_small, min_count):
    settings = {"all_orders": [2, 3, 5], "min_count": min_count, "buckets": 2}
    one = count(ZIPF, 2, tmp_path / "one", **settings)
    many = count(ZIPF, 2, tmp_path / "many", memory=20_000, **settings)
    assert bytes_of(tmp_path / "one", one, "ngram_counts") == bytes_of(tmp_path / "many", many, "ngram_counts")
    frequent = {g: c for g, c in brute_force(ZIPF, 3).items() if c[0] >= min_count}
    assert counted(ZIPF, 2, tmp_path / "again", memory=20_000, **settings)[3] == frequent


@pytest.mark.parametrize("orders", [[2, 3, 5], [4]])
@pytest.mark.parametrize("bits", [8, 14, 20])
def test_ids_that_do_not_fit_in_a_number_with_their_row_count_the_same(tmp_path, monkeypatch, bits, orders):
    settings = {"all_orders": orders, "min_count": 2, "buckets": 2}
    fits = count(ZIPF, 2, tmp_path / "fits", **settings)
    monkeypatch.setattr("tasks.ngrams.count.bucket.KEY_BITS", bits)
    not_so = count(ZIPF, 2, tmp_path / "not", **settings)
    assert bytes_of(tmp_path / "fits", fits, "ngram_counts") == bytes_of(tmp_path / "not", not_so, "ngram_counts")


@pytest.mark.parametrize("per", [2, 3, 4])
def test_suffixes_are_spilled_as_many_ids_to_a_number_as_fit(tmp_path, monkeypatch, per):
    from tasks.ngrams.kernels import count_kernels

    limits = {n: count_kernels.ids_per_number((1 << 64 // n) - 1) for n in (2, 3, 4)}
    assert limits == {2: 2, 3: 3, 4: 4} and count_kernels.ids_per_number(1 << 16) == 3
    monkeypatch.setattr(count_kernels, "ids_per_number", lambda ids: per)
    documents = [list("abcabcabcabcabcabcabcabc"), list("cba"), [], list("aaaaaaaaaaaaaaaaaaaaaaaaa")]
    found = counted(documents, 2, tmp_path, all_orders=[2, 5, 16], min_count=1, buckets=3)
    assert found == {order: brute_force(documents, order) for order in (2, 5, 16)}


def test_little_memory_means_many_passes(tmp_path, in_small):
    from schemas import CONTRACTS
    from tasks.ngrams.count.bucket import Bucket
    from tasks.step import Work, keyed

    documents = [[f"w{i % 40}" for i in range(1000)]]
    tables = count(documents, 1, tmp_path, all_orders=[2], buckets=1)
    study = make_study(counting={"all_orders": [2], "buckets": 1})
    stage = COUNT.stages[2]
    for memory, passes in ((1 << 30, 1), (10_000, 3)):
        (job,) = stage.plan(study, tables)
        work = Work(Store(str(tmp_path)), keyed(COUNT, 2, replace(job, memory=memory)), stage, CONTRACTS)
        bucket = Bucket(work, [np.arange(41, dtype=np.int32)], np.full(40, 25))
        assert bucket.rows == 999
        assert len(bucket.passes) == passes
        suffixes = [int(np.isin(bucket.range_of, range(*p)).sum()) * 25 for p in bucket.passes]
        assert max(suffixes) * bucket.bytes_per_suffix <= memory
        assert [low for low, _ in bucket.passes[1:]] == [high for _, high in bucket.passes[:-1]]


def test_blocks_of_documents_are_joined(tmp_path, monkeypatch):
    documents = [list("abab"), list("ba"), list("abc")] * 5
    monkeypatch.setattr("tasks.ngrams.count.count.IDS_AT_ONCE", 10)
    monkeypatch.setattr("tasks.ngrams.corpus_parts.DOCUMENTS_AT_ONCE", 2)
    found = counted(documents, 1, tmp_path, all_orders=[2, 3], min_count=1)
    assert found == {n: brute_force(documents, n) for n in (2, 3)}


def test_tokens_are_counted_by_the_same_rules(tmp_path):
    from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, train, vocabulary_size
    from tests.text.test_bpe import TEXTS

    text = train(TEXTS * 3, 300, "<|endoftext|>")
    tokenizer = load_tokenizer(text)
    ids = encode_batch(tokenizer, TEXTS)
    labels = {"source": "s", "file": "f"}
    tables = {
        "tokens": (write_part(tmp_path, "tokens", {"document": list(range(len(ids))), "ids": ids}, labels),),
        "tokenizer": (
            write_part(
                tmp_path,
                "tokenizer",
                {"name": ["t"], "vocabulary_size": [vocabulary_size(tokenizer)], "end_of_document": [0], "json": [text]},
            ),
        ),
    }
    study = make_study(counting={"all_orders": [1, 2, 3], "min_count": 1, "unit": "tokens"})
    tables = run_step(COUNT, study, tmp_path, tables)
    names = {r["id"]: r["word"] for r in read_rows(tmp_path, tables["ngram_vocabulary"])}
    assert names[ids[0][0]] == tokenizer.id_to_token(ids[0][0])
    found = {
        tuple(np.frombuffer(r["ngram"], ">i4").tolist()): (r["occurrences"], r["documents"])
        for r in read_rows(tmp_path, tables["ngram_counts"])
    }
    assert found == {g: c for n in (1, 2, 3) for g, c in brute_force(ids, n).items()}


def test_an_id_beyond_the_vocabulary_names_the_part_and_the_row(tmp_path):
    tables = write_corpus(tmp_path, [["a", "b"], ["b", "a", "b"]])
    labels = tables["words"][0].labels
    bad = write_part(tmp_path, "words", {"document": [0, 1, 2], "ids": [[0, 1], [], [1, 7, 0]]}, labels)
    with pytest.raises(StudyError, match=r"words-.*parquet: row 2: id 7 is not in the vocabulary of 2"):
        run_step(COUNT, make_study(), tmp_path, tables | {"words": (bad,)})


def test_what_min_count_drops_is_reported(tmp_path):
    tables = count([["a", "b", "a"], ["c"]], 2, tmp_path, all_orders=[1, 2], min_count=2, buckets=1)
    assert [(r["order"], r["occurrences"]) for r in read_rows(tmp_path, tables["ngram_counts"])] == [(1, 2)]
    sums = Store(str(tmp_path)).footer(tables["ngram_counts"][0])["sums"]
    assert sums == {
        "ngrams_below_min_count": 4,
        "occurrences_below_min_count": 4,  # b, c; a b, b a
        "occurrences_below_min_count_1": 2,
        "occurrences_below_min_count_2": 2,
    }


def test_a_new_shard_changes_no_old_part_but_the_counts(tmp_path):
    shards = [[["b", "c", "b"]], [["a", "b", "c"]]]
    one = write_corpus(tmp_path, shards[0])
    study = make_study()
    before = run_step(COUNT, study, tmp_path, one)
    labels = {"source": "s", "file": "new"}
    two = {
        "documents": write_part(
            tmp_path,
            "documents",
            {"document": [0], "id": ["x"], "source": ["s"], "language": [""], "text": ["a b c"], "row": [1]},
            labels,
        ),
        "words": write_part(tmp_path, "words", {"document": [0], "ids": [[0, 1, 2]]}, labels),
        "vocabulary": write_part(
            tmp_path,
            "vocabulary",
            {"id": [0, 1, 2], "word": ["a", "b", "c"], "occurrences": [1, 1, 1], "documents": [1, 1, 1]},
            labels,
        ),
    }
    after = run_step(COUNT, study, tmp_path, {t: (*one[t], two[t]) for t in one})
    assert after["ngram_suffixes"][0] == before["ngram_suffixes"][0]
    assert after["ngram_counts"] != before["ngram_counts"]
    rows = [r for r in read_rows(tmp_path, after["ngram_counts"]) if r["order"] == 2]
    assert [(r["ngram"].hex(), r["occurrences"], r["documents"]) for r in rows] == [("0000000100000002", 2, 2)]


def test_no_orders_no_jobs(tmp_path):
    tables = count([["a"]], 1, tmp_path, all_orders=[])
    assert tables["ngram_counts"] == tables["ngram_vocabulary"] == tables["ngram_suffixes"] == ()


def test_an_order_longer_than_every_document_has_no_ngrams(tmp_path):
    found = counted([["a", "b"], [], ["b", "a"]], 2, tmp_path, all_orders=[2, 5], min_count=1)
    assert found == {2: {("a", "b"): (1, 1), ("b", "a"): (1, 1)}, 5: {}}


def test_documents_without_a_word_are_counted_as_such(tmp_path):
    assert counted([[], []], 3, tmp_path, all_orders=[1, 2]) == {1: {}, 2: {}}


def test_a_study_that_counts_no_order_has_no_suffixes_and_loses_none(tmp_path):
    """`all_orders = []`, as the studies of large corpora have it."""
    tables = run_step(COUNT, make_study(counting={"all_orders": []}), tmp_path, write_corpus(tmp_path, [["ape", "bat", "ape"]]))
    assert tables["ngram_suffixes"] == tables["ngram_counts"] == ()
