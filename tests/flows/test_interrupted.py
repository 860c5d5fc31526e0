"""A full disk or a killed process in the middle of counting loses nothing that was finished, and changes no byte of the end."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.engine import StepFailed, run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from flows.study_records import recorded_step
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.leases import Leases
from tasks.storage.store import Store
from tests.machine import own_disk
from tests.support import NOTES, write_corpus

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parent.parent.parent
STEPS_OF_COUNTING = ("ingest", "tokenizer", "tokens", "words", "count")  # the contract of counts looks at tokens, too
FILES, BUCKETS = 8, 6
STUDY = f"""
name = "counting"
workers = 0
{NOTES}[counting]
all_orders = [1, 2, 3, 5]
min_count = 1
buckets = {BUCKETS}
"""
State = dict[str, tuple[int, str]]  # file → its time and hash


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight files, the last of which is much longer than the others."""
    path = tmp_path_factory.mktemp("interrupted")
    write_corpus(path, [60] * (FILES - 1) + [200], words=400, length=100, seed=11)
    (path / "counting.toml").write_text(STUDY)
    return path


def count(folder: Path, root: Path, cluster: Cluster | None = None) -> dict[str, int]:
    """Bring the counts up to date; how many parts of each step were computed."""
    study = load_study(folder / "counting.toml")
    session = Session(study, "counting.toml", Store(str(root)), cluster or Cluster(0, "1GB", "", address=""))
    try:
        return {p.step.name: run_step(p, session).computed for p in lay_out(STEPS, study) if p.step.name in STEPS_OF_COUNTING}
    finally:
        session.leases.close()


def state(root: Path, kind: str = "parts") -> State:
    """What was finished: every part, or every manifest, of every table."""
    return {
        str(p.relative_to(root)): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in root.glob(f"*/{kind}/*")
        if not p.name.endswith(".tmp")
    }


def finished(root: Path, table: str) -> list[Path]:
    return list((root / table / "parts").glob("*.parquet"))


def temporaries(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.name.endswith(".tmp") or p.parent.name == ".scratch"]


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a run that nothing interrupts."""
    root = tmp_path_factory.mktemp("whole")
    assert count(folder, root)["count"] == FILES + 1 + BUCKETS
    return root


@pytest.fixture(scope="module")
def undisturbed(whole: Path) -> State:
    """Its parts."""
    return state(whole)


def same_bytes(found: State, wanted: State) -> bool:
    return {name: sha for name, (_, sha) in found.items()} == {name: sha for name, (_, sha) in wanted.items()}


# -- killed ------------------------------------------------------------------------------------------------------------
def when_there(root: Path, table: str, act: Callable[[], Any], running: Callable[[], bool]) -> None:
    """Act as soon as the first part of a table is finished."""
    deadline = time.monotonic() + 120
    while not finished(root, table) and time.monotonic() < deadline:
        assert running(), "it ended before it could be interrupted"
        time.sleep(0.002)
    act()


def test_a_killed_worker_costs_the_parts_it_had_in_hand(folder: Path, undisturbed: State, tmp_path: Path) -> None:
    root, seen = tmp_path / "root", dict[str, Any]()
    cluster = Cluster(2, "1GB", str(tmp_path / ".dask"), address="")

    def kill() -> None:
        seen["before"] = state(root)
        seen["manifests"] = state(root, "manifests")
        workers = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
        seen["workers"] = len(workers)
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait(60)

    watch = threading.Thread(target=when_there, args=(root, "ngram_suffixes", kill, lambda: True))
    watch.start()
    try:
        computed = count(folder, root, cluster)
    finally:
        watch.join()
        cluster.close()
    assert seen["workers"] == 2
    done = sum(name.startswith("ngram_suffixes") for name in seen["before"])
    assert 1 <= done < FILES, "killed in the middle"
    assert computed["count"] == FILES + 1 + BUCKETS, "the others took over, in the same run"
    touched = seen["before"].items() - state(root).items()
    assert len(touched) <= 1, "what was finished is as it was, but for a part whose worker had not reported it yet"
    assert seen["manifests"].items() <= state(root, "manifests").items()
    assert same_bytes(state(root), undisturbed)


@pytest.mark.parametrize("table", ["ngram_suffixes", "ngram_counts"])
def test_a_killed_run_goes_on_from_what_was_finished(folder: Path, undisturbed: State, tmp_path: Path, table: str) -> None:
    root = tmp_path / "root"
    program = "import sys, pathlib as p, tests.flows.test_interrupted as t; t.count(*map(p.Path, sys.argv[1:]))"
    words = [sys.executable, "-c", program, str(folder), str(root)]
    with subprocess.Popen(words, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as run:
        when_there(root, table, run.kill, lambda: run.poll() is None)
    assert run.returncode == -signal.SIGKILL
    before, manifests = state(root), state(root, "manifests")
    left = {"ngram_suffixes": FILES + 1 + BUCKETS, "ngram_counts": BUCKETS}[table] - len(finished(root, table))
    computed = count(folder, root)
    assert computed.pop("count") == left and not any(computed.values()), "only what was missing"
    assert before.items() <= state(root).items()
    assert manifests.items() <= state(root, "manifests").items()
    assert same_bytes(state(root), undisturbed)


def test_what_a_killed_process_was_writing_is_swept(folder: Path, undisturbed: State, tmp_path: Path) -> None:
    """By the run that makes the table, whose parts are then all there; not what a run that lives is computing."""
    root = tmp_path / "root"
    left = [
        root / "ngram_counts" / "parts" / ".k.1.tmp",
        root / "ngram_counts" / "files" / "k" / ".0000-text.npy.1.tmp",
        root / ".scratch" / "ngram_counts.k" / "tmp1" / "2.arrow",
    ]
    living = root / "ngram_counts" / "parts" / ".other.1.tmp"
    for path in (*left, living):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    other = Leases(Store(str(root)))
    assert other.take("other")
    count(folder, root)
    assert temporaries(root) == [living]
    other.close()
    living.unlink()
    assert same_bytes(state(root), undisturbed)


# -- full --------------------------------------------------------------------------------------------------------------
def interrupted(folder: Path, root: Path, make_room: Callable[[], object]) -> dict[str, Any]:
    """Count until there is no more room, make some, count again: what both came to."""
    try:
        count(folder, root)
        return {"error": ""}
    except StepFailed as error:
        found: dict[str, Any] = {"error": str(error), "temporaries": [str(p) for p in temporaries(root)]}
    recorded = recorded_step(Store(str(root)), "counting", "count")
    found |= {"recorded": recorded.get("state"), "before": state(root), "manifests": state(root, "manifests")}
    make_room()
    return found | {"computed": count(folder, root), "after": state(root), "manifests_after": state(root, "manifests")}


def full_disk(folder: str, root: str) -> None:
    """In a namespace of its own, where `root` is a small disk that is then made larger."""
    larger = ["mount", "-o", "remount,size=1g", root]
    print(json.dumps(interrupted(Path(folder), Path(root), lambda: subprocess.run(larger, check=True))))


def small_files(folder: str, root: str, most: str) -> None:
    """Run with a limit on the size of files, which is then lifted."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), hard))
    lift = (resource.RLIMIT_FSIZE, (hard, hard))
    print(json.dumps(interrupted(Path(folder), Path(root), lambda: resource.setrlimit(*lift))))


