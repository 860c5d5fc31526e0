"""One trial: a small study is run as a user runs it, disturbed at a drawn moment, and run once more; what came of it is counted.

Moments are drawn by what is finished, not by the clock, so that they mean the same on a slow machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
STUDIES = {name: Path(__file__).with_name(f"{name}.toml") for name in ("counted", "memorized", "trained")}
MARK = "TASKGRAM_TRIAL"
PATIENCE = 1200.0  # for a run on a machine that does much else
SECONDS_TO_VANISH = 20.0


class Run:
    """`taskgram run` of a study in a process of its own; all that it starts carries its mark."""

    study = STUDIES["counted"]

    def __init__(self, root: Path, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self.root, self.mark = root, uuid.uuid4().hex
        self.log = root.parent / f"{root.name}-{self.mark[:6]}.log"
        kept = {k: v for k, v in os.environ.items() if k not in ("PREFECT_API_URL", "DASK_SCHEDULER_ADDRESS")}
        own = {MARK: self.mark, "PYTHONPATH": str(REPOSITORY)}
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "run", str(self.study), "--root", str(root), *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=kept | own | dict(environment or {}),
            )

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self) -> int:
        """Wait for its end; the exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it hangs: {self.printed()}") from None

    def printed(self) -> str:
        """What it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def processes(self, word: str = "") -> list[psutil.Process]:
        """All that was started by it and still is there, the run itself included."""
        return [p for p in psutil.process_iter() if _belongs(p, self.mark, word)]

    def left(self) -> list[str]:
        """Processes that outlive it. They are ended here."""
        began = time.monotonic()
        while (found := self.processes()) and time.monotonic() - began < SECONDS_TO_VANISH:
            time.sleep(0.2)
        words = [" ".join(p.cmdline())[:120] for p in found if p.is_running()]
        for process in found:
            process.kill()
        return words


def _belongs(process: psutil.Process, mark: str, word: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.environ().get(MARK) != mark:
            return False
        return word in " ".join(process.cmdline())
    except (psutil.Error, OSError):
        return False


@dataclass
class State:
    """What is finished under a root: time and hash of every part and every file next to one, and what each manifest lists."""

    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    manifests: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> State:
        found = cls()
        for kind in ("[!.]*/parts/*", "[!.]*/files/**/*"):
            for path in root.glob(kind):
                if path.is_file() and not path.name.endswith(".tmp"):
                    stat, sha256 = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
                    found.files[str(path.relative_to(root))] = (stat.st_mtime_ns, sha256)
        for path in root.glob("*/manifests/*.json"):
            listed = json.loads(path.read_text(encoding="utf-8"))["parts"]
            found.manifests[str(path.relative_to(root))] = [(e["key"], e["sha256"], e["rows"]) for e in listed]
        return found


def finished(root: Path) -> list[Path]:
    """The parts that are there."""
    return sorted(root.glob("[!.]*/parts/*.parquet"))


def temporaries(root: Path) -> list[str]:
    """What should not be there once nothing runs."""
    kinds = ("**/*.tmp", ".leases/*/*", ".scratch/*", "reports/.*", ".dask/*/worker-*", "*/parts/*.damaged", "*/files/*.damaged")
    return sorted({str(p.relative_to(root)) for kind in kinds for p in root.glob(kind)})


@dataclass
class Trial:
    """What a fault is given: where to run, what to draw from, and an undisturbed root to compare with."""

    root: Path
    whole: Path
    draw: random.Random
    parts: int
    before: State = field(default_factory=State)  # what was finished when the fault came
    excused: set[str] = field(default_factory=set)  # keys of parts that the fault itself destroyed; one job makes all of a key
    words: tuple[str, ...] = ()  # further arguments of the second run
    again: Mapping[str, str] = field(default_factory=dict)  # environment of the second run
    left: list[str] = field(default_factory=list)  # processes that outlived the disturbed run
    cleanup: list[Callable[[], object]] = field(default_factory=list)

    def wait(self, run: Run, least: int = 0) -> None:
        """Until a drawn number of parts is finished, and a moment more."""
        wanted, beyond = self.draw.randint(least, self.parts - 1), self.draw.uniform(0, 0.5)
        began = time.monotonic()
        while run.runs and len(finished(self.root)) < wanted:
            assert time.monotonic() - began < PATIENCE, f"it hangs: {run.printed()}"
            time.sleep(0.05)
        time.sleep(beyond)

    def seen(self) -> None:
        """Keep in mind what is finished now."""
        self.before = State.of(self.root)


@dataclass(frozen=True)
class Result:
    """What a trial came to. All but the seconds should be nothing."""

    fault: str
    seed: int
    finished: int  # parts, when the fault came
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    differing: tuple[str, ...]
    temporaries: tuple[str, ...]
    processes: tuple[str, ...]
    seconds: float  # of the second run

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.differing or self.temporaries or self.processes)


def undisturbed(root: Path) -> Path:
    """Run the study with nothing in its way; returns its root."""
    if not (root / "reports" / Run.study.stem / "index.html").exists():
        run = Run(root)
        assert run.end() == 0, run.printed()
        assert not run.left() and not temporaries(root)
    return root


def attempt(name: str, fault: Callable[[Trial], None], seed: int, root: Path, whole: Path) -> Result:
    """Disturb, run once more, compare. Raises AssertionError where the second run does not end well."""
    wanted = State.of(whole)
    trial = Trial(root, whole, random.Random(f"{name} {seed}"), len(finished(whole)))
    try:
        fault(trial)
        began = time.monotonic()
        run = Run(root, *trial.words, environment=trial.again)
        assert run.end() == 0, run.printed()
        seconds = time.monotonic() - began
    finally:
        for clean in trial.cleanup:
            clean()
    found = State.of(root)
    before = trial.before.files
    kept = {p: seen for p, seen in before.items() if Path(_part_of(p)).stem not in trial.excused and _part_of(p) in before}
    changed = [p for p, (_, sha256) in kept.items() if found.files.get(p, (0, ""))[1] != sha256]
    again = [p for p in kept if p not in changed and found.files[p] != kept[p]]
    other = [p for p, (_, sha256) in wanted.files.items() if found.files.get(p, (0, ""))[1] != sha256]
    other += [m for m, parts in wanted.manifests.items() if found.manifests.get(m) != parts]
    more = sorted(found.files.keys() - wanted.files.keys())
    return Result(
        name,
        seed,
        finished=len([p for p in trial.before.files if "/parts/" in p]),
        lost=tuple(changed),
        duplicated=(*more, *again),
        differing=tuple(other),
        temporaries=tuple(temporaries(root)),
        processes=(*trial.left, *run.left()),
        seconds=seconds,
    )


def _part_of(path: str) -> str:
    """The part that a file belongs to, or is; the file is finished when the part is."""
    table, kind, name, *_ = path.split("/")
    return path if kind == "parts" else f"{table}/parts/{name}.parquet"


def copied(trial: Trial) -> None:
    """Begin with a finished root instead of an empty one."""
    shutil.copytree(trial.whole, trial.root, dirs_exist_ok=True)
    trial.seen()
