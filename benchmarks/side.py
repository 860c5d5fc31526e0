"""One side of a benchmark: taskgram's implementation, or a peer's. Each `*_sides.py` makes them, `rows.py` puts them into rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = "ours"
Case = Mapping[str, Any]  # sizes of one measurement, and its bars


@dataclass(frozen=True)
class BenchmarkSide:
    """One way to do a row's work. Only `work` is timed; its argument is what `fresh` has made for this run.

    `items`: the number of items in one run, or how to get it from the result. `answer`: arrays to compare with other sides'.
    `check`: what is wrong with the result, or an empty text. `extra`: further figures.
    """

    work: Callable[[Any], Any]
    items: int | Callable[[Any], int]
    fresh: Callable[[], Any] = lambda: None
    answer: Callable[[Any], Mapping[str, Any]] = lambda result: {}
    check: Callable[[Any], str] = lambda result: ""
    extra: Callable[[Any], Mapping[str, Any]] = lambda result: {}
    close: Callable[[], None] = lambda: None
