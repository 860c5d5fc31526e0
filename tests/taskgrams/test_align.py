"""Task-grams equal their definition, pair by pair."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.taskgrams import align as align_step
from tasks.taskgrams.align import ALIGN, relations, side_of
from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT
from tasks.text.gamma import STEPS, resolved
from tests.support import read_rows, run_step, write_part
from tests.taskgrams.world import examples_part, study_of, sums


def align(root, rows, memory=1_000_000_000, **task):
    """Tables of extract, embed and align, where align has `memory` for vectors, twice."""
    study = study_of(**task)
    tables = {"examples": (examples_part(root, rows),)}
    (stage,) = ALIGN.stages
    small = replace(stage, plan=lambda *given: [replace(job, memory=memory) for job in stage.plan(*given)])
    for step in (EXTRACT, EMBED, replace(ALIGN, stages=(small,))):
        tables = run_step(step, study, root, tables)
    return tables


def align_by_hand(root, ngrams, vectors, lowest_gamma):
    """Align n-grams given as (example, side, order, n-gram) with given vectors {(side, n-gram): vector}."""
    rows = sorted(ngrams)
    held = write_part(
        root,
        "example_ngrams",
        {
            "task": ["t"] * len(rows),
            "split": ["mine"] * len(rows),
            "example": [r[0] for r in rows],
            "side": [r[1] for r in rows],
            "order": [r[2] for r in rows],
            "ngram": [r[3] for r in rows],
            "length": [r[3].count(" ") + 1 for r in rows],
            "starts": [[0]] * len(rows),
            "ends": [[1]] * len(rows),
        },
        {"task": "t"},
    )
    keys = sorted(vectors)
    embedded = write_part(
        root,
        "embeddings",
        {
            "task": ["t"] * len(keys),
            "side": [k[0] for k in keys],
            "ngram": [k[1] for k in keys],
            "vector": [vectors[k] for k in keys],
        },
        {"task": "t"},
    )
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
    assert inside, "the data contains the case it is made for"
    assert counted["candidates"] == len(held)
    assert counted["contained"] == len(inside)
    for n in (1, 2):
        assert counted[f"candidates_n{n}"] == sum(p[0] == n for p in held)
        assert counted[f"accepted_n{n}"] == sum(p[0] == n for p in expected)


def test_the_spread_of_all_candidates_gives_the_percentiles_of_the_definition(tmp_path):
    draw = random.Random(4)
    rows = [(" ".join(draw.choices("abcdef", k=5)), " ".join(draw.choices("uvwxyz", k=5))) for _ in range(30)]
    tables = align(
        tmp_path, rows, family="translation", orders=(1, 2), lowest_gamma=0.9, gamma_default="p95", languages=("xx", "yy")
    )
    vector = {(r["side"], r["ngram"]): np.array(r["vector"]) for r in read_rows(tmp_path, tables["embeddings"])}
    grams = {}
    for row in read_rows(tmp_path, tables["example_ngrams"]):
        grams.setdefault((row["order"], row["example"]), {"input": [], "output": []})[row["side"]].append(row["ngram"])
    table = pl.DataFrame(read_rows(tmp_path, tables["similarities"]))
    for n in (1, 2):
        pairs = {(x, y) for (order, _), g in grams.items() if order == n for x in g["input"] for y in g["output"]}
        cosines = sorted(vector["input", x] @ vector["output", y] for x, y in pairs)
        for share in (5, 50, 95):
            found = resolved({str(n): f"p{share}"}, table, -1.0, "t")[str(n)]
            exact = cosines[-(-share * len(cosines) // 100) - 1]
            assert exact - 1e-6 <= found <= exact + 2**-14 + 1e-6


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
        ("a", "x", 3)
    ]
    assert sums(tmp_path, tables["task_grams"])["candidates"] == 1


def test_one_inside_the_other_is_dropped_but_a_shared_word_is_not(tmp_path):
    inputs, outputs = ["new york", "york city", "yorkshire"], ["york", "new york city", "york new", "york city"]
    grams = [("1", "input", 2, g) for g in inputs] + [("1", "output", 2, g) for g in outputs]
    grams = [g for g in grams if g[3] != "yorkshire"] + [("1", "input", 2, "yorkshire dales")]
    vectors = {(g[1], g[3]): [1.0, 0.0] for g in grams}
    tables = align_by_hand(tmp_path, grams, vectors, 0.5)
    kept = {(r["input_ngram"], r["output_ngram"]): r["shares_word"] for r in read_rows(tmp_path, tables["task_grams"])}
    assert kept == {
        ("new york", "york new"): True,
        ("new york", "york city"): True,
        ("york city", "york new"): True,
        **{("yorkshire dales", o): False for o in outputs},
    }
    assert sums(tmp_path, tables["task_grams"])["contained"] == 5


words_of_a = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)


@given(words_of_a, words_of_a)
@hypothesis_settings(max_examples=200, deadline=None)
def test_containment_is_of_whole_words_without_a_gap(x, y):
    """ "new york" contains "york", "yorkshire dales" does not; "new york city" does not contain "new city"."""
    shares, inside = relations(*(pl.Series([" ".join(w)]) for w in (x, y)))
    one, other = (f" {' '.join(w)} " for w in (x, y))
    assert bool(inside[0]) == (one in other or other in one)
    assert bool(shares[0]) == bool(set(x) & set(y))


def test_evaluated_examples_give_no_task_grams(tmp_path):
    tables = align(
        tmp_path,
        [("mine", "capital of Velk", "Torin"), ("mine", "capital of Marn", "Siru"), ("evaluate", "capital of Velk", "Siru")],
        orders=(1,),
    )
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
        contained = {
            (r["input_ngram"].split()[-1], r["output_ngram"])
            for r in found
            if r["order"] == n and r["input_ngram"].split()[-1] in subjects
        }
        assert {(s, y) for s, (_, y) in zip(subjects, rows, strict=True)} <= contained


def test_a_task_without_examples_gives_an_empty_table(tmp_path):
    tables = align(tmp_path, [], orders=(1,))
    assert read_rows(tmp_path, tables["task_grams"]) == []


def test_only_the_lowest_gamma_decides():
    def plan(**task):
        return ALIGN.stages[0].plan(study_of(**task), {"example_ngrams": (), "embeddings": ()})

    assert plan(gamma_default=0.5) == plan(gamma_default=0.9)
    assert plan(gamma_default=0.5) != plan(gamma_default=0.5, lowest_gamma=0.2)


class Given:
    """Vectors that are at hand."""

    def __init__(self, vectors):
        self.vectors, self.length = np.asarray(vectors, dtype=np.float32), vectors.shape[1]

    def load(self, low, high):
        return self.vectors[low:high]


held = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), unique=True, max_size=25)


@given(held, held, st.integers(1, 40), st.integers(1, 9), st.sampled_from([-2.0, 0.0, 0.5]))
@hypothesis_settings(max_examples=150, deadline=None)
def test_blocks_and_slabs_of_any_size_give_every_pair_once_in_order(left, right, at_once, vectors_at_once, lowest):
    rng = np.random.default_rng(len(left) * 31 + len(right))
    sides, vectors = (
        side_of(
            *(
                pl.DataFrame([(e, f"g{g}") for e, g in held], {"example": pl.Int32, "ngram": pl.String}, orient="row")
                for held in (left, right)
            )
        ),
        [],
    )
    for side in sides:
        drawn = rng.normal(size=(len(side), 3))
        vectors.append(Given(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))
    cosines = vectors[0].vectors.astype(np.float64) @ vectors[1].vectors.T
    names = [side.ngrams.to_list() for side in sides]
    pairs = Counter((names[0].index(f"g{x}"), names[1].index(f"g{y}")) for e, x in left for f, y in right if e == f)
    spread = np.zeros(2 * STEPS + 1, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align_step, "PAIRS_AT_ONCE", at_once)
        blocks = list(align_step.aligned(*sides, *vectors, lowest, spread, memory=vectors_at_once * 24))
    found = [tuple(int(c) for c in row[:3]) for block in blocks for row in zip(*block, strict=True)]
    assert found == [(*p, k) for p, k in sorted(pairs.items()) if cosines[p] > lowest]
    similarities = np.concatenate([np.zeros(0), *(b.similarity for b in blocks)])
    assert similarities == pytest.approx([cosines[x, y] for x, y, _ in found], abs=1e-6)
    steps = np.clip(np.ceil(np.array([cosines[p] for p in pairs]) * STEPS), -STEPS, STEPS) + STEPS
    assert spread.sum() == len(pairs)
    assert np.repeat(np.arange(len(spread)), spread) == pytest.approx(np.sort(steps), abs=1)


def test_what_is_written_does_not_show_how_much_memory_there_was(tmp_path):
    draw = random.Random(2)
    rows = [(" ".join(draw.choices("abcdefgh", k=6)), " ".join(draw.choices("stuvwxyz", k=6))) for _ in range(60)]
    found = []
    for memory in (1_000_000_000, 100_000):
        tables = align(
            tmp_path / str(memory), rows, family="translation", orders=(2,), lowest_gamma=0.0, languages=("xx", "yy"), memory=memory
        )
        found.append(
            [
                (tmp_path / str(memory) / t / "parts" / f"{tables[t][0].key}.parquet").read_bytes()
                for t in ("task_grams", "similarities")
            ]
        )
    assert found[0] == found[1]


def test_rows_are_written_in_groups_of_one_size_however_they_come():
    numbers = pa.table({"n": np.arange(200_000)})
    for sizes in ([200_000], [1, 65_535, 70_000, 0, 64_464], [131_072, 68_928]):
        ends = np.cumsum([0, *sizes])
        groups = list(align_step.in_row_groups(numbers.slice(a, s) for a, s in zip(ends, sizes, strict=False)))
        assert [g.num_rows for g in groups] == [65_536, 65_536, 65_536, 3_392]
        assert pa.concat_tables(groups).equals(numbers)


def test_the_same_examples_give_the_same_bytes(tmp_path):
    found = []
    for folder in ("a", "b"):
        (part,) = align(
            tmp_path / folder,
            [(f"red fox {i % 5}", f"roter fuchs {i % 5}") for i in range(20)],
            family="translation",
            orders=(1, 2),
            languages=("en", "de"),
        )["task_grams"]
        found.append((tmp_path / folder / "task_grams" / "parts" / f"{part.key}.parquet").read_bytes())
    assert found[0] == found[1]


def test_a_dot_product_is_the_same_to_the_last_bit_in_any_company():
    from tasks.taskgrams.align_kernels import _dots

    rng = np.random.default_rng(0)
    inputs, outputs = (rng.normal(size=(n, 383)).astype(np.float32) for n in (9, 7))
    alone = np.zeros((9, 7), np.float32)
    room = np.zeros((4, 7), np.float32)
    for i in range(9):
        for j in range(7):
            _dots(inputs, np.full(4, i), outputs, np.array([j]), 1, room)
            alone[i, j] = room[0, 0]
    assert alone == pytest.approx(inputs @ outputs.T, abs=1e-3)
    for _ in range(50):
        four, which = rng.integers(0, 9, 4), rng.permutation(7)[: rng.integers(1, 8)]
        _dots(inputs, four, outputs, which, len(which), room)
        assert np.array_equal(room[:, : len(which)], alone[np.ix_(four, which)])
