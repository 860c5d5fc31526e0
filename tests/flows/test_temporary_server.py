"""A run's temporary server ends with it, also where the run is killed; its empty database is made once for all roots of a user."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows.environment import PROXIES
from flows.servers import temporary_server
from flows.servers.processes import is_up
from flows.servers.temporary_server import TemporaryServer
from schemas import StudyError

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = """
import time
from flows.servers.temporary_server import TemporaryServer
server = TemporaryServer()
server.wait()
print(server.process.pid, flush=True)
time.sleep(300)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a cache yet."""
    monkeypatch.setenv("TASKGRAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir(parents=True)
    monkeypatch.setenv("PREFECT_HOME", str(folder))
    for name in ("PREFECT_API_URL", PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # so that what the server sets does not outlive the test
        monkeypatch.delenv(name)
    return folder / "prefect.db"


def tables(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_the_run(number: signal.Signals, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | {"PREFECT_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY, env=environment
    ) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        run.send_signal(number)
        run.wait(60)
        _, alive = psutil.wait_procs([server], timeout=60)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_one_that_is_killed_is_started_again_at_the_same_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home(tmp_path / "home", monkeypatch)
    server = TemporaryServer()
    server.wait()
    first = server.process
    assert first is not None
    first.kill()
    first.wait()
    server.wait()  # who asks meanwhile waits for the next one
    assert is_up(server.url) and server.process is not None and server.process.pid != first.pid
    server.close()
    assert server.process.poll() is not None and not is_up(server.url)


def test_one_that_cannot_live_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home(tmp_path / "home", monkeypatch).write_text("no database")
    server, starts = TemporaryServer(), [0]
    monkeypatch.setattr(server, "_start", lambda: starts.append(1))
    with pytest.raises(StudyError, match=r"does not start: .*file is not a database\. .*home; move its prefect\.db away"):
        server.wait()
    assert starts == [0], "it would end in the same way again"
    assert not is_up(server.url)


def test_a_second_root_begins_with_a_copy_of_the_empty_database(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home(tmp_path / "first", monkeypatch)
    server = TemporaryServer()
    assert not first.exists() or not tables(first)  # nothing to copy yet: the server makes it
    server.wait()
    server.close()
    [kept] = cache.glob("prefect-*.db")
    assert not list(cache.glob(".*"))
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)

    second = home(tmp_path / "second", monkeypatch)
    server = TemporaryServer()
    assert tables(second) == tables(first)  # there before the server can have made it
    server.wait()
    server.close()

    # A root that has a database keeps it.
    with closing(sqlite3.connect(second)) as connection:
        connection.execute("CREATE TABLE changed (number INTEGER)")
    assert temporary_server._begin_with_a_copy() is None
    assert "changed" in tables(second)


def test_a_cache_that_cannot_be_used_is_ignored(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file, where a folder should be")
    database = home(tmp_path / "home", monkeypatch)
    assert temporary_server._begin_with_a_copy() == database
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE flow_run (id INTEGER)")
    temporary_server._keep(database)
    assert cache.is_file() and not list(tmp_path.glob("home/.*"))


@pytest.mark.parametrize("length", [0, 5_000, 20_000])
def test_a_kept_database_that_is_broken_is_not_copied_but_made_anew(
    length: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    kept, database = temporary_server._kept(), home(tmp_path / "home", monkeypatch)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE flow_run (id TEXT)")
        connection.execute(
            "CREATE TABLE filled AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 9999) SELECT x FROM n"
        )
        connection.commit()
    whole = database.read_bytes()
    database.unlink()
    kept.write_bytes(whole[:length] if length else b"no database" * 999)
    assert temporary_server._begin_with_a_copy() == database and not list(database.parent.iterdir())
    database.write_bytes(whole)
    temporary_server._keep(database)
    database.unlink()
    assert temporary_server._begin_with_a_copy() is None and tables(database) == ["filled", "flow_run"]


def test_one_that_is_started_again_as_the_run_ends_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home(tmp_path / "home", monkeypatch)
    started: list[subprocess.Popen[bytes]] = []
    again = threading.Event()

    def slowly(self: TemporaryServer) -> subprocess.Popen[bytes]:
        if started:
            again.set()
            time.sleep(0.5)  # in which the run ends
        assert self._listening.fileno() >= 0
        started.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))  # it, too, lives as long as its input is open
        return started[-1]

    monkeypatch.setattr(TemporaryServer, "_start", slowly)
    server = TemporaryServer()
    started[0].kill()
    assert again.wait(30)
    server.close()
    assert len(started) == 2 and all(process.poll() is not None for process in started)


def test_another_database_is_left_alone(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://server/prefect")
    assert temporary_server._begin_with_a_copy() is None
    assert not list((tmp_path / "home").iterdir())


def test_a_server_that_does_not_answer_is_reported_in_one_line(tmp_path: Path) -> None:
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    words = [sys.executable, "-m", "flows.cli", "run", "sample", "--root", str(tmp_path)]
    run = subprocess.run(words, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert run.returncode == 1
    assert "Finished parts are kept" in run.stderr and "PREFECT_API_URL" in run.stderr, run.stderr
    assert "internal error" not in run.stderr


def test_of_two_runs_that_begin_at_once_none_replaces_the_others_database(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see that there is none; by the time the second has copied, the first one's server writes."""
    cache.mkdir()
    with closing(sqlite3.connect(temporary_server._kept())) as connection:
        connection.execute("CREATE TABLE flow_run (id INTEGER)")
    database, copy = home(tmp_path / "home", monkeypatch), shutil.copyfile

    def slowly(source: Path, target: Path) -> None:
        copy(source, target)
        with closing(sqlite3.connect(database)) as other:
            other.execute("CREATE TABLE of_the_first (id INTEGER)")

    monkeypatch.setattr(shutil, "copyfile", slowly)
    assert temporary_server._begin_with_a_copy() is None
    assert tables(database) == ["of_the_first"]
    assert [p.name for p in database.parent.iterdir()] == ["prefect.db"]


def test_a_database_with_a_run_in_it_is_not_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run on the same new root may have begun before this one could copy."""
    database = home(tmp_path / "home", monkeypatch)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE flow_run (id INTEGER)")
        temporary_server._keep(database)
        assert [p.name for p in cache.iterdir()] == [temporary_server._kept().name]
        temporary_server._kept().unlink()
        connection.execute("INSERT INTO flow_run VALUES (1)")
        connection.commit()
    temporary_server._keep(database)
    assert not list(cache.iterdir())
