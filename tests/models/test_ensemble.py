"""Runs of an ensemble: equal steps, other seeds, the same bytes after a kill, scores that the saved weights give again."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import Study, StudyError
from tasks.corpus.encode import TOKENIZER
from tasks.corpus.planted.plant import PLANT
from tasks.memorization.membership import MEMBERSHIP_STEP
from tasks.models import ensemble
from tasks.models.ensemble import ENSEMBLE, RunData, parameters_of
from tasks.models.language_model import SavedModel
from tasks.models.load import load
from tasks.models.score_sequences import score_windows
from tests.models import small
from tests.support import read_rows, run_step, write_part

CORPUS = {"dense": 10, "rare": 0, "rings": 1, "twins": [1], "canaries": 5, "mismatches": 0, "dense_copies": 0, "canary_copies": 2}
CORPUS |= {"copies": [4], "rule": 0, "prefix": 4, "suffix": 4, "words": 64}
SHAPE = {"name": "w", "hidden": 16, "layers": 1, "batch": 4, "epochs": 8, "checkpoints": [0.1, 1.0]}
Tables = dict[str, Any]


def study(**changes: Any) -> Study:
    membership = {"runs": 4, "models": [SHAPE | changes]}
    return Study.model_validate({"name": "s", "corpus": {"controlled": CORPUS}, "membership": membership})


def inputs(root: Path) -> Tables:
    tables = run_step(PLANT, study(), root, {})
    tables |= run_step(TOKENIZER, study(), root, {"documents": ()} | tables)
    return tables | run_step(MEMBERSHIP_STEP, study(), root, tables)


def train(root: Path, **changes: Any) -> Tables:
    return run_step(ENSEMBLE, study(**changes), root, inputs(root))


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    root = tmp_path_factory.mktemp("once")
    return root, train(root, keep=1)


def test_runs_have_equal_steps_and_seeds_of_their_own(once: tuple[Path, Tables]) -> None:
    runs, scores = (read_rows(once[0], once[1][table]) for table in ("ensemble_runs", "ensemble_scores"))
    assert len({r["steps"] for r in runs}) == 1 and runs[0]["steps"] == study().membership.models[0].steps(10.0)
    assert len({r["instances"] for r in runs}) > 1
    assert len({s for r in runs for s in (r["seed"], r["order_seed"])}) == 8
    assert not any(r["diverged"] for r in runs) and runs[0]["parameters"] == parameters_of(study().membership.models[0], 65)
    names = {s["sequence"] for s in read_rows(once[0], once[1]["controlled_sequences"])}
    wanted = {(run, step) for run in range(4) for step in (2, runs[0]["steps"])}
    assert Counter((s["run"], s["checkpoint"]) for s in scores) == dict.fromkeys(wanted, len(names))


def test_saved_weights_give_the_same_scores(once: tuple[Path, Tables]) -> None:
    (kept,) = (r for r in read_rows(once[0], once[1]["ensemble_runs"]) if r["path"])
    assert kept["run"] == 0
    model = load(SavedModel(once[0] / kept["path"]), "w")
    ids = [np.array(s["ids"]) for s in read_rows(once[0], once[1]["controlled_sequences"])]
    again = score_windows(model, ids, [], 4096)
    scores = [s for s in read_rows(once[0], once[1]["ensemble_scores"]) if (s["run"], s["checkpoint"]) == (0, kept["steps"])]
    assert [s["log_p"] for s in scores] == pytest.approx(again["log_probabilities"][:, 4:].sum(axis=1), abs=1e-4)
    assert [s["hits"] for s in scores] == (again["ranks"][:, 4:] == 1).tolist()


def test_each_epoch_has_every_instance_once_behind_an_end_of_document() -> None:
    data = RunData(np.arange(1, 7).reshape(3, 2), np.array([1, 0, 3]), 0, 5)
    rows = np.concatenate([data.windows(step, 3, 2) for step in range(8)])
    assert (rows[:, 0] == 0).all()
    for epoch in rows.reshape(6, 4, 3):
        assert Counter(epoch[:, 1].tolist()) == {1: 1, 5: 3}
    assert (RunData(np.arange(1, 7).reshape(3, 2), np.array([1, 0, 3]), 0, 5).windows(6, 3, 2) == rows[18:21]).all()


@pytest.mark.parametrize("killed_at", [15, 60])
def test_a_killed_part_goes_on_to_the_same_bytes(
    killed_at: int, once: tuple[Path, Tables], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its first run, and in its third; neither a finished run nor the beginning of the killed one is trained again."""
    steps = small.count_steps(monkeypatch, killed_at)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, keep=1, save_every=1e-6)
    tables = train(tmp_path, keep=1, save_every=1e-6)
    total = 4 * read_rows(tmp_path, tables["ensemble_runs"])[0]["steps"]
    assert steps[0] <= total + 2
    assert read_rows(tmp_path, tables["ensemble_scores"]) == read_rows(once[0], once[1]["ensemble_scores"])
    folder = tmp_path / "ensemble_runs" / "files" / tables["ensemble_runs"][0].key
    assert [p.name for p in folder.iterdir()] == ["run-00000"], "only the weights that the study names are left"


