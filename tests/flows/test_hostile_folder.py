"""Commands in a working folder that interferes: none executes or obeys a file of it, or what was set for another Prefect server."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

import pytest

import taskgram
from flows.commands.arguments import parser
from flows.environment import isolated
from tests.flows import hostile
from tests.studies import REPOSITORY
from tests.support import NOTES, write_corpus

ROOT = ("--root", "ROOT")
COMMANDS = {  # in their order; those that end with 1 say why: the study has no task. `serve` runs in such a folder in test_serve.py
    "init": (["mine"], 0),
    "words": (["don't stop"], 0),
    "plan": (["small.toml", *ROOT], 0),
    "run": (["small.toml", *ROOT], 0),
    "status": (["small.toml", "--json", *ROOT], 0),
    "count": (["small.toml", "w1", *ROOT], 0),
    "report": (["small.toml", *ROOT], 0),
    "trace": (["small.toml", "none/1", *ROOT], 1),
    "prompts": (["small.toml", "--task", "none", "--candidates", "prompts.txt", *ROOT], 1),
    "validate": (["small.toml", *ROOT], 0),
    "clean": (["small.toml", *ROOT], 0),
}


@pytest.mark.slow
def test_every_command_works_in_a_folder_of_a_prefect_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working, executed = hostile.folder(tmp_path)
    write_corpus(working, [20], words=20, length=8, seed=1)
    (working / "small.toml").write_text('name = "small"\nworkers = 1\n' + NOTES)
    (working / "prompts.txt").write_text("Where is {input}?")
    printed = {}
    for command, (words, status) in COMMANDS.items():
        ran = subprocess.run(
            [*hostile.TASKGRAM, command, *(str(tmp_path / "root") if w == "ROOT" else w for w in words)],
            cwd=working,
            env=hostile.environment(),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == status, f"{command}: {ran.stdout}{ran.stderr}"
        assert "internal error" not in ran.stderr and "Traceback" not in ran.stderr
        printed[command] = ran.stdout + ran.stderr
    assert not list(executed.iterdir())
    assert {s["state"] for s in json.loads(printed["status"])["steps"]} == {"done"}
    assert "documents" in printed["count"]
    monkeypatch.chdir(working)
    assert set(taskgram.run("small.toml", tmp_path / "root").status()["state"]) == {"done"}
    assert not list(executed.iterdir()), "from Python, too"


def test_no_command_is_left_out() -> None:
    commands = next(a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(commands) == {*COMMANDS, "serve"}


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
