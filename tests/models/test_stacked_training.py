"""Runs that are trained in one stack are those of a loop, resume together to the same bytes, and do not disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.models.ensemble import RunData, ScoredTraining
from tasks.models.load import repeatable
from tasks.models.stacked_training import StackedData, StackedTraining

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(0).integers(1, 65, (24, 8))
SETTINGS: dict[str, Any] = {"hidden": 16, "layers": 2, "heads": 2, "batch": 4, "learning_rate": 0.01, "weight_decay": 0.1}
SETTINGS |= {"warmup": 0.1, "steps": 40, "kept": [4, 40], "context": 8, "save_every": 1e9}
TOKENIZER = {"vocabulary_size": 65, "end_of_document": 0, "json": "{}"}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    with repeatable("cpu"):
        yield


def trainings(folder: Path, number: int = 3, **changes: Any) -> tuple[list[ScoredTraining], list[RunData]]:
    made, data = [], []
    for run in range(number):
        (folder / str(run)).mkdir(parents=True, exist_ok=True)
        training = ScoredTraining(f"run {run}", SETTINGS | {"seed": run} | changes, folder / str(run), TOKENIZER, "cpu")
        training.sequences, training.prefix, training.keeps = np.insert(IDS, 0, 0, axis=1), 4, run == 1
        made.append(training)
        data.append(RunData(IDS, (np.arange(24) % 3 != run).astype(np.int64) * (1 + run), 0, 10 + run))
    return made, data


def scores(folder: Path, run: int, step: int = 40) -> np.ndarray:
    return np.load(folder / str(run) / f"scores-{step}.npz")["log_p"]


def test_a_stack_is_a_loop_over_its_runs(tmp_path: Path) -> None:
    alone, data = trainings(tmp_path / "loop")
    for training, rows in zip(alone, data, strict=True):
        training.run(rows)
    stacked, data = trainings(tmp_path / "stack")
    stack = StackedTraining(stacked, tmp_path / "stack")
    stack.run(StackedData(data))
    assert not stack.failed
    for run in range(3):
        assert stacked[run].losses.numpy() == pytest.approx(alone[run].losses.numpy(), abs=1e-5)
        for step in (4, 40):
            assert scores(tmp_path / "stack", run, step) == pytest.approx(scores(tmp_path / "loop", run, step), abs=1e-3)
    assert scores(tmp_path / "stack", 0).std() > 5 * scores(tmp_path / "stack", 0, 4).std(), "it has learnt something"
    assert [p.parent.name for p in (tmp_path / "stack").glob("*/step-*")] == ["1"], "weights are of the run that keeps them"


@pytest.mark.parametrize("killed_at", [3, 25])
def test_a_killed_stack_resumes_to_the_same_bytes(killed_at: int, tmp_path: Path) -> None:
    class Killed(RunData):
        def windows(self, step: int, batch: int, context: int) -> np.ndarray:
            if step == killed_at:
                raise InterruptedError
            return super().windows(step, batch, context)

    whole, data = trainings(tmp_path / "whole")
    StackedTraining(whole, tmp_path / "whole").run(StackedData(data))
    for attempt in range(2):
        again, data = trainings(tmp_path / "again", save_every=0)
        if not attempt:
            data[2].__class__ = Killed
            with pytest.raises(InterruptedError):
                StackedTraining(again, tmp_path / "again").run(StackedData(data))
            continue
        stack = StackedTraining(again, tmp_path / "again")
        stack._resume()
        assert stack.step == killed_at, "it began again"
        stack.run(StackedData(data))
    for run in range(3):
        assert (scores(tmp_path / "again", run) == scores(tmp_path / "whole", run)).all()
        assert (again[run].losses == whole[run].losses).all()


def test_a_run_that_diverges_changes_no_other(tmp_path: Path) -> None:
    import torch

    whole, data = trainings(tmp_path / "whole")
    StackedTraining(whole, tmp_path / "whole").run(StackedData(data))
    broken, data = trainings(tmp_path / "broken")
    with torch.no_grad():
        next(iter(broken[0].parameters.values())).fill_(float("nan"))
    stack = StackedTraining(broken, tmp_path / "broken")
    stack.run(StackedData(data))
    assert list(stack.failed) == [0] and "run 0: the loss is not finite at step 1" in str(stack.failed[0]).replace("'", "")
    assert not list((tmp_path / "broken" / "0").glob("scores-*"))
    for run in (1, 2):
        assert (scores(tmp_path / "broken", run) == scores(tmp_path / "whole", run)).all()
