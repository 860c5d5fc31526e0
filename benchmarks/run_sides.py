"""What a whole run costs besides its steps: Prefect, manifests, processes, and the content checks, which are told apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.corpora import Corpora
from benchmarks.measure import ROOT, Side

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


def orchestration(corpora: Corpora, case: Mapping[str, Any]) -> Side:
    """A planted study without models through `taskgram run`, in one process, so that nothing happens at the same time."""
    folder = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-"))
    (folder / "study.toml").write_text(STUDY.format(tokens=case["tokens"]), encoding="utf-8")

    def fresh() -> Path:
        shutil.rmtree(folder / "root", ignore_errors=True)
        return folder / "root"

    def work(root: Path) -> tuple[Path, float]:
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "run",
            str(folder / "study.toml"),
            "--root",
            str(root),
            "--workers",
            "0",
        ]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, check=False)
        if ended.returncode:
            raise RuntimeError(ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else f"exit {ended.returncode}")
        return root, time.perf_counter() - began

    return Side(work=work, items=case["tokens"], fresh=fresh, extra=lambda found: shares(*found),
                close=lambda: shutil.rmtree(folder, ignore_errors=True))  # fmt: skip


def shares(root: Path, wall: float) -> dict[str, float]:
    """Seconds of jobs and of checks from a run's manifests, and what is left of its wall time; percent of it.

    A job that writes two tables stands in two manifests under one key.
    """
    jobs: dict[str, float] = {}
    checks = 0.0
    for path in root.glob("*/manifests/*.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        checks += manifest["validation"]["seconds"]
        jobs |= {part["key"]: part["seconds"] for part in manifest["parts"]}
    busy = sum(jobs.values())
    return {"job_seconds": busy, "check_seconds": checks, "other_seconds": wall - busy - checks,
            "orchestration": 100 * (wall - busy - checks) / wall, "checks": 100 * checks / wall}  # fmt: skip
