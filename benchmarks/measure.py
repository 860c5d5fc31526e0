"""Measuring: each side of a row lives in a process of its own, so that its peak memory is its own, and is told when to work.

    python -m benchmarks.measure ROW SIDE CASE FOLDER SHARED      (started by `measure`; speaks JSON lines)

The sides take turns, ours first, after a run of each that does not count: kernels are compiled and files read by then.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = "ours"


@dataclass(frozen=True)
class Side:
    """One way to do a row's work. Only `work` is timed: it takes what `fresh` made for this run.

    `items`: what one run gets through, or how to tell from what it gave. `answer`: arrays to compare with other sides'.
    `check`: what is wrong, or an empty text. `extra`: further figures.
    """

    work: Callable[[Any], Any]
    items: int | Callable[[Any], int]
    fresh: Callable[[], Any] = lambda: None
    answer: Callable[[Any], Mapping[str, Any]] = lambda result: {}
    check: Callable[[Any], str] = lambda result: ""
    extra: Callable[[Any], Mapping[str, Any]] = lambda result: {}
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Measured:
    """What became of one side. Seconds are medians; memory is the peak in bytes, and before it the peak of getting ready."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # not installed, or what went wrong
    answer: Path | None = None


class Child:
    """A side in its own process."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        from tasks.cluster.cluster import WORKER_ENVIRONMENT

        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when the process has ended
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.measure", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **WORKER_ENVIRONMENT, **environment},
        )
        self.began = time.perf_counter()
        self.first: dict[str, Any] = {}

    def ready(self) -> None:
        """Wait until it has its inputs: `first` says what it is, or {"error": …}."""
        self.first = {**self.hear(), "seconds": time.perf_counter() - self.began}

    def hear(self) -> dict[str, Any]:
        """The next line; {"error": …} if the process ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.errors.seek(0)
        return {"error": (self.errors.read().strip().splitlines() or [f"ended with {self.process.wait()}"])[-1]}

    def run(self) -> dict[str, Any]:
        """One run."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.hear()

    def close(self) -> None:
        """End it."""
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
) -> dict[str, Measured]:
    """Run the sides in turns, `runs` times each. A side that cannot run has a `problem` and no figures."""
    words = [json.dumps(case), str(folder), str(shared)]
    preparing = Child([row, "", *words], {})  # makes the inputs, so that no side is charged with the memory this takes
    preparing.ready()
    preparing.close()
    if "error" in preparing.first:
        return {side: Measured(problem=preparing.first["error"]) for side in sides}
    children = {side: Child([row, side, *words], environment or {}) for side in sides}
    for child in children.values():
        child.ready()
    problems = {side: child.first["error"] for side, child in children.items() if "error" in child.first}
    heard: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    try:
        for _ in range(1 + runs):
            for side, child in children.items():
                if side not in problems:
                    said = child.run()
                    if "error" in said:
                        problems[side] = said["error"]
                    heard[side].append(said)
    finally:
        for child in children.values():
            child.close()
    return {
        side: Measured(problem=problems[side]) if side in problems else _summary(children[side], heard[side])
        for side in sides
    }


def _summary(child: Child, heard: Sequence[Mapping[str, Any]]) -> Measured:
    ready = child.first
    warm, timed = heard[0], heard[1:]
    cpu, wall = [h["cpu"] for h in timed], [h["wall"] for h in timed]
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
        **heard[-1]["extra"],
    }
    return Measured(figures, warm["wrong"], Path(warm["answer"]))


# -- in the child -----------------------------------------------------------------------------------------------------
def _peak() -> int:
    """Bytes: of this process, or of the largest it started and waited for."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def _serve(words: Sequence[str]) -> None:
    """Make the side ready, then run it each time a line comes in."""
    from benchmarks.corpora import Corpora
    from benchmarks.rows import ROWS

    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some peers talk

    def say(**what: Any) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    row, name, case = ROWS[words[0]], words[1], json.loads(words[2])
    corpora = Corpora(Path(words[3]), Path(words[4]))
    if not name:
        row.prepare(corpora, case)
        say(ready=True)
        return
    try:
        side = row.sides[name](corpora, case)
    except ModuleNotFoundError as missing:
        say(error=f"not installed ({missing.name})")
        return
    say(memory=_peak())
    try:
        for number, _ in enumerate(sys.stdin):
            made = side.fresh()
            cpu, wall = _cpu(), time.perf_counter()
            result = side.work(made)
            wall, cpu, memory = time.perf_counter() - wall, _cpu() - cpu, _peak()  # later it holds the answer too
            first = {} if number else _first(side, result, corpora.place(f"answer-{words[0]}-{name}.npz"))
            say(wall=wall, cpu=cpu, memory=memory, extra=dict(side.extra(result)), **first)
            del result, made
    finally:
        side.close()


def _first(side: Side, result: Any, path: Path) -> dict[str, Any]:
    """What is looked at once: the answer, and whether it is right."""
    import numpy as np

    np.savez(path, **side.answer(result))
    items = side.items if isinstance(side.items, int) else side.items(result)
    return {"items": int(items), "answer": str(path), "wrong": side.check(result)}


if __name__ == "__main__":
    _serve(sys.argv[1:])
