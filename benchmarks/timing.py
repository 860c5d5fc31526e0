"""Timing the sides of a row. Each runs in a process of its own, so that its peak memory is its own.

The sides take turns, ours first, after a run of each that does not count: it compiles kernels and reads files.
"""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.rows import ROWS
from benchmarks.side import BenchmarkSide, Case

WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@dataclass(frozen=True)
class Timing:
    """The result of one side. Seconds are medians; memory is the peak in bytes, before and after the work."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # not installed, or what went wrong
    answer: Path | None = None


# -- in a side's process ----------------------------------------------------------------------------------------------
def _peak() -> int:
    """Bytes: of this process, or of the largest child that it waited for."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in WHO)


def _cpu() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, WHO))


def _serve(pipe: Connection, row: str, name: str, case: Case, corpora: Corpora) -> None:
    """Make the side ready, then run it each time that something comes in. Without a name, only make the row's inputs."""
    for stream in (1, 2):  # some peers print
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        if not name:
            ROWS[row].prepare(corpora, case)
            return pipe.send({})
        try:
            side = ROWS[row].sides[name](corpora, case)
        except ModuleNotFoundError as missing:
            return pipe.send({"error": f"not installed ({missing.name})"})
        pipe.send({"memory": _peak()})
        try:
            number = 0
            while pipe.recv():
                pipe.send(_run(side, corpora.place(f"answer-{row}-{name}.npz"), first=not number))
                number += 1
        finally:
            side.close()
    except EOFError:
        pass
    except Exception as error:  # whatever a peer raises
        pipe.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"})


def _run(side: BenchmarkSide, answer: Path, first: bool) -> dict[str, Any]:
    """One run; at first also what is needed once: the answer, and whether it is right."""
    made = side.fresh()
    cpu, wall = _cpu(), time.perf_counter()
    result = side.work(made)
    wall, cpu, memory = time.perf_counter() - wall, _cpu() - cpu, _peak()  # before the answer takes memory
    line = {"wall": wall, "cpu": cpu, "memory": memory, "extra": dict(side.extra(result))}
    if first:
        np.savez(answer, **side.answer(result))
        items = side.items if isinstance(side.items, int) else side.items(result)
        line |= {"items": int(items), "answer": answer, "wrong": side.check(result)}
    return line


# -- in the process that measures -------------------------------------------------------------------------------------
class Child:
    """A side in its own process. `first`: the answer when it has its inputs, or {"error": …}."""

    def __init__(self, row: str, name: str, case: Case, corpora: Corpora, environment: Mapping[str, str]) -> None:
        from tasks.cluster.cluster import WORKER_ENVIRONMENT

        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        with mock.patch.dict(os.environ, {**WORKER_ENVIRONMENT, **environment}):
            self.process = spawn.Process(target=_serve, args=(theirs, row, name, case, corpora), daemon=False)
            self.process.start()
        theirs.close()
        self.started = time.perf_counter()
        self.first: dict[str, Any] = {}

    def wait(self) -> dict[str, Any]:
        """Wait until it has its inputs."""
        self.first = {**self.answer(), "seconds": time.perf_counter() - self.started}
        return self.first

    def answer(self) -> dict[str, Any]:
        """Its next one; {"error": …} if the process ended."""
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            return {"error": f"ended with {self.process.exitcode}"}

    def run(self) -> dict[str, Any]:
        """Time one run."""
        with suppress(BrokenPipeError):
            self.pipe.send(True)
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join()


def measure(
    row: str, sides: Sequence[str], case: Case, runs: int, corpora: Corpora, environment: Mapping[str, str] | None = None
) -> dict[str, Timing]:
    """Run the sides in turns, `runs` times each. A side that cannot run has a `problem` and no figures."""
    preparing = Child(row, "", case, corpora, {})  # makes the inputs, so that no side's memory includes this
    problem = preparing.wait().get("error", "")
    preparing.close()
    if problem:
        return {side: Timing(problem=problem) for side in sides}
    children = {side: Child(row, side, case, corpora, environment or {}) for side in sides}
    problems = {side: child.first["error"] for side, child in children.items() if "error" in child.wait()}
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    try:
        for _ in range(1 + runs):
            for side, child in children.items():
                if side not in problems:
                    results[side].append(child.run())
                    if "error" in results[side][-1]:
                        problems[side] = results[side][-1]["error"]
    finally:
        for child in children.values():
            child.close()
    return {
        side: Timing(problem=problems[side]) if side in problems else _summary(children[side].first, results[side])
        for side in sides
    }


def _summary(ready: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Timing:
    warm, timed = results[0], results[1:] or results  # a row of no runs is one that counts the first
    cpu, wall = [r["cpu"] for r in timed], [r["wall"] for r in timed]
    figures = {
        "cpu_seconds": statistics.median(cpu),
        "wall_seconds": statistics.median(wall),
        "cpu_range": [min(cpu), max(cpu)],
        "items": warm["items"],
        "runs": len(timed),
        "peak_memory": warm["memory"],
        "memory_before": ready["memory"],
        "first_run_seconds": warm["wall"],
        "ready_seconds": ready["seconds"],
        **results[-1]["extra"],
    }
    return Timing(figures, warm["wrong"], warm["answer"])
