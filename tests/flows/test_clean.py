"""`taskgram clean` removes what nobody needs, and nothing that a run has made and has not yet written down."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from flows.commands.status import clean
from flows.plan import lay_out
from flows.session import CLEANING, Session
from flows.study import STEPS
from schemas import StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.leases import Leases
from tasks.storage.store import Store


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text('name = "small"\n[corpus.planted]\ntokens = 120_000\n')
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


def part(store: Store, table: str, key: str) -> Path:
    path = Path(store.layout.part(table, key))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a part")
    return path


def test_what_a_killed_run_had_finished_stays(study: Path, store: Store) -> None:
    """It was killed before its step ended, and so before anything was recorded."""
    first = next(p for p in lay_out(STEPS, load_study(study)) if p.step.name == "ingest").outputs["documents"][0]
    finished, in_folder = part(store, "documents", first.key), store.folder("documents", first.key) / "a"
    in_folder.touch()
    other = part(store, "documents", "0" * 32)
    assert clean(str(study), store.root) == {str(other): 6}
    assert finished.exists() and in_folder.exists() and not other.exists()


def test_nothing_is_removed_while_a_run_is_at_work(study: Path, store: Store) -> None:
    """It may be another study's, of which this one knows nothing."""
    path, at_work = part(store, "documents", "0" * 32), Leases(store)
    assert at_work.take("0" * 32)
    with pytest.raises(StudyError, match="a run is in progress there"):
        clean(str(study), store.root)
    assert path.exists()
    assert clean(str(study), store.root, dry_run=True) == {str(path): 6}
    at_work.close()
    assert clean(str(study), store.root) == {str(path): 6}


def test_a_run_that_starts_while_a_root_is_cleaned_waits_for_its_end(
    study: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the run could find a part finished that is then removed."""
    path, order = part(store, "documents", "0" * 32), list[str]()
    session = Session(load_study(study), "small", store, Cluster(0, "1GB", "", address=""))
    other = threading.Thread(target=lambda: (session.begin(), order.append("the run begins")))
    real = LocalFileSystem.rm

    def rm(self: LocalFileSystem, path: str) -> None:
        other.start()
        time.sleep(1.5)  # longer than it waits between its looks
        real(self, path)
        order.append("removed")

    monkeypatch.setattr(LocalFileSystem, "rm", rm)
    assert clean(str(study), store.root) == {str(path): 6}
    other.join(30)
    assert order == ["removed", "the run begins"]
    session.close()


def test_a_root_is_cleaned_by_one_at_a_time(study: Path, store: Store) -> None:
    other = Leases(store)
    assert other.take(CLEANING)
    with pytest.raises(StudyError, match="another `taskgram clean` is running there"):
        clean(str(study), store.root)
    other.close()
    assert clean(str(study), store.root) == {}


def test_a_run_elsewhere_is_alive_while_its_pulse_beats(store: Store) -> None:
    pulse = Path(store.base) / ".leases" / "runs" / "far.json"
    store.write_json(str(pulse), {"beat": 1, "place": "elsewhere", "pid": 1, "started": "1"})
    assert not Leases(store, patience=0.3).others(), "its pulse does not beat"
    beats = threading.Timer(0.3, store.write_json, (str(pulse), {"beat": 2, "place": "elsewhere", "pid": 1, "started": "1"}))
    beats.start()
    assert Leases(store, patience=30.0).others()
    beats.join()


def test_a_record_that_is_broken_keeps_everything(study: Path, store: Store) -> None:
    path, record = part(store, "documents", "0" * 32), Path(store.base) / "studies" / "other.steps" / "ingest.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"tables": {"documents": {"fingerprint": "f", "parts": ["0" * 32]}}})[:-9])
    with pytest.raises(StudyError, match="ingest.json: cannot be read"):
        clean(str(study), store.root)
    assert path.exists()
