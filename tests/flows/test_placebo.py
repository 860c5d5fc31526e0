"""A placebo corpus: the same steps, its own tables, and counts of a world that no model has seen."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.placebo import PLACEBO, STEPS_OF_A_CORPUS
from flows.plan import lay_out
from flows.study import STEPS
from schemas import CONTRACTS, Study
from schemas.tables.placebo_tables import PLACEBO_TABLES, PREFIX
from tasks.corpus.planted.plant import PLANT
from tasks.corpus.planted.world import World
from tasks.ngrams.query.query import QUERY
from tests.corpus.test_planted import SMALL as WORLD
from tests.flows.test_plan import SMALL, keys
from tests.ngrams.corpus import write_corpus
from tests.ngrams.test_query import write_tasks
from tests.support import read_rows, run_step


def study_of(placebo: Any, **changes: object) -> Study:
    return Study.model_validate({"name": "s", "seed": 3, "corpus": {"planted": WORLD}, "placebo": placebo, **changes})


def test_the_placebo_counts_are_those_of_the_world_drawn_again(tmp_path: Path) -> None:
    """Counted in the text of the placebo, for every pair of the study's own truth; as the plan of the redrawn world says."""
    study = study_of({"planted": {}})
    tables = run_step(PLACEBO, study, tmp_path, run_step(PLANT, study, tmp_path, {}))
    counted = {
        (r["input_ngram"], r["output_ngram"]): r["documents"] for r in read_rows(tmp_path, tables["placebo_pair_counts"])
    }
    again, instead = World(study.corpus.planted, study.seed), study.of_placebo()  # type: ignore[arg-type]
    assert instead is not None and instead.corpus.planted is not None
    drawn = World(instead.corpus.planted, study.seed).truth()
    assert {(r.input_ngram, r.output_ngram): r.pair_documents for r in drawn} == counted
    own = [r.pair_documents for r in again.truth()]
    assert [r.pair_documents for r in drawn] != own
    documents = sum(p.labels["source"] == "planted" for p in tables["placebo_documents"])
    assert documents == WORLD["shards"], "as many files as the corpus has"


def test_a_redrawn_world_keeps_names_questions_and_frequencies() -> None:
    """Only which pair is stated how often is another; P stays as little tied to df(s_x) and df(s_y) as it was."""
    study = study_of({"planted": {}})
    instead = study.of_placebo()
    assert study.corpus.planted and instead and instead.corpus.planted
    own, drawn = World(study.corpus.planted, 3), World(instead.corpus.planted, 3)
    asked = [{t: [(r["id"], r["input"], r["output"]) for r in rows] for t, rows in w.tasks().items()} for w in (own, drawn)]
    for task in ("facts", "recall", "rules"):
        assert asked[0][task] == asked[1][task]
    facts = [[r for r in w.truth() if r.task == "facts"] for w in (own, drawn)]
    assert [(r.pair, r.input_documents, r.output_documents) for r in facts[0]] == [
        (r.pair, r.input_documents, r.output_documents) for r in facts[1]
    ]
    p = [np.array([r.pair_documents / r.input_documents for r in rows]) for rows in facts]
    assert sorted(p[0]) == sorted(p[1])
    assert abs(np.corrcoef(*p)[0, 1]) < 0.35
    assert np.cov(p[1], [r.input_documents for r in facts[1]])[0, 1] == pytest.approx(0, abs=1e-9)
    recall = [[r for r in w.truth() if r.task == "recall"] for w in (own, drawn)]
    assert sorted(r.exposures for r in recall[0]) == sorted(r.exposures for r in recall[1])
    assert abs(np.corrcoef(*[[r.exposures for r in rows] for rows in recall])[0, 1]) < 0.6


