"""Every Python process that has this folder on its path has the clock that the file named in TASKGRAM_TRIAL_CLOCK says.

The file holds the seconds by which it is wrong. Python's `time` is wrong by that much, its monotonic clock and `datetime` are
not: libfaketime, which moves those too, breaks `time.sleep` (0.9.10: Invalid argument).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

FILE = os.environ.get("TASKGRAM_TRIAL_CLOCK", "")
now, utc, local, written = time.time, time.gmtime, time.localtime, time.strftime


def wrong_by() -> float:
    with suppress(OSError, ValueError), open(FILE, encoding="ascii") as file:
        return float(file.read())
    return 0.0


if FILE:
    time.time = lambda: now() + wrong_by()
    time.time_ns = lambda: int(time.time() * 1e9)
    time.gmtime = lambda seconds=None: utc(time.time() if seconds is None else seconds)  # type: ignore[assignment]
    time.localtime = lambda seconds=None: local(time.time() if seconds is None else seconds)  # type: ignore[assignment]
    time.strftime = lambda form, when=None: written(form, time.localtime() if when is None else when)  # type: ignore[assignment]
