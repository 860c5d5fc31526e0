"""`query`: exact document co-occurrence by brute force, and the two mistakes of the released scripts (docs/method.md §3)."""

from __future__ import annotations

import random
import re
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import CONTRACTS, StudyError
from tasks.ngrams.query.query import QUERY
from tasks.ngrams.query.scan import PairQueries, PartCounter, encode
from tasks.step import Work, keyed, run_job
from tasks.storage.store import Part, Store
from tasks.text.words.analyzer import analyzer
from tests.ngrams.corpus import documents_with, make_study, occurrences, places, write_corpus
from tests.ngrams.test_kernels import mix
from tests.support import read_rows, run_step, write_part

SEED = 5
COUNTS_OF_TRUTH = ("pair_documents", "input_documents", "output_documents", "input_occurrences", "output_occurrences", "exposures")
words = st.sampled_from(["ape", "bat", "é", "zoo"])
documents_of = st.lists(st.lists(words, max_size=10), min_size=1, max_size=10)
ngrams_of = st.lists(words, min_size=1, max_size=3).map(" ".join)
pairs_of = st.lists(st.tuples(ngrams_of, ngrams_of), max_size=6, unique=True)


def write_tasks(root, mined, examples=(), truth=(), task="t"):
    """Task-grams of order 1, each mined from one example more than the last; planted pairs; and evaluated examples:
    (input n-grams, output n-grams, input, output)."""
    mined = sorted(set(mined))
    grams = sorted(
        (f"e{i}", side, 1, g) for i, e in enumerate(examples) for side, own in (("input", e[0]), ("output", e[1])) for g in set(own)
    )
    n = len(examples)
    truth = sorted(truth)
    return {
        "task_grams": (
            write_part(
                root,
                "task_grams",
                {
                    "task": [task] * len(mined),
                    "order": [1] * len(mined),
                    "input_ngram": [x for x, _ in mined],
                    "output_ngram": [y for _, y in mined],
                    "similarity": [0.9] * len(mined),
                    "shares_word": [False] * len(mined),
                    "examples": list(range(1, len(mined) + 1)),
                },
                {"task": task},
            ),
        ),
        "example_ngrams": (
            write_part(
                root,
                "example_ngrams",
                {
                    "task": [task] * len(grams),
                    "split": ["evaluate"] * len(grams),
                    "example": [g[0] for g in grams],
                    "side": [g[1] for g in grams],
                    "order": [1] * len(grams),
                    "ngram": [g[3] for g in grams],
                    "length": [g[3].count(" ") + 1 for g in grams],
                    "starts": [[0]] * len(grams),
                    "ends": [[1]] * len(grams),
                },
                {"task": task},
            ),
        ),
        "examples": (
            write_part(
                root,
                "examples",
                {
                    "task": [task] * n,
                    "split": ["evaluate"] * n,
                    "example": [f"e{i}" for i in range(n)],
                    "row": list(range(1, n + 1)),
                    "group": [""] * n,
                    "input": [e[2] for e in examples],
                    "output": [e[3] for e in examples],
                    "prompt": ["?"] * n,
                    "separator": [""] * n,
                    "aliases": [[]] * n,
                    "options": [[]] * n,
                    "answer": [-1] * n,
                    "sha256": [""] * n,
                },
                {"task": task},
            ),
        ),
        "truth": (
            write_part(
                root,
                "truth",
                {
                    "task": [task] * len(truth),
                    "pair": [f"{i:03}" for i in range(len(truth))],
                    "relation": ["r"] * len(truth),
                    "kind": ["factorial"] * len(truth),
                    "input_ngram": [x for x, _ in truth],
                    "output_ngram": [y for _, y in truth],
                    **{name: [0] * len(truth) for name in COUNTS_OF_TRUTH},
                    "optimal_log_probability": [None] * len(truth),
                    "held_out": [False] * len(truth),
                },
            ),
        )
        if truth
        else (),
    }


def run(root, documents, mined=(), examples=(), truth=(), parts=1, **counting):
    study = make_study(seed=SEED, counting=counting)
    inputs = write_corpus(root, documents, parts) | write_tasks(root, mined, examples, truth)
    tables = run_step(QUERY, study, root, inputs)
    return {c.name: read_rows(root, tables[c.name]) for c in QUERY.stages[1].writes}


