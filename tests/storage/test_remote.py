"""A root in an object store: a real server speaks S3 here, and the bytes are those of a local run."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.engine import run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from flows.study_files import publish_report
from schemas import Study
from tasks.cluster.cluster import Cluster
from tasks.storage.leases import Leases
from tasks.storage.store import Part, Store

moto_server = pytest.importorskip("moto.server", reason="the S3 server for tests is in the extra `test`: pip install -e '.[test]'")
pytest.importorskip("s3fs", reason="object stores need the extra `s3`: pip install -e '.[s3]'")

STUDY = Study.model_validate(
    {
        "name": "counted",
        "corpus": {
            "planted": {
                "tokens": 120_000,
                "shards": 2,
                "document_frequencies": [16, 32, 48, 64],
                "parallel_documents": 10,
                "exposures": [0, 1],
                "facts_per_exposure": 2,
                "rule_subjects": 4,
                "lexicon": 12,
            }
        },
        "tasks": [{"name": "facts", "family": "qa", "reader": "planted", "orders": [1], "gamma_default": 0.5}],
    }
)
RUN = ("plant", "ids", "ingest", "read", "words", "extract", "embed", "align", "query")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty bucket on this machine, and credentials for it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "TASKGRAM_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{port}"  # the server forgets nothing between tests
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}/results"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def run(root: str) -> dict[str, int]:
    """Bring the counts up to date; how many parts of each step were computed."""
    session = Session(STUDY, "counted.toml", Store(root), Cluster(0, "1GB", "", address=""))
    try:
        return {p.step.name: run_step(p, session).computed for p in lay_out(STEPS, STUDY) if p.step.name in RUN}
    finally:
        session.close()


def state(root: str) -> dict[str, str]:
    """Hash of every part and every file next to one, and of nothing else."""
    store = Store(root)
    found = store.fs.find(store.base)
    return {
        path.removeprefix(store.base): hashlib.sha256(store.fs.cat_file(path)).hexdigest()
        for path in found
        if "/parts/" in path or "/files/" in path
    }


@pytest.mark.slow
def test_a_study_on_an_object_store_has_the_bytes_of_a_local_one(bucket: str, tmp_path: Path) -> None:
    computed = run(bucket)
    assert computed["query"] >= 3
    assert not any(run(bucket).values()), "a second run computes nothing"
    assert run(str(tmp_path / "local")) == computed
    assert state(bucket) == state(str(tmp_path / "local"))
    store = Store(bucket)
    left = [p for p in store.fs.find(store.base) if p.endswith(".tmp") or "/.leases/" in p]
    assert not left, "no temporary, no lease"

    another = next(p for p in store.fs.find(f"{store.base}/pair_counts/parts"))
    store.fs.pipe_file(another, store.fs.cat_file(another)[:-20])
    assert sum(run(bucket).values()) == 1, "a part that lost its end is made again, alone"
    assert state(bucket) == state(str(tmp_path / "local"))


def test_files_beside_parts_are_read_from_a_copy_on_this_machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models, planted files and indexes: another machine, whose cache is empty, fetches them once."""
    store = Store(bucket)
    folder = store.folder("report_files", "k")
    (folder / "figures").mkdir()
    (folder / "figures" / "a.csv").write_text("1")
    (folder / "index.html").write_text("<p>")
    store.publish_files("report_files", "k")
    monkeypatch.setenv("TASKGRAM_CACHE", str(tmp_path / "elsewhere"))
    there = Store(bucket).fetched(Part("report_files", "k"))
    assert there != folder
    assert (there / "figures" / "a.csv").read_text() == "1"
    (there / "figures" / "a.csv").write_text("kept")
    assert (Store(bucket).fetched(Part("report_files", "k")) / "figures" / "a.csv").read_text() == "kept", "once"


def test_a_report_is_published_to_the_object_store_page_last(bucket: str) -> None:
    store = Store(bucket)
    plan = lay_out(STEPS, STUDY)
    part = next(p for p in plan if p.step.name == "report").outputs["report_files"][0]
    folder = store.folder(part.table, part.key)
    (folder / "index.html").write_text("<p>")
    (folder / "results.csv").write_text("a,b")
    store.publish_files(part.table, part.key)
    store.fs.pipe_file(f"{store.base}/reports/counted/old.svg", b"old")
    assert publish_report(plan, store, "counted") == f"{bucket}/reports/counted/index.html"
    assert sorted(store.fs.find(f"{store.base}/reports")) == [
        f"{store.base}/reports/counted/index.html",
        f"{store.base}/reports/counted/results.csv",
    ]


def test_workers_of_one_machine_fetch_a_folder_once_and_none_sees_half_of_it(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, part = Store(bucket), Part("models", "k")
    for number in range(20):
        (store.folder("models", "k") / f"{number}.bin").write_bytes(bytes(10_000))
    store.publish_files("models", "k")
    monkeypatch.setenv("TASKGRAM_CACHE", str(tmp_path / "elsewhere"))
    with ThreadPoolExecutor(4) as workers:
        found = [workers.submit(fetched_after, 0.03 * number, bucket, part) for number in range(4)]
    assert [f.result() for f in found] == [[10_000] * 20] * 4


def fetched_after(seconds: float, root: str, part: Part) -> list[int]:
    """The sizes of the files next to a part, as a worker sees them after so many seconds."""
    time.sleep(seconds)
    return [path.stat().st_size for path in Store(root).fetched(part).iterdir()]


def test_a_store_that_does_not_answer_for_a_while_ends_no_pulse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("TASKGRAM_CACHE", str(tmp_path))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # else its client tries for as long as the test
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(f"bucket-{port}")
    leases = Leases(Store(f"s3://bucket-{port}/results"), beat=0.05)
    assert leases.take("k")
    server.stop()
    time.sleep(2.0)  # beats that fail
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    then = leases.store.read_json(leases._pulse(leases.run))["beat"]
    until = time.monotonic() + 60
    while leases.store.read_json(leases._pulse(leases.run))["beat"] <= then:
        assert time.monotonic() < until, "it has stopped beating"
        time.sleep(0.1)
    leases.close()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_cache_on_a_file_system_without_locks_is_filled_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home folders of clusters often are: a shared one whose server keeps no locks."""

    def refused(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    root, part = f"memory://{uuid.uuid4().hex}", Part("models", "k")
    monkeypatch.setenv("TASKGRAM_CACHE", str(tmp_path / "one"))
    (Store(root).folder("models", "k") / "a.bin").write_bytes(b"weights")
    Store(root).publish_files("models", "k")
    monkeypatch.setenv("TASKGRAM_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(fcntl, "flock", refused)
    assert (Store(root).fetched(part) / "a.bin").read_bytes() == b"weights"
