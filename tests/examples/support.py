"""What the tests of readers share: writing task files, and reading them as a study does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from schemas import Study
from tasks.examples.read import READ
from tasks.storage.store import Store
from tests.support import read_rows, run_step

DATA = Path(os.environ.get("TASKGRAM_DATA") or Path(__file__).parents[3] / "shared" / "data")
real = pytest.mark.skipif(not (DATA / "tasks").is_dir(), reason=f"no real task files in {DATA}; set TASKGRAM_DATA")


def study(folder: Path, splits: dict[str, Any] | None = None, **task: Any) -> Study:
    """A study with one task over the files of a folder."""
    task = {"name": "t", "family": "qa", "evaluate": ["a*"], **task}
    return Study.model_validate(
        {"name": "s", "data": str(folder), "corpus": {"planted": {}}, "tasks": [task], "splits": splits or {}}
    )


def read(root: Path, settings: Study, inputs: tuple = ()) -> tuple[list[dict], list[dict], dict]:
    """(examples, rejects, sums) of the one task."""
    tables = run_step(READ, settings, root, {"planted_files": inputs})
    sums = Store(str(root)).footer(tables["examples"][0])["sums"]
    return read_rows(root, tables["examples"]), read_rows(root, tables["example_rejects"]), sums


def json_lines(records: list) -> str:
    """A file of these records."""
    return "".join(json.dumps(r) + "\n" for r in records)


def read_files(folder: Path, files: dict[str, bytes | str | list], **task: Any) -> tuple[list[dict], list[dict], dict]:
    """Evaluated examples, their rejects, and sums of a task over these files; a list is written as JSON lines."""
    for name, content in files.items():
        if isinstance(content, list):
            content = json_lines(content)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    examples, rejects, sums = read(folder / "root", study(folder, **{"evaluate": list(files), **task}))
    return [e for e in examples if e["split"] == "evaluate"], [r for r in rejects if r["split"] == "evaluate"], sums


def reasons(rejects: list[dict]) -> dict[int, str]:
    """Why, by row."""
    return {r["row"]: r["reason"] for r in rejects}
