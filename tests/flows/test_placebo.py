"""A placebo corpus: the same steps, parts labelled corpus=placebo, and counts of a world that no model has seen."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.plan import lay_out
from flows.study import STEPS
from schemas import CONTRACTS, Study
from tasks.corpus.encode import WORDS
from tasks.corpus.ingest import IDS, INGEST
from tasks.corpus.planted.plant import PLANT
from tasks.corpus.planted.world import World
from tasks.ngrams.query.query import QUERY
from tasks.step import PLACEBO, Inputs, Step, parts_of, parts_of_placebo
from tasks.storage.store import Part, Store
from tests.corpus.test_planted import SMALL as WORLD
from tests.flows.test_plan import SMALL, keys
from tests.ngrams.corpus import write_corpus
from tests.ngrams.test_query import write_tasks
from tests.rules import check_rules
from tests.support import read_rows, run_step, write_part

STEPS_OF_A_CORPUS = (PLANT, IDS, INGEST, WORDS, QUERY)


def study_of(placebo: Any, **changes: object) -> Study:
    return Study.model_validate({"name": "s", "seed": 3, "corpus": {"planted": WORLD}, "placebo": placebo, **changes})


def counted_in_both(study: Study, root: Path, tables: Inputs, steps: Sequence[Step] = STEPS_OF_A_CORPUS) -> dict[str, Any]:
    """The tables of the steps that count pairs in a corpus; every contract is checked with both corpora in one table."""
    for step in steps:
        tables = run_step(step, study, root, tables)
    return dict(tables)


def pair_counts(root: Path, tables: Inputs) -> dict[tuple[str, str], int]:
    return {(r["input_ngram"], r["output_ngram"]): r["documents"] for r in read_rows(root, tables["pair_counts"])}


def test_the_placebo_counts_are_those_of_the_world_drawn_again(tmp_path: Path) -> None:
    """Counted in the text of the placebo, for every pair of the study's own truth; as the plan of the redrawn world says."""
    study = study_of({"planted": {}})
    tables = counted_in_both(study, tmp_path, {})
    own, placebo = parts_of(tables), parts_of_placebo(tables)
    counted = pair_counts(tmp_path, placebo)
    again, instead = World(study.corpus.planted, study.seed), study.of_placebo()  # type: ignore[arg-type]
    assert instead is not None and instead.corpus.planted is not None
    drawn = World(instead.corpus.planted, study.seed).truth()
    assert {(r.input_ngram, r.output_ngram): r.pair_documents for r in drawn} == counted
    assert {(r.input_ngram, r.output_ngram): r.pair_documents for r in again.truth()} == pair_counts(tmp_path, own) != counted
    assert len(placebo["documents"]) == len(own["documents"]) == WORLD["shards"], "as many files as the corpus has"


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
    lines[-1] = lines[0]  # a duplicate id
    (tmp_path / "other.jsonl").write_text("\n".join(lines) + "\n")
    source = {"name": "other", "files": ["other.jsonl"]}
    study = study_of({"sources": [source]}, data=str(tmp_path))
    asked = write_tasks(tmp_path, [("ape", "zoo"), ("bat", "zoo"), ("ape", "cow")], [(["ape"], ["zoo"], "x", "y")])
    placebo = parts_of_placebo(counted_in_both(study, tmp_path, asked, STEPS_OF_A_CORPUS[1:]))
    without = study.model_copy(update={"placebo": None})
    expected = run_step(QUERY, without, tmp_path, write_corpus(tmp_path, documents) | asked)
    for table in ("pair_counts", "ngram_stats"):
        assert read_rows(tmp_path, placebo[table]) == read_rows(tmp_path, expected[table])
    assert [r["reason"] for r in read_rows(tmp_path, placebo["document_rejects"])] == [
        "the id 'd0' occurs in an earlier row of this file"
    ]


def placebo_jobs(settings: dict[str, Any]) -> dict[str, int]:
    plan = lay_out(STEPS, Study.model_validate(settings))
    every = {p.step.name: [j for s in p.stages for j in s.jobs if j.job.labels.get("corpus") == PLACEBO] for p in plan}
    return {step: len(found) for step, found in every.items() if found}


