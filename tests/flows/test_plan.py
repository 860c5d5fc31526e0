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
from tasks.memorization import MEASURES

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
}

MEMORIZED = sum(m.applies(Study.model_validate(SMALL | {"memorization": {}})) for m in MEASURES)


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
    assert set(new) == {"models", "score", "generate", "novelty", "evidence", "measure", "report"}
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
        **SMALL,
        "data": str(tmp_path),
        "models": [],
        "corpus": {"sources": [{"name": "s", "files": ["*.jsonl"]}]},
        "tasks": [{"name": "t", "family": "qa", "evaluate": ["task.jsonl"]}],
    }
    before = keys(study)
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "c", "text": "c text"}) + "\n")
    after = keys(study)
    new = {step: len(after[step] - before[step]) for step in after if after[step] - before[step]}
    assert new["ingest"] == new["words"] == 1
    assert not set(new) & {"read", "extract", "embed", "align"}, "the tasks do not depend on the corpus"


# Steps of a study with a controlled corpus, which has no planted one
OF_RUNS = {"membership", "ensemble", "leverage", "counterfactual", "redraw", "capacity", "verdicts"}


@pytest.mark.parametrize("name", [step.name for step in STEPS])
def test_every_step_depends_on_its_version(name: str, tmp_path: Path) -> None:
    import dataclasses

    (tmp_path / "large.jsonl").write_bytes(b"\n" * 2_000_001)
    large = {
        "corpus": {"partition": "1MB", "sources": [{"name": "s", "files": ["large.jsonl"], "held_out": "half"}]},
        "splits": {"half": {}},
        "data": str(tmp_path),
        "tasks": [{"name": "t", "family": "qa", "evaluate": ["large.jsonl"]}],
    }

    newer = tuple(dataclasses.replace(s, version=s.version + 1) if s.name == name else s for s in STEPS)
    small = SMALL | {"counting": {"index": True, "unit": "tokens" if name in ("tokenizer", "tokens") else "words"}}
    models = [{"name": "a", "pretrain": {"hidden": 16, "tokens": 40_000, "inject": [{"windows": 2}]}}]
    small |= {"placebo": {"planted": {}}, "models": models, "memorization": {"samples": {"phantoms": 10}}}
    small |= large | {"placebo": None} if name == "ids" else {}  # which has something to do where a file is cut
    expected = downstream({name}, STEPS) - OF_RUNS
    if name in OF_RUNS:
        small = {"name": "x", "corpus": {"controlled": {}}, "membership": {"redrawn": 4, "models": [{"name": "a", "keep": 64}]}}
        small |= {"capacity": {"removed": 0.1}}
        expected = downstream({name}, STEPS) & {*OF_RUNS, "measure", "report"}
    before = lay_out(STEPS, Study.model_validate(small))
    after = lay_out(newer, Study.model_validate(small))
    different = {a.step.name for a, b in zip(after, before, strict=True) if a.fingerprint != b.fingerprint}
    assert different == expected


def test_a_study_that_asks_for_memorization_has_steps_of_its_own_and_the_others_as_before() -> None:
    before, after = keys(SMALL), keys(SMALL | {"memorization": {"samples": {"phantoms": 0}}})
    without = keys(SMALL | {"memorization": {"samples": {"phantoms": 0}, "recite": False}})
    assert set(without) - set(before) == {"sequences", "score_sequences", "memorize"}
    assert set(after) - set(without) == {"recite", "count_recitations"}
    assert all(after[step] == without[step] for step in without if step not in ("measure", "report"))
    assert {step: len(after[step]) - len(before[step]) for step in before if after[step] != before[step]} == {
        "measure": MEMORIZED,
        "report": 0,
    }
    assert before["measure"] < after["measure"]


FOLLOWING = {"memorize": 2, "recite": 2, "count_recitations": 1 + 3 + 1, "measure": MEMORIZED}


@pytest.mark.parametrize(
    ("edit", "steps"),
    [
        ({"prefix": 16}, {"sequences": 4 + 3 + 1, "score_sequences": 2} | FOLLOWING),
        ({"sampling": [{"top_k": 3}]}, {"score_sequences": 2} | FOLLOWING),
        ({"pieces": 2}, {"score_sequences": 4} | FOLLOWING | {"recite": 4}),
        ({"unrelated_prefixes": 8}, {"score_sequences": 2} | FOLLOWING),
        ({"unrelated_prefixes": 0}, {"score_sequences": 2} | FOLLOWING | {"measure": MEMORIZED - 1}),
    ],
)
def test_a_setting_of_memorization_computes_again_what_depends_on_it(edit: dict[str, Any], steps: dict[str, int]) -> None:
    before, after = (keys(SMALL | {"memorization": chosen}) for chosen in ({}, edit))
    new = {step: len(after[step] - before[step]) for step in after}
    assert {step: count for step, count in new.items() if count and step != "report"} == steps