def hash64(text):
    """FNV-1a of the UTF-8, mixed."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return mix(value)


def fold(value, *others):
    for other in others:
        value = mix(mix(value) ^ other)
    return value


@settings(max_examples=15, deadline=None)
@given(documents_of, pairs_of, pairs_of, st.integers(1, 3), st.integers(0, 3))
def test_all_counts_equal_brute_force_for_any_number_of_parts(documents, mined, truth, parts, k):
    example = ([x for x, _ in mined[:2]], [y for _, y in mined[:2]], "no words", "of the corpus")
    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), documents, mined, [example], truth, parts, documents_per_pair=k)
    pairs = sorted({*mined, *truth})
    asked = sorted({g for p in pairs for g in p} | set(example[0]) | set(example[1]))
    holders = {p: documents_with(documents, p[0].split(), p[1].split()) for p in pairs}
    split = {g: g.split() for g in asked}
    stats = [(g, len(s), occurrences(s, documents), len(documents_with(documents, s))) for g, s in split.items()]
    assert [tuple(r.values()) for r in rows["ngram_stats"]] == stats
    assert [tuple(r.values()) for r in rows["pair_counts"]] == [(*p, len(holders[p])) for p in pairs]

    expected = []
    for x, y in pairs:
        if x in example[0] and y in example[1]:

            def rank(d, x=x, y=y):
                return mix(fold(SEED, hash64(x), hash64(y)) ^ mix(fold(hash64("s"), hash64(f"d{d}")))) >> 1

            expected += [(x, y, i, f"d{d}") for i, d in enumerate(islice(sorted(holders[x, y], key=rank), k))]
    found = rows["pair_documents"]
    assert [(r["input_ngram"], r["output_ngram"], r["rank"], r["id"]) for r in found] == expected
    for r in found:
        assert r["excerpt"][r["input_start"] : r["input_end"]] == r["input_ngram"]
        assert r["excerpt"][r["output_start"] : r["output_end"]] == r["output_ngram"]


def counts(rows):
    return {(r["input_ngram"], r["output_ngram"]): r["documents"] for r in rows["pair_counts"]}


def test_a_pair_is_not_the_rarer_of_its_ngrams(tmp_path):
    """min(C(s_x), C(s_y)) would be 2 (trap of docs/method.md §3): the two n-grams share only one document."""
    documents = [["ape", "zoo"], ["ape"], ["zoo"], ["ape", "ape"], ["zoo"]]
    assert counts(run(tmp_path, documents, [("ape", "zoo")])) == {("ape", "zoo"): 1}


def test_a_pair_counts_once_however_many_examples_and_tables_share_it(tmp_path):
    """Adding per example would give 6 (trap of docs/method.md §3)."""
    pair = ("ape", "zoo")
    examples = [(["ape"], ["zoo"], "ape", "zoo")] * 3
    assert counts(run(tmp_path, [["ape", "zoo"], ["zoo", "x", "ape"]], [pair], examples, [pair])) == {pair: 2}


def test_a_document_counts_once_and_no_pair_or_ngram_spans_two(tmp_path):
    documents = [["ape", "zoo", "ape", "zoo"], ["ape"], ["zoo", "bat"], ["bat"]]
    rows = run(tmp_path, documents, [("ape", "zoo"), ("ape", "bat"), ("zoo ape", "zoo bat")])
    assert counts(rows) == {("ape", "zoo"): 1, ("ape", "bat"): 0, ("zoo ape", "zoo bat"): 0}
    stats = {r["ngram"]: (r["occurrences"], r["documents"]) for r in rows["ngram_stats"]}
    assert (stats["ape"], stats["zoo ape"]) == ((3, 2), (1, 1))


def test_overlapping_ngrams_stand_together(tmp_path):
    assert counts(run(tmp_path, [["a", "b", "c"]], [("a b", "b c")])) == {("a b", "b c"): 1}


def shortest(x, y, document):
    """Words of the shortest passage of a document with both n-grams."""
    stretches = [(min(i, j), max(i + len(x), j + len(y))) for i in places(x, document) for j in places(y, document)]
    return min((end - begin for begin, end in stretches), default=None)


@settings(max_examples=15, deadline=None)
@given(documents_of, pairs_of, st.integers(1, 3), st.sets(st.integers(1, 8), min_size=1, max_size=3))
def test_window_counts_equal_brute_force_for_any_number_of_parts(documents, mined, parts, widths):
    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), documents, mined, parts=parts, windows=sorted(widths))["pair_windows"]
    expected = []
    for x, y in sorted(set(mined)):
        lengths = [n for d in documents if (n := shortest(x.split(), y.split(), d))]
        expected += [(x, y, w, count) for w in sorted(widths) if (count := sum(n <= w for n in lengths))]
    assert [tuple(r.values()) for r in rows] == expected


def test_an_ngram_paired_with_itself_needs_one_occurrence(tmp_path):
    rows = run(tmp_path, [["ape", "bat"], ["ape", "x", "ape", "bat"], ["bat"]], [("ape bat", "ape bat")], windows=[1, 2, 50])
    assert counts(rows) == {("ape bat", "ape bat"): 2}
    assert [(r["window"], r["documents"]) for r in rows["pair_windows"]] == [(2, 2), (50, 2)]


def part_of(root, study, inputs, memory):
    """The bytes of the scan's parts with that much memory, and how often it read its part."""
    store, stage = Store(str(root)), QUERY.stages[0]
    tables = {t: inputs.get(t, ()) for t in QUERY.reads}
    (planned,) = [keyed(QUERY, 0, replace(job, memory=memory)) for job in stage.plan(study, tables)]
    cost = run_job(store, planned, stage, CONTRACTS)
    assert "error" not in cost, cost
    return [Path(store.part_path(part)).read_bytes() for part in planned.parts(stage)], cost["passes"]


