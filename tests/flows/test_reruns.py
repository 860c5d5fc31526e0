"""After a failure, Prefect's own retry and `--from` do what is missing, down to single parts, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from flows.servers.report_server import ReportServer
from tests.support import NOTES

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = (
    """
name = "again"
workers = 0
"""
    + NOTES
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of four files, one of which cannot be read as what it says it is."""
    (tmp_path / "corpus").mkdir()
    for number in range(4):
        lines = [json.dumps({"id": f"{number}-{i}", "text": f"The river of Velm is Torin, {i} times."}) for i in range(5)]
        (tmp_path / "corpus" / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "corpus" / "9.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    (tmp_path / "again.toml").write_text(STUDY.replace('*.jsonl"', '*.jsonl*"'))
    return tmp_path


def command(*words: str, server: str, folder: Path, reports: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "TASKGRAM_REPORTS_URL": reports,
        "PREFECT_API_URL": server,
        "PYTHONPATH": str(REPOSITORY),
        "PREFECT_HOME": str(folder / "home"),
    }
    return subprocess.run(
        [sys.executable, "-m", *words], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=1200
    )


def fail(server: str, folder: Path) -> dict[str, int]:
    """Run the study, which fails, then fix its file; the times of the parts that were finished."""
    run = command("flows.cli", "run", str(folder / "again.toml"), "--root", str(folder / "root"), server=server, folder=folder)
    assert run.returncode == 1 and "--from ingest" in run.stderr, run.stdout + run.stderr
    before = times(folder)
    assert sum(name.startswith("documents/") for name in before) == 4, "those that could finish did"
    (folder / "corpus" / "9.jsonl.gz").unlink()
    (folder / "corpus" / "9.jsonl").write_text(json.dumps({"id": "9", "text": "The river of Osk is Pralle."}) + "\n")
    return before


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder / "root")): p.stat().st_mtime_ns for p in (folder / "root").glob("*/parts/*.parquet")}


def flow_runs(server: str) -> list[dict]:
    """The newest first."""
    words = json.dumps({"sort": "START_TIME_DESC"}).encode()
    request = urllib.request.Request(f"{server}/flow_runs/filter", words, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def linked(server: str) -> str:
    """What the newest artifact of the report says in the UI."""
    words = {"artifacts": {"key": {"any_": ["again-report-page"]}}, "sort": "CREATED_DESC", "limit": 1}
    request = urllib.request.Request(f"{server}/artifacts/filter", json.dumps(words).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return str(json.loads(answer.read())[0]["data"])


def only_what_was_missing(before: dict[str, int], folder: Path) -> None:
    after = times(folder)
    assert before.items() <= after.items(), "finished parts are unchanged"
    assert sum(name.startswith("documents/") for name in after.keys() - before.keys()) == 1
    assert (folder / "root" / "reports" / "again" / "index.html").exists()


def test_prefects_retry_of_a_failed_run_computes_what_is_missing(prefect_server: str, folder: Path) -> None:
    before = fail(prefect_server, folder)
    failed = flow_runs(prefect_server)[0]
    assert failed["state_type"] == "FAILED"
    with ReportServer(str(folder / "root"), 0) as reports:
        threading.Thread(target=reports.serve_forever, daemon=True).start()
        retried = command(
            "prefect",
            "flow-run",
            "retry",
            failed["id"],
            "--entrypoint",
            "flows/run.py:study",
            server=prefect_server,
            folder=folder,
            reports=reports.url,
        )
        address = linked(prefect_server).removeprefix("[Report of again](").removesuffix(")")
        assert address == f"{reports.url}/again/index.html", retried.stdout + retried.stderr
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.read() == (folder / "root" / "reports" / "again" / "index.html").read_bytes()
        reports.shutdown()
    assert retried.returncode == 0, retried.stdout + retried.stderr
    now = flow_runs(prefect_server)[0]
    assert (now["id"], now["state_type"], now["run_count"]) == (failed["id"], "COMPLETED", 2), "the same run, once more"
    only_what_was_missing(before, folder)


def test_from_a_failed_step_computes_what_is_missing(prefect_server: str, folder: Path) -> None:
    before = fail(prefect_server, folder)
    run = command(
        "flows.cli",
        "run",
        str(folder / "again.toml"),
        "--from",
        "ingest",
        "--root",
        str(folder / "root"),
        server=prefect_server,
        folder=folder,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "ingest            1 of 5 parts computed" in run.stderr, run.stdout + run.stderr
    page = (folder / "root" / "reports" / "again" / "index.html").as_uri()
    assert linked(prefect_server) == f"[Report of again]({page})", "no address of the reports is set"
    only_what_was_missing(before, folder)
