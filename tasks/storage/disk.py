"""The disk: where caches are, and what to do when it is full or read-only.

What is finished is kept, because parts and manifests appear whole or not at all.
"""

import errno
import os
from pathlib import Path

_ROOM = "make room on its disk (`taskgram clean STUDY` removes what no study records), or move the root to a larger one"
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EROFS: "mount its disk to be written to, or name another root",
    errno.EACCES: "give this user the right to it, or name another root",
}


def not_written(error: BaseException, path: str) -> str:
    """What happened and what to do when a file could not be written (no space, no permission); "" for any other error. path: what
    was being written, if the error does not name its file."""
    number = getattr(error, "errno", None)
    if number not in REMEDIES:
        if os.strerror(errno.ENOSPC) not in str(error):  # DuckDB's errors have no errno
            return ""
        number = errno.ENOSPC
    place = getattr(error, "filename", None) or path
    done = "cannot be written" if number != errno.EACCES else "cannot be read or written"
    return f"{place}: {done}: {os.strerror(number)}. What was finished is kept: {REMEDIES[number]}, and do it again."


def cache_folder() -> Path:
    """The folder of what can be recomputed at any time, shared by all roots of this user: $TASKGRAM_CACHE, or ~/.cache/taskgram.
    Not absolute where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    usual = Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "taskgram"
    return Path(os.environ.get("TASKGRAM_CACHE") or usual)
