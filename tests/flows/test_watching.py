"""What Prefect's own client finds of a run: lines that name step and part, tables, checks, violations with their rows."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.environment import prepare
from flows.plan import lay_out
from flows.session import Session
from schemas import StudyError
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tests.flows.test_engine import LETTERS, study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    prepare(str(tmp_path_factory.mktemp("watching")))
    from prefect.testing.utilities import prefect_test_harness

    try:
        with prefect_test_harness(server_startup_timeout=120):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(root: Path, title: str) -> str:
    """A flow of the step that writes one part per letter; returns the id of its run."""
    from prefect import flow
    from prefect.runtime import flow_run

    from flows.prefect_log import Post
    from flows.run import run_all
    from flows.terminal import Terminal

    found: list[str] = []

    @flow(name="letters")
    def letters() -> None:
        found.append(str(flow_run.id))
        settings, post = study(title), Post()
        session = Session(settings, "letters.toml", Store(str(root)), Cluster(0, "1GB", str(root / ".dask"), address=""))
        try:
            failures = run_all(lay_out((LETTERS,), settings), {"letters"}, session, Terminal(), post)
        finally:
            session.close()
            post.close()
        if failures:
            raise StudyError("\n".join(failures))

    letters(return_state=True)
    return found[0]


def client() -> Any:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def artifacts(flow_run: str) -> dict[str, Any]:
    with client() as ask:
        return {a.key: a for a in ask.read_artifacts() if str(a.flow_run_id) == flow_run}


def until(look: Callable[[], str], words: str) -> str:
    """What is found once it holds the words: log lines arrive a little after a run has ended."""
    end = time.monotonic() + 30
    while words not in (found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def log(flow_run: str) -> str:
    from prefect.client.schemas.filters import LogFilter

    with client() as ask:
        lines = ask.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": [flow_run]}}))
        return "\n".join(line.message for line in lines)


def test_a_step_shows_progress_rows_checks_and_where_the_report_is(tmp_path: Path) -> None:
    number = run(tmp_path, "abc")
    lines = until(lambda: log(number), "done")
    assert "starts; 0 of 3 parts are finished already and skipped, 3 are to be computed" in lines
    done = re.search(r"done: 3 of 3 parts computed in ([\d.]+) worker seconds, ([\d.]+) s of wall time", lines)
    assert done and float(done[1]) <= float(done[2]), "what the parts took, without what the step waited for"
    name = next(word for word in lines.split() if word.startswith("letters/letters/"))
    with client() as ask:
        tasks = ask.read_task_runs()
    assert name.rstrip(":") in {t.name for t in tasks}, "the line names the task run: study, step, fingerprint"
    found = artifacts(number)
    assert found["letters-letters-progress"].data == 100.0
    (written,) = json.loads(found["letters-letters"].data)
    assert (written["table"], written["rows"], written["valid"]) == ("report_files", 3, True)
    assert str(tmp_path / "reports" / "letters" / "index.html") in found["letters-letters"].description
    checks = json.loads(found["letters-letters-checks"].data)
    assert {c["rows checked"] for c in checks} == {3}
    assert {c["holds"] for c in checks} == {True}
    assert "sha256 is never missing" in {c["check"] for c in checks}


def test_a_run_with_nothing_to_do_says_so_in_a_line(tmp_path: Path) -> None:
    run(tmp_path, "ab")
    number = run(tmp_path, "ab")
    assert "is up to date and skipped: 2 parts, 2 rows" in until(lambda: log(number), "skipped")
    assert artifacts(number) == {}


def test_a_failed_part_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    number = run(tmp_path, "a!b")
    lines = until(lambda: log(number), "taskgram run")
    assert "part source=! failed: file a.txt, row 3: no letter; remove it" in lines
    assert "run it again with: taskgram run letters.toml --from letters" in lines
    again = run(tmp_path, "abc")
    assert "starts; 2 of 3 parts are finished already" in until(lambda: log(again), "starts")


def test_a_broken_contract_shows_which_check_how_many_rows_and_examples(tmp_path: Path) -> None:
    number = run(tmp_path, "ab-")
    lines = until(lambda: log(number), "breaks its contract")
    assert "bytes lies in [1, None]: 1 rows, e.g. -1" in lines
    (broken,) = json.loads(artifacts(number)["letters-letters-violations"].data)
    assert broken == {
        "table": "report_files",
        "check": "report_files: bytes lies in [1, None]",
        "rows that break it": 1,
        "examples": "-1",
    }
