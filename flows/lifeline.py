"""What a run starts ends with it, however it ends: also where it is killed and can clean up nothing itself.

A small process of its own holds the other end of a pipe. The kernel closes the pipe when the run ends; what then still carries
the run's mark in its environment, Prefect's temporary server above all, is asked to stop, and a little later made to.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from typing import Any

MARK = "TASKGRAM_RUN"
SECONDS_TO_STOP = 5.0
_held: list[int] = []


def hold() -> None:
    """Mark what this process starts from now on, and have it end with this process."""
    os.environ[MARK] = uuid.uuid4().hex
    reading, writing = os.pipe()  # neither end is handed on to what is started later
    _held.append(writing)
    # A session of its own: Ctrl-C and a closed terminal reach the run, and must not reach this.
    subprocess.Popen([sys.executable, "-P", __file__, os.environ[MARK]], stdin=reading, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    os.close(reading)


def _end_all(mark: str) -> None:
    import psutil

    began = time.monotonic()
    while left := [p for p in psutil.process_iter() if _carries(p, mark)]:
        for process in left:
            with suppress(psutil.Error):  # it ended by itself
                process.terminate() if time.monotonic() - began < SECONDS_TO_STOP else process.kill()
        time.sleep(0.5)


def _carries(process: Any, mark: str) -> bool:
    import psutil

    try:
        return bool(
            process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
        )
    except (psutil.Error, OSError):
        return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    _end_all(sys.argv[1])
