"""A small study to count, a scheduler and workers as processes of their own, and what calls and studies ask of a cluster."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.engine import Reports, run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import Study, load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tests.support import NOTES

REPOSITORY = Path(__file__).resolve().parent.parent.parent
COUNTING = ("ingest", "tokenizer", "tokens", "words", "count")
FILES = 8
STUDY = (
    """
name = "counting"
workers = 0
"""
    + NOTES
    + """[counting]
all_orders = [1, 2]
buckets = 3
"""
)


def count(folder: Path, root: Path, cluster: Cluster, progress: Callable[[str, int], None] = lambda step, done: None) -> None:
    """Bring the counts up to date."""
    study = load_study(folder / "counting.toml")
    session = Session(study, "counting.toml", Store(str(root)), cluster)
    try:
        for planned in lay_out(STEPS, study):
            if planned.step.name in COUNTING:
                name = planned.step.name
                run_step(planned, session, Reports(progress=lambda done, total, step=name: progress(step, done)))  # type: ignore[misc]
    finally:
        session.close()


def state(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.glob("*/parts/*"))}


class Processes:
    """A scheduler and workers; each may run within something else, e.g. a network of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.running: list[subprocess.Popen[bytes]] = []

    def _start(self, name: str, words: list[str], within: tuple[str, ...], first: tuple[Path, ...]) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(str(p) for p in (*first, REPOSITORY))
        environment = os.environ | {"PYTHONPATH": paths, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s"}
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [*within, sys.executable, "-m", *words], env=environment, cwd=self.folder, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    def scheduler(self, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> str:
        words = [
            "distributed.cli.dask_scheduler",
            "--host",
            host,
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(self.file),
        ]
        self._start("scheduler", words, within, ())
        until = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text().endswith("}"):
            assert time.monotonic() < until, (self.folder / "scheduler.log").read_text()
            time.sleep(0.1)
        self.address = str(json.loads(self.file.read_text())["address"])
        return self.address

    def worker(
        self, name: str, *words: str, host: str = "127.0.0.1", within: tuple[str, ...] = (), first: tuple[Path, ...] = ()
    ) -> int:
        """Start a worker; its process number. `first`: folders in which it finds packages before all others."""
        command = [
            "distributed.cli.dask_worker",
            self.address,
            "--name",
            name,
            "--host",
            host,
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            str(self.folder),
            *(words or ("--nthreads", "1")),
        ]
        return self._start(name, command, within, first).pid

    def stop(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(cluster: Cluster, workers: int) -> None:
    cluster._open().wait_for_workers(workers, timeout=60)


def device() -> tuple[int, str]:
    """The process and the GPUs that a call sees."""
    time.sleep(0.2)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "not set")


def planned(**settings: object) -> Study:
    planted = {"tokens": 50_000}
    tasks = [{"name": "facts", "family": "qa", "reader": "planted", "orders": [1]}]
    models = [{"name": "tiny", "pretrain": {"hidden": 16, "layers": 1, "heads": 1, "tokens": 10_000}}]
    return Study.model_validate({"name": "s", "corpus": {"planted": planted}, "tasks": tasks, "models": models} | settings)