def test_a_placebo_of_files_counts_as_the_corpus_does(tmp_path: Path) -> None:
    """Documents from files, cut into pieces or not, and counted as `query` counts them."""
    documents = [["ape", "bat", "zoo"], ["ape", "zoo"], ["bat"], ["zoo", "ape"]]
    lines = [json.dumps({"id": f"d{i}", "text": " ".join(words)}) for i, words in enumerate([*documents, documents[0]])]
    lines[-1] = lines[0]  # an id that stands there already
    (tmp_path / "other.jsonl").write_text("\n".join(lines) + "\n")
    source = {"name": "other", "files": ["other.jsonl"]}
    study = study_of({"sources": [source]}, data=str(tmp_path))
    asked = write_tasks(tmp_path, [("ape", "zoo"), ("bat", "zoo"), ("ape", "cow")], [(["ape"], ["zoo"], "x", "y")])
    tables = run_step(PLACEBO, study, tmp_path, asked)
    expected = run_step(QUERY, study, tmp_path, write_corpus(tmp_path, documents) | asked)
    for table in ("pair_counts", "ngram_stats"):
        assert read_rows(tmp_path, tables[PREFIX + table]) == read_rows(tmp_path, expected[table])
    assert [r["reason"] for r in read_rows(tmp_path, tables["placebo_document_rejects"])] == [
        "the id 'd0' stands in this file already"
    ]


def jobs(settings: dict[str, Any]) -> dict[str, int]:
    plan = lay_out(STEPS, Study.model_validate(settings))
    return {p.step.name: sum(len(s.jobs) for s in p.stages) for p in plan}


def test_a_study_that_names_no_placebo_has_no_parts_of_one() -> None:
    assert jobs(SMALL)["placebo"] == 0


def test_naming_a_placebo_changes_what_is_measured_and_nothing_else() -> None:
    named = copy.deepcopy(SMALL) | {"placebo": {"planted": {"shards": 2}}}
    before, after = keys(SMALL), keys(named)
    assert {step for step in after if after[step] != before[step]} == {"placebo", "measure", "report"}
    assert len(after["measure"] - before["measure"]) == len(SMALL["tasks"]), "one part a task"
    assert jobs(named)["placebo"] == 2 + 2 + 2 + 2 + 1  # files, documents, words, counts; their sum


def test_a_newer_version_of_a_step_is_one_of_the_placebo_s_too() -> None:
    study = Study.model_validate(SMALL | {"placebo": {"planted": {}}})
    (planned,) = [p for p in lay_out(STEPS, study) if p.step.name == "placebo"]
    said = {tuple(job.job.settings["of_step"]) for stage in planned.stages for job in stage.jobs}
    assert said == {(s.name, s.version) for s in STEPS_OF_A_CORPUS if s.name != "ids"}


def test_contracts_of_the_placebo_speak_of_its_own_tables() -> None:
    """A balance that compared the placebo's pairs with the corpus' n-grams would hold for neither."""
    for contract in PLACEBO_TABLES.values():
        text = " ".join(f"{b.left} {b.right}" for b in contract.balances)
        read = {word for before, word in zip(text.split(), text.split()[1:], strict=False) if before in ("FROM", "JOIN")}
        known = {word.strip("()") for word in read} & set(CONTRACTS)
        assert all(table.startswith(PREFIX) for table in known), contract.name
        assert known or not contract.balances


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"corpus": {"planted": {}}, "placebo": {"planted": {"lexicon": 40}}}, r"placebo\.planted\.lexicon"),
        ({"corpus": {"planted": {"redrawn": True}}}, r"corpus\.planted\.redrawn"),
        (
            {"corpus": {"sources": [{"name": "a", "files": ["a"]}]}, "placebo": {"planted": {}}},
            r"name \[\[placebo\.sources\]\]",
        ),
        (
            {"corpus": {"planted": {}}, "placebo": {"sources": [{"name": "a", "files": ["a"]}] * 2}},
            r"placebo\.sources.*duplicate",
        ),
        (
            {"corpus": {"planted": {}}, "placebo": {"sources": [{"name": "a", "files": ["a"], "held_out": "s"}]}},
            r"splits\.s",
        ),
    ],
)
def test_a_placebo_that_cannot_be_is_an_error_that_says_why(study: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Study.model_validate({"name": "s", **study})
