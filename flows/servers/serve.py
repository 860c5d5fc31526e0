"""`taskgram serve`: run a study on a schedule, with a deployment for each step, on one machine without other set-up."""

import os
import signal
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.environment import PROXIES, set_proxies_aside
from flows.servers.processes import Processes, api, end, is_up, server_command, server_environment, wait_until_up
from flows.servers.report_server import reports_served
from flows.study_files import reports_url, study_path
from schemas import Study, StudyError, load_study


def serve_study(study: str, root: str, cron: str, timezone: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises StudyError for a wrong schedule, or a port that is in use."""
    path, url, server = study_path(study), os.environ.get("PREFECT_API_URL", ""), None
    settings, study = load_study(path), str(path.resolve()) if Path(study).suffix == ".toml" else study
    if starts_server := not url:
        for name in ("TASKGRAM_DATA", "TASKGRAM_CACHE"):
            if place := os.environ.get(name):
                os.environ[name] = os.path.abspath(place)
        set_proxies_aside()
        os.chdir(os.environ["PREFECT_HOME"])  # Prefect imports flows from the working folder first, and reads its prefect.toml
        # Set before Prefect is imported, because it reads its settings once: without an address it would start a second server on
        # the same database, and neither would see what the other has reserved.
        url = os.environ["PREFECT_API_URL"] = api(port)
    _check_schedule(cron, timezone)
    reports_url(root)
    if starts_server:
        if is_up(url):
            remedy = f"set PREFECT_API_URL={url} to use it, or choose another --port"
            raise StudyError(f"a Prefect server already runs at {url}: {remedy}")
        server, log = Processes(root).start("server", server_command(port), server_environment(port))
    try:
        if server is not None:
            wait_until_up(url, server, log)
        with reports_served(root, port + 1) as reports:
            message = f"{settings.name} is served: {cron} ({timezone}). Watch it at {_without_password(url)}; stop with Ctrl-C."
            message += f"\nThe report will be at {reports}/{settings.name}/index.html" if reports else ""
            _serve(settings, study, root, cron, timezone, message)
    finally:
        if server is not None:
            end(server.pid)


def _without_password(url: str) -> str:
    """The address for a browser. The API's may contain a password."""
    address = urlsplit(url.removesuffix("/api"))
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def _check_schedule(cron: str, timezone: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.schedules import Cron

    try:
        Cron(cron, timezone=timezone)
        CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        why = str(error).splitlines()[-2 if "\n" in str(error) else -1].strip()
        remedy = 'five fields, e.g. "0 2 * * *" for two at night'
        raise StudyError(f"--cron {cron!r} --timezone {timezone!r}: {why}; {remedy}") from None


def _serve(settings: Study, study: str, root: str, cron: str, timezone: str, message: str) -> None:
    from prefect import serve
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron

    temporary = PROXIES in os.environ
    from flows import run
    from flows.study import STEPS

    if temporary:
        set_proxies_aside()  # again, for the processes of the runs: each restores them
    name = settings.name
    # A run that is still at work when the next is due continues, and the next one is dropped.
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)

    def deployment(about: str, *step: str, **more: Any) -> Any:
        parameters = {"study": study, "root": root} | ({"only": step[0]} if step else {})
        named: dict[str, Any] = {"name": "-".join((name, *step)), "tags": ["taskgram", name, *step], "description": about}
        return run.study.to_deployment(**named, parameters=parameters, concurrency_limit=alone, **more)

    about, when = f"The study {name}: finished parts are skipped, missing parts are computed.", Cron(cron, timezone=timezone)
    nightly, applying = deployment(about, schedule=when), [step for step in STEPS if step.applies(settings)]
    steps = [deployment(f"The step {step.name} of {name} alone: {step.about}", step.name) for step in applying]
    print(message, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.filterwarnings("ignore", message="coroutine 'Runner.astop'")  # Prefect's own, when it is stopped
    serve(*(d for d in (nightly, *steps) if isinstance(d, RunnerDeployment)), print_starting_message=False)
