"""A study on a schedule: what `taskgram serve` puts on its server, and what `make ui` would."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.servers.serve import serve_study
from flows.study import STEPS
from flows.study_files import study_path
from schemas import StudyError, load_study
from tasks.step import Step, every_study
from tests.flows import hostile
from tests.studies import REPOSITORY

# What the server asks for, as hostile.VARIABLES have it.
PASSWORD = {"Authorization": f"Basic {base64.b64encode(hostile.VARIABLES['PREFECT_SERVER_API_AUTH_STRING'].encode()).decode()}"}
STUDY = """
name = "tiny"
[corpus.planted]
tokens = 400_000
"""


def asked_for(step: Step) -> bool:
    """Whether a study has this step only if it asks for it."""
    return step.applies is not every_study


def test_the_deployments_file_names_every_step_exactly() -> None:
    written = yaml.safe_load((REPOSITORY / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    whole, *alone = written
    assert whole["parameters"] == {"study": "sample"}
    assert whole["schedules"]
    sample = load_study(study_path("sample"))
    assert sorted(d["parameters"]["only"] for d in alone) == sorted(s.name for s in STEPS if s.applies(sample))
    for deployment in alone:
        assert deployment["name"] == f"sample-{deployment['parameters']['only']}"
        assert not deployment.get("schedules"), "a step runs only on request"
    assert all(d["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"} for d in written)
    assert all(d["entrypoint"] == "flows/run.py:study" for d in written)


def test_a_message_on_failure_is_asked_for_the_runs_that_are_tagged_so() -> None:
    (rule,) = yaml.safe_load((REPOSITORY / "deployments" / "notify-on-failure.yaml").read_text(encoding="utf-8"))["automations"]
    tag = rule["trigger"]["match_related"]["prefect.resource.id"].removeprefix("prefect.tag.")
    deployments = yaml.safe_load((REPOSITORY / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert all(tag in d["tags"] for d in deployments)


@pytest.mark.parametrize(
    ("cron", "timezone"), [("0 2 * *", "UTC"), ("at two", "UTC"), ("61 2 * * *", "UTC"), ("", "UTC"), ("0 2 * * *", "Europe/Berln")]
)
def test_a_schedule_that_says_nothing_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cron: str, timezone: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    (tmp_path / "tiny.toml").write_text(STUDY)
    with pytest.raises(StudyError, match="--cron") as error:
        serve_study(str(tmp_path / "tiny.toml"), str(tmp_path / "root"), cron, timezone, 1)
    assert repr(cron) in str(error.value)
    assert timezone in str(error.value)
    assert not (tmp_path / "root").exists()


class Served:
    """A `taskgram serve` that runs, and its server's API."""

    def __init__(self, folder: Path) -> None:
        (folder / "tiny.toml").write_text(STUDY)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = [*hostile.TASKGRAM, "serve", str(folder / "tiny.toml"), "--cron", "0 2 * * *", "--timezone", "Europe/Berlin"]
        words += ["--root", str(folder / "root"), "--port", str(port)]
        self.api = f"http://127.0.0.1:{port}/api"
        working, self.executed = hostile.folder(folder / "working")
        self.process = subprocess.Popen(
            words, cwd=working, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=hostile.environment()
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline().decode()
        self.root = folder / "root"
        self.reports = self.process.stdout.readline().decode().partition("be at ")[2].partition("/tiny/index.html\n")[0]

    def ask(self, path: str, **what: Any) -> Any:
        request = urllib.request.Request(
            f"{self.api}/{path}", json.dumps(what).encode(), {"Content-Type": "application/json"} | PASSWORD
        )
        for _ in range(10):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                if error.code != 503:  # the server's word for a database that is busy; its own clients ask again
                    raise
                time.sleep(1)
        raise AssertionError(f"{path}: the server stayed busy")

    def deployments(self) -> dict[str, Any]:
        """By name, as soon as all are there."""
        end = time.monotonic() + 90
        while len(found := self.ask("deployments/filter")) <= sum(not asked_for(s) for s in STEPS) and time.monotonic() < end:
            time.sleep(0.5)
        return {d["name"]: d for d in found}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("served"))
    children = psutil.Process(found.process.pid).children(recursive=True)
    try:
        yield found
    finally:
        found.process.send_signal(signal.SIGTERM)
        found.process.wait(timeout=90)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "the server ends with it"
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(found.reports, timeout=5)


@pytest.mark.slow
def test_a_served_study_has_its_schedule_its_limit_and_its_steps(served: Served) -> None:
    assert served.first_line.startswith("tiny is served: 0 2 * * * (Europe/Berlin)"), served.first_line
    deployments = served.deployments()
    assert set(deployments) == {"tiny", *(f"tiny-{s.name}" for s in STEPS if not asked_for(s))}
    (schedule,) = deployments["tiny"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    assert schedule["active"]
    for name, deployment in deployments.items():
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        assert "taskgram" in deployment["tags"], "the notification looks for it"
        if name != "tiny":
            assert deployment["parameters"]["only"] == name.removeprefix("tiny-")
            assert not deployment["schedules"]
    form = deployments["tiny"]["parameter_openapi_schema"]["properties"]
    assert set(form) == {"study", "root", "only", "start", "force", "workers", "verify"}
    assert all(field.get("description") for field in form.values()), "each parameter is explained in the form"


@pytest.mark.slow
def test_the_schedule_is_seen_by_the_server(served: Served) -> None:
    """Runs of the next nights are there a little after the deployment is."""
    end = time.monotonic() + 120
    while not (runs := served.ask("flow_runs/filter")) and time.monotonic() < end:
        time.sleep(1)
    assert {r["state"]["type"] for r in runs} == {"SCHEDULED"}


@pytest.mark.slow
def test_a_step_that_is_started_from_the_ui_runs_through(served: Served) -> None:
    number = served.ask(f"deployments/{served.deployments()['tiny-plant']['id']}/create_flow_run")["id"]
    ended, end = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}, time.monotonic() + 240
    while (run := served.ask("flow_runs/filter", flow_runs={"id": {"any_": [number]}})[0])["state"]["type"] not in ended:
        assert time.monotonic() < end, run["state"]
        time.sleep(1)
    assert run["state"]["type"] == "COMPLETED", run["state"]
    assert run["name"] == "tiny only plant"
    assert not list(served.executed.iterdir()), "neither the server nor the run has executed a file of the working folder"
    (written,) = served.ask("artifacts/filter", artifacts={"key": {"any_": ["tiny-plant"]}})
    assert f"[Report of tiny]({served.reports}/tiny/index.html)" in written["description"], "the browser can follow it"


@pytest.mark.slow
def test_the_reports_are_read_where_it_says(served: Served) -> None:
    assert served.reports.startswith("http://127.0.0.1:"), served.reports
    page = served.root / "reports" / "tiny" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("the report")
    with urllib.request.urlopen(f"{served.reports}/tiny/index.html", timeout=30) as answer:
        assert answer.read() == b"the report"
