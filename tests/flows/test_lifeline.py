"""What a run has started ends with it, also where it is killed; what others have started stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.lifeline import MARK

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = """
import subprocess, sys, time
from flows.lifeline import hold
hold()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print(child.pid, flush=True)
time.sleep(300)
"""


def sleeper(stubborn: bool) -> str:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    return f"import signal, time; {ignore}time.sleep(300)"


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_a_run_started_ends_with_it(number: signal.Signals, stubborn: bool) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", sleeper(False)], env=os.environ | {MARK: "another"})
    words = [sys.executable, "-c", RUN, sleeper(stubborn)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY) as run:
        assert run.stdout is not None
        child = psutil.Process(int(run.stdout.readline()))
        run.send_signal(number)
        run.wait(60)
        _, alive = psutil.wait_procs([child], timeout=60)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_server_that_is_gone_is_said_in_words(tmp_path: Path) -> None:
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    words = [sys.executable, "-m", "flows.cli", "run", "sample", "--root", str(tmp_path)]
    run = subprocess.run(words, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert run.returncode == 1
    assert "What was finished is kept" in run.stderr and "PREFECT_API_URL" in run.stderr, run.stderr
    assert "defect" not in run.stderr