def test_parts_are_the_same_bytes_whatever_the_memory_and_say_how_often_they_were_read(tmp_path):
    rng = random.Random(3)
    letters = "abcdefgh"
    documents = [[rng.choice(letters) for _ in range(30)] for _ in range(20)]
    grams = [" ".join(rng.choice(letters) for _ in range(rng.randint(1, 3))) for _ in range(60)]
    mined = [(rng.choice(grams), rng.choice(grams)) for _ in range(80)]
    examples = [(grams[:9], grams[20:29], " ".join(documents[0]), "a b c")]
    inputs = write_corpus(tmp_path, documents) | write_tasks(tmp_path, mined, examples)
    study = make_study(counting={"windows": [2, 9], "contamination_orders": [2, 8]})
    (whole, one), (some, several), (least, many) = (part_of(tmp_path, study, inputs, m) for m in (10**9, 4_000, 1))
    assert whole == some == least
    assert one == 1 < several < many


def test_sums_are_the_same_however_little_fits(tmp_path):
    """200 rows of one key in five parts, read 64 rows at a time."""
    documents = [[f"w{i:03}" for i in range(200)] + ["ape"]] * 10
    mined = [("ape", f"w{i:03}") for i in range(200)] + [(f"w{i:03}", "w000") for i in range(200)]
    inputs = write_corpus(tmp_path, documents, 5) | write_tasks(tmp_path, mined)
    study, store = make_study(), Store(str(tmp_path))
    tables = run_step(QUERY, study, tmp_path, inputs)
    stage, published = QUERY.stages[1], []
    (job,) = stage.plan(study, {t: tables.get(t, ()) for t in {*QUERY.reads, *tables}})
    for memory in (10**9, 1):
        planned = keyed(QUERY, 1, replace(job, memory=memory))
        assert "error" not in run_job(store, planned, stage, CONTRACTS)
        published.append([Path(store.part_path(part)).read_bytes() for part in planned.parts(stage)])
    assert published[0] == published[1]
    assert {r["documents"] for r in read_rows(tmp_path, tables["pair_counts"])} == {10}


# -- bad input -----------------------------------------------------------------------------------------------------
def test_an_id_beyond_the_vocabulary_is_an_error_that_names_part_and_row(tmp_path):
    inputs = write_corpus(tmp_path, [["ape"], ["ape", "zoo"]]) | write_tasks(tmp_path, [("ape", "zoo")])
    (part,) = inputs["words"]
    broken = write_part(tmp_path, "words", {"document": [0, 1], "ids": [[0], [0, 7]]}, part.labels)
    with pytest.raises(StudyError, match=rf"{broken.key}.*row 1: id 7 .* 2\."):
        run_step(QUERY, make_study(), tmp_path, inputs | {"words": (broken,)})


def test_an_ngram_longer_than_any_document_does_not_occur(tmp_path):
    rows = run(tmp_path, [["ape", "zoo"]], [("ape " * 8 + "ape", "zoo")])
    assert counts(rows) == {("ape " * 8 + "ape", "zoo"): 0}


