"""A Prefect server for the time of one run, where no other is named: it starts while the run is still importing, and ends with it.

Prefect would start one itself, but only once everything is imported, and it imports the whole server into the run to do so:
together longer than a night takes that has nothing to do. It also makes its database by all the changes of its history, which
takes longer still; so an empty database is kept in the user's cache, and a new root begins with a copy of it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from flows.servers.processes import HOST, api, is_up
from schemas import StudyError
from tasks.storage.disk import cache_folder

SECONDS_TO_START = 120.0  # its database is made at the first start
SECONDS_TO_END = 15.0
STARTS = 4
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")  # a database that is not ours
ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class TemporaryServer:
    """Starts a server, unless PREFECT_API_URL names one; that variable then says where it is. Call before importing Prefect.

    A server that is killed is started again behind the same socket, which stays open here: who connects meanwhile waits a few
    seconds, and Prefect's clients ask again what was under way.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._ending, self._changing = threading.Event(), threading.Lock()
        if "PREFECT_API_URL" in os.environ:
            return
        home = os.environ.get("PREFECT_HOME", "")
        if os.path.isdir(home) and not os.access(home, os.W_OK):
            raise StudyError(
                f"{home}: cannot be written to, and Prefect's own files lie there; name another root, or a Prefect "
                "server in PREFECT_API_URL"
            )
        self._to_keep = _begin_with_a_copy()
        self._listening = socket.create_server((HOST, 0), backlog=1024)  # handed over open: nobody else takes the port
        self.process = self._start()
        os.environ["PREFECT_API_URL"] = self.url = api(self._listening.getsockname()[1])
        threading.Thread(target=self._start_again, name="temporary server", daemon=True).start()
        atexit.register(self.close)  # before Prefect registers its own, so that what it still sends arrives

    def _start(self) -> subprocess.Popen[bytes]:
        package, number = str(Path(__file__).resolve().parents[2]), self._listening.fileno()
        paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-m", "flows.servers.temporary_server", str(number)],
            pass_fds=[number],
            start_new_session=True,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _start_again(self) -> None:
        """Whenever it has ended and should not have; one that cannot live is given up, and its port closed."""
        try:
            for left in reversed(range(STARTS)):
                assert self.process is not None
                self.process.wait()
                with self._changing:  # else `close` would end the old one, and the new one would stay
                    if self._ending.is_set():
                        return
                    if left:
                        self.process = self._start()
        finally:
            self._listening.close()

    def wait(self) -> None:
        """Until it answers. Raises StudyError if it does not."""
        began = time.monotonic()
        while self.process is not None and not is_up(self.url):
            if self._listening.fileno() < 0 or time.monotonic() - began > SECONDS_TO_START:
                self.close()
                raise StudyError(
                    f"the temporary Prefect server does not start; its home is {os.environ.get('PREFECT_HOME')}. "
                    "To see why: PREFECT_HOME=that prefect server start"
                )
            time.sleep(0.05)
        if self.process is not None and self._to_keep is not None:
            _keep(self._to_keep)

    def close(self) -> None:
        """End it, when it has written down what it was told."""
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
    """Give a root without a database an empty one; its path where there is none to copy and it should be kept for the next root."""
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
            [[said], *_] = copied.execute("PRAGMA quick_check")
        if said != "ok":  # else no new root would ever start
            return database
        os.link(temporary, database)  # never in the place of one that another run's server has begun to write
    except FileExistsError:
        return None
    except (OSError, sqlite3.Error):  # there is none yet, or it is broken or unreadable, or the file system has no links
        return database
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return None


def _keep(database: Path) -> None:
    """Keep a database in which no run has been written yet. That this cannot be done, or comes too late, is no harm."""
    temporary = _kept().with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)
            [runs] = target.execute("SELECT count(*) FROM flow_run").fetchone()
        if not runs:  # else another run on this root has begun: what it says of its study is for no other root
            temporary.replace(_kept())
    except (OSError, sqlite3.Error):
        pass
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _kept() -> Path:
    """The empty database of this Prefect; another version has another one."""
    return cache_folder() / f"prefect-{version('prefect')}.db"


def _serve(descriptor: int) -> None:
    """The server's own process: it lives as long as its input is open, so that it ends also with a run that was killed."""
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
    server.run(sockets=[listening])
    # All is written and closed by now; taking the interpreter apart takes two more seconds, for which a run would wait.
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
