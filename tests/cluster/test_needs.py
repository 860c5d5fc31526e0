"""Jobs that need a GPU, or room for a model, run where a worker says that it has one; no key knows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.plan import lay_out
from flows.study import STEPS
from tasks.cluster.cluster import Cluster
from tasks.cluster.workers import devices
from tests.cluster.support import Processes, device, planned, wait_for


def places(cluster: Cluster, **needed: int) -> set[tuple[int, str]]:
    found = list(cluster.run(device, [()] * 12, "device", lambda call: needed))
    assert not [f.error for f in found if f.error]
    return {f.value for f in found}


def test_calls_that_need_a_gpu_run_where_one_is_declared(processes: Processes, tmp_path: Path) -> None:
    address = processes.scheduler()
    plain = processes.worker("plain")
    cluster = Cluster(0, "1GB", str(tmp_path / ".dask"), address=address)
    try:
        wait_for(cluster, 1)
        assert {pid for pid, _ in places(cluster, GPU=1)} == {plain}, "nobody declares one: as ever"
        able = processes.worker("able", "--nthreads", "1", "--resources", "GPU=1")
        wait_for(cluster, 2)
        assert {pid for pid, _ in places(cluster, GPU=1)} == {able}
        assert {pid for pid, _ in places(cluster)} == {plain, able}
    finally:
        cluster.close()


def test_each_local_worker_has_a_device_for_itself(tmp_path: Path) -> None:
    cluster = Cluster(3, "1GB", str(tmp_path / ".dask"), address="", devices=("4", "7"), models=1)
    try:
        assert {name for _, name in places(cluster, GPU=1)} == {"4", "7"}
        assert {name for _, name in places(cluster, GPU=1, model=1)} == {"4"}, "one of them may hold a model"
        assert {name for _, name in places(cluster)} == {"4", "7", ""}
        assert len(places(cluster)) == 3
    finally:
        cluster.close()


def test_devices_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,GPU-8a")
    assert devices() == ("2", "5", "GPU-8a")
    assert devices(2) == ("2", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices(4) == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices(3) == ("0", "1", "2")


def test_steps_that_use_a_gpu_ask_for_one_and_no_key_says_so() -> None:
    asked = {
        p.step.name: [j.job.resources for s in p.stages for j in s.jobs if j.job.resources]
        for p in lay_out(STEPS, planned(scoring={"device": "cuda"}))
    }
    assert {name for name, found in asked.items() if found} == {"models", "score", "generate"}
    assert all(r == {"GPU": 1, "model": 1} for found in asked.values() for r in found)

    plain = [p.fingerprint for p in lay_out(STEPS, planned())]
    elsewhere = {"cluster_class": "dask_jobqueue.SLURMCluster", "workers": 40, "resource": "A100"}
    assert plain == [p.fingerprint for p in lay_out(STEPS, planned(cluster=elsewhere, scoring={"models_at_once": 1}))]
