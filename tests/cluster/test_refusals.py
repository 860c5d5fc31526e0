"""Workers that cannot compute a study, and schedulers that are not there or go away, are named with what to do."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from flows.engine import StepFailed
from schemas import StudyError
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tests.cluster.support import REPOSITORY, Processes, count, device, planned, wait_for
from tests.machine import own_disk


def refusal(folder: Path, root: Path, address: str, workers: int = 1) -> str:
    """What a user reads when a step is run there."""
    cluster = Cluster(0, "1GB", str(root / ".dask"), address=address, store=Store(str(root)))
    try:
        wait_for(cluster, workers)
        with pytest.raises(StepFailed) as failed:
            count(folder, root, cluster)
        return str(failed.value)
    finally:
        cluster.close()


def test_workers_with_other_versions_are_named(folder: Path, processes: Processes, tmp_path: Path) -> None:
    """One says it has another NumPy, one has other code: each could write other bytes under the same key."""
    other = tmp_path / "other"
    (other / "numpy-0.0.1.dist-info").mkdir(parents=True)
    (other / "numpy-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    code = tmp_path / "code"
    for package in ("schemas", "tasks"):
        shutil.copytree(REPOSITORY / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (code / "tasks" / "disk.py").open("a") as out:
        out.write("\n# changed\n")
    address = processes.scheduler()
    processes.worker("same")
    processes.worker("numpy", first=(other,))
    processes.worker("code", first=(code,))
    words = refusal(folder, tmp_path / "root", address, workers=3)
    assert "2 of 3 workers have other versions than this process" in words
    assert "numpy 0.0.1 (here " in words and "taskgram's code " in words
    assert "constraints.txt" in words and "--from ingest" in words


def test_a_worker_that_joins_in_the_middle_with_other_versions_computes_nothing(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the workers, too."""
    monkeypatch.setattr("tasks.cluster.submission.SECONDS_BETWEEN_LOOKS", 3600.0)
    (tmp_path / "numpy-0.0.1.dist-info").mkdir()
    (tmp_path / "numpy-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    address = processes.scheduler()
    same = processes.worker("same")
    cluster = Cluster(0, "1GB", "", address=address, store=Store(str(tmp_path / "root")))
    try:
        wait_for(cluster, 1)
        found = cluster.run(device, [()] * 12, "device")
        done = [next(found)]
        processes.worker("other", first=(tmp_path,))
        wait_for(cluster, 2)
        os.kill(same, signal.SIGKILL)
        done += list(found)
    finally:
        cluster.close()
    assert {f.value[0] for f in done if not f.error} == {same}
    refused = [str(f.error) for f in done if f.error]
    assert len(done) == 12 and refused and all("numpy 0.0.1 (here " in words for words in refused)


def test_a_worker_without_taskgram_or_with_threads_is_named(folder: Path, processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "tasks.py").touch()  # somebody else's module of that common name
    address = processes.scheduler()
    processes.worker("strange", first=(tmp_path / "strange",))
    words = refusal(folder, tmp_path / "root", address)
    assert "1 of 1 workers have no taskgram" in words and "No module named 'tasks." in words
    processes.running[-1].kill()
    processes.running[-1].wait()
    processes.worker("threads", "--nthreads", "2")
    time.sleep(0.5)
    words = refusal(folder, tmp_path / "root", address)
    assert "runs 2 calls at a time" in words and "--nthreads 1" in words


def test_a_worker_that_does_not_see_the_root_is_named(folder: Path, processes: Processes, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    within = own_disk(root)
    address = processes.scheduler()
    processes.worker("here")
    processes.worker("elsewhere", within=within)
    words = refusal(folder, root, address, workers=2)
    assert "1 of 2 workers cannot use the root" in words
    assert f"does not see what was just written to {root}" in words and "a folder that all machines share" in words


def test_a_scheduler_without_workers_is_named_once_the_wait_is_over(folder: Path, processes: Processes, tmp_path: Path) -> None:
    study = planned(cluster={"address": processes.scheduler(), "wait": 1.0})
    cluster = Cluster.of(study, Store(str(tmp_path / "root")))
    with pytest.raises(StepFailed, match="has no worker after 1 s"):
        count(folder, tmp_path / "root", cluster)


def test_a_scheduler_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        cluster = Cluster(0, "1GB", str(tmp_path / ".dask"), address="tcp://127.0.0.1:1")
        with pytest.raises(StepFailed, match=r"no Dask scheduler answers at tcp://127.0.0.1:1.*DASK_SCHEDULER_ADDRESS"):
            count(folder, tmp_path / "root", cluster)


def test_a_scheduler_that_is_killed_in_the_middle_is_named(processes: Processes, tmp_path: Path) -> None:
    import dask

    address = processes.scheduler()
    processes.worker("one")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        cluster = Cluster(0, "1GB", "", address=address, store=Store(str(tmp_path / "root")))
        wait_for(cluster, 1)
        found = cluster.run(device, [()] * 40, "device")
        assert not next(found).error
        processes.running[0].kill()
        with pytest.raises(StudyError, match="does not answer any more. What was finished is kept"):
            list(found)


def test_a_cluster_whose_workers_all_died_is_named(processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the run would wait for ever: Dask keeps what no worker is left for."""
    monkeypatch.setattr("tasks.cluster.submission.SECONDS_BETWEEN_LOOKS", 0.5)
    cluster = Cluster.of(planned(cluster={"address": processes.scheduler(), "wait": 2.0}), Store(str(tmp_path / "root")))
    processes.worker("one", "--nthreads", "1", "--no-nanny")
    wait_for(cluster, 1)
    try:
        with pytest.raises(StudyError, match="has had no worker for 2 s: they were stopped, most likely for memory"):
            list(cluster.run(os._exit, [(1,)] * 3, "dies"))
    finally:
        cluster.close()