@pytest.mark.parametrize("wrong", ["", "ape  zoo", " ape", "ape ", "ape\tzoo", "ape\x00zoo"])
def test_an_ngram_that_is_not_words_with_single_spaces_is_an_error(wrong):
    with pytest.raises(StudyError, match=re.escape(repr(wrong))):
        encode(pa.array(["ape", wrong], pa.large_string()), pa.array(["ape", "zoo"], pa.large_string()))


def test_a_query_asked_twice_is_answered_twice(tmp_path):
    inputs = write_corpus(tmp_path, [["ape", "zoo"], ["ape"]]) | write_tasks(tmp_path, [("ape", "zoo")])
    tables = {t: inputs.get(t, ()) for t in QUERY.reads}
    (planned,) = [keyed(QUERY, 0, job) for job in QUERY.stages[0].plan(make_study(), tables)]
    work = Work(Store(str(tmp_path)), planned, QUERY.stages[0], CONTRACTS)
    counter = PartCounter(work, inputs["words"][0], inputs["vocabulary"][0], ["ape", "zoo", "ape", "none"])
    found = counter.count(PairQueries(np.array([[0, 1], [2, 1], [2, 0], [0, 1], [3, 0]])))
    assert found.documents.tolist() == [2, 1, 2, 0]
    assert found.pairs.tolist() == [1, 1, 2, 1, 0]


def test_words_of_another_analyzer_are_an_error(tmp_path):
    inputs = write_corpus(tmp_path, [["ape"]]) | write_tasks(tmp_path, [("ape", "zoo")])
    (part,) = inputs["words"]
    store = Store(str(tmp_path))
    with store.writing(
        {"words": CONTRACTS["words"]}, "old", {"sums": {}, "settings": analyzer() | {"analyzer_version": -1}}
    ) as out:
        out.write("words", store.read([part], CONTRACTS["words"].schema))
    with pytest.raises(StudyError, match="analysed with .*-1"):
        run_step(QUERY, make_study(), tmp_path, inputs | {"words": (Part("words", "old", part.labels),)})


@pytest.mark.parametrize("distance", [3, 200])
def test_excerpts_show_both_ngrams_near_or_far(tmp_path, distance):
    document = ["before"] * 100 + ["é", "ape"] + ["between"] * distance + ["zoo"] + ["behind"] * 100
    rows = run(tmp_path, [document], [("é ape", "zoo")], [(["é ape"], ["zoo"], "", "z")])["pair_documents"]
    (row,) = rows
    assert row["excerpt"][row["input_start"] : row["input_end"]] == "é ape"
    assert row["excerpt"][row["output_start"] : row["output_end"]] == "zoo"
    assert len(row["excerpt"]) < 400
    assert (" … " in row["excerpt"]) == (distance == 200)


def test_a_word_that_falls_apart_still_has_its_place(tmp_path):
    """½ is the words 1 and 2 with one span: word positions and code points must not be confused."""
    inputs = write_corpus(tmp_path, [["1", "2", "ape", "zoo"]]) | write_tasks(
        tmp_path, [("ape", "zoo")], [(["ape"], ["zoo"], "", "z")]
    )
    inputs["documents"] = (
        write_part(
            tmp_path,
            "documents",
            {"document": [0], "id": ["d0"], "source": ["s"], "language": [""], "text": ["½ — Ape, ZOO!"], "row": [1]},
            {"source": "s", "file": "0-of-1"},
        ),
    )
    (row,) = read_rows(tmp_path, run_step(QUERY, make_study(), tmp_path, inputs)["pair_documents"])
    assert row["excerpt"][row["input_start"] : row["input_end"]] == "Ape"
    assert row["excerpt"][row["output_start"] : row["output_end"]] == "ZOO"


@settings(max_examples=10, deadline=None)
@given(
    documents_of,
    st.lists(st.tuples(st.lists(words, max_size=8), st.lists(words, min_size=1, max_size=8)), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_contamination_equals_brute_force(documents, texts, parts):
    examples = [([], [], " ".join(x), " ".join(y)) for x, y in texts]
    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), documents, [], examples, [], parts, contamination_orders=[2, 4])["contamination"]
    expected = []
    for number, sides in enumerate(texts):
        for order in (2, 4):
            for side, text in zip(("input", "output"), sides, strict=True):
                grams = [text[i : i + order] for i in range(len(text) - order + 1)]
                shared = [" ".join(g) for g in grams if documents_with(documents, g)]
                if shared:
                    holders = documents_with(documents, shared[0].split())
                    expected.append(
                        ("t", f"e{number}", order, side, shared[0], len(set(shared)), len(holders), "s", f"d{holders[0]}")
                    )
    assert [tuple(r.values()) for r in rows] == expected


