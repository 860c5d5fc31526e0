"""Task-grams equal their definition, pair by pair."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.taskgrams.align import ALIGN, Side, contains, distinct_pairs, similarities
from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT
from tests.support import read_rows, run_step, write_part
from tests.taskgrams.world import examples_part, study_of, sums


def align(root, rows, **task):
    """Tables of extract, embed and align."""
    study = study_of(**task)
    tables = {"examples": (examples_part(root, rows),)}
    for step in (EXTRACT, EMBED, ALIGN):
        tables = run_step(step, study, root, tables)
    return tables


def align_by_hand(root, ngrams, vectors, lowest_gamma):
    """Align n-grams given as (example, side, order, n-gram) with given vectors {(side, n-gram): vector}."""
    rows = sorted(ngrams)
    held = write_part(root, "example_ngrams", {
        "task": ["t"] * len(rows), "split": ["mine"] * len(rows), "example": [r[0] for r in rows],
        "side": [r[1] for r in rows], "order": [r[2] for r in rows],
        "ngram": [r[3] for r in rows], "length": [r[3].count(" ") + 1 for r in rows],
        "starts": [[0]] * len(rows), "ends": [[1]] * len(rows)}, {"task": "t"})  # fmt: skip
    keys = sorted(vectors)
    embedded = write_part(root, "embeddings", {
        "task": ["t"] * len(keys), "side": [k[0] for k in keys], "ngram": [k[1] for k in keys],
        "vector": [vectors[k] for k in keys]}, {"task": "t"})  # fmt: skip
    study = study_of(lowest_gamma=lowest_gamma, gamma_default=1.0)
    return run_step(ALIGN, study, root, {"example_ngrams": (held,), "embeddings": (embedded,)})


def test_the_table_equals_brute_force_over_the_definition(tmp_path):
    draw = random.Random(1)
    source, target = [f"s{i}" for i in range(12)], ["s0", *(f"t{i}" for i in range(1, 12))]  # s0: a name, left as it is
    rows = []
    for _ in range(40):
        picked = draw.choices(range(12), k=draw.randint(2, 6))
        rows.append((" ".join(source[i] for i in picked), " ".join(target[i] for i in reversed(picked))))
    tables = align(tmp_path, rows, family="translation", orders=(1, 2), lowest_gamma=0.2, languages=("en", "de"))
    grams, vector = {}, {}
    for row in read_rows(tmp_path, tables["example_ngrams"]):
        grams.setdefault((row["order"], row["example"]), {"input": [], "output": []})[row["side"]].append(row["ngram"])
    for row in read_rows(tmp_path, tables["embeddings"]):
        vector[row["side"], row["ngram"]] = np.array(row["vector"], dtype=np.float64)
    held = Counter((n, x, y) for (n, _), g in grams.items() for x in g["input"] for y in g["output"])
    cosine = {p: vector["input", p[1]] @ vector["output", p[2]] for p in held}
    inside = {p for p in held if cosine[p] > 0.2 and (f" {p[1]} " in f" {p[2]} " or f" {p[2]} " in f" {p[1]} ")}
    expected = {p: held[p] for p in held if cosine[p] > 0.2 and p not in inside}
    found = read_rows(tmp_path, tables["task_grams"])
    assert {(r["order"], r["input_ngram"], r["output_ngram"]): r["examples"] for r in found} == expected
    for row in found:
        pair = row["order"], row["input_ngram"], row["output_ngram"]
        assert row["similarity"] == pytest.approx(cosine[pair], abs=1e-5)
        assert row["shares_word"] == bool(set(pair[1].split()) & set(pair[2].split()))
    counted = sums(tmp_path, tables["task_grams"])
    assert inside, "the world holds the case it is made for"
    assert counted["candidates"] == len(held)
    assert counted["contained"] == len(inside)
    for n in (1, 2):
        assert counted[f"candidates_n{n}"] == sum(p[0] == n for p in held)
        assert counted[f"accepted_n{n}"] == sum(p[0] == n for p in expected)


def test_a_pair_at_gamma_is_below_it(tmp_path):
    vectors = {("input", "a"): [1.0, 0.0], ("output", "x"): [0.5, 0.75**0.5], ("output", "y"): [0.75, (1 - 0.75**2) ** 0.5]}
    grams = [("1", side, 1, gram) for side, gram in vectors]
    tables = align_by_hand(tmp_path, grams, vectors, 0.5)
    assert [(r["output_ngram"], r["similarity"]) for r in read_rows(tmp_path, tables["task_grams"])] == [("y", 0.75)]
    assert sums(tmp_path, tables["task_grams"])["below_gamma"] == 1


def test_a_pair_counts_once_and_says_how_many_examples_hold_it(tmp_path):
    grams = [(e, side, 1, g) for e in "123" for side, g in (("input", "a"), ("output", "x"))]
    tables = align_by_hand(tmp_path, grams, {("input", "a"): [1.0, 0.0], ("output", "x"): [1.0, 0.0]}, 0.5)
    assert [(r["input_ngram"], r["output_ngram"], r["examples"]) for r in read_rows(tmp_path, tables["task_grams"])] == [
        ("a", "x", 3)]  # fmt: skip
    assert sums(tmp_path, tables["task_grams"])["candidates"] == 1


def test_one_inside_the_other_is_dropped_but_a_shared_word_is_not(tmp_path):
    inputs, outputs = ["new york", "york city", "yorkshire"], ["york", "new york city", "york new", "york city"]
    grams = [("1", "input", 2, g) for g in inputs] + [("1", "output", 2, g) for g in outputs]
    grams = [g for g in grams if g[3] != "yorkshire"] + [("1", "input", 2, "yorkshire dales")]
    vectors = {(g[1], g[3]): [1.0, 0.0] for g in grams}
    tables = align_by_hand(tmp_path, grams, vectors, 0.5)
    kept = {(r["input_ngram"], r["output_ngram"]): r["shares_word"] for r in read_rows(tmp_path, tables["task_grams"])}
    assert kept == {("new york", "york new"): True, ("new york", "york city"): True, ("york city", "york new"): True,
                    **{("yorkshire dales", o): False for o in outputs}}  # fmt: skip
    assert sums(tmp_path, tables["task_grams"])["contained"] == 5


def test_containment_is_of_words_not_of_letters():
    assert [contains(*p) for p in (("york", "new york"), ("new york", "york"), ("york", "york"))] == [True] * 3
    assert [contains(*p) for p in (("york", "yorkshire dales"), ("new city", "new york city"))] == [False] * 2


def test_evaluated_examples_give_no_task_grams(tmp_path):
    tables = align(tmp_path, [("mine", "capital of Velk", "Torin"), ("mine", "capital of Marn", "Siru"),
                              ("evaluate", "capital of Velk", "Siru")], orders=(1,))  # fmt: skip
    pairs = {(r["input_ngram"], r["output_ngram"]) for r in read_rows(tmp_path, tables["task_grams"])}
    assert {("velk", "torin"), ("marn", "siru")} <= pairs
    assert ("velk", "siru") not in pairs


def test_whole_answers_are_aligned_under_every_order(tmp_path):
    draw = random.Random(5)
    subjects = [f"{a}{b}" for a in ("vel", "mar", "sor", "tib", "ulk") for b in ("ka", "no", "ri", "du")]
    rows = [(f"What is the capital of {s}?", f"{draw.choice(['port', 'mount'])} c{i % 7}") for i, s in enumerate(subjects)]
    tables = align(tmp_path, rows, orders=(1, 2, 3), lowest_gamma=0.5)
    found = read_rows(tmp_path, tables["task_grams"])
    for n in (1, 2, 3):
        told = {(r["input_ngram"].split()[-1], r["output_ngram"]) for r in found if r["order"] == n and
                r["input_ngram"].split()[-1] in subjects}  # fmt: skip
        assert {(s, y) for s, (_, y) in zip(subjects, rows, strict=True)} <= told


def test_a_task_without_examples_gives_an_empty_table(tmp_path):
    tables = align(tmp_path, [], orders=(1,))
    assert read_rows(tmp_path, tables["task_grams"]) == []


def test_only_the_lowest_gamma_decides():
    def plan(**task):
        return ALIGN.stages[0].plan(study_of(**task), {"example_ngrams": (), "embeddings": ()})

    assert plan(gamma_default=0.5) == plan(gamma_default=0.9)
    assert plan(gamma_default=0.5) != plan(gamma_default=0.5, lowest_gamma=0.2)


held = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), unique=True, max_size=25)


@given(held, held, st.integers(1, 40))
@hypothesis_settings(max_examples=150, deadline=None)
def test_blocks_of_any_size_give_every_pair_once_in_order(left, right, at_once):
    def side(pairs):
        pairs = sorted(pairs)
        columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return Side([f"g{i}" for i in range(7)], [frozenset({f"g{i}"}) for i in range(7)], np.zeros((7, 2), np.float32),
                    columns[:, 0], columns[:, 1])  # fmt: skip

    expected = Counter((x, y) for e, x in left for f, y in right if e == f)
    found = [(divmod(int(c), 7), int(k)) for codes, examples in distinct_pairs(side(left), side(right), at_once)
             for c, k in zip(codes, examples, strict=True)]  # fmt: skip
    assert found == sorted(expected.items())


def test_similarities_equal_the_matrix_product():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    left, right = rng.integers(0, 40, 70_000), rng.integers(0, 50, 70_000)
    assert similarities(x, y, left, right) == pytest.approx((x @ y.T)[left, right], abs=1e-4)


def test_the_same_examples_give_the_same_bytes(tmp_path):
    found = []
    for folder in ("a", "b"):
        (part,) = align(tmp_path / folder, [(f"red fox {i % 5}", f"roter fuchs {i % 5}") for i in range(20)],
                        family="translation", orders=(1, 2), languages=("en", "de"))["task_grams"]  # fmt: skip
        found.append((tmp_path / folder / "task_grams" / "parts" / f"{part.key}.parquet").read_bytes())
    assert found[0] == found[1]
