"""Timing the sides of a row. Each has a process of its own (`child.py`), so that its peak memory is its own.

The sides take turns, ours first, after a run of each that does not count: it compiles kernels and reads files.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.side import ROOT


@dataclass(frozen=True)
class Timing:
    """The result of one side. Seconds are medians; memory is the peak in bytes, before and after the work."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # not installed, or what went wrong
    answer: Path | None = None


class Child:
    """A side in its own process, which answers each line with a line of JSON."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        from tasks.cluster.cluster import WORKER_ENVIRONMENT

        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when the process has ended
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **WORKER_ENVIRONMENT, **environment},
        )
        self.started = time.perf_counter()
        self.first: dict[str, Any] = {}

    def wait(self) -> None:
        """Wait until it has its inputs; `first` is then its first line, or {"error": …}."""
        self.first = {**self.read_line(), "seconds": time.perf_counter() - self.started}

    def read_line(self) -> dict[str, Any]:
        """The next line; {"error": …} if the process ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.errors.seek(0)
        return {"error": (self.errors.read().strip().splitlines() or [f"ended with {self.process.wait()}"])[-1]}

    def run(self) -> dict[str, Any]:
        """Time one run."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.read_line()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def measure(
    row: str,
    sides: Sequence[str],
    case: Mapping[str, Any],
    runs: int,
    folder: Path,
    shared: Path,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Timing]:
    """Run the sides in turns, `runs` times each. A side that cannot run has a `problem` and no figures."""
    words = [json.dumps(case), str(folder), str(shared)]
    preparing = Child([row, "", *words], {})  # makes the inputs, so that no side's memory includes this
    preparing.wait()
    preparing.close()
    if "error" in preparing.first:
        return {side: Timing(problem=preparing.first["error"]) for side in sides}
    children = {side: Child([row, side, *words], environment or {}) for side in sides}
    for child in children.values():
        child.wait()
    problems = {side: child.first["error"] for side, child in children.items() if "error" in child.first}
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    try:
        for _ in range(1 + runs):
            for side, child in children.items():
                if side not in problems:
                    result = child.run()
                    if "error" in result:
                        problems[side] = result["error"]
                    results[side].append(result)
    finally:
        for child in children.values():
            child.close()
    return {
        side: Timing(problem=problems[side]) if side in problems else _summary(children[side].first, results[side])
        for side in sides
    }


def _summary(ready: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Timing:
    warm, timed = results[0], results[1:]
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
    return Timing(figures, warm["wrong"], Path(warm["answer"]))
