"""The whole sample, as `make sample` runs it: its results are compared with what its documentation promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.study_files import study_path
from schemas import load_study
from schemas.tables.metrics import QUALIFIERS
from tests.studies import FinishedStudy, taskgram

pytestmark = pytest.mark.slow


def test_every_step_is_done_and_validated(sample: FinishedStudy) -> None:
    steps = json.loads(taskgram("status", "sample", "--json", root=sample.root))["steps"]
    assert [s["step"] for s in steps] == [p.step.name for p in sample.plan]
    for step in steps:
        assert set(step) >= {"step", "state", "rows", "bytes", "seconds", "fingerprint", "validation", "path"}
        assert step["state"] == "done", step
        assert step["validation"]["success"], step
        assert Path(step["path"]).is_dir()


def test_a_second_run_skips_everything(sample: FinishedStudy, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sample.root, tmp_path / "sample"))
    before = {str(p): p.stat().st_mtime_ns for p in root.glob("*/parts/*.parquet")}
    printed = taskgram("run", "sample", root=root)
    assert printed.count("up to date") == sum(any(stage.jobs for stage in p.stages) for p in sample.plan) > 20
    assert "parts computed" not in printed
    assert {str(p): p.stat().st_mtime_ns for p in root.glob("*/parts/*.parquet")} == before


def test_counts_equal_the_planted_truth_exactly(sample: FinishedStudy) -> None:
    pairs = {(r["input_ngram"], r["output_ngram"]): r["documents"] for r in sample.rows("pair_counts")}
    stats = {r["ngram"]: r for r in sample.rows("ngram_stats")}
    truth = sample.rows("truth")
    assert len(truth) > 1_000
    for row in truth:
        x, y = stats[row["input_ngram"]], stats[row["output_ngram"]]
        counted = (
            pairs[row["input_ngram"], row["output_ngram"]],
            x["documents"],
            x["occurrences"],
            y["documents"],
            y["occurrences"],
        )
        planted = (
            row["pair_documents"],
            row["input_documents"],
            row["input_occurrences"],
            row["output_documents"],
            row["output_occurrences"],
        )
        assert counted == planted, row
    shown = sample.rows("metrics", measure="planted_counts", statistic="equal")
    assert shown
    assert all(r["estimate"] == 1.0 for r in shown)


def largest(sample: FinishedStudy) -> str:
    return max(sample.rows("models"), key=lambda r: r["parameters"])["model"]


def last(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the last checkpoint."""
    return [r for r in rows if r["checkpoint"] == max(x["checkpoint"] for x in rows)]


def test_the_largest_model_recalls_what_it_saw_often_and_not_what_it_never_saw(sample: FinishedStudy) -> None:
    rows = last(sample.rows("metrics", measure="recall_by_exposure", task="recall", model=largest(sample)))
    by_exposure = {r["x"]: r["estimate"] for r in rows}
    assert by_exposure[0] <= 0.1
    assert by_exposure[64] >= 0.8
    assert by_exposure[64] > by_exposure[1]


def test_rules_are_generalized_although_their_counts_are_random(sample: FinishedStudy) -> None:
    """Held-out subjects do not occur in the corpus: their right answers cannot be recalled."""
    examples = {r["example"]: r for r in sample.rows("examples", task="rules", split="evaluate")}
    generations = last(sample.rows("generations", task="rules", model=largest(sample)))
    held_out = [r for r in generations if examples[r["example"]]["group"].endswith("held-out")]
    right = sum(r["text"].lower() == examples[r["example"]]["output"].lower() for r in held_out)
    assert len(held_out) >= 20
    assert right / len(held_out) > 0.5


def mem_delta(sample: FinishedStudy, task: str, detail: str = "") -> dict[tuple[str, int], dict[str, Any]]:
    """Mem_Δ of a task at n = 1, by model and checkpoint."""
    rows = sample.rows("metrics", measure="mem_delta", task=task, order=1, unit="pair", statistic="spearman")
    rows = [r for r in rows if all(r[c] == v for c, v in (QUALIFIERS | {"detail": detail}).items())]
    return {(r["model"], r["checkpoint"]): r for r in rows}


