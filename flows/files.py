"""Where studies and reports are found on disk."""

from __future__ import annotations

import difflib
import shutil
import uuid
from importlib import resources
from pathlib import Path

from flows.plan import PlannedStep
from schemas import StudyError
from tasks.dataset import Store


def shipped_studies() -> dict[str, Path]:
    """The studies that come with taskgram, by name."""
    folder = resources.files("studies")
    return {Path(str(f)).stem: Path(str(f)) for f in folder.iterdir() if f.name.endswith(".toml")}


def study_path(name: str) -> Path:
    """A study file, or the shipped study of that name. Raises StudyError that names what is there."""
    path, shipped = Path(name), shipped_studies()
    if path.suffix == ".toml" or path.exists():
        if path.is_file():
            return path
        raise StudyError(f"{name}: no such study file. `taskgram init NAME` writes one to start from.")
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the shipped studies are {', '.join(sorted(shipped))}"
    raise StudyError(f"{name!r} is neither a file nor a shipped study; {hint}")


def report_folder(store: Store, study: str) -> Path:
    """Where a study's report is read."""
    return Path(store.base) / "reports" / study


def publish_report(plan: list[PlannedStep], store: Store, study: str) -> Path:
    """Copy the newest report to its readable place, whole or not at all; returns the page's path."""
    outputs = next(p for p in plan if p.step.name == "report").outputs
    parts, target = [p for found in outputs.values() for p in found], report_folder(store, study)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{study}.{uuid.uuid4().hex}")
    for part in parts:
        shutil.copytree(store.folder(part.table, part.key), fresh, dirs_exist_ok=True)
    if target.exists():
        old = target.with_name(f".{study}.{uuid.uuid4().hex}.old")
        target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old)
    else:
        fresh.rename(target)
    return (target / "index.html").resolve()
