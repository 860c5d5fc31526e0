"""The overhead of a run besides its steps: Prefect, Dask, manifests, processes; and, apart from it, the content checks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpora import Corpora
from benchmarks.side import ROOT, BenchmarkSide
from flows.servers.processes import HOST, api, end, server_command, server_environment, wait_until_up

STUDY = """\
name = "orchestration"
seed = 7
[corpus.planted]
tokens = {tokens}
[tokenizer]
vocabulary = 2048
[counting]
all_orders = [1, 2, 3, 4, 5, 6]
[[tasks]]
name = "facts"
family = "qa"
reader = "planted"
orders = [1, 2]
gamma_default = 0.5
"""
MANY = """\
name = "many"
workers = 2
[[corpus.sources]]
name = "notes"
files = ["corpus/*.jsonl"]
"""


REFUSED = """\
name = "refused"
[[corpus.sources]]
name = "notes"
files = ["missing.jsonl"]
[[tasks]]
name = "questions"
family = "qa"
reader = "jsonl"
evaluate = ["missing.jsonl"]
[[models]]
name = "folder"
path = "missing"
[[models]]
name = "trained"
[models.pretrain]
hidden = 32
heads = 3
tokens = 10_000
"""


def orchestration(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """A planted study without models through `taskgram run`, in one process, so that nothing happens at the same time."""
    folder = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-"))
    (folder / "study.toml").write_text(STUDY.format(tokens=case["tokens"]), encoding="utf-8")

    def fresh() -> Path:
        shutil.rmtree(folder / "root", ignore_errors=True)
        return folder / "root"

    def work(root: Path) -> tuple[Path, float]:
        return root, _run(folder / "study.toml", root, "--workers", "0")

    return BenchmarkSide(
        work=work,
        items=case["tokens"],
        fresh=fresh,
        extra=lambda result: shares(*result),
        close=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def partitions(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """One step of many parts, each from a file of three short lines, on two workers, while the Prefect server gets requests like
    those of its web page.
    """
    folder = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-"))
    (folder / "corpus").mkdir()
    for number in range(case["parts"]):
        lines = [
            json.dumps({"id": f"{number}-{i}", "text": f"The river of Velm {number} is Torin, {i} km long."}) for i in range(3)
        ]
        (folder / "corpus" / f"{number:05}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "study.toml").write_text(MANY, encoding="utf-8")
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**server_environment(port), "PREFECT_HOME": str(folder / "prefect")}
    server = subprocess.Popen(
        server_command(port), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_until_up(api(port), server, folder / "none")

    def fresh() -> Path:
        shutil.rmtree(folder / "root", ignore_errors=True)
        for step in ("plant", "ids"):  # what the step reads
            _run(folder / "study.toml", folder / "root", "--only", step, PREFECT_API_URL=api(port))
        return folder / "root"

    def work(root: Path) -> tuple[Path, float, list[float]]:
        waits: list[float] = []
        stop = threading.Event()
        poller = threading.Thread(target=_poll, args=(api(port), waits, stop))
        poller.start()
        try:
            return root, _run(folder / "study.toml", root, "--only", "ingest", PREFECT_API_URL=api(port)), waits
        finally:
            stop.set()
            poller.join()

    def extra(result: tuple[Path, float, list[float]]) -> dict[str, float]:
        root, wall, waits = result
        part = shares(root, wall)
        overhead = wall - part["job_seconds"] / 2 - part["check_seconds"]
        slowest = sorted(waits)[int(0.99 * (len(waits) - 1))]
        return {
            "overhead": overhead,
            "server_seconds": slowest,
            "job_seconds": part["job_seconds"],
            "check_seconds": part["check_seconds"],
        }

    def close() -> None:
        end(server.pid)
        shutil.rmtree(folder, ignore_errors=True)

    return BenchmarkSide(work=work, items=case["parts"], fresh=fresh, extra=extra, close=close)


def finished_sample(corpora: Corpora, case: Mapping[str, Any]) -> None:
    """The sample, finished."""
    _run(Path("sample"), corpora.place("sample"))


def waiting(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """One command, from its start to its end: the sample again, two new prompts for it, or a study with four mistakes."""
    folder, root = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-")), corpora.place("sample")
    (folder / "study.toml").write_text(REFUSED, encoding="utf-8")
    words = {
        "again": ["run", "sample"],
        "prompts": ["prompts", "sample", "--task", "facts", "--candidates", str(folder / "prompts.txt")],
        "refused": ["run", str(folder / "study.toml")],
    }[case["command"]]

    def fresh() -> None:
        templates = (f"Round {time.time_ns()}, {place} question of all: {{input}} Answer:\n" for place in ("first", "last"))
        (folder / "prompts.txt").write_text("".join(templates), encoding="utf-8")

    return BenchmarkSide(
        work=lambda _: _command([*words, "--root", str(root)], int(case["command"] == "refused")),
        items=1,
        fresh=fresh,
        close=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def _poll(address: str, waits: list[float], stop: threading.Event) -> None:
    """Append, twice a second, the seconds the server takes to list its runs."""
    request = urllib.request.Request(f"{address}/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
    while not stop.wait(0.5):
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        waits.append(time.perf_counter() - began)


def _run(study: Path, root: Path, *words: str, **environment: str) -> float:
    """`taskgram run`; returns its seconds."""
    return _command(["run", str(study), "--root", str(root), *words], environment=environment)


def _command(words: Sequence[str], status: int = 0, environment: Mapping[str, str] | None = None) -> float:
    """A command of `taskgram` that ends with this status; returns its seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", *words]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if ended.returncode != status:
        raise RuntimeError(ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else f"exit {ended.returncode}")
    return time.perf_counter() - began


def shares(root: Path, wall: float) -> dict[str, float]:
    """Seconds of jobs and of checks from a run's manifests, and the rest of its wall time; and percent of it.

    A job that writes two tables is in two manifests under one key.
    """
    jobs: dict[str, float] = {}
    checks = 0.0
    for path in root.glob("*/manifests/*.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        checks += manifest["validation"]["seconds"]
        jobs |= {part["key"]: part["seconds"] for part in manifest["parts"]}
    busy = sum(jobs.values())
    return {
        "job_seconds": busy,
        "check_seconds": checks,
        "other_seconds": wall - busy - checks,
        "orchestration": 100 * (wall - busy - checks) / wall,
        "checks": 100 * checks / wall,
    }
