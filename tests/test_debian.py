"""The real study, end to end, over the project's shared data. Missing data fails in CI, and skips elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.study_files import study_path
from schemas import CONTRACTS, load_study
from tests.studies import FinishedStudy

pytestmark = pytest.mark.slow


def test_every_record_of_the_corpus_is_accounted_for(debian: FinishedStudy) -> None:
    reasons = {r["reason"].split(":")[0] for r in debian.rows("document_rejects")}
    held_out = {r for r in reasons if r.startswith("held out for evaluation")}
    assert held_out == {"held out for evaluation (split pages)", "held out for evaluation (split handbook)"}
    sources = {p.labels["source"] for p in debian.parts("documents")}
    assert sources == {s.name for s in load_study(study_path("debian")).corpus.sources}


def test_evaluated_pages_left_the_corpus_in_every_language(debian: FinishedStudy) -> None:
    import json

    from tasks.text.split import in_evaluated_half

    study = load_study(study_path("debian"))
    aligned = Path(study.data) / "tasks/translation/handbook_parallel.jsonl"
    records = [json.loads(line) for line in aligned.read_text(encoding="utf-8").splitlines()]
    evaluated = {r["page"] for r in records if in_evaluated_half(study.splits["handbook"].model_dump(), r)}
    assert len(evaluated) >= 5
    handbook = tuple(p for p in debian.parts("documents") if p.labels["source"] == "handbook")
    ids = debian.store.read(handbook, CONTRACTS["documents"].schema, ["id"]).column("id").to_pylist()
    assert ids
    assert not [i for i in ids if i.rsplit("/", 1)[-1] in evaluated]


def test_every_task_has_a_score_or_a_reason(debian: FinishedStudy) -> None:
    study = load_study(study_path("debian"))
    scores = debian.rows("metrics", measure="main_score")
    assert {(r["task"], r["model"]) for r in scores} == {(t.name, m.name) for t in study.tasks for m in study.models}
    assert all(r["estimate"] is not None or r["note"] for r in scores)


def test_what_the_corpus_does_not_support_is_no_evidence_and_never_zero(debian: FinishedStudy) -> None:
    for row in debian.rows("metrics", measure="mem_n"):
        if row["rows"] == 0:
            assert row["estimate"] is None
            assert row["note"]
    page = (debian.root / "reports" / "debian" / "index.html").read_text(encoding="utf-8")
    for task in load_study(study_path("debian")).tasks:
        assert task.name in page


def test_translation_pairs_stand_in_the_bilingual_documents(debian: FinishedStudy) -> None:
    for task in ("en-de", "en-fr"):
        found = [r for r in debian.rows("metrics", measure="mem_n", task=task) if r["estimate"] is not None]
        assert found, f"{task}: no pair of it occurs in the corpus"
        assert max(r["rows"] for r in found) > 100
