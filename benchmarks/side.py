"""One side of a benchmark: taskgram's implementation, or a peer's. Each `*_sides.py` makes them, `rows.py` puts them into rows."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
OURS = "ours"
Case = Mapping[str, Any]  # sizes of one measurement, and its bars
Arrays = Mapping[str, Any]  # NumPy's, by name


def arrays(result: Any) -> Arrays:
    """A result that is an array, or several by name, as what is compared with other sides'."""
    return {"answers": result} if isinstance(result, np.ndarray) else result if isinstance(result, dict) else {}


@dataclass(frozen=True)
class BenchmarkSide:
    """One way to do a row's work. Only `work` is timed; its argument is what `fresh` has made for this run. `items`: the number of
    items in one run, or how to get it from the result. `answer`: arrays to compare with other sides'. `check`: what is wrong with
    the result, or an empty text. `extra`: further figures."""

    work: Callable[[Any], Any]
    items: int | Callable[[Any], int]
    answer: Callable[[Any], Any] = arrays
    fresh: Callable[[], Any] = lambda: None
    check: Callable[[Any], str] = lambda result: ""
    extra: Callable[[Any], Mapping[str, Any]] = lambda result: {}
    close: tuple[Callable[[], object], ...] = ()


class Folders:
    """A new empty folder at each call, which replaces the last one."""

    last = ""

    def __call__(self) -> Path:
        self.close()
        self.last = tempfile.mkdtemp(prefix="taskgram-benchmark-")
        return Path(self.last)

    def close(self) -> None:
        shutil.rmtree(self.last, ignore_errors=True)
