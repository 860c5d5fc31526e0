"""The kernels against brute force, on small random corpora over few ids, where n-grams repeat and overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ngrams.kernels import context_kernels, ngram_kernels, pair_kernels, scan_kernels
from tests.ngrams.corpus import documents_with, flat, occurrences, places

ids = st.integers(0, 3)
corpora = st.lists(st.lists(ids, max_size=12), max_size=8)
queries = st.lists(st.lists(ids, min_size=1, max_size=5).map(tuple), min_size=1, max_size=12, unique=True)
asked_texts = st.lists(st.lists(ids, min_size=1, max_size=9), min_size=1, max_size=4)
MASK = 2**64 - 1


def pieces(corpus: list[list[int]], size: int):
    """(ids, offsets, number of the first document), `size` documents at a time."""
    for base in range(0, len(corpus), size):
        yield (*flat(corpus[base : base + size]), base)


def scan(corpus, asked, size):
    trie, same = ngram_kernels.build_trie(*flat(asked))
    assert same.tolist() == [asked.index(q) for q in asked]
    records = scan_kernels.empty_records(len(asked))
    for piece in pieces(corpus, size):
        scan_kernels.scan_ngrams(*piece, trie, records)
    return trie, records


@settings(max_examples=80, deadline=None)
@given(corpora, queries, st.integers(1, 4))
def test_given_ngrams_are_counted_as_by_hand_however_the_corpus_is_cut(corpus, asked, size):
    _, found = scan(corpus, asked, size)
    holders = [documents_with(corpus, q) for q in asked]
    assert found["occurrences"].tolist() == [occurrences(q, corpus) for q in asked]
    assert found["documents"].tolist() == [len(h) for h in holders]
    assert found["first_document"].tolist() == [h[0] if h else -1 for h in holders]
    assert (found["documents"] <= found["occurrences"]).all()  # df(s) ≤ C(s)


def test_long_documents_and_many_short_ones_are_read_in_blocks_without_a_seam():
    """More ids than a block: n-grams that cross its end, documents of every length, the last one longest."""
    rng = np.random.default_rng(1)
    corpus = [rng.integers(0, 3, n).tolist() for n in [0, 0, 1, *rng.integers(0, 9, 900), 5_000, 0, 3, 2_047, 2_049]]
    asked = [tuple(q) for n in (1, 2, 4, 7) for q in np.unique(rng.integers(0, 3, (12, n)), axis=0).tolist()]
    _, found = scan(corpus, asked, 10_000)
    assert found["occurrences"].tolist() == [occurrences(q, corpus) for q in asked]
    assert found["documents"].tolist() == [len(documents_with(corpus, q)) for q in asked]
    frequency, pairs = np.zeros(len(asked)), np.array([(i, j) for i in range(len(asked)) for j in range(len(asked))])
    counts, _, _ = join(corpus, asked, pairs, frequency, None, 10_000, None, None)
    holders = [set(documents_with(corpus, q)) for q in asked]
    assert counts.tolist() == [len(holders[x] & holders[y]) for x, y in pairs]


def test_an_empty_query_is_an_error():
    with pytest.raises(ValueError, match="query 1 is empty"):
        ngram_kernels.build_trie(*flat([(1,), (), (2,)]))


def test_a_query_asked_twice_is_counted_where_it_stands_first():
    asked = [(1, 2), (3,), (1, 2)]
    trie, same = ngram_kernels.build_trie(*flat(asked))
    records = scan_kernels.empty_records(3)
    scan_kernels.scan_ngrams(*flat([[1, 2, 3], [1, 2]]), 0, trie, records)
    assert records["occurrences"][same].tolist() == [2, 1, 2]


def mix(value: int) -> int:
    """SplitMix64's finalizer, in Python's own integers."""
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def join(corpus, asked, pairs, frequency, rooms, size, pair_hashes, document_hashes, widths=()):
    trie, _ = ngram_kernels.build_trie(*flat(asked))
    records, lengths = scan_kernels.empty_records(len(asked)), np.array([len(q) for q in asked])
    state = pair_kernels.prepare(pairs, frequency, lengths, records, rooms, pair_hashes, widths)
    for piece in pieces(corpus, size):
        hashes = () if document_hashes is None else (document_hashes[piece[2] : piece[2] + len(piece[1]) - 1],)
        scan_kernels.scan_pairs(*piece, trie, records, state, *(hashes or [np.zeros(0, np.uint64)]), 0)
    counts, place = np.zeros(len(pairs), np.int64), np.argsort(state.order)
    counts[state.order] = state.entries["documents"]
    return counts, records, (state, place)


@settings(max_examples=120, deadline=None)
@given(corpora, queries, st.integers(1, 4), st.integers(0, 3), st.sets(st.integers(1, 12), max_size=3), st.data())
def test_pairs_count_documents_with_both_and_keep_those_with_the_smallest_hashes(corpus, asked, size, k, widths, data):
    places_of = st.tuples(*[st.integers(0, len(asked) - 1)] * 2)  # an n-gram may be paired with itself, or contain the other
    pairs = np.array(data.draw(st.lists(places_of, min_size=1, max_size=20, unique=True)), np.int32)
    frequency = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(asked), max_size=len(asked))))  # a guess
    few = st.integers(0, 3)  # equal hashes must happen
    pair_hashes = np.array(data.draw(st.lists(few, min_size=len(pairs), max_size=len(pairs))), np.uint64)
    document_hashes = np.array(data.draw(st.lists(few, min_size=len(corpus), max_size=len(corpus))), np.uint64)
    rooms = np.full(len(pairs), k)
    counts, records, (state, place) = join(
        corpus, asked, pairs, frequency, rooms, size, pair_hashes, document_hashes, tuple(widths)
    )
    assert records["occurrences"].tolist() == [occurrences(q, corpus) for q in asked]
    kept = state.kept
    for p, (x, y) in enumerate(pairs):
        both, at = documents_with(corpus, asked[x], asked[y]), place[p]
        assert counts[p] == len(both) <= min(records["documents"][x], records["documents"][y])
        hashes = sorted((mix(int(pair_hashes[p]) ^ mix(int(document_hashes[d]))) >> 1, d) for d in both)[:k]
        own = slice(kept.offsets[at], kept.offsets[at] + kept.used[at])
        assert list(zip(kept.hashes[own].tolist(), kept.documents[own].tolist(), strict=True)) == hashes
        assert kept.inputs[own].tolist() == [places(asked[x], corpus[d])[0] for _, d in hashes]
        assert kept.outputs[own].tolist() == [places(asked[y], corpus[d])[0] for _, d in hashes]
        lengths = [
            min(
                max(i + len(asked[x]), j + len(asked[y])) - min(i, j)
                for i in places(asked[x], corpus[d])
                for j in places(asked[y], corpus[d])
            )
            for d in both
        ]
        assert state.windows[at].tolist() == [sum(n <= w for n in lengths) for w in sorted(widths)]


def test_an_ngram_with_many_partners_is_joined_through_the_documents_own_ngrams():
    """200 partners, of which a document contains few: the other way through the join, with both directions of a pair."""
    rng = np.random.default_rng(0)
    asked = [(i,) for i in range(201)]
    pairs = np.array([(0, i) for i in range(201)] + [(i, 0) for i in range(1, 201)], np.int32)
    corpus = [sorted({0, *rng.integers(1, 201, 6).tolist()}) for _ in range(40)]
    corpus += [list(range(1, 201))] * 60
    rarer = np.array([0] + [1] * 200)  # so that 0 owns all its pairs
    counts, _, _ = join(corpus, asked, pairs, rarer, None, 7, None, None)
    assert counts.tolist() == [len(documents_with(corpus, asked[x], asked[y])) for x, y in pairs]
    assert counts.max() > 0


@settings(max_examples=150, deadline=None)
@given(corpora, asked_texts, st.integers(1, 5), st.integers(1, 4), st.data())
def test_contexts_are_counted_if_a_token_follows_in_their_document(corpus, texts, longest, size, data):
    begins = np.array([data.draw(st.integers(0, len(t) - 1)) for t in texts], np.int64)
    asked = context_kernels.build_context_trie(*flat(texts), begins, longest)
    for piece_ids, offsets, _ in pieces(corpus, size):
        context_kernels.scan_contexts(piece_ids, offsets, asked)
    found = context_kernels.suffix_counts(flat(texts)[1], begins, asked, 0, len(begins))
    expected = []
    for number, (text, begin) in enumerate(zip(texts, begins, strict=True)):
        for at in range(begin, len(text)):
            for length in range(min(longest, at) + 1):
                suffix = text[at - length : at]
                followed = sum(i + length < len(d) for d in corpus for i in (places(suffix, d) if length else range(len(d))))
                if followed:
                    row = (number, at - int(begin), length, followed, occurrences([*suffix, text[at]], corpus))
                    expected.append(row)
    assert [tuple(r) for r in found.tolist()] == expected


def test_the_trie_of_contexts_grows_with_what_the_corpus_holds_of_them():
    """A text that the corpus lacks costs a few nodes per position; one that it has, a node per suffix that occurs."""
    rng = np.random.default_rng(2)
    text, longest = rng.integers(0, 1_000, 500).tolist(), 300
    begins = np.array([0])
    asked = context_kernels.build_context_trie(*flat([text]), begins, longest)
    before = asked.nodes
    assert before < 4 * len(text)
    context_kernels.scan_contexts(*flat([text, [1, 2], text]), asked)
    assert asked.nodes > 100 * before  # the table has grown more than once
    rows = context_kernels.suffix_counts(flat([text])[1], begins, asked, 0, len(begins))
    wide = rows[(rows[:, 1] == 450) & (rows[:, 2] == 300)]
    assert wide[:, 3:].tolist() == [[2, 2]]
    assert len(rows[rows[:, 1] == 450]) == longest + 1


# -- hash tables ---------------------------------------------------------------------------------------------------
def slot_of(key: int, shift: int) -> int:
    """Where a key's search begins."""
    return (key * 0x9E3779B97F4A7C15 & MASK) >> shift


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 15), st.integers(0, 15), st.randoms(use_true_random=False))
def test_keys_that_all_collide_are_found_in_a_table_with_one_empty_slot(full, slot, random):
    table = np.zeros(16, context_kernels.NODE)
    table["key"] = -1
    draws = iter(lambda: np.int64(random.getrandbits(62)), None)
    colliding = (key for key in draws if context_kernels._home(table, key) == slot)
    same = list(dict.fromkeys(key for key, _ in zip(colliding, range(2 * full), strict=False)))
    inside, outside = same[:full], same[full:]
    for key in inside:
        at = context_kernels._slot(table, key)
        assert table["key"][at] == -1
        table["key"][at] = key
    assert [table["key"][context_kernels._slot(table, key)] for key in inside] == inside
    assert all(table["key"][context_kernels._slot(table, key)] == -1 for key in outside)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**33))