def test_long_ngrams_of_eight_thirteen_and_fourteen_words(tmp_path):
    """The study's default orders: a text of 12 words has no 13-gram, and an n-gram that is a task-gram too is found as well."""
    names = [f"w{i:02}" for i in range(20)]
    documents = [["x", *names[:9]], names, ["y"]]
    examples = [([], [" ".join(names[:8])], " ".join(names[:12]), " ".join(names[:8])), ([], [], " ".join(names[2:16]), "x y")]
    rows = run(tmp_path, documents, [], examples, parts=3)["contamination"]
    first = " ".join(names[:8])
    assert [tuple(r.values()) for r in rows] == [
        ("t", "e0", 8, "input", first, 5, 2, "s", "d0"),
        ("t", "e0", 8, "output", first, 1, 2, "s", "d0"),
        ("t", "e1", 8, "input", " ".join(names[2:10]), 7, 1, "s", "d1"),
        ("t", "e1", 13, "input", " ".join(names[2:15]), 2, 1, "s", "d1"),
        ("t", "e1", 14, "input", " ".join(names[2:16]), 1, 1, "s", "d1"),
    ]


def test_only_pairs_that_stand_in_one_evaluated_example_keep_documents(tmp_path):
    """Their two n-grams in two examples, or both on one side, do not make a pair of an example; the count is there anyway."""
    pairs = [("ape", "zoo"), ("bat", "cow"), ("ape", "cow"), ("zoo", "ape"), ("ape", "bat"), ("cow", "zoo"), ("far", "far")]
    examples = [(["ape"], ["zoo"], "", "z"), (["bat"], ["cow"], "", "z"), (["cow"], ["bat"], "", "z"), (["far"], ["far"], "", "z")]
    rows = run(tmp_path, [["ape", "bat", "cow", "zoo", "far"]] * 2, pairs, examples)
    assert set(counts(rows).values()) == {2}
    kept = [(r["input_ngram"], r["output_ngram"], r["rank"]) for r in rows["pair_documents"]]
    assert kept == [(*p, i) for p in (("ape", "zoo"), ("bat", "cow"), ("far", "far")) for i in range(2)]


@pytest.mark.parametrize("at_once", [1, 7])
def test_pairs_of_evaluated_examples_are_found_some_examples_at_a_time(tmp_path, monkeypatch, at_once):
    """A template's n-gram is in every example, and in a pair with every answer."""
    monkeypatch.setattr("tasks.ngrams.query.query.PRODUCTS_AT_ONCE", at_once)
    answers = [f"a{i}" for i in range(9)]
    examples = [(["what is", "x"], [answer], "", "z") for answer in answers[:6]] + [(["what is"], [], "", "z")]
    rows = run(tmp_path, [["what", "is", *answers]], [("what is", answer) for answer in answers], examples)
    assert [r["output_ngram"] for r in rows["pair_documents"]] == answers[:6]


def test_mined_examples_and_pairs_across_orders_keep_no_documents(tmp_path):
    inputs = write_corpus(tmp_path, [["ape", "zoo"]]) | write_tasks(tmp_path, [("ape", "zoo")])
    for name, splits, orders in (("mined", ["mine", "mine"], [1, 1]), ("crossed", ["evaluate", "evaluate"], [1, 2])):
        inputs["example_ngrams"] = (
            write_part(
                tmp_path,
                "example_ngrams",
                {
                    "task": ["t"] * 2,
                    "split": splits,
                    "example": ["e"] * 2,
                    "side": ["input", "output"],
                    "order": orders,
                    "ngram": ["ape", "zoo"],
                    "length": [1, 1],
                    "starts": [[0]] * 2,
                    "ends": [[1]] * 2,
                },
                {"task": name},
            ),
        )
        tables = run_step(QUERY, make_study(), tmp_path, inputs)
        assert read_rows(tmp_path, tables["pair_documents"]) == []
        assert [r["documents"] for r in read_rows(tmp_path, tables["pair_counts"])] == [1]


