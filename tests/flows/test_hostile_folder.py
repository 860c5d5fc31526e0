"""Commands in a working folder that interferes: none executes or obeys a file of it, or what was set for another Prefect server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import taskgram
from flows.environment import isolated
from tests.flows import hostile
from tests.studies import REPOSITORY
from tests.support import NOTES, write_corpus

COMMANDS = ("plan", "run", "status", "count", "validate")
MORE = {"count": ["w1"], "status": ["--json"]}


@pytest.mark.slow
def test_every_command_works_in_a_folder_of_a_prefect_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working, executed = hostile.folder(tmp_path)
    write_corpus(working, [20], words=20, length=8, seed=1)
    (working / "small.toml").write_text('name = "small"\nworkers = 1\n' + NOTES)
    printed = {}
    for command in COMMANDS:
        ran = subprocess.run(
            [*hostile.TASKGRAM, command, "small.toml", *MORE.get(command, ()), "--root", str(tmp_path / "root")],
            cwd=working,
            env=hostile.environment(),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
        printed[command] = ran.stdout + ran.stderr
    assert not list(executed.iterdir())
    assert {s["state"] for s in json.loads(printed["status"])["steps"]} == {"done"}
    assert "documents" in printed["count"]
    monkeypatch.chdir(working)
    assert set(taskgram.run("small.toml", tmp_path / "root").status()["state"]) == {"done"}
    assert not list(executed.iterdir()), "from Python, too"


def test_another_package_called_tasks_is_named_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('imported')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    ran = subprocess.run([*hostile.TASKGRAM, "status", "sample"], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1 and f"tasks in {tmp_path / 'tasks.py'}" in ran.stderr, ran.stderr


def test_children_see_this_package_first_and_no_working_folder() -> None:
    environment = isolated({"PYTHONPATH": os.pathsep.join(["", "mine", ""])})
    paths = environment["PYTHONPATH"].split(os.pathsep)
    assert environment["PYTHONSAFEPATH"] == "1" and paths[-1] == str(Path("mine").resolve())
    assert "" not in paths and set(paths[:-1]) <= {str(REPOSITORY)}
