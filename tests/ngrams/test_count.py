"""`count`: all n-grams of a corpus, whatever parts it lies in."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ngrams.count import COUNT, from_binary, to_binary
from tests.ngrams.corpus import make_study, write_corpus
from tests.support import read_rows, run_step

words = st.sampled_from(["ape", "bat", "é", "zoo", "漢", "𝔸"])
corpora = st.lists(st.lists(words, max_size=10), min_size=1, max_size=8)


def counted(documents, parts, root, **counting):
    tables = run_step(COUNT, make_study(counting=counting), root, write_corpus(root, documents, parts))
    return tables, {name: read_rows(root, tables[name]) for name in ("ngram_counts", "ngram_vocabulary")}


def brute_force(documents, order):
    """n-gram → (occurrences, documents)."""
    grams = [[tuple(d[i : i + order]) for i in range(len(d) - order + 1)] for d in documents]
    found, holding = Counter(g for d in grams for g in d), Counter(g for d in grams for g in set(d))
    return {g: (found[g], holding[g]) for g in found}


@settings(max_examples=10, deadline=None)
@given(corpora, st.sampled_from([[1, 3], [2, 4]]), st.integers(1, 3), st.integers(1, 3))
def test_counts_equal_brute_force_for_any_number_of_parts(documents, orders, parts, min_count):
    with tempfile.TemporaryDirectory() as folder:
        _, rows = counted(documents, parts, Path(folder), all_orders=orders, min_count=min_count)
    vocabulary = {r["id"]: r["word"] for r in rows["ngram_vocabulary"]}
    assert list(vocabulary.values()) == sorted({w for d in documents for w in d})
    for order in orders:  # those between are passed through
        found = {
            tuple(vocabulary[i] for i in np.frombuffer(r["ngram"], ">i4").tolist()): (r["occurrences"], r["documents"])
            for r in rows["ngram_counts"] if r["order"] == order
        }  # fmt: skip
        assert found == {g: c for g, c in brute_force(documents, order).items() if c[0] >= min_count}


def test_what_min_count_drops_is_reported(tmp_path):
    from tasks.dataset import Store

    tables, rows = counted([["a", "b", "a"], ["c"]], 2, tmp_path, all_orders=[1, 2], min_count=2)
    assert [(r["order"], r["occurrences"]) for r in rows["ngram_counts"]] == [(1, 2)]
    sums = Store(str(tmp_path)).footer(tables["ngram_counts"][0])["sums"]
    assert sums == {"ngrams_below_min_count": 4, "occurrences_below_min_count": 4}  # b, c; a b, b a


def test_no_orders_no_jobs(tmp_path):
    tables, rows = counted([["a"]], 1, tmp_path, all_orders=[])
    assert tables["ngram_counts"] == () and rows["ngram_vocabulary"] == []


def test_an_order_longer_than_every_document_has_no_ngrams(tmp_path):
    _, rows = counted([["a", "b"], [], ["b", "a"]], 2, tmp_path, all_orders=[2, 5], min_count=1)
    assert [(r["order"], r["occurrences"], r["documents"]) for r in rows["ngram_counts"]] == [(2, 1, 1)] * 2


def test_documents_without_a_word_are_counted_as_such(tmp_path):
    _, rows = counted([[], []], 3, tmp_path, all_orders=[1, 2])
    assert rows == {"ngram_counts": [], "ngram_vocabulary": []}


def test_byte_order_is_id_order():
    grams = np.array([[0, 255], [0, 256], [1, 0], [255, 1], [256, 0], [65_536, 3]])
    binary = to_binary(grams)
    assert binary.to_pylist() == sorted(binary.to_pylist())
    assert from_binary(binary.slice(2), 2).tolist() == grams[2:].tolist()
