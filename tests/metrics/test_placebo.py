"""Mem by other counts of the same rows: those of a placebo corpus, and those without documents that hold test text."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from schemas import Study
from tests.metrics.alone import run_alone, taken, which
from tests.metrics.world import World, world
from tests.support import write_part

CLEAN = "of_measure=mem_n detail=without contaminated documents corpus=clean"

PLACEBO = {"corpus": "placebo"}


def other_counts(root, w: World, count, inputs, outputs=None):
    """pair_counts and ngram_stats of a placebo corpus over the world's pairs."""
    outputs = w.outputs if outputs is None else outputs
    pairs = sorted((f"s{i}", f"a{j}", int(c)) for i, (j, c) in enumerate(zip(w.answer, count, strict=True)))
    df = {f"s{i}": int(v) for i, v in enumerate(inputs)} | {f"a{j}": int(v) for j, v in zip(w.answer, outputs, strict=True)}
    grams = sorted(df.items())
    return {
        "pair_counts": (
            write_part(
                root,
                "pair_counts",
                {"input_ngram": [p[0] for p in pairs], "output_ngram": [p[1] for p in pairs], "documents": [p[2] for p in pairs]},
                PLACEBO,
            ),
        ),
        "ngram_stats": (
            write_part(
                root,
                "ngram_stats",
                {
                    "ngram": [g for g, _ in grams],
                    "length": [1] * len(grams),
                    "occurrences": [v for _, v in grams],
                    "documents": [v for _, v in grams],
                },
                PLACEBO,
            ),
        ),
    }


def clean_counts(root, w: World, rows):
    """clean_pair_counts and clean_ngram_stats: rows are (i, clean C, clean df(s_x))."""
    return {
        "clean_pair_counts": (
            write_part(
                root,
                "clean_pair_counts",
                {
                    "task": ["t"] * len(rows),
                    "input_ngram": [f"s{i}" for i, _, _ in rows],
                    "output_ngram": [f"a{w.answer[i]}" for i, _, _ in rows],
                    "documents": [int(c) for _, c, _ in rows],
                },
            ),
        ),
        "clean_ngram_stats": (
            write_part(
                root,
                "clean_ngram_stats",
                {
                    "task": ["t"] * len(rows),
                    "ngram": [f"s{i}" for i, _, _ in rows],
                    "length": [1] * len(rows),
                    "occurrences": [int(d) for _, _, d in rows],
                    "documents": [int(d) for _, _, d in rows],
                },
            ),
        ),
    }


def both(own, extra):
    """The parts of two sets of tables."""
    return own | {table: (*own.get(table, ()), *parts) for table, parts in extra.items()}


def measured(root, w: World, extra, measure: str):
    metrics, exclusions = run_alone(measure, with_placebo(w) if extra else w.study(), root, both(w.tables(root), extra))
    rows = {(r["measure"], r["model"], r["unit"], which(r)): r for r in metrics}
    return rows, {r["reason"]: r["rows"] for r in exclusions}


def with_placebo(w: World) -> Study:
    return Study.model_validate(w.study().model_dump() | {"placebo": {"planted": {}}})


def test_what_is_left_beside_a_placebo_belongs_to_the_corpus(tmp_path):
    """The model follows the corpus; the placebo's counts are the same ones in another order."""
    w = world(noise=0.3)
    rng = np.random.default_rng(5)
    inputs = rng.choice([32, 64, 128], len(w))
    count = inputs * rng.choice([0, 1, 2, 4, 8], len(w)) // 16
    found, excluded = measured(tmp_path, w, other_counts(tmp_path, w, count, inputs), "placebo")
    kept, y = count > 0, w.log_p["m"].astype(np.float32)
    row = found["mem_n", "m", "pair", "corpus=placebo"]
    assert row["estimate"] == pytest.approx(stats.spearmanr((count / inputs)[kept], y[kept]).statistic, abs=1e-6)
    assert row["low"] < 0 < row["high"]
    assert row["rows"] == kept.sum()
    assert excluded == {"placebo: zero corpus count": (~kept).sum(), "placebo: never counted": 0, "placebo: kept": kept.sum()}
    minus = found["mem_n", "m", "pair", "corpus=difference"]
    own = stats.spearmanr((w.count / w.inputs)[kept], y[kept]).statistic
    assert minus["estimate"] == pytest.approx(own - row["estimate"], abs=1e-6)
    assert 0 < minus["low"] < minus["estimate"] < minus["high"]
    assert minus["p_value"] is None
    null = found["mem_n", "null", "pair", "corpus=difference"]
    assert null["low"] < 0 < null["high"]


