"""A Prefect server for the time of one run, where no other is named: it starts while the run is still importing, and ends with it.

Prefect would start one itself, but only once everything is imported, and it imports the whole server into the run to do so:
together longer than a night takes that has nothing to do.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from flows.server import HOST, api, is_up
from schemas import StudyError

SECONDS_TO_START = 120.0  # its database is made at the first start
SECONDS_TO_END = 15.0
ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class TemporaryServer:
    """Starts a server, unless PREFECT_API_URL names one; that variable then says where it is. Call before importing Prefect."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        if "PREFECT_API_URL" in os.environ:
            return
        with socket.create_server((HOST, 0)) as listening:  # handed over open, so that nobody else takes the port
            port = listening.getsockname()[1]
            package = str(Path(__file__).resolve().parent.parent)
            paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.temporary_server", str(listening.fileno())],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": paths}, pass_fds=[listening.fileno()], start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        os.environ["PREFECT_API_URL"] = self.url = api(port)
        atexit.register(self.close)  # before Prefect registers its own, so that what it still sends arrives

    def wait(self) -> None:
        """Until it answers. Raises StudyError if it does not."""
        began = time.monotonic()
        while self.process is not None and not is_up(self.url):
            if self.process.poll() is not None or time.monotonic() - began > SECONDS_TO_START:
                self.close()
                raise StudyError(f"the temporary Prefect server does not start; its home is {os.environ.get('PREFECT_HOME')}. "
                                 "To see why: PREFECT_HOME=that prefect server start")  # fmt: skip
            time.sleep(0.05)

    def close(self) -> None:
        """End it, when it has written down what it was told."""
        if self.process is None or self.process.stdin is None:
            return
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
