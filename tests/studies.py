"""Finished studies that several tests read: each is run once in a test session, by the worker that needs it first."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from flows.plan import lay_out
from flows.study import STEPS
from flows.study_files import study_path
from schemas import CONTRACTS, load_study
from tasks.step import parts_of
from tasks.storage.store import Store

TASKGRAM = [sys.executable, "-m", "flows.cli"]
REPOSITORY = Path(__file__).resolve().parent.parent


def taskgram(*words: str, root: Path, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Run a command as a user does, in this environment plus `environment`; returns its output, byte for byte."""
    command = [*TASKGRAM, *words, "--root", str(root)]
    run = subprocess.run(command, capture_output=True, env=os.environ | dict(environment or {}), cwd=REPOSITORY, timeout=1500)
    out, err = run.stdout.decode(), run.stderr.decode()
    assert run.returncode == code, out[-3000:] + err[-3000:]
    return out + err


class FinishedStudy:
    """A study that has been run: its tables as lists of rows."""

    def __init__(self, root: Path, study: str) -> None:
        self.root, self.study = root, study
        self.store = Store(str(root))
        self.plan = lay_out(STEPS, load_study(study_path(study)))

    def parts(self, table: str) -> Any:
        """The study's own parts of a table."""
        return next(parts_of(p.outputs)[table] for p in self.plan if table in p.outputs)

    def rows(self, table: str, **equal: Any) -> list[dict[str, Any]]:
        """The rows of a table whose columns have these values."""
        rows = self.store.read(self.parts(table), CONTRACTS[table].schema).to_pylist()
        return [r for r in rows if all(r[k] == v for k, v in equal.items())]


def finished_study(folder: Path, study: str) -> FinishedStudy:
    """Run a shipped study below `folder`, unless another worker has; it waits for one that is running.

    TASKGRAM_TEST_ROOT names a folder in place of `folder` that is kept, so that a failing run can be inspected and resumed.
    """
    root = Path(os.environ.get("TASKGRAM_TEST_ROOT") or folder) / study
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        finished = root.with_suffix(".finished")
        if not finished.exists():
            began = time.monotonic()
            printed = taskgram("run", study, root=root)
            print(f"\n{study}: {time.monotonic() - began:.0f} s\n{printed}")
            finished.touch()
    return FinishedStudy(root, study)