def test_a_study_that_names_no_placebo_has_no_parts_of_one() -> None:
    assert placebo_jobs(SMALL) == {}


def test_naming_a_placebo_changes_what_is_measured_and_nothing_else() -> None:
    """Every part of the corpus, the tasks and the models keeps its key; the evidence of pairs, and what reads it, has new ones."""
    named = copy.deepcopy(SMALL) | {"placebo": {"planted": {"shards": 2}}}
    before, after = keys(SMALL), keys(named)
    assert all(before[step] <= after[step] for step in before if step not in ("evidence", "measure", "report"))
    assert placebo_jobs(named) == {"plant": 2, "ingest": 2, "words": 2, "query": 2 + 1}
    new = {step: len(after[step] - before[step]) for step in after if after[step] - before[step]}
    assert {step: n for step, n in new.items() if step not in ("evidence", "measure", "report")} == placebo_jobs(named)
    assert new["evidence"] == len(SMALL["tasks"]), "the pairs of each task"


def test_only_the_steps_of_a_corpus_and_the_evidence_see_a_placebo() -> None:
    """No model is trained on it, no n-gram of it is counted for the report, no question is answered from it."""
    study = Study.model_validate(SMALL | {"placebo": {"planted": {}}, "variants": [{"name": "a", "stop_words": "authors"}]})
    for planned in lay_out(STEPS, study):
        for job in (job.job for stage in planned.stages for job in stage.jobs):
            read = {part.corpus for parts in job.inputs.values() for part in parts}
            if job.labels.get("corpus") == PLACEBO:
                assert planned.step in STEPS_OF_A_CORPUS
            else:
                assert read <= {""} or planned.step.name == "evidence", (planned.step.name, job.name)


def test_a_placebo_s_pairs_are_checked_with_its_own_ngrams(tmp_path: Path) -> None:
    """In each part C(pair) ≤ df; compared across parts, the placebo's pair would break that rule, or hide that it is broken."""
    own, placebo = {"study": "all"}, {"study": "all", "corpus": PLACEBO}

    def problems(pair: tuple[int, int], df: tuple[int, int]) -> list[str]:
        tables: dict[str, tuple[Part, ...]] = {"pair_partials": ()}
        for labels, documents, holding in ((own, pair[0], df[0]), (placebo, pair[1], df[1])):
            rows = {"input_ngram": ["a"], "output_ngram": ["a"], "documents": [documents]}
            stats = {"ngram": ["a"], "length": [1], "occurrences": [holding], "documents": [holding]}
            key = "-".join(map(str, (*pair, *df, labels.get("corpus", "own"))))
            for table, columns in (("pair_counts", rows), ("pair_partials", rows), ("ngram_stats", stats)):
                part = write_part(tmp_path, table, columns, labels, key)
                tables[table] = (*tables.get(table, ()), part)
        return check_rules(Store(str(tmp_path)), CONTRACTS["pair_counts"], tables, CONTRACTS)

    assert problems((9, 1), (9, 1)) == []
    assert problems((1, 9), (1, 9)) == []
    assert "C(s_x, s_y)" in problems((5, 5), (9, 4))[0]


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"corpus": {"planted": {}}, "placebo": {"planted": {"lexicon": 40}}}, r"placebo\.planted\.lexicon"),
        ({"corpus": {"planted": {"redrawn": True}}}, r"corpus\.planted\.redrawn"),
        ({"corpus": {"sources": [{"name": "a", "files": ["a"]}]}, "placebo": {"planted": {}}}, r"name \[\[placebo\.sources\]\]"),
        ({"corpus": {"planted": {}}, "placebo": {"sources": [{"name": "a", "files": ["a"]}] * 2}}, r"placebo\.sources.*duplicate"),
        ({"corpus": {"planted": {}}, "placebo": {"sources": [{"name": "a", "files": ["a"], "held_out": "s"}]}}, r"splits\.s"),
    ],
)
def test_a_placebo_that_cannot_be_is_an_error_that_says_why(study: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Study.model_validate({"name": "s", **study})
