"""A Prefect server for one run, if PREFECT_API_URL names none: it starts while the run still imports, and ends with it.

Prefect would start one itself, but only after all imports, and it imports the whole server into the run: together this takes longer
than a run with nothing to do. It would also create its database by all migrations of its history, which takes longer still; so an
empty database is kept in the user's cache, and a new root starts with a copy of it.
"""

import atexit
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.environment import SERVER_NAMED, isolated, set_proxies_aside
from flows.servers.processes import HOST, PYTHON, api, is_up, last_error
from schemas import StudyError
from tasks.storage.disk import cache_folder

SECONDS_TO_START = 120.0  # the first start creates the database
SECONDS_OF_SILENCE = 15.0
SECONDS_TO_END = 15.0
STARTS = 4
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")  # a database that the user has chosen
BROKEN = ("not a database", "malformed", "Can't locate revision")  # SQLite's and Alembic's words for a database of no use
ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class TemporaryServer:
    """Starts a server and sets PREFECT_API_URL, unless that names one already. Create it before importing Prefect. A killed server
    is restarted on the same socket, which stays open in this process: clients that connect meanwhile wait a few seconds, and
    Prefect's clients repeat requests that were in progress."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._ending, self._changing = threading.Event(), threading.Lock()
        if os.environ.get(SERVER_NAMED):
            return
        home = os.environ.get("PREFECT_HOME", "")
        if os.path.isdir(home) and not os.access(home, os.W_OK):
            why = "cannot be written to, but Prefect keeps its files there"
            raise StudyError(f"{home}: {why}; give another root, or name a Prefect server in PREFECT_API_URL")
        set_proxies_aside()
        self._environment = isolated({**os.environ, **ENVIRONMENT})
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as this process lives
        self._was_up = False
        self._to_keep = _begin_with_a_copy()
        self._listening = socket.create_server((HOST, 0), backlog=1024)  # passed on open: no other process can take the port
        self.process = self._start()
        os.environ[SERVER_NAMED] = self.url = api(self._listening.getsockname()[1])
        threading.Thread(target=self._start_again, name="temporary server", daemon=True).start()
        atexit.register(self.close)  # before Prefect registers its own, so that what Prefect still sends arrives

    def _start(self) -> subprocess.Popen[bytes]:
        number, home = self._listening.fileno(), self._environment.get("PREFECT_HOME")  # where no prefect.toml of a user is
        command: list[str] = [*PYTHON, "flows.servers.temporary_server", str(number)]
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": self._output}
        return subprocess.Popen(command, pass_fds=[number], start_new_session=True, env=self._environment, cwd=home, **streams)

    def _start_again(self) -> None:
        """Restart a server that was killed, a few times; never one that ended by itself before it had ever answered."""
        try:
            for left in reversed(range(STARTS)):
                assert self.process is not None
                self.process.wait()
                with self._changing:  # else `close` would end the old server, and the new one would stay
                    if self._ending.is_set():
                        return
                    if not left or (not self._was_up and self.process.returncode > 0):
                        return
                    self.process = self._start()
        finally:
            self._listening.close()

    def wait(self) -> None:
        """Wait until the server answers. Raises StudyError if it does not."""
        if self.process is None:
            return
        began, silent = time.monotonic(), False
        while not is_up(self.url):
            waited = time.monotonic() - began
            if self._listening.fileno() < 0 or waited > SECONDS_TO_START:
                self.close()
                raise StudyError(f"the temporary Prefect server does not start: {self._why()}")
            if waited > SECONDS_OF_SILENCE and not silent:
                silent = True
                message = f"waiting for the temporary Prefect server, which has not answered for {waited:.0f} s: {self._why()}"
                print(message, file=sys.stderr, flush=True)
            time.sleep(0.05)
        self._was_up = True
        if self._to_keep is not None:
            _keep(self._to_keep)

    def _why(self) -> str:
        """The server's last error, where its database is, and what to do about a database that is none."""
        output = os.pread(self._output.fileno(), 1_000_000, 0).decode(errors="replace")  # the server writes where the file ends
        home = self._environment.get("PREFECT_HOME", "")
        words = f"{last_error(output) or _held(Path(home) / 'prefect.db')}. Its files are in {home}"
        if any(word in output for word in BROKEN):
            words += "; move its prefect.db away: it records only what ran and when, no results"
        return words

    def close(self) -> None:
        """End the server, after it has written what it has received."""
        with self._changing:
            self._ending.set()
        if self.process is None or self.process.stdin is None:
            return
        self._listening.close()
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _begin_with_a_copy() -> Path | None:
    """Copy the empty database to a root without one; where there is none to copy, return the path of the one to keep."""
    home = os.environ.get("PREFECT_HOME")
    if home is None or any(name in os.environ for name in ELSEWHERE):
        return None
    database = Path(home) / "prefect.db"
    if database.exists():
        return None
    temporary = database.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        shutil.copyfile(_kept(), temporary)
        with closing(sqlite3.connect(temporary)) as copied:
            [[check], *_] = copied.execute("PRAGMA quick_check")
        if check != "ok":  # a broken copy would stop every new root
            return database
        os.link(temporary, database)  # never replaces a database that another run's server has begun to write
    except FileExistsError:
        return None
    except (OSError, sqlite3.Error):  # no copy yet, or it is broken or unreadable, or the file system has no links
        return database
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return None


def _held(database: Path) -> str:
    """What keeps a server waiting that has printed nothing: another process in its database, or it is still being made."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=1)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return f"{error}: another process uses {database.name}, or it is still being made"
    return "it has printed nothing yet"


def _keep(database: Path) -> None:
    """Keep a copy of a database that holds no run yet. Does nothing if that fails, or if a run has begun meanwhile."""
    temporary = _kept().with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)
            [runs] = target.execute("SELECT count(*) FROM flow_run").fetchone()
        if not runs:  # a run on this root has begun, whose data must not get into other roots
            temporary.replace(_kept())
    except (OSError, sqlite3.Error):
        pass
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _kept() -> Path:
    """The empty database of this version of Prefect."""
    return cache_folder() / f"prefect-{version('prefect')}.db"


def _serve(descriptor: int) -> None:
    """The server's process. It ends when its standard input closes, so that it also ends with a killed run."""
    import uvicorn

    listening = socket.socket(fileno=descriptor)
    config = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
    server = uvicorn.Server(config)

    def end_with_the_run() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        time.sleep(SECONDS_TO_END)
        os._exit(1)

    threading.Thread(target=end_with_the_run, daemon=True).start()
    try:
        server.run(sockets=[listening])
    except Exception:
        traceback.print_exc()
    except SystemExit:  # after a report of its own
        pass
    # Everything is written and closed; a normal shutdown of the interpreter would take two more seconds, and the run would wait.
    os._exit(0 if server.started else 1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