def test_a_table_is_never_more_than_two_thirds_full(entries):
    slots, shift = ngram_kernels.slots_for(entries)
    assert slots >= 1.5 * entries
    assert slots == 1 << (64 - shift)
    assert slots <= max(16, 4 * entries)


def test_ngrams_whose_keys_collide_are_told_apart():
    """Bigrams of one first word and second words that all begin their search in one slot of the trie's table."""
    _, shift = ngram_kernels.slots_for(40)
    seconds = [i for i in range(3_000) if slot_of(1 << 32 | i, shift) == 5][:20]
    assert len(seconds) == 20
    asked = [(0, i) for i in seconds]
    corpus = [[0, i] * (number + 1) for number, i in enumerate(seconds)]
    _, found = scan(corpus, asked, 3)
    assert found["occurrences"].tolist() == list(range(1, 21))
    assert found["documents"].tolist() == [1] * 20
    assert found["first_document"].tolist() == list(range(20))


def test_nothing_asked_of_nothing():
    nothing, one = flat([]), flat([[0, 1]])
    trie, same = ngram_kernels.build_trie(*nothing)
    records = scan_kernels.empty_records(0)
    scan_kernels.scan_ngrams(*one, 0, trie, records)
    assert len(same) == len(records) == 0
    empty = np.empty(0, np.int64)
    asked = context_kernels.build_context_trie(*nothing, empty, 4)
    context_kernels.scan_contexts(*one, asked)
    assert asked.tokens == 2  # the empty suffix
    assert context_kernels.suffix_counts(nothing[1], empty, asked, 0, len(empty)).shape == (0, 5)