@pytest.mark.parametrize("killed_at", [0, 12])
def test_runs_in_a_stack_are_those_of_the_loop(
    killed_at: int, once: tuple[Path, Tables], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: one job for all blocks of runs, scores alike but for rounding, the same steps and seeds; also after a kill."""
    steps = small.count_steps(monkeypatch, killed_at)
    monkeypatch.setattr(ensemble, "STACKED_ON", "cpu")
    two = study(keep=1, save_every=1e-6)
    two = two.model_copy(update={"membership": two.membership.model_copy(update={"runs": 8})})
    tables = {"tokenizer": once[1]["tokenizer"], "controlled_sequences": once[1]["controlled_sequences"]}
    shutil.copytree(once[0], tmp_path, dirs_exist_ok=True, ignore=lambda folder, names: [n for n in names if "ensemble" in n])
    tables |= run_step(MEMBERSHIP_STEP, two, tmp_path, tables)
    if killed_at:
        with pytest.raises(KeyboardInterrupt):
            run_step(ENSEMBLE, two, tmp_path, tables)
    made = run_step(ENSEMBLE, two, tmp_path, tables)
    (part,) = made["ensemble_runs"]
    assert part.labels["runs"] == "0-7"
    runs, before = (read_rows(root, of["ensemble_runs"]) for root, of in ((tmp_path, made), once))
    assert steps[0] <= runs[0]["steps"] + 2, "one step for all runs"
    for run, alone in zip(runs, before, strict=False):
        assert run["loss"] == pytest.approx(alone["loss"], abs=1e-4)
        assert {k: v for k, v in run.items() if k not in ("loss", "path", "sha256")} == {
            k: alone[k] for k in run if k not in ("loss", "path", "sha256")
        }
    scores, others = (read_rows(root, of["ensemble_scores"]) for root, of in ((tmp_path, made), once))
    wanted = {(s["run"], s["checkpoint"], s["sequence"]): s["log_p"] for s in others}
    assert len(scores) == 2 * len(wanted)
    got = {(s["run"], s["checkpoint"], s["sequence"]): s["log_p"] for s in scores if s["run"] < 4}
    assert got == pytest.approx(wanted, abs=0.02)
    folder = tmp_path / "ensemble_runs" / "files" / part.key
    assert [p.name for p in folder.iterdir()] == ["run-00000"], "nothing but the weights that the study names"


def test_a_run_that_diverged_is_a_row_without_scores(tmp_path: Path) -> None:
    tables = train(tmp_path, learning_rate=1e30)
    runs = read_rows(tmp_path, tables["ensemble_runs"])
    assert [(r["diverged"], r["loss"]) for r in runs] == [(True, None)] * 4
    assert read_rows(tmp_path, tables["ensemble_scores"]) == []


def test_a_run_without_any_sequence_is_named(tmp_path: Path) -> None:
    tables = inputs(tmp_path)
    rows = read_rows(tmp_path, tables["membership"])
    for r in rows:
        r |= {"copies": 0} if r["run"] == 1 else {}
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    tables["membership"] = (write_part(tmp_path, "membership", columns, {"runs": "0-3"}),)
    with pytest.raises(StudyError, match="run 1 is trained on nothing"):
        run_step(ENSEMBLE, study(), tmp_path, tables)
