"""The disk: where caches lie, and one that is full in a person's words.

What was finished is kept, for parts and manifests appear whole or not at all.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)


def no_room(error: BaseException, path: str) -> str:
    """What happened and what to do, where an error says that a file could not be written for want of room; "" for any other.

    `path`: what was being written, if the error does not name its file.
    """
    number = getattr(error, "errno", None)
    if number not in (*FULL, errno.EFBIG) and os.strerror(errno.ENOSPC) not in str(error):  # DuckDB's have no number
        return ""
    what = os.strerror(number if number is not None else errno.ENOSPC)
    remedy = "raise the limit on the size of a file (ulimit -f)" if number == errno.EFBIG else (
        "make room on its disk (`taskgram clean STUDY` removes what no study records), or move the root to a larger one"
    )  # fmt: skip
    place = getattr(error, "filename", None) or path
    return f"{place}: cannot be written: {what}. What was finished is kept: {remedy}, and run the study again."


def cache_folder() -> Path:
    """What may be made again at any time, for all roots of this user: $TASKGRAM_CACHE, or `taskgram` where caches lie.

    Not absolute where the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    usual = Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "taskgram"
    return Path(os.environ.get("TASKGRAM_CACHE") or usual)
