"""Timing the sides of a row. Each runs in a process of its own, so that its peak memory is its own. The sides take turns, ours
first, after a run of each that does not count: it compiles kernels and reads files."""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.rows import ROWS
from benchmarks.side import BenchmarkSide, Case, arrays

WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_sides: list[BenchmarkSide] = []  # the one of this process


@dataclass(frozen=True)
class Timing:
    """The result of one side. Seconds are medians; memory is the peak in bytes, before and after the work."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # not installed, or what went wrong
    answer: Path | None = None


# -- in a side's process ----------------------------------------------------------------------------------------------
def _quiet() -> None:
    """Some peers print."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _peak() -> int:
    """Bytes: of this process, or of the largest child that it waited for."""
    return (1 if sys.platform == "darwin" else 1024) * max(resource.getrusage(who).ru_maxrss for who in WHO)


def _cpu() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, WHO))


def _tried(work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """What it returns, or its error as text: whatever a peer raises, which need not be picklable."""
    try:
        return work(*given)
    except ModuleNotFoundError as missing:
        return {"error": f"not installed ({missing.name})"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def _begin(row: str, name: str, case: Case, corpora: Corpora) -> dict[str, Any]:
    """Make the side ready. `made`: whether that has made inputs, which takes memory that is not the side's."""
    before = set(corpora.folder.rglob("*"))
    _sides.append(ROWS[row].sides[name](corpora, case))
    made = before != set(corpora.folder.rglob("*"))
    return {"memory": _peak(), "made": made}


def _run(answer: Path, first: bool) -> dict[str, Any]:
    """One run; at first also what is needed once: the answer, and whether it is right."""
    (side,) = _sides
    made = side.fresh()
    cpu, wall = _cpu(), time.perf_counter()
    result = side.work(made)
    wall, cpu, memory = time.perf_counter() - wall, _cpu() - cpu, _peak()  # before the answer takes memory
    line = {"wall": wall, "cpu": cpu, "memory": memory, "extra": dict(side.extra(result))}
    if first:
        np.savez(answer, **arrays(side.answer(result)))
        items = side.items if isinstance(side.items, int) else side.items(result)
        line |= {"items": int(items), "answer": answer, "wrong": side.check(result)}
    return line


def _end() -> dict[str, Any]:
    for side in _sides:
        for close in side.close:
            close()
    return {}


# -- in the process that measures -------------------------------------------------------------------------------------
class SideProcess:
    """A side in its own process. `ready`: the answer when it has its inputs, or {"error": …}."""

    def __init__(self, row: str, name: str, case: Case, corpora: Corpora, environment: Mapping[str, str]) -> None:
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _quiet)
        self.place = corpora.place(f"answer-{row}-{name}.npz")
        began = time.perf_counter()
        with mock.patch.dict(os.environ, environment):
            self.ready = self.ask(_begin, row, name, case, corpora)
        self.ready["seconds"] = time.perf_counter() - began

    def ask(self, work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
        """What the process returns; {"error": …} if that failed or the process ended."""
        try:
            return self.pool.submit(_tried, work, *given).result()
        except BrokenProcessPool:
            return {"error": "its process ended"}

    def close(self) -> None:
        self.ask(_end)
        self.pool.shutdown()


def measure(
    row: str, sides: Sequence[str], case: Case, runs: int, corpora: Corpora, environment: Mapping[str, str] | None = None
) -> dict[str, Timing]:
    """Run the sides in turns, `runs` times each. A side that cannot run has a `problem` and no figures."""
    from tasks.cluster.cluster import WORKER_ENVIRONMENT

    processes: dict[str, SideProcess] = {}
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    try:
        for side in sides:
            given = (row, side, case, corpora, {**WORKER_ENVIRONMENT, **(environment or {})})
            processes[side] = SideProcess(*given)
            if processes[side].ready.get("made"):
                processes[side].close()
                processes[side] = SideProcess(*given)
        problems = {side: process.ready["error"] for side, process in processes.items() if "error" in process.ready}
        for number in range(1 + runs):
            for side in (side for side in sides if side not in problems):
                results[side].append(processes[side].ask(_run, processes[side].place, not number))
                if "error" in results[side][-1]:
                    problems[side] = results[side][-1]["error"]
    finally:
        for process in processes.values():
            process.close()
    ended = {side: Timing(problem=why) for side, why in problems.items()}
    return {side: ended.get(side) or _summary(processes[side].ready, results[side]) for side in sides}


def _summary(ready: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Timing:
    warm, timed = results[0], results[1:] or results  # a row of no runs is one that counts the first
    cpu, wall = [r["cpu"] for r in timed], [r["wall"] for r in timed]
    times = {"cpu_seconds": statistics.median(cpu), "wall_seconds": statistics.median(wall), "cpu_range": [min(cpu), max(cpu)]}
    memory = {"peak_memory": warm["memory"], "memory_before": ready["memory"]}
    first = {"first_run_seconds": warm["wall"], "ready_seconds": ready["seconds"]}
    figures = times | memory | first | {"items": warm["items"], "runs": len(timed)} | results[-1]["extra"]
    return Timing(figures, warm["wrong"], warm["answer"])