def printed(function: str, *words: str, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """What one of the two above prints, run in a process of its own."""
    program = f"import sys; from tests.flows.test_interrupted import {function}; {function}(*sys.argv[1:])"
    run = subprocess.run(
        [*within, sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(run.stdout)
    for name in ("before", "after", "manifests", "manifests_after"):
        found[name] = {k: tuple(v) for k, v in found.get(name, {}).items()}
    return found


def nothing_lost(found: dict[str, Any], undisturbed: State) -> None:
    assert "Traceback" not in found["error"] and "defect" not in found["error"]
    assert "What was finished is kept: " in found["error"] and "--from count" in found["error"]
    assert found["temporaries"] == []
    assert found["before"].items() <= found["after"].items()
    assert found["manifests"].items() <= found["manifests_after"].items()
    missing = set(undisturbed) - set(found["before"])
    computed = found["computed"]
    assert computed.pop("count") == len(missing) and not any(computed.values()), "only what was missing"
    assert same_bytes(found["after"], undisturbed)


def size_of(parts: State, root: Path, *tables: str) -> int:
    return sum((root / name).stat().st_size for name in parts if name.split("/")[0] in tables)


@pytest.mark.parametrize("table", ["ngram_suffixes", "ngram_counts"])
def test_a_full_disk_loses_nothing_that_was_finished(
    folder: Path, whole: Path, undisturbed: State, tmp_path: Path, table: str
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    before = (
        "documents",
        "rejects",
        "words",
        "vocabulary",
        "tokenizer",
        "tokens",
        *(["ngram_suffixes"] if table == "ngram_counts" else []),
    )
    size = size_of(undisturbed, whole, *before) + size_of(undisturbed, whole, table) // 2
    within = own_disk(root, str(size))
    found = printed("full_disk", str(folder), str(root), within=within)
    assert f"{root}/{table}/parts/" in found["error"]
    assert "No space left on device" in found["error"] and "taskgram clean" in found["error"]
    assert found["recorded"] == "failed"
    done = [name for name in found["before"] if name.startswith(f"{table}/")]
    assert 1 <= len(done) < {"ngram_suffixes": FILES, "ngram_counts": BUCKETS}[table]
    nothing_lost(found, undisturbed)


def test_a_file_that_may_not_grow_is_named_and_the_others_are_finished(
    folder: Path, whole: Path, undisturbed: State, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    sizes = sorted(p.stat().st_size for p in finished(whole, "ngram_suffixes"))
    found = printed("small_files", str(folder), str(root), str((sizes[-1] + sizes[-2]) // 2))
    assert "1 of 8 parts failed" in found["error"]
    assert "File too large" in found["error"] and "ulimit -f" in found["error"]
    assert sum(name.startswith("ngram_suffixes/") for name in found["before"]) == FILES - 1
    nothing_lost(found, undisturbed)