def test_mem_delta_rises_towards_the_generators_own_with_size_and_with_exposures(sample: FinishedStudy) -> None:
    """Trained ladders (docs/method.md §16): ρ* is that of the probabilities the world was generated with."""
    planted = mem_delta(sample, "facts", "planted")
    ladder = sorted({r["parameters"]: r["model"] for r in sample.rows("models")}.items())
    last = {m: max(c for name, c in planted if name == m) for _, m in ladder}
    by_size = [planted[m, last[m]] for _, m in ladder]
    assert 0.3 < by_size[0]["truth"] < 0.7
    assert by_size[0]["estimate"] < by_size[-1]["low"], "a larger model comes closer"
    assert by_size[-1]["estimate"] < by_size[-1]["truth"]
    assert by_size[-1]["estimate"] > by_size[-1]["truth"] / 2, "the largest is more than half-way"
    first = min(c for name, c in planted if name == largest(sample))
    assert planted[largest(sample), first]["estimate"] < by_size[-1]["low"], "more exposures bring it closer"


def test_mem_delta_is_about_zero_where_answers_follow_a_rule_and_the_score_is_above_chance(sample: FinishedStudy) -> None:
    model = largest(sample)
    found = last([r for (name, _), r in mem_delta(sample, "rules").items() if name == model])[0]
    assert found["low"] < 0 < found["high"]
    score = last(sample.rows("metrics", measure="main_score", task="rules", model=model))[0]
    assert score["low"] > 0.5, "six answers: chance is a sixth"


def test_mem_delta_rises_with_the_share_of_examples_that_can_only_be_memorized(sample: FinishedStudy) -> None:
    """Rows of recall (facts with one answer) mixed with rows of rules, at equal number."""
    import numpy as np
    import polars as pl
    from scipy import stats

    from tasks.pair_evidence import shown_pairs, shown_scores

    documents = {r["ngram"]: r["documents"] for r in sample.rows("ngram_stats")}
    model = largest(sample)

    def evidence(task: str) -> Any:
        gammas = {1: float(load_study(study_path("sample")).task(task).gamma_at(1))}
        scores, rows = (pl.DataFrame(sample.rows(f"evidence_{t}", task=task, order=1)) for t in ("scores", "pairs"))
        scores = shown_scores(scores.filter(model=model, checkpoint=scores.filter(model=model)["checkpoint"].max()), gammas)
        contrast = {(r["example"], r["ngram"]): r["delta"] for r in scores.to_dicts()}
        found = [
            (
                r["pair_documents"] / (documents[r["input_ngram"]] * documents[r["output_ngram"]]),
                contrast.get((r["example"], r["output_ngram"])),
            )
            for r in shown_pairs(rows, gammas).to_dicts()
            if r["pair_documents"]
        ]
        return np.array([pair for pair in found if pair[1] is not None], float)

    recall, rules, draw = evidence("recall"), evidence("rules"), np.random.default_rng(0)
    count, rho = min(len(rules), 70), []
    for share in (0.0, 0.5, 1.0):
        known = round(share * count)
        mixed = [np.concatenate([draw.permutation(recall)[:known], draw.permutation(rules)[: count - known]]) for _ in range(50)]
        rho.append(float(np.mean([stats.spearmanr(*m.T).statistic for m in mixed])))
    assert rho[0] < rho[1] < rho[2]
    assert abs(rho[0]) < 0.3
    assert rho[2] > 0.4


def test_every_task_and_model_has_its_answers(sample: FinishedStudy) -> None:
    study = load_study(study_path("sample"))
    scores = {(r["task"], r["model"]) for r in sample.rows("metrics", measure="main_score") if r["estimate"] is not None}
    assert scores == {(t.name, m.name) for t in study.tasks for m in study.models}
    mem = [r for r in sample.rows("metrics", measure="mem_n", task="facts") if r["estimate"] is not None]
    assert {r["model"] for r in mem} == {m.name for m in study.models}
    assert all(r["low"] is None or r["low"] <= r["estimate"] <= r["high"] for r in mem)


