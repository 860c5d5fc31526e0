"""A Prefect server on this machine and the processes that go with it, started in order and stopped in reverse.

Everything listens on the loopback interface. The running processes are recorded under the root, so that another command can stop
them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.environment import isolated, prefect_home
from schemas import StudyError
from tasks.storage.leases import started

SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 30.0
HOST = "127.0.0.1"
PYTHON = [sys.executable, "-P", "-m"]  # -P: no file of the working folder is imported
Process = subprocess.Popen[bytes]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ERROR = re.compile(r"[\w.]+(Error|Exception|Exit|Interrupt)\b.*")


def is_up(url: str) -> bool:
    """Whether a Prefect server of this machine answers at this API address."""
    try:
        with _DIRECT.open(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def server_command(port: int) -> list[str]:
    return [*PYTHON, "prefect", "server", "start", "--host", HOST, "--port", str(port), "--analytics-off"]


def server_environment(port: int) -> dict[str, str]:
    """The environment of a server; its UI needs the address of the API if the port is not 4200."""
    return isolated({**os.environ, "PREFECT_SERVER_UI_API_URL": api(port), "PREFECT_SERVER_LOGGING_LEVEL": "WARNING"})


def last_error(output: str) -> str:
    """The line of a failed process's output that says why: the last that names an exception, else the last; "" if there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "")


def api(port: int) -> str:
    return f"http://{HOST}:{port}/api"


def wait_until_up(url: str, process: Process, log: Path) -> None:
    """Wait for a server that was just started. Raises StudyError with the end of its log if it exits or never answers."""
    began = time.monotonic()
    while not is_up(url):
        if process.poll() is not None or time.monotonic() - began > SECONDS_TO_START:
            output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            remedy = "; choose another port" if "in use" in output else ""
            why = last_error(output) or f"it has not answered for {SECONDS_TO_START:.0f} s"
            raise StudyError(f"the Prefect server at {url} does not start: {why}{remedy}. Its log is {log}")
        time.sleep(0.3)


class Processes:
    """The processes of a root, by name, in the order they were started; recorded in `processes.json` in Prefect's home."""

    def __init__(self, root: str) -> None:
        self.folder = prefect_home(root)
        self.file = self.folder / "processes.json"

    def running(self) -> dict[str, int]:
        try:
            recorded = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {name: pid for name, (pid, start) in recorded.items() if start and started(pid) == start}

    def start(self, name: str, command: list[str], environment: dict[str, str], folder: Path | None = None) -> tuple[Process, Path]:
        """Start a process that outlives this one, in Prefect's home or another folder; returns it and its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        with open(log, "wb") as out:
            streams: dict[str, Any] = {"stdout": out, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
            place: Any = {"env": environment, "cwd": folder or self.folder}
            process = subprocess.Popen(command, start_new_session=True, **place, **streams)
        recorded = {n: (pid, started(pid)) for n, pid in self.running().items()} | {name: (process.pid, started(process.pid))}
        self.file.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
        return process, log

    def stop(self) -> list[str]:
        """Stop all in reverse order; returns their names."""
        running = dict(reversed(self.running().items()))
        for pid in running.values():
            end(pid)
        self.file.unlink(missing_ok=True)
        return list(running)


def end(pid: int) -> None:
    """Terminate a process; if it still runs after a while, kill it with its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number) if number == signal.SIGTERM else os.killpg(pid, number)
        began = time.monotonic()
        while time.monotonic() - began < SECONDS_TO_STOP:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not started(pid):
                return
            time.sleep(0.1)
