"""The evidence of all examples, taken together, gives the measures again; the trace shows it as it is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from schemas import Study
from tasks.evidence.evidence_step import plan_scores
from tasks.evidence.grading import NOT_ANSWERED
from tasks.pair_evidence import NOWHERE, last_checkpoints, shown_pairs, shown_scores, shown_spans
from tasks.storage.store import Part, Store
from tests.metrics.alone import taken, which, with_evidence
from tests.metrics.world import World, world
from tests.support import CONTRACTS, read_rows, write_part

Rows = list[dict]


def traced(root: Path, w: World, tables: dict[str, tuple[Part, ...]] | None = None, **task: object) -> dict[str, Rows]:
    """What the trace shows of all examples."""
    study = w.study(**task)
    out = with_evidence(study, root, tables if tables is not None else w.tables(root))
    gammas = {1: float(study.tasks[0].gamma_default)}

    def frame(name: str) -> pl.DataFrame:
        return pl.DataFrame(Store(str(root)).read(out[f"evidence_{name}"], CONTRACTS[f"evidence_{name}"].schema))

    return {
        "spans": shown_spans(frame("spans")).to_dicts(),
        "pairs": shown_pairs(frame("pairs"), gammas).to_dicts(),
        "scores": shown_scores(frame("scores"), gammas).to_dicts(),
        "answers": frame("answers").to_dicts(),
    }


def test_the_numbers_of_all_examples_together_are_mem_n_and_mem_delta(tmp_path: Path) -> None:
    """More examples than are written at once, so that pieces are put together rightly."""
    w = world(seed=4, n=300, noise=0.4)
    w.others = lambda i, o: -4.0 - (i % 7) / 5 - o / 10
    shown = traced(tmp_path, w)
    metrics = taken(tmp_path, w.study(), w.tables(tmp_path), "distributional_memorization")
    span = {(r["example"], r["side"], r["ngram"]): r for r in shown["spans"]}
    for model in ("m", "null"):
        scores = {(r["example"], r["ngram"]): r for r in shown["scores"] if r["model"] == model}
        rows = [(p, scores[p["example"], p["output_ngram"]]) for p in shown["pairs"] if p["log_probability"] is not None]
        known = {
            m["measure"]: m["estimate"]
            for m in metrics
            if m["model"] == model and m["unit"] == "pair" and m["statistic"] == "spearman" and not which(m)
        }
        memorized = spearmanr([p["log_probability"] for p, _ in rows], [r["log_probability"] for _, r in rows]).statistic
        pmi = [
            p["pair_documents"]
            / (
                span[p["example"], "input", p["input_ngram"]]["documents"]
                * span[p["example"], "output", p["output_ngram"]]["documents"]
            )
            for p, _ in rows
        ]
        contrast = spearmanr(pmi, [r["delta"] for _, r in rows]).statistic
        assert len(rows) == 300
        assert math.isclose(memorized, known["mem_n"], abs_tol=1e-9)
        assert math.isclose(contrast, known["mem_delta"], abs_tol=1e-9)


def test_what_is_right_for_each_example_adds_up_to_the_score(tmp_path: Path) -> None:
    w = world(n=40)
    w.generations = {"m": [f"a{j}" if i % 4 else "no idea" for i, j in enumerate(w.answer)]}
    shown = traced(tmp_path, w)
    metrics = taken(tmp_path, w.study(), w.tables(tmp_path), "scores")
    score = next(m["estimate"] for m in metrics if m["measure"] == "main_score" and m["model"] == "m")
    mine = [r for r in shown["answers"] if r["model"] == "m"]
    assert np.mean([r["value"] for r in mine]) == score == 0.75
    assert mine[0]["text"] == "no idea"
    silent = [r for r in shown["answers"] if r["model"] == "null"]
    assert len(silent) == 40
    assert {(r["text"], r["value"], r["note"]) for r in silent} == {(None, None, "no generations of this model for this task")}


def test_an_example_without_an_answer_says_so(tmp_path: Path) -> None:
    w = world(n=3)
    tables = w.tables(tmp_path)
    one = {
        "model": ["m"],
        "checkpoint": [9],
        "task": ["t"],
        "example": ["e0001"],
        "text": ["x"],
        "tokens": [[1]],
        "stopped": ["length"],
    }
    tables["generations"] = (write_part(tmp_path, "generations", one, {"model": "m", "checkpoint": "9", "task": "t"}),)
    shown = traced(tmp_path, w, tables)["answers"]
    assert [r["note"] for r in shown if r["model"] == "m"] == [NOT_ANSWERED, "", NOT_ANSWERED]


def test_counts_and_infinity_stand_beside_each_ngram(tmp_path: Path) -> None:
    w = world(n=4)
    w.count[1] = 0
    w.infinity = np.array([10, 20, 30, 40])
    shown = traced(tmp_path, w)
    spans = {(r["example"], r["side"]): r for r in shown["spans"]}
    for i in range(4):
        x, y, pair = spans[f"e{i:04d}", "input"], spans[f"e{i:04d}", "output"], shown["pairs"][i]
        assert (x["documents"], x["occurrences"], y["documents"]) == (w.inputs[i], 2 * w.inputs[i], 600)
        assert (x["starts"], x["ends"]) == ([9], [11])
        assert x["log_infinity"] is None and x["note"] == ""
        assert math.isclose(y["log_infinity"], math.log(w.infinity[i] / 1000))
        assert pair["pair_documents"] == w.count[i]
        expected = math.log(w.count[i] / w.inputs[i]) if w.count[i] else None
        assert pair["log_probability"] == (pytest.approx(expected) if expected is not None else None)
        assert pair["similarity"] == pytest.approx(0.9)


def test_an_infinite_logarithm_is_null_with_a_reason(tmp_path: Path) -> None:
    w = world(n=2)
    tables, names = w.tables(tmp_path), ["e0000", "e0001"]
    tables["infinigram"] = (
        write_part(
            tmp_path,
            "infinigram",
            {
                "task": ["t"] * 2,
                "example": names,
                "position": [0, 0],
                "token": [0, 0],
                "start": [0, 0],
                "end": [2, 2],
                "suffix": [0, 0],
                "numerator": [0, 0],
                "denominator": [9, 9],
                "backoff_suffix": [-1, 0],
                "backoff_numerator": [0, 1],
                "backoff_denominator": [9, 9],
            },
        ),
    )
    outputs = [r for r in traced(tmp_path, w, tables)["spans"] if r["side"] == "output"]
    assert [(r["log_infinity"] is None, r["note"]) for r in outputs] == [(True, NOWHERE), (False, "")]


def test_a_pair_below_gamma_is_not_shown_and_one_never_counted_has_no_count(tmp_path: Path) -> None:
    w = world(n=5)
    assert traced(tmp_path / "a", w, gamma_default=0.95)["pairs"] == []
    tables = w.tables(tmp_path / "b")
    tables["pair_counts"] = ()
    assert {r["pair_documents"] for r in traced(tmp_path / "b", w, tables)["pairs"]} == {None}


def test_the_trace_shows_the_last_checkpoint_of_each_model(tmp_path: Path) -> None:
    w = world(n=3)
    parts = [Part("token_scores", f"k{c}{m}", {"model": m, "checkpoint": str(c), "task": "t"}) for m in "ab" for c in (5, 40, 9)]
    assert [p.labels["checkpoint"] for p in last_checkpoints(parts)] == ["40", "40"]
    jobs = plan_scores(w.study(), {"token_scores": tuple(parts)})
    assert [(j.labels["model"], j.labels["checkpoint"]) for j in jobs] == [(m, c) for m in "ab" for c in ("5", "9", "40")]
    assert all(len(j.inputs["token_scores"]) == 1 for j in jobs), "each reads its own part"


def test_for_multiple_choice_the_answer_is_the_likeliest_option(tmp_path: Path) -> None:
    w = world(n=3)
    study = Study.model_validate(
        {
            "name": "s",
            "corpus": {"planted": {}},
            "tasks": [{"name": "t", "family": "multiple_choice", "reader": "planted", "orders": [1]}],
        }
    )
    tables = w.tables(tmp_path)
    n, options = 3, ["red", "green", "blue"]
    tables["examples"] = (
        write_part(
            tmp_path,
            "examples",
            {
                "task": ["t"] * n,
                "split": ["evaluate"] * n,
                "example": [f"e{i:04d}" for i in range(n)],
                "row": [1, 2, 3],
                "group": [""] * n,
                "input": ["x"] * n,
                "output": ["green"] * n,
                "prompt": ["p"] * n,
                "separator": [""] * n,
                "aliases": [[]] * n,
                "options": [options] * n,
                "answer": [1] * n,
                "sha256": [""] * n,
            },
            {"task": "t"},
        ),
    )
    likely = {0: (-3.0, -1.0, -2.0), 1: (-1.0, -1.0, -2.0), 2: (-1.0, -5.0, -2.0)}
    rows = [(f"e{i:04d}", o, likely[i][o]) for i in likely for o in range(3)]
    tables["token_scores"] = (
        write_part(
            tmp_path,
            "token_scores",
            {
                "model": ["m"] * 9,
                "checkpoint": [9] * 9,
                "task": ["t"] * 9,
                "example": [r[0] for r in rows],
                "input_example": [r[0] for r in rows],
                "option": [r[1] for r in rows],
                "tokens": [[0]] * 9,
                "starts": [[0]] * 9,
                "ends": [[1]] * 9,
                "log_probabilities": [[r[2]] for r in rows],
                "truncated": [0] * 9,
                "straddles": [False] * 9,
            },
            {"model": "m", "checkpoint": "9", "task": "t"},
        ),
    )
    out = with_evidence(study, tmp_path, tables)
    answers = [r for r in read_rows(tmp_path, out["evidence_answers"]) if r["model"] == "m"]
    assert [(r["text"], r["value"], r["note"]) for r in answers] == [
        ("green", 1.0, ""),
        ("red", 0.5, "several options tie"),
        ("red", 0.0, ""),
    ]


@pytest.mark.parametrize("gone", ["all", "task_grams", "pair_counts", "ngram_stats", "infinigram", "models", "token_scores"])
def test_a_table_that_is_missing_is_no_error(tmp_path: Path, gone: str) -> None:
    w = world(n=3)
    tables = {} if gone == "all" else {t: p for t, p in w.tables(tmp_path).items() if t != gone}
    shown = traced(tmp_path, w, tables)
    assert len(shown["spans"]) == (0 if gone == "all" else 6)
    assert len(shown["pairs"]) == (0 if gone in ("all", "task_grams") else 3)
    assert len(shown["answers"]) == (0 if gone in ("all", "token_scores") else 6)


def test_rows_of_an_example_are_read_without_the_rest(tmp_path: Path) -> None:
    w = world(n=50)
    out = with_evidence(w.study(), tmp_path, w.tables(tmp_path))
    store, schema = Store(str(tmp_path)), CONTRACTS["evidence_spans"].schema
    some = store.read_between(out["evidence_spans"], schema, "example", "e0007", "e0009").select(["side", "ngram"]).to_pylist()
    every = [r for r in read_rows(tmp_path, out["evidence_spans"]) if "e0007" <= r["example"] <= "e0009"]
    assert some == [{"side": r["side"], "ngram": r["ngram"]} for r in every]
    assert len(some) == 6
    assert store.read_between(out["evidence_spans"], schema, "example", "x", "y").num_rows == 0
