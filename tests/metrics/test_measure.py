"""Scores, performance, novelty, contamination, coverage and truth as rows of `metrics`."""

import numpy as np
import pytest

from schemas import Study
from tests.metrics.alone import run_measures, which
from tests.metrics.world import World, world
from tests.support import read_rows, write_part


def measured(tmp_path, w: World, measure: str, extra=None, **task) -> dict[tuple, dict]:
    """All metrics of one measure, by (measure, model, order, statistic, what tells them apart)."""
    tables = run_measures(w.study(**task), tmp_path, w.tables(tmp_path) | (extra or {}), measure)
    rows = read_rows(tmp_path, tables["metrics"])
    return {(r["measure"], r["model"], r["order"], r["statistic"], which(r)): r for r in rows}


def answering(n: int = 20) -> World:
    """The model answers the first half in the right way, one of them by its alias."""
    w = world(n=n)
    w.generations = {"m": [f"The alias {i}." if i == 0 else f"a{i}" if i < n // 2 else "no idea" for i in range(n)]}
    return w


def test_exact_match_by_group_and_in_the_results_table(tmp_path):
    found = measured(tmp_path, answering(), "scores")
    row = found["score", "m", 0, "exact_match", ""]
    assert row["estimate"] == 0.5
    assert row["low"] < 0.5 < row["high"]
    assert row["rows"] == 20
    assert row["x"] == 100
    assert found["main_score", "m", 0, "exact_match", ""]["estimate"] == 0.5
    assert found["score", "m", 0, "exact_match", "group=even"]["rows"] == 10
    w = answering()
    assert found["score", "m", 0, "log_likelihood", ""]["estimate"] == pytest.approx(w.log_p["m"].mean() / 2, abs=1e-5)


def test_a_model_without_generations_has_a_row_that_says_so(tmp_path):
    row = measured(tmp_path, answering(), "scores")["main_score", "null", 0, "exact_match", ""]
    assert row["estimate"] is None
    assert row["note"].startswith("no generations")


def test_bleu_and_chrf_are_sacrebleus(tmp_path):
    import sacrebleu

    w = world(n=12)
    w.answer[:] = np.arange(12) % 4
    generated = [f"a{j} and then some {'words' if i % 2 else 'birds'} that follow" for i, j in enumerate(w.answer)]
    w.tails, w.generations = np.full(12, -1.0), {"m": generated}
    found = measured(tmp_path, w, "scores", family="translation", answer="ngrams")
    references = [[f"a{j} and then some words that follow" for j in w.answer], [f"the alias {i}" for i in range(12)]]
    for statistic, wanted in (
        ("bleu", sacrebleu.corpus_bleu(generated, references)),
        ("chrf", sacrebleu.corpus_chrf(generated, references)),
    ):
        row = found["score", "m", 0, statistic, ""]
        assert row["estimate"] == pytest.approx(wanted.score, abs=1e-9)
        assert row["low"] <= row["estimate"] <= row["high"]
        assert "version:" in row["note"]
    assert 0 < found["main_score", "m", 0, "bleu", ""]["estimate"] < 100


def test_performance_has_a_zero_bin_an_overflow_bin_and_every_example_once(tmp_path):
    w = answering(40)
    w.count[:5] = 0
    found = [r for k, r in measured(tmp_path, w, "performance").items() if k[:2] == ("performance", "m")]
    assert [(r["bin"], r["detail"]) for r in found] == [(0, "zero"), (1, ""), (2, ""), (3, "overflow")]
    assert found[0]["x"] == 0
    assert found[0]["rows"] == 5
    assert sum(r["rows"] for r in found) == 40
    right = sum(r["estimate"] * r["rows"] for r in found if r["rows"])
    assert right == pytest.approx(20)
    assert all(a["x"] < b["x"] for a, b in zip(found, found[1:], strict=False) if a["rows"] and b["rows"])
    logs = [r for k, r in measured(tmp_path, w, "performance").items() if k[:2] == ("performance_mean_log_count", "m")]
    assert logs[0]["rows"] == 5
    assert logs[0]["x"] is None
    assert sum(r["rows"] for r in logs) == 40


def test_novelty_is_a_ratio_of_sums_and_the_reference_stands_beside_it(tmp_path):
    part = write_part(
        tmp_path,
        "generation_counts",
        {
            "model": ["m", "m", "reference"],
            "checkpoint": [9, 9, -1],
            "task": ["t"] * 3,
            "example": ["e0000", "e0001", "e0000"],
            "kind": ["ngram"] * 3,
            "order": [2] * 3,
            "total": [1, 9, 4],
            "novel": [1, 1, 0],
        },
        {"task": "t"},
    )
    one = {"source": ["s"] * 3, "language": [""] * 3, "words": [1] * 3, "text": ["a", "b", "c"]}
    held_out = write_part(tmp_path, "held_out_documents", {"document": [0, 1, 2], "id": ["0", "1", "2"], **one})
    repeats = tuple(write_part(tmp_path, "held_out_repeats", {"number": n}, {"file": f}) for f, n in (("x", [1]), ("y", [1, 2])))
    extra = {"generation_counts": (part,), "held_out_documents": (held_out,), "held_out_repeats": repeats}
    found = measured(tmp_path, answering(), "novelty", extra)
    assert found["novelty", "m", 2, "rate", "detail=ngram"]["estimate"] == pytest.approx(0.2)
    assert found["novelty", "m", 2, "count", "detail=ngram"]["estimate"] == 2
    assert found["novelty", "reference", 2, "rate", "detail=ngram"]["estimate"] == 0
    assert found["novelty", "null", 0, "rate", ""]["note"].startswith("no generations")
    w = answering()
    cut_off = {"length": 20, "stop string": 0}  # each of its 20 texts has words
    for stopped, dropped in cut_off.items():
        w.stopped = stopped
        tables = run_measures(w.study(), tmp_path, w.tables(tmp_path) | extra, "novelty")
        left_out = {(r["model"], r["reason"]): (r["rows"], r["of"]) for r in read_rows(tmp_path, tables["exclusions"])}
        assert left_out["m", "last word of a generation that max_new_tokens ended"] == (dropped, "words")
        assert left_out["held_out", "held-out document equal to one of the corpus"] == (2, "documents")
        assert left_out["held_out", "kept"] == (1, "documents")


def test_contamination_is_the_share_of_examples_long_enough(tmp_path):
    part = write_part(
        tmp_path,
        "contamination",
        {
            "task": ["t", "t"],
            "example": ["e0000", "e0001"],
            "order": [3, 3],
            "side": ["input", "input"],
            "ngram": ["where is s0"] * 2,
            "shared": [1, 1],
            "documents": [1, 1],
            "source": ["c"] * 2,
            "id": ["d"] * 2,
        },
    )
    w = answering(20)
    study = Study.model_validate(w.study().model_dump() | {"counting": {"contamination_orders": [3, 8]}})
    tables = run_measures(study, tmp_path, w.tables(tmp_path) | {"contamination": (part,)}, "contamination")
    rows = {(r["order"], r["detail"]): r for r in read_rows(tmp_path, tables["metrics"]) if r["measure"] == "contamination"}
    assert rows[3, "input"]["estimate"] == 0.1
    assert rows[3, "either"]["estimate"] == 0.1
    assert rows[3, "output"]["estimate"] is None  # answers of one word
    assert rows[8, "input"]["note"] == "no text of 8 words or more"


def test_coverage_counts_examples_pairs_and_what_mining_accepts(tmp_path):
    w = answering(20)
    w.count[:5] = 0
    found = measured(tmp_path, w, "coverage")
    assert found["coverage", "", 1, "examples_with_pair", ""]["estimate"] == 0.75
    assert found["coverage", "", 1, "pairs_found", ""]["estimate"] == 0.75
    assert found["coverage", "", 1, "acceptance", ""]["estimate"] == 1  # one n-gram a side: every pair was mined
    assert found["coverage", "", 1, "count_quantile", "level=0.0"]["estimate"] == 0
    assert found["coverage", "", 1, "count_quantile", "level=1.0"]["estimate"] == w.count.max()


def test_equal_counts_are_found_equal_and_a_wrong_one_is_named(tmp_path):
    w = answering(20)
    w.planted = True
    tables = w.tables(tmp_path)
    rows = read_rows(tmp_path, run_measures(w.study(), tmp_path, tables, "planted_truth")["metrics"])
    equal = {r["detail"]: r for r in rows if r["measure"] == "planted_counts"}
    assert equal[""]["estimate"] == equal[""]["truth"] == 1
    assert equal[""]["rows"] == 20
    w.count[3] += 1
    (tmp_path / "b").mkdir()
    wrong = w.tables(tmp_path / "b")
    write_part(
        tmp_path / "b",
        "truth",
        {k: [r[k] for r in read_rows(tmp_path, tables["truth"])] for k in read_rows(tmp_path, tables["truth"])[0]},
    )
    rows = read_rows(tmp_path / "b", run_measures(w.study(), tmp_path / "b", wrong, "planted_truth")["metrics"])
    equal = {r["detail"]: r for r in rows if r["measure"] == "planted_counts"}
    assert equal[""]["estimate"] == 0.95
    assert "'s3', 'a3'" in equal[""]["note"]
    assert equal["input_documents"]["estimate"] == 1


def test_recall_by_exposure_joins_examples_to_the_planted_pairs(tmp_path):
    w = answering(20)
    w.planted = True
    w.count[:] = np.arange(20) + 2  # exposures: even 0, odd 1
    w.inputs[:] = 64
    found = measured(tmp_path, w, "planted_truth")
    for exposures in (0, 1):
        row = found["recall_by_exposure", "m", 0, "exact_match", f"level={exposures}.0"]
        assert row["x"] == exposures
        assert row["rows"] == 10
        assert row["estimate"] == 0.5
    assert found["recall_by_exposure", "null", 0, "exact_match", "level=0.0"]["estimate"] is None


def test_rules_are_split_by_what_was_held_out_and_factorial_facts_by_their_count(tmp_path):
    w = answering(20)
    w.planted, w.kind = True, "rule"
    w.count[:], w.inputs[:] = np.arange(20) % 4 + 2, 64
    found = measured(tmp_path, w, "planted_truth")
    assert {k[4]: r["rows"] for k, r in found.items() if k[:2] == ("rule_accuracy", "m")} == {
        "group=held_out": 10,
        "group=stated": 10,
    }
    w.kind = "factorial"
    (tmp_path / "b").mkdir()
    found = measured(tmp_path / "b", w, "planted_truth")
    assert {r["x"]: r["rows"] for k, r in found.items() if k[:2] == ("recall_by_count", "m")} == {2: 5, 3: 5, 4: 5, 5: 5}


def test_a_task_that_is_not_planted_has_no_truth(tmp_path):
    assert measured(tmp_path, answering(), "planted_truth") == {}


def test_multiple_choice_reads_the_options_after_the_own_input(tmp_path):
    n, label = 8, {"task": "t"}
    names = [f"e{i}" for i in range(n)]
    examples = write_part(
        tmp_path,
        "examples",
        {
            "task": ["t"] * n,
            "split": ["evaluate"] * n,
            "example": names,
            "row": list(range(1, n + 1)),
            "group": [""] * n,
            "input": ["x"] * n,
            "output": ["yes"] * n,
            "prompt": ["p"] * n,
            "separator": [""] * n,
            "aliases": [[]] * n,
            "options": [["no", "yes"]] * n,
            "answer": [1] * n,
            "sha256": [""] * n,
        },
        label,
    )
    rows = [(e, o, [-1.0, -1.0] if o < 1 else [-0.5] if i < 6 else [-9.0]) for i, e in enumerate(names) for o in (-1, 0, 1)]
    rows = [(e, o, v) for e, o, v in rows if (e, o) != ("e7", 0)]  # e7 lacks an option
    scores = write_part(
        tmp_path,
        "token_scores",
        {
            "model": ["m"] * len(rows),
            "checkpoint": [0] * len(rows),
            "task": ["t"] * len(rows),
            "example": [r[0] for r in rows],
            "input_example": [r[0] for r in rows],
            "option": [r[1] for r in rows],
            "tokens": [[0] * len(r[2]) for r in rows],
            "starts": [[0] * len(r[2]) for r in rows],
            "ends": [[1] * len(r[2]) for r in rows],
            "log_probabilities": [r[2] for r in rows],
            "truncated": [0] * len(rows),
            "straddles": [False] * len(rows),
        },
        {"model": "m", "checkpoint": "0", "task": "t"},
    )
    w = world(n=1)
    w.log_p = {"m": np.zeros(1)}
    model = write_part(
        tmp_path,
        "models",
        {
            "model": ["m"],
            "checkpoint": [0],
            "source": ["folder"],
            "revision": [""],
            "path": [""],
            "sha256": [""],
            "parameters": [2],
            "parameters_non_embedding": [1],
            "tokens_seen": [-1],
            "loss": [None],
            "seed": [-1],
            "membership": [""],
        },
        {"model": "m"},
    )
    tables = {"examples": (examples,), "token_scores": (scores,), "models": (model,)}
    tables = run_measures(w.study(family="multiple_choice"), tmp_path, tables, "scores")
    rows = {r["statistic"]: r for r in read_rows(tmp_path, tables["metrics"]) if r["measure"] == "score"}
    assert rows["accuracy"]["estimate"] == pytest.approx(6 / 7)
    assert rows["accuracy"]["note"] == "chance 0.5"
