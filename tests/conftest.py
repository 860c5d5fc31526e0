"""What all tests share. Property tests have no deadline: test machines are slow and noisy, and speed is not what is tested."""

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from flows.servers.processes import api, end, server_command, server_environment, wait_until_up
from flows.study_files import study_path
from schemas import load_study
from tests.machine import without
from tests.studies import FinishedStudy, finished_study

settings.register_profile("taskgram", deadline=None)
settings.load_profile("taskgram")


@atexit.register
def _say_no_more() -> None:
    """DuckDB's bindings report a hundred of their own names as leaked when a process ends, around the output of the tests."""
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)


SETTINGS = ("PREFECT_", "DASK_", "TASKGRAM_")


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """No test passes on what it, or the code under test, set for a run: another test's run would go to a server that is gone."""
    before = {k: v for k, v in os.environ.items() if k.startswith(SETTINGS)}
    yield
    for name in [k for k in os.environ if k.startswith(SETTINGS)]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent / "shared" if "PYTEST_XDIST_WORKER" in os.environ else folder / "shared"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prefect server that runs may share: each would start one of its own, which takes as long as a tiny study."""
    folder = tmp_path_factory.mktemp("prefect")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**server_environment(port), "PREFECT_HOME": str(folder)}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            server_command(port), env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until_up(api(port), process, folder / "log")
        yield api(port)
    finally:
        end(process.pid)


@pytest.fixture(scope="session")
def sample(shared_folder: Path) -> FinishedStudy:
    """The planted sample, finished. Tests read it and leave it as it is."""
    return finished_study(shared_folder, "sample")


@pytest.fixture(scope="session")
def debian(shared_folder: Path) -> FinishedStudy:
    """The study of free documentation, finished. Missing data fails in CI, and skips elsewhere."""
    data = Path(load_study(study_path("debian")).data)
    if not (data / "corpus").is_dir():
        without(f"the debian study needs its data in {data}; set TASKGRAM_DATA to the folder that holds corpus/ and tasks/")
    return finished_study(shared_folder, "debian")
