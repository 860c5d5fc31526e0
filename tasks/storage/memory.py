"""The memory of this process: how much it uses, and how freed memory is returned before the next job is measured."""

import ctypes
import gc
import resource
import sys
from contextlib import suppress

import psutil
import pyarrow as pa

WORTH_RELEASING = 50_000_000  # bytes; releasing less takes longer than a small job
_kept = 0  # bytes in use after the last release


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_use() -> int:
    return int(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Return freed memory to the system, so that what one job held does not count against the next one's limit. Called between jobs
    only: glibc's own MALLOC_TRIM_THRESHOLD_ makes it map and unmap every tensor, which costs training much of its speed."""
    global _kept
    if in_use() < _kept + WORTH_RELEASING:
        return
    gc.collect()
    gc.freeze()  # most live objects belong to libraries; collecting them after every small job takes longer than the job
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
    _kept = in_use()
