"""`make ui`: on this machine a Prefect server, the deployments of `deployments/prefect.yaml`, their worker, and the reports."""

import os
import subprocess
import sys
import time
from pathlib import Path

from flows.servers import processes as local
from flows.servers.processes import PYTHON, Processes, api, is_up, server_command, server_environment, wait_until_up
from flows.study_files import REPORTS_URL, reports_url
from schemas import StudyError

POOL = "taskgram"
REPOSITORY = Path(__file__).resolve().parents[2]


def start(root: str, port: int) -> tuple[str, str]:
    """Start what is not running; returns the addresses of UI and reports. Raises StudyError if something does not start."""
    from flows.environment import prepare, set_proxies_aside

    os.environ.pop("PREFECT_API_URL", None)  # what the user has set for another server is none of this one's
    prepare(root, lasting=True)
    set_proxies_aside()  # until a run has started: `flows/run.py` restores them
    reports = reports_url(root)
    processes, url = Processes(root), api(port)
    if "server" not in processes.running():
        if is_up(url):
            raise StudyError(f"another Prefect server runs at {url}; stop it, or choose another port: make ui PORT=4300")
        wait_until_up(url, *processes.start("server", server_command(port), server_environment(port)))
    environment = {**os.environ, "PREFECT_API_URL": url, "TASKGRAM_ROOT": root}
    if not reports and "://" not in root:
        reports = _reports(processes, root, port + 1)
    environment |= {REPORTS_URL: reports} if reports else {}
    _prefect(environment, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    _prefect(environment, "--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    if "worker" not in processes.running():
        command = [*PYTHON, "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        processes.start("worker", command, environment, REPOSITORY)
    return url.removesuffix("/api"), reports


def _reports(processes: Processes, root: str, port: int) -> str:
    """Start the server of the reports, unless it runs; its address is the first line of its log."""
    if "reports" not in processes.running():
        processes.start("reports", [*PYTHON, "flows.servers.report_server", root, str(port)], {**os.environ})
    log, began = processes.folder / "reports.log", time.monotonic()
    while not (text := log.read_text(encoding="utf-8", errors="replace")).startswith("http://") or "\n" not in text:
        if "reports" not in processes.running() or time.monotonic() - began > local.SECONDS_TO_START:
            raise StudyError(f"the server of the reports does not start: {local.last_error(text)}. Its log is {log}")
        time.sleep(0.1)
    return text.splitlines()[0]


def _prefect(environment: dict[str, str], *words: str) -> None:
    run = subprocess.run([*PYTHON, "prefect", *words], env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    if run.returncode:
        raise StudyError(f"prefect {' '.join(words)} failed:\n{run.stdout[-1500:]}{run.stderr[-1500:]}")


def main(words: list[str]) -> int:
    """start [PORT] or stop."""
    from flows.environment import absolute_root

    try:
        root = absolute_root(None)
        if words[:1] == ["stop"]:
            stopped = Processes(root).stop()
            print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
        else:
            address, reports = start(root, int(words[1]) if len(words) > 1 else 4200)
            print(f"{address}/deployments   (stop with: make ui-stop)")
            print(f"reports: {reports or f'{root}/reports'}/STUDY/index.html")
    except StudyError as error:
        print(f"taskgram: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
