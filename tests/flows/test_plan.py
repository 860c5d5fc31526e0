"""What has to be computed again after a change: exactly what depends on it. Planning alone decides it, so planning is tested."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from flows.plan import downstream, lay_out
from flows.study import STEPS
from schemas import Study

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "corpus": {"planted": {"tokens": 60_000, "shards": 3}},
    "tokenizer": {"vocabulary": 512},
    "counting": {"index": True},
    "tasks": [
        {"name": "facts", "family": "qa", "reader": "planted", "orders": [1, 2]},
        {"name": "velish", "family": "translation", "reader": "planted", "languages": ["en", "velish"]},
    ],
    "models": [
        {"name": "a", "pretrain": {"hidden": 16, "tokens": 4_000}},
        {"name": "b", "pretrain": {"hidden": 32, "tokens": 4_000}},
    ],
}  # fmt: skip


def keys(settings: dict[str, Any]) -> dict[str, set[str]]:
    """Keys of all jobs, by step."""
    plan = lay_out(STEPS, Study.model_validate(settings))
    return {p.step.name: {job.key for stage in p.stages for job in stage.jobs} for p in plan}


def changed(edit: Any) -> dict[str, int]:
    """Jobs, by step, that an edited study has and SMALL has not."""
    edited = copy.deepcopy(SMALL)
    edit(edited)
    before, after = keys(SMALL), keys(edited)
    return {step: len(after[step] - before[step]) for step in after if after[step] - before[step]}


def test_the_same_study_needs_nothing() -> None:
    assert changed(lambda s: None) == {}


def test_names_titles_and_workers_change_no_table_but_the_report() -> None:
    assert set(changed(lambda s: s.update(title="x", workers=1))) <= {"report"}
    assert set(changed(lambda s: s.update(name="other"))) <= {"report"}


def test_memory_decides_how_and_never_what() -> None:
    assert changed(lambda s: s["counting"].update(memory="128MB")) == {}
    assert set(changed(lambda s: s["counting"].update(buckets=5))) == {"count", "report"}


def test_gamma_belongs_to_the_measures() -> None:
    assert set(changed(lambda s: s["tasks"][0].update(gamma_default=0.7))) == {"measure", "report"}


def test_gamma_as_a_percentile_belongs_to_the_measures_too() -> None:
    assert set(changed(lambda s: s["tasks"][0].update(gamma={"2": "p90"}))) == {"measure", "report"}


def test_a_new_model_computes_its_own_parts_alone() -> None:
    new = changed(lambda s: s["models"].append({"name": "c", "pretrain": {"hidden": 48, "tokens": 4_000}}))
    assert set(new) == {"models", "score", "generate", "novelty", "measure", "report"}
    assert new["models"] == 1, "the other models stay"
    assert new["score"] == 2, "one part per task"


def test_a_new_task_leaves_corpus_and_models_alone() -> None:
    new = changed(lambda s: s["tasks"].append({"name": "rules", "family": "qa", "reader": "planted"}))
    assert not set(new) & {"plant", "ingest", "tokenizer", "words", "tokens", "models", "count"}
    assert new["score"] == 2, "one part per model"
    assert new["read"] == new["extract"] == new["embed"] == new["align"] == 1


def test_a_model_setting_retrains_that_model_alone() -> None:
    new = changed(lambda s: s["models"][0]["pretrain"].update(learning_rate=1e-3))
    assert new["models"] == 1
    assert "query" not in new
    assert "infinigram" not in new


def test_another_vocabulary_leaves_the_words_alone() -> None:
    new = changed(lambda s: s["tokenizer"].update(vocabulary=400))
    assert {"tokenizer", "tokens", "infinigram", "models", "score"} <= set(new)
    assert not set(new) & {"words", "count", "query", "extract", "embed", "align"}


def test_a_new_shard_is_read_and_counted_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": f"{name} text"}) + "\n")
    (tmp_path / "task.jsonl").write_text(json.dumps({"id": "1", "input": "a", "output": "b"}) + "\n")
    study = {
        **SMALL, "data": str(tmp_path), "models": [],
        "corpus": {"sources": [{"name": "s", "files": ["*.jsonl"]}]},
        "tasks": [{"name": "t", "family": "qa", "evaluate": ["task.jsonl"]}],
    }  # fmt: skip
    before = keys(study)
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "c", "text": "c text"}) + "\n")
    after = keys(study)
    new = {step: len(after[step] - before[step]) for step in after if after[step] - before[step]}
    assert new["ingest"] == new["words"] == 1
    assert not set(new) & {"read", "extract", "embed", "align"}, "the tasks do not depend on the corpus"


@pytest.mark.parametrize("name", [step.name for step in STEPS])
def test_every_step_depends_on_its_version(name: str, tmp_path: Path) -> None:
    import dataclasses

    (tmp_path / "large.jsonl").write_bytes(b"\n" * 2_000_001)
    large = {"corpus": {"partition": "1MB", "sources": [{"name": "s", "files": ["large.jsonl"]}]}, "data": str(tmp_path),
             "tasks": [{"name": "t", "family": "qa", "evaluate": ["large.jsonl"]}]}  # fmt: skip

    newer = tuple(dataclasses.replace(s, version=s.version + 1) if s.name == name else s for s in STEPS)
    small = SMALL | {"counting": {"index": True, "unit": "tokens" if name in ("tokenizer", "tokens") else "words"}}
    small |= {"placebo": {"planted": {}}}
    small |= large | {"placebo": None} if name == "ids" else {}  # which has something to do where a file is cut
    before = lay_out(STEPS, Study.model_validate(small))
    after = lay_out(newer, Study.model_validate(small))
    different = {a.step.name for a, b in zip(after, before, strict=True) if a.fingerprint != b.fingerprint}
    assert different == downstream({name}, STEPS)