def test_a_placebo_that_is_the_corpus_leaves_nothing_with_certainty(tmp_path):
    """The same rows are drawn for both: the interval of the difference is a point."""
    w = world(noise=1.0)
    found, _ = measured(tmp_path, w, other_counts(tmp_path, w, w.count, w.inputs), "placebo")
    for unit in ("pair", "example_output"):
        row = found["mem_n", "m", unit, "corpus=difference"]
        assert (row["estimate"], row["low"], row["high"]) == (0, 0, 0)


def test_a_placebo_that_orders_pairs_the_other_way_is_further_off_than_one(tmp_path):
    """A difference of two correlations lies in [-2, 2]: the contract must not stop a study for one beyond 1."""
    w = world(noise=0.1)
    reverse, many = 1 + np.argsort(np.argsort(-w.count / w.inputs)), np.full(len(w), 10_000)
    found, _ = measured(tmp_path, w, other_counts(tmp_path, w, reverse, many, many), "placebo")
    assert 1 < found["mem_n", "m", "pair", "corpus=difference"]["estimate"] <= 2


def test_mem_delta_takes_the_placebo_s_association(tmp_path):
    w = world(noise=0.5)
    w.others = lambda i, o: -4.0 - 0.01 * o
    outputs = np.maximum(w.count, np.random.default_rng(2).integers(20, 900, len(w)))
    extra = other_counts(tmp_path, w, w.count, w.inputs, outputs)
    row = measured(tmp_path, w, extra, "placebo")[0]["mem_delta", "m", "pair", "corpus=placebo"]
    delta = w.log_p["m"].astype(np.float32) + 4.0  # but for the few hundredths of three other inputs
    expected = stats.spearmanr(w.count / (w.inputs * outputs), delta).statistic
    assert row["estimate"] == pytest.approx(expected, abs=0.01)


def test_a_study_without_a_placebo_measures_none(tmp_path):
    w = world(n=20)
    assert measured(tmp_path, w, {}, "placebo") == ({}, {})


def test_what_rests_on_test_text_goes_with_the_documents_that_hold_it(tmp_path):
    """Half of the rows follow the model only by copies of the test; without these their counts are those of chance."""
    w = world(noise=0.2)
    rng = np.random.default_rng(1)
    rows = [(i, rng.integers(1, max(2, w.inputs[i] // 2)), w.inputs[i]) for i in range(0, len(w), 2)]
    rows = [(i, min(c, w.count[i]), d) for i, c, d in rows]
    clean = w.count.copy()
    clean[[i for i, _, _ in rows]] = [c for _, c, _ in rows]
    found, excluded = measured(tmp_path, w, clean_counts(tmp_path, w, rows), "confounds")
    row = found["confound", "m", "pair", CLEAN]
    expected = stats.spearmanr(clean / w.inputs, w.log_p["m"].astype(np.float32)).statistic
    assert row["estimate"] == pytest.approx(expected, abs=1e-6)
    assert row["estimate"] < 0.9
    assert f"{(clean < w.count).sum()} of 120 rows are counted in fewer documents" in row["note"]
    assert excluded["without contaminated documents: kept"] == 120


def test_a_pair_that_stands_in_test_text_alone_is_left_out_and_counted(tmp_path):
    w = world()
    found, excluded = measured(tmp_path, w, clean_counts(tmp_path, w, [(0, 0, 0), (1, 0, 3)]), "confounds")
    assert found["confound", "m", "pair", CLEAN]["rows"] == 118
    assert excluded["without contaminated documents: zero corpus count"] == 2


def test_bad_input_gives_a_reason_and_no_number(tmp_path):
    """No support in the placebo; a model that was never asked; one example."""
    w = world(n=30)
    nothing = other_counts(tmp_path, w, np.zeros(30), w.inputs)
    assert all(r["estimate"] is None and r["note"] for r in measured(tmp_path, w, nothing, "placebo")[0].values())
    w = world(n=1)
    one = other_counts(tmp_path, w, w.count, w.inputs)
    assert all(r["estimate"] is None and r["note"] for r in measured(tmp_path, w, one, "placebo")[0].values())
    w = world(n=30)
    tables = other_counts(tmp_path, w, w.count, w.inputs)
    silent = both(w.tables(tmp_path), tables) | {"token_scores": ()}
    rows = taken(tmp_path, with_placebo(w), silent, "placebo")
    rows += [r for r in taken(tmp_path, w.study(), silent, "confounds") if r["corpus"] == "clean"]
    assert rows
    assert all(r["estimate"] is None and "no score" in r["note"] for r in rows)