def test_the_report_is_one_page_that_needs_no_network(sample: FinishedStudy) -> None:
    page = (sample.root / "reports" / "sample" / "index.html").read_text(encoding="utf-8")
    for word in ("facts", "recall", "velish", "neox", "true"):
        assert word in page
    assert 'src="http' not in page
    assert "<script" not in page


def test_another_gamma_makes_measures_and_report_stale_and_nothing_else(sample: FinishedStudy, tmp_path: Path) -> None:
    """That a run then computes these alone is in tests/flows/test_cli.py, and so is the repair of a flipped byte."""
    text = study_path("sample").read_text(encoding="utf-8")
    edited = tmp_path / "sample.toml"
    edited.write_text(text.replace("gamma_default = 0.5", "gamma_default = 0.6"), encoding="utf-8")
    steps = json.loads(taskgram("status", str(edited), "--json", root=sample.root))["steps"]
    assert {s["step"] for s in steps if s["state"] != "done"} == {"measure", "report"}


def test_peak_memory_of_every_worker_is_below_two_gigabytes(sample: FinishedStudy) -> None:
    peaks = {}
    for planned in sample.plan:
        for table, name in planned.fingerprints.items():
            manifest = sample.store.manifest(table, name)
            assert manifest is not None
            peaks |= {(table, e["key"]): e["peak_memory"] for e in manifest["parts"] if "peak_memory" in e}
    assert len(peaks) > 100
    assert max(peaks.values()) < 2e9, max(peaks.items(), key=lambda item: item[1])


def test_extraction_rises_with_copies_and_with_the_prefix_and_phantoms_are_not_extracted(sample: FinishedStudy) -> None:
    """Copies: of planted texts. (n, p) with many samples finds no fewer than greedy decoding does."""
    from scipy import stats

    rows = last([r for r in sample.rows("metrics", model=largest(sample)) if r["detail"] in ("", "T=1")])
    by_prefix = [(group, "rate_by_prefix") for group in ("planted", "uniform", "duplicates")]
    for group, name in (("planted", "rate_by_duplicates"), *by_prefix):
        some = [r for r in rows if (r["group"], r["statistic"]) == (group, name)]
        assert len(some) >= 6 and stats.spearmanr([r["x"] for r in some], [r["estimate"] for r in some]).statistic > 0.9, group
    planted = [r for r in rows if r["group"] == "planted"]
    (greedy,) = [r["estimate"] for r in planted if (r["measure"], r["statistic"]) == ("extraction", "rate")]
    sampled = [r for r in planted if (r["measure"], r["statistic"], r["level"]) == ("discoverable", "rate", 0.5)]
    assert max(sampled, key=lambda r: r["x"])["estimate"] >= greedy > 0
    phantoms = sample.rows("metrics", measure="extraction", statistic="rate", group="planted_phantoms")
    assert len(phantoms) >= 9 and all(r["low"] == 0 for r in phantoms)


def test_extraction_of_the_corpus_and_of_phantoms_converges_with_tokens_per_parameter(sample: FinishedStudy) -> None:
    """All models see equal tokens. tests/memorization/test_training_study.py has one size and more and more texts."""
    models = {r["model"]: r["tokens_seen"] / r["parameters"] for r in sample.rows("models")}
    for group in ("planted", "uniform", "duplicates"):
        rows = sample.rows("metrics", measure="extraction", statistic="excess", group=group, detail="")
        gaps = [last([r for r in rows if r["model"] == model])[0] for model in sorted(models, key=models.__getitem__)]
        assert [r["estimate"] for r in gaps] == sorted((r["estimate"] for r in gaps), reverse=True), group
        assert gaps[0]["low"] > 0 > gaps[-1]["low"], group
