"""python -m benchmarks.child ROW SIDE CASE FOLDER SHARED: one side of a row, which runs each time a line comes in.

`timing.py` starts it; each answer is a line of JSON. Without a SIDE it only makes the row's inputs.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.rows import ROWS
from benchmarks.side import BenchmarkSide

WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _peak() -> int:
    """Bytes: of this process, or of the largest child that it waited for."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in WHO)


def _cpu() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, WHO))


def _serve(words: Sequence[str]) -> None:
    """Make the side ready, then run it once for each line of the input."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some peers print

    def reply(**values: Any) -> None:
        out.write(json.dumps(values) + "\n")
        out.flush()

    row, name, case = ROWS[words[0]], words[1], json.loads(words[2])
    corpora = Corpora(Path(words[3]), Path(words[4]))
    if not name:
        row.prepare(corpora, case)
        reply(ready=True)
        return
    try:
        side = row.sides[name](corpora, case)
    except ModuleNotFoundError as missing:
        reply(error=f"not installed ({missing.name})")
        return
    reply(memory=_peak())
    try:
        for number, _ in enumerate(sys.stdin):
            made = side.fresh()
            cpu, wall = _cpu(), time.perf_counter()
            result = side.work(made)
            wall, cpu, memory = time.perf_counter() - wall, _cpu() - cpu, _peak()  # before the answer takes memory
            first = {} if number else _first_run(side, result, corpora.place(f"answer-{words[0]}-{name}.npz"))
            reply(wall=wall, cpu=cpu, memory=memory, extra=dict(side.extra(result)), **first)
            del result, made
    finally:
        side.close()


def _first_run(side: BenchmarkSide, result: Any, path: Path) -> dict[str, Any]:
    """What is needed once: the answer, and whether it is right."""
    np.savez(path, **side.answer(result))
    items = side.items if isinstance(side.items, int) else side.items(result)
    return {"items": int(items), "answer": str(path), "wrong": side.check(result)}


if __name__ == "__main__":
    _serve(sys.argv[1:])
