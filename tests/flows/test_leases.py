"""Two runs on one root: no part is computed twice, none waits for the dead, and nobody's clock matters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flows.engine import StepFailed, run_step
from flows.plan import lay_out
from flows.session import Session
from schemas import REPORT_FILES, Study, StudyError
from tasks.cluster.cluster import Cluster
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.leases import Leases
from tasks.storage.store import Store


def slow_letter(work: Work) -> None:
    letter = work.settings["letter"]
    with open(work.settings["log"], "a", encoding="utf-8") as log:
        log.write(letter)
    time.sleep(0.05)
    work.write("report_files", {"file": [letter], "sha256": ["0" * 64], "bytes": [1]})


def slow_step(log: Path) -> Step:
    def plan(study: Study, inputs: Inputs) -> list[Job]:
        return [Job({"source": letter}, {"letter": letter, "log": str(log)}) for letter in study.title]

    return Step("slow", 1, "one part per letter, slowly", (), (Stage((REPORT_FILES,), plan, slow_letter),))


def run_once(root: Path, log: Path, title: str, computed: dict[str, int], name: str) -> None:
    study = Study.model_validate({"name": "letters", "title": title, "corpus": {"planted": {}}})
    session = Session(study, "letters.toml", Store(str(root)), Cluster(0, "1GB", "", address=""))
    try:
        computed[name] = run_step(lay_out((slow_step(log),), study)[0], session).computed
    finally:
        session.leases.close()


def test_two_runs_at_once_compute_each_part_once(tmp_path: Path) -> None:
    title, log, computed = "abcdefghijklmnopqrst", tmp_path / "log", dict[str, int]()
    runs = [threading.Thread(target=run_once, args=(tmp_path / "root", log, title, computed, name)) for name in ("one", "two")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(log.read_text()) == sorted(title)
    assert sum(computed.values()) == len(title)
    assert min(computed.values()) > 0, "they shared the work"
    assert not list((tmp_path / "root" / ".leases").glob("*/*")), "every lease was given back"


def test_a_killed_runs_parts_are_free_at_once(tmp_path: Path) -> None:
    program = (
        "import os, sys; from tasks.storage.store import Store; from tasks.storage.leases import Leases; "
        "leases = Leases(Store(sys.argv[1])); print(leases.take('k'), flush=True); os._exit(9)"
    )
    repository = Path(__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=repository)
    assert killed.stdout.strip() == "True"
    assert (tmp_path / ".leases" / "held" / "k.json").exists()
    leases = Leases(Store(str(tmp_path)))
    assert leases.take("k")
    leases.close()
    assert not list((tmp_path / ".leases").glob("*/*")), "nothing of the dead is left"


def pulse(root: Path, run: str, beat: int) -> None:
    """A run on another machine, as far as one can see."""
    path = root / ".leases" / "runs" / f"{run}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"beat": beat, "place": "elsewhere", "pid": 1, "started": "1"}))


def test_a_run_elsewhere_is_dead_when_its_pulse_has_stood_still_for_long_enough(tmp_path: Path) -> None:
    lease = tmp_path / ".leases" / "held" / "k.json"
    lease.parent.mkdir(parents=True)
    lease.write_text('{"run": "far"}')
    pulse(tmp_path, "far", 1)
    leases = Leases(Store(str(tmp_path)), patience=0.3)
    assert not leases.take("k")
    time.sleep(0.2)
    pulse(tmp_path, "far", 2)
    assert not leases.take("k"), "it lives"
    time.sleep(0.2)
    assert not leases.take("k"), "not yet long enough since its last beat"
    time.sleep(0.2)
    assert leases.take("k")
    leases.close()


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, waiting = Leases(Store(str(tmp_path)), beat=0.05), Leases(Store(str(tmp_path)), patience=60.0)
    assert held.take("k")
    real = time.time
    for jump in (-86_400.0, 86_400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert not waiting.take("k")
        time.sleep(0.1)
    held.close()
    assert waiting.take("k")
    waiting.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": 3}'])
def test_a_lease_that_cannot_be_read_expires(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".leases" / "held" / "k.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    leases = Leases(Store(str(tmp_path)), patience=0.1)
    first: Any = leases.take("k")
    time.sleep(0.15)
    assert first or leases.take("k")
    leases.close()


def test_a_lease_has_one_holder(tmp_path: Path) -> None:
    one, other = Leases(Store(str(tmp_path))), Leases(Store(str(tmp_path)))
    assert one.take("k") and not other.take("k")
    one.close()
    assert other.take("k")
    other.close()
    assert not [p for p in (tmp_path / ".leases").rglob("*") if p.is_file()]


def test_what_a_killed_run_left_in_a_finished_table_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    study = Study.model_validate({"name": "letters", "title": "ab", "corpus": {"planted": {}}})
    left = [tmp_path / "t" / "parts" / ".k.1.tmp", tmp_path / "studies" / "s.steps" / "count.json.1.tmp"]
    living = tmp_path / "t" / "parts" / ".other.1.tmp"
    for path in (*left, living):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    other = Leases(Store(str(tmp_path)))
    assert other.take("other")
    session = Session(study, "letters.toml", Store(str(tmp_path)), Cluster(0, "1GB", "", address=""))
    session.sweep(["t"])
    session.close()
    other.close()
    assert [p for p in tmp_path.rglob("*.tmp")] == [living]


def test_a_run_that_comes_back_leaves_the_lease_to_the_one_that_took_it_over(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    stopped = Leases(store, beat=3600.0)
    assert stopped.take("k") and stopped.take("m")
    pulse(tmp_path, stopped.run, 0)  # on another machine, from where nobody can see whether it lives
    other, third = Leases(store, patience=0.1), Leases(store)
    assert not other.take("k")
    time.sleep(0.15)
    assert other.take("k")
    stopped.drop("k")
    assert not third.take("k"), "the other still computes it"
    stopped.close()
    assert not third.take("k")
    other.close()
    assert third.take("k") and third.take("m")
    third.close()


def test_leases_that_somebody_removed_are_made_again(tmp_path: Path) -> None:
    leases = Leases(Store(str(tmp_path)))
    assert leases.take("k")
    shutil.rmtree(tmp_path / ".leases")
    assert leases.take("m")
    leases.close()


def test_a_killed_run_that_nobody_has_buried_is_dead(tmp_path: Path) -> None:
    """Its parent, the first process of a container, say, has not asked how it ended."""
    program = (
        "import os, sys; from tasks.storage.store import Store; from tasks.storage.leases import Leases; "
        "leases = Leases(Store(sys.argv[1])); print(leases.take('k'), flush=True); os._exit(9)"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]) as killed:
        assert killed.stdout is not None and killed.stdout.read().strip() == "True"
        time.sleep(0.2)
        leases = Leases(Store(str(tmp_path)))
        assert leases.take("k")
        leases.close()


def test_a_step_that_fails_gives_back_what_it_had_taken(tmp_path: Path) -> None:
    """Also those that it had taken ahead: the run may go on for hours with other steps."""

    class Refusing(Cluster):
        def run(self, function: Any, calls: Any, name: str, needs: Any = None) -> Any:
            next(iter(calls))
            raise StudyError("a worker has other versions")
            yield

    study = Study.model_validate({"name": "letters", "title": "abc", "corpus": {"planted": {}}})
    planned = lay_out((slow_step(tmp_path / "log"),), study)[0]
    session = Session(study, "letters.toml", Store(str(tmp_path / "root")), Refusing(0, "1GB", "", address=""))
    with pytest.raises(StepFailed, match="other versions"):
        run_step(planned, session)
    assert not list((tmp_path / "root" / ".leases" / "held").iterdir())
    session.close()


def test_a_new_run_leaves_what_a_living_one_is_writing_and_removes_what_a_dead_one_was(tmp_path: Path) -> None:
    living = Leases(Store(str(tmp_path)))
    assert living.take("part")
    folder = tmp_path / ".leases" / "runs"
    writing, left = folder / f".{living.run}.json.0f.tmp", folder / ".dead.json.0f.tmp"  # pulses, on their way
    for path in (writing, left):
        path.write_text("{")
    other = Leases(Store(str(tmp_path)))
    assert other.take("another part")
    assert writing.exists() and not left.exists()
    other.close()
    living.close()


def test_the_first_pulse_is_written_again_where_another_run_swept_it_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Path] = []
    replace = os.replace

    def late(source: Path, target: Path) -> None:
        if len(swept) < 2:
            swept.append(source)
            Leases(Store(str(tmp_path)))._bury()  # another run begins
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    leases = Leases(Store(str(tmp_path)))
    assert leases.take("part") and len(swept) == 2
    assert (tmp_path / ".leases" / "runs" / f"{leases.run}.json").exists()
    leases.close()