# -- variants: the same study with other stop words or another encoder -------------------------------------------------
AUTHORS = {"name": "authors", "stop_words": "authors"}
WIDE = {"name": "wide", "encoder": {"dimensions": 512}, "gamma": "p90"}


def test_gammas_of_a_sweep_belong_to_the_measures() -> None:
    """Only the curve of each task: a variant is measured at its own γ."""
    for edit in ({"sweep_gammas": [0.4, 0.8, "p99"]}, {"sweep_gammas": []}, {"sweep_bootstrap": 500}):
        assert changed(lambda s, edit=edit: s.update(measures=edit))["measure"] == 2, "a sweep for each task"
    one, two = (keys(SMALL | {"variants": [AUTHORS], "measures": {"sweep_gammas": g}})["measure"] for g in ([0.4], [0.8]))
    assert len(two - one) == 2


def test_a_variant_keeps_all_that_the_study_itself_has_computed() -> None:
    """New are the variant's own parts, one scan of each part of the corpus, its sum, its measures and the report."""
    before = keys(SMALL)
    with_both = SMALL | {"variants": [AUTHORS, WIDE]}
    after = keys(with_both)
    assert all(before[s] <= after[s] for s in before if s != "report")
    new = changed(lambda s: s.update(variants=[AUTHORS, WIDE]))
    own = {"extract": 2, "embed": 4, "align": 4, "query": 4, "evidence": 12, "measure": 4, "report": 1}
    assert new == own, "3 shards; 2 tasks; 2 models"


def test_an_encoder_shares_the_study_s_own_ngrams_and_the_same_stop_words_are_extracted_once() -> None:
    assert "extract" not in changed(lambda s: s.update(variants=[WIDE]))
    both = {"name": "both", "stop_words": "authors", "encoder": {"dimensions": 512}}
    assert changed(lambda s: s.update(variants=[AUTHORS, WIDE, both]))["extract"] == 2, "one for each task"


def test_another_variant_scans_the_corpus_once_and_leaves_the_first_one_s_task_grams() -> None:
    one, two = keys(SMALL | {"variants": [AUTHORS]}), keys(SMALL | {"variants": [AUTHORS, WIDE]})
    assert one["align"] < two["align"]
    assert len(two["query"]) == len(one["query"]), "however many variants there are, one scan more"
    assert len(two["query"] - one["query"]) == 4


def test_what_does_not_ask_for_variants_never_sees_one() -> None:
    """Only a step that says so is given their parts; and of those that are given them, every job takes one kind alone."""
    for planned in lay_out(STEPS, Study.model_validate(SMALL | {"variants": [AUTHORS, WIDE]})):
        for job in (job for stage in planned.stages for job in stage.jobs):
            seen = {p.variant for parts in job.job.inputs.values() for p in parts}
            varied = "variant" in job.job.labels or "of" in job.job.labels
            assert varied or seen <= {""}, job.job.name
            assert planned.step.variants or not varied or planned.step.name == "extract"


def test_a_variant_asks_with_its_own_settings() -> None:
    plan = {p.step.name: p for p in lay_out(STEPS, Study.model_validate(SMALL | {"variants": [AUTHORS, WIDE]}))}

    def of(step: str, label: str, value: str) -> list[Any]:
        return [j.job for s in plan[step].stages for j in s.jobs if j.job.labels.get(label) == value]

    assert {j.settings["stop_words"] for j in of("extract", "variant", "stop_words=authors")} == {"authors"}
    assert {j.settings["encoder"]["dimensions"] for j in of("embed", "variant", "encoder=wide")} == {512}
    assert {j.settings["encoder"]["dimensions"] for j in of("embed", "variant", "stop_words=authors")} == {256}
    assert {g for j in of("measure", "of", "encoder=wide") for g in j.settings["gamma"].values()} == {"p90"}
    assert {g for j in of("measure", "of", "stop_words=authors") for g in j.settings["gamma"].values()} == {0.5}


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([{"name": "x"}], "name stop_words or an encoder"),
        ([{"name": "x", "stop_words": "drop_all_stopword_ngrams"}], "'x' is the study itself"),
        ([{"name": "x", "encoder": {}}], "'x' is the study itself"),
        ([AUTHORS, AUTHORS | {"name": "again"}], "'again' equals 'authors'"),
        ([AUTHORS, AUTHORS], "duplicate name"),
        ([WIDE | {"gamma": 0.1}], "γ = 0.1 is below lowest_gamma = 0.3"),
        ([WIDE | {"gamma": "90"}], "neither a number"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(variants: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Study.model_validate(SMALL | {"variants": variants})
