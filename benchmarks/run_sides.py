"""The overhead of a run besides its steps: Prefect, Dask, manifests, processes; and, apart from it, the content checks."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import ROOT, BenchmarkSide, Folders
from flows.servers.processes import HOST, api, end, server_command, server_environment, wait_until_up

MEASURED = ("flows", "tasks/cluster", "tasks/storage")  # besides what our sides import
STUDY = """\
name = "orchestration"
seed = 7
corpus.planted.tokens = {tokens}
tokenizer.vocabulary = 2048
counting.all_orders = [1, 2, 3, 4, 5, 6]
tasks = [{{name = "facts", family = "qa", reader = "planted", orders = [1, 2], gamma_default = 0.5}}]
"""
MANY = """\
name = "many"
workers = 2
corpus.sources = [{{name = "notes", files = ["{home}/corpus/*.jsonl"]}}]
"""
REFUSED = """\
name = "refused"
corpus.sources = [{name = "notes", files = ["missing.jsonl"]}]
tasks = [{name = "questions", family = "qa", reader = "jsonl", evaluate = ["missing.jsonl"]}]
models = [{name = "folder", path = "missing"}, {name = "trained", pretrain = {hidden = 32, heads = 3, tokens = 10_000}}]
"""


def _studies(text: str) -> tuple[Folders, Any]:
    """What makes a folder with a study file, in which its results go, too."""
    folders = Folders()

    def fresh() -> Path:
        folder = folders()
        (folder / "study.toml").write_text(text, encoding="utf-8")
        return folder

    return folders, fresh


def orchestration(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """A planted study without models through `taskgram run`, in one process, so that nothing happens at the same time."""
    folders, fresh = _studies(STUDY.format(tokens=case["tokens"]))

    def work(folder: Path) -> tuple[Path, float]:
        return folder / "root", _run(folder, "--workers", "0")

    return BenchmarkSide(work, case["tokens"], fresh=fresh, extra=lambda result: shares(*result), close=(folders.close,))


def partitions(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """One step of many parts, of three short lines each, on two workers, while the server is asked as its web page asks it."""
    kept = Folders()
    home = kept()
    folders, empty = _studies(MANY.format(home=home))
    (home / "corpus").mkdir()
    for number in range(case["parts"]):
        texts = (f"The river of Velm {number} is Torin, {i} km long." for i in range(3))
        lines = [json.dumps({"id": f"{number}-{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
        (home / "corpus" / f"{number:05}.jsonl").write_text("".join(lines), encoding="utf-8")
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    environment, quiet = {**server_environment(port), "PREFECT_HOME": str(home / "prefect")}, subprocess.DEVNULL
    server = subprocess.Popen(server_command(port), env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    wait_until_up(api(port), server, home / "none")

    def fresh() -> Path:
        folder = empty()
        for step in ("plant", "ids"):  # what the step reads
            _run(folder, "--only", step, PREFECT_API_URL=api(port))
        return folder

    def work(folder: Path) -> tuple[Path, float, list[float]]:
        waits, stop = list[float](), threading.Event()
        poller = threading.Thread(target=_poll, args=(api(port), waits, stop))
        poller.start()
        try:
            return folder / "root", _run(folder, "--only", "ingest", PREFECT_API_URL=api(port)), waits
        finally:
            stop.set()
            poller.join()

    def extra(result: tuple[Path, float, list[float]]) -> dict[str, float]:
        root, wall, waits = result
        part = {name: seconds for name, seconds in shares(root, wall).items() if name in ("job_seconds", "check_seconds")}
        overhead = wall - part["job_seconds"] / 2 - part["check_seconds"]
        return {"overhead": overhead, "server_seconds": float(np.quantile(waits, 0.99, method="lower")), **part}

    return BenchmarkSide(work, case["parts"], fresh=fresh, extra=extra, close=(lambda: end(server.pid), folders.close, kept.close))


def waiting(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """One command, from its start to its end: the finished sample again, two new prompts for it, or a study with four mistakes."""
    root, (folders, empty) = corpora.place("sample"), _studies(REFUSED)
    sample = ["run", "sample", "--root", str(root)]
    _command(sample)

    def fresh() -> tuple[list[str], int]:
        folder = empty()
        templates = (f"Round {time.time_ns()}, {place} question of all: {{input}} Answer:\n" for place in ("first", "last"))
        (folder / "prompts.txt").write_text("".join(templates), encoding="utf-8")
        prompts = ["prompts", "sample", "--task", "facts", "--candidates", f"{folder}/prompts.txt", "--root", str(root)]
        refused = ["run", f"{folder}/study.toml", "--root", str(root)]
        return {"again": (sample, 0), "prompts": (prompts, 0), "refused": (refused, 1)}[case["command"]]

    return BenchmarkSide(lambda command: _command(*command), 1, fresh=fresh, close=(folders.close,))


def _poll(address: str, waits: list[float], stop: threading.Event) -> None:
    """Append, twice a second, the seconds the server takes to list its runs."""
    request = urllib.request.Request(f"{address}/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
    while not stop.wait(0.5):
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        waits.append(time.perf_counter() - began)


def _run(folder: Path, *words: str, **environment: str) -> float:
    """`taskgram run` of the study in a folder; returns its seconds."""
    return _command(["run", f"{folder}/study.toml", "--root", f"{folder}/root", *words], environment=environment)


def _command(words: Sequence[str], status: int = 0, environment: Mapping[str, str] | None = None) -> float:
    """A command of `taskgram` that ends with this status; returns its seconds."""
    began, command = time.perf_counter(), [sys.executable, "-m", "flows.cli", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if ended.returncode != status:
        raise RuntimeError(ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else f"exit {ended.returncode}")
    return time.perf_counter() - began


def shares(root: Path, wall: float) -> dict[str, float]:
    """Seconds of jobs and of checks from a run's manifests, and the rest of its wall time; and percent of it. A job that writes two
    tables is in two manifests under one key."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in root.glob("*/manifests/*.json")]
    busy = sum({part["key"]: part["seconds"] for manifest in manifests for part in manifest["parts"]}.values())
    checks = sum(manifest["validation"]["seconds"] for manifest in manifests)
    other = wall - busy - checks
    seconds = {"job_seconds": busy, "check_seconds": checks, "other_seconds": other}
    return seconds | {"orchestration": 100 * other / wall, "checks": 100 * checks / wall}
