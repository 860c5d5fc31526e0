"""What all tests share. Property tests have no deadline: these machines are slow and noisy, and time is not what is tested."""

import atexit
import os
import sys

from hypothesis import settings

settings.register_profile("taskgram", deadline=None)
settings.load_profile("taskgram")


@atexit.register
def _say_no_more() -> None:
    """DuckDB's bindings list a hundred of their own names as leaked when a process ends: around what was tested."""
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