def test_the_sample_of_documents_does_not_depend_on_the_parts_of_the_corpus(tmp_path):
    documents, pair = [["ape", "zoo"]] * 12, ("ape", "zoo")
    one, three = (
        run(tmp_path / str(n), documents, [pair], [(["ape"], ["zoo"], "", "z")], parts=n, documents_per_pair=5) for n in (1, 3)
    )
    assert one["pair_documents"] == three["pair_documents"]
    assert len({r["id"] for r in one["pair_documents"]}) == 5


def test_an_ngram_with_a_word_that_some_or_all_parts_do_not_know(tmp_path):
    rows = run(tmp_path, [["ape", "zoo"], ["ape"], ["bat"]], [("ape", "zoo"), ("ape none", "zoo")], parts=3)
    assert counts(rows) == {("ape", "zoo"): 1, ("ape none", "zoo"): 0}
    stats = {r["ngram"]: (r["length"], r["occurrences"], r["documents"]) for r in rows["ngram_stats"]}
    assert stats == {"ape": (1, 2, 2), "zoo": (1, 1, 1), "ape none": (2, 0, 0)}


def test_nothing_asked_and_nothing_there(tmp_path):
    assert not any(run(tmp_path / "1", [["ape"], []], parts=3).values())
    rows = run(tmp_path / "2", [[], []], [("ape", "zoo")], [(["ape"], ["zoo"], "a " * 9, "z")], parts=3)
    assert counts(rows) == {("ape", "zoo"): 0}
    assert rows["pair_documents"] == rows["contamination"] == []


def test_places_of_repeated_ngrams_are_all_counted():
    """The brute force itself: overlapping occurrences count."""
    assert places(["a", "a"], ["a", "a", "a"]) == [0, 1]


@pytest.mark.parametrize("largest", [5, 1 << 20, (1 << 31) - 1])
def test_pairs_are_laid_out_by_owner_and_other_whether_they_fit_in_a_number_or_not(largest):
    from tasks.ngrams.kernels.pair_kernels import _by_owner

    random = np.random.default_rng(largest)
    owner, other = random.integers(0, largest, (2, 1000))
    assert np.array_equal(_by_owner(owner, other), np.lexsort((other, owner)))


# -- variants: pairs that other stop words or another encoder give ---------------------------------------------------------
@settings(max_examples=8, deadline=None)
@given(documents_of, pairs_of, pairs_of, pairs_of, st.integers(1, 3))
def test_pairs_of_variants_are_counted_as_exactly_as_the_studys_own(documents, mined, first, second, parts):
    """Both variants' pairs by brute force, in parts of their own; and the study's own parts are what they are without them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tables = write_corpus(root, documents, parts) | write_tasks(root, mined, [(["ape"], ["bat"], "ape", "bat")])
        study = make_study(seed=SEED, counting={"windows": [2]})
        alone = run_step(QUERY, study, root, tables)
        for name, pairs in (("stop_words=authors", first), ("encoder=wide", second)):
            part = write_tasks(root / name, pairs)["task_grams"][0]
            moved = Part("task_grams", f"{part.key}-{name}", {"task": "t", "variant": name})
            Path(Store(str(root)).part_path(moved)).write_bytes(Path(Store(str(root / name)).part_path(part)).read_bytes())
            tables["task_grams"] = (*tables["task_grams"], moved)
        with_variants = run_step(QUERY, study, root, tables)
        for contract in QUERY.writes:
            own = [p for p in with_variants[contract.name] if not p.variant]
            assert [p.key for p in own] == [p.key for p in alone[contract.name]], "nothing is computed again"
            assert {p.variant for p in with_variants[contract.name]} == {"", "all"}
        of_variants = {t: tuple(p for p in parts if p.variant) for t, parts in with_variants.items()}
        counted = {(r["input_ngram"], r["output_ngram"]): r["documents"] for r in read_rows(root, of_variants["pair_counts"])}
        wanted = {p: len(documents_with(documents, p[0].split(), p[1].split())) for p in {*first, *second}}
        assert counted == wanted
        stats = {r["ngram"]: (r["occurrences"], r["documents"]) for r in read_rows(root, of_variants["ngram_stats"])}
        assert stats == {
            g: (occurrences(g.split(), documents), len(documents_with(documents, g.split())))
            for g in {g for p in wanted for g in p}
        }
        for table in ("pair_documents", "pair_windows", "contamination"):
            assert read_rows(root, of_variants[table]) == [], "no measure asks it of a variant"
