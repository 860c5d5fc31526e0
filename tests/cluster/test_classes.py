"""Where a study runs: on a cluster that a class starts, or as its section and the environment say."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.engine import StepFailed, run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tests.cluster.support import count, planned, state


def test_a_class_starts_the_cluster_and_not_a_byte_differs(folder: Path, inline: dict[str, str], tmp_path: Path) -> None:
    settings = planned(
        cluster={
            "cluster_class": "distributed.LocalCluster",
            "workers": 2,
            "cluster_kwargs": {
                "n_workers": 0,
                "threads_per_worker": 1,
                "host": "127.0.0.1",
                "dashboard_address": "127.0.0.1:0",
                "local_directory": str(tmp_path / "dask"),
            },
        }
    )
    cluster = Cluster.of(settings, Store(str(tmp_path / "root")))
    assert not cluster.inline
    count(folder, tmp_path / "root", cluster)
    assert state(tmp_path / "root") == inline


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("dask_jobqueue.nowhere.SLURMCluster", {}, "pip install dask-jobqueue"),
        ("no_such_package.Cluster", {}, "No module named 'no_such_package'"),
        ("distributed.NoSuchCluster", {}, "NoSuchCluster"),
        ("distributed.Client", {}, "is not the class of a Dask cluster"),
        ("distributed.LocalCluster", {"worker_class": 1, "n_workers": 1}, "could not be started with cluster_kwargs = "),
    ],
)
def test_a_class_that_starts_no_cluster_is_named(
    folder: Path, tmp_path: Path, name: str, arguments: dict[str, object], words: str
) -> None:
    settings = planned(cluster={"cluster_class": name, "cluster_kwargs": arguments})
    with pytest.raises(StepFailed) as failed:
        count(folder, tmp_path / "root", Cluster.of(settings, Store(str(tmp_path / "root"))))
    assert words in str(failed.value)


def test_where_a_study_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    store, study = Store(str(tmp_path)), planned(cluster={"address": "tcp://there:8786"})
    assert Cluster.of(study, store).address == "tcp://there:8786"
    assert Cluster.of(study.with_workers(0), store).inline, "--workers 0 is in this process"
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://nearer:8786")
    assert Cluster.of(study, store).address == "tcp://nearer:8786"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"cluster_class": "SLURMCluster"}, "name a module and a class in it"),
        ({"cluster_class": "a.B", "address": "tcp://there:1"}, "either the address"),
        ({"workers": 4}, "are for a cluster_class"),
        ({"cluster_class": "a.B", "workers": 4, "most_workers": 2}, "less than workers = 4"),
    ],
)
def test_a_wrong_section_is_an_error(cluster: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        planned(cluster=cluster)


def test_no_record_of_a_study_holds_how_its_cluster_is_started(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "counting.toml").model_copy(
        update={"cluster": planned(cluster={"cluster_class": "a.B", "cluster_kwargs": {"token": "hush"}}).cluster}
    )
    session = Session(study, "counting.toml", Store(str(tmp_path)), Cluster(0, "1GB", "", address=""))
    run_step(lay_out(STEPS, study)[0], session)
    run_step(next(p for p in lay_out(STEPS, study) if p.step.name == "ingest"), session)
    session.close()
    texts = [p.read_text() for p in tmp_path.rglob("*.json")]
    assert texts and not [t for t in texts if "hush" in t]
