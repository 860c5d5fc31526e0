"""The faults, each a function that runs a study and disturbs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from distributed import Client

from tests.faults.proxy import Network
from tests.faults.trial import MARK, PATIENCE, REPOSITORY, Run, Trial, copied, finished

CUT = 30.0
WORKER, SERVER = "spawn_main", "flows.servers.temporary_server"


def _kill(trial: Trial, run: Run, word: str) -> None:
    """Kill one process of the run whose command has this word, as soon as there is one; a trial without that is none."""
    began = time.monotonic()
    while run.runs and time.monotonic() - began < PATIENCE:
        if there := run.processes(word):
            with suppress(psutil.NoSuchProcess):
                trial.draw.choice(sorted(there, key=lambda p: p.pid)).kill()
            return
        time.sleep(0.05)
    raise AssertionError(f"no process of the run has {word} in its command: nothing was killed")


def worker_killed(trial: Trial) -> None:
    """SIGKILL of a Dask worker. Another takes over in the same run."""
    run = Run(trial.root)
    trial.wait(run)
    trial.seen()
    _kill(trial, run, WORKER)
    assert run.end() == 0, run.printed()
    trial.left = run.left()


def flow_killed(trial: Trial) -> None:
    """SIGKILL of the process that orders the steps."""
    run = Run(trial.root)
    trial.wait(run)
    run.process.kill()
    run.end()
    trial.left = run.left()
    trial.seen()


def server_killed(trial: Trial) -> None:
    """SIGKILL of Prefect's temporary server. It is started again, and the same run continues."""
    run = Run(trial.root)
    trial.wait(run)
    trial.seen()
    _kill(trial, run, SERVER)
    assert run.end() == 0, run.printed()
    trial.left = run.left()


def disk_full(trial: Trial) -> None:
    """No room left: another fills the disk, and frees it after the run has failed. Its root is a small disk of its own."""
    run, filler = Run(trial.root), trial.root / "filler"
    trial.wait(run)
    with suppress(OSError), open(filler, "wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    trial.seen()
    run.end()
    trial.left = run.left()
    filler.unlink()


def part_truncated(trial: Trial) -> None:
    """A part that was finished loses its end."""
    copied(trial)
    path = _chosen(trial)
    os.truncate(path, trial.draw.randrange(path.stat().st_size))


def part_flipped(trial: Trial) -> None:
    """One bit of a finished part is another."""
    copied(trial)
    _flip(trial, _chosen(trial))


def part_flipped_unseen(trial: Trial) -> None:
    """The same, and the file keeps its time: only `--verify` can tell."""
    copied(trial)
    path = _chosen(trial)
    stat = path.stat()
    _flip(trial, path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    trial.words = ("--verify",)


def part_flipped_of_a_killed_run(trial: Trial) -> None:
    """A bit flips in a part of a run that was killed: no manifest knows its hash yet, perhaps."""
    flow_killed(trial)
    if finished(trial.root):
        _flip(trial, _chosen(trial))


def _chosen(trial: Trial) -> Path:
    path = trial.draw.choice(finished(trial.root))
    trial.excused.add(path.stem)
    return path


def _flip(trial: Trial, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[trial.draw.randrange(len(content))] ^= 1 << trial.draw.randrange(8)
    path.write_bytes(content)


def clock_jumps(trial: Trial) -> None:
    """The clock of every process of the run jumps by a day, forward or back."""
    clock = trial.root.parent / f"{trial.root.name}.clock"
    clock.write_text("0")
    path = os.pathsep.join([str(REPOSITORY / "tests" / "faults" / "clock"), str(REPOSITORY)])
    run = Run(trial.root, environment={"PYTHONPATH": path, "TASKGRAM_TRIAL_CLOCK": str(clock)})
    trial.wait(run)
    trial.seen()
    clock.write_text(trial.draw.choice(["86400", "-86400"]))
    assert run.end() == 0, run.printed()
    trial.left = run.left()


def network_cut(trial: Trial) -> None:
    """For 30 s nothing passes between the scheduler and all others: workers and the run."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    network, mark = Network(port), os.urandom(8).hex()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), MARK: mark, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", *words],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=trial.root.parent,
            )
        )

    def stop() -> None:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)
        network.close()

    trial.cleanup.append(stop)
    start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    until = time.monotonic() + PATIENCE
    while not _listens(port):  # a worker that is refused there at first gives up
        assert time.monotonic() < until, "the scheduler does not start"
        time.sleep(0.1)
    for number in range(2):
        start(
            "distributed.cli.dask_worker",
            f"tcp://127.0.0.1:{network.port}",
            "--nthreads",
            "1",
            "--host",
            "127.0.0.1",
            "--no-dashboard",
            "--local-directory",
            str(trial.root.parent / f"{trial.root.name}.worker{number}"),
        )
    trial.again = {"DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{network.port}"}
    with Client(f"tcp://127.0.0.1:{port}", set_as_default=False) as client:
        client.wait_for_workers(2, timeout=PATIENCE)  # one that never found its scheduler gives up, and is its manager's to restart
    run = Run(trial.root, environment=trial.again)
    trial.wait(run)
    trial.seen()
    network.cut()
    time.sleep(CUT)
    network.restore()
    assert run.end() == 0, run.printed()
    trial.left = run.left()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def one_of_two_killed(trial: Trial) -> None:
    """The same study is run twice at once, and one of the two is killed; the other ends well."""
    runs = [Run(trial.root), Run(trial.root)]
    trial.wait(runs[0])
    trial.draw.shuffle(runs)
    runs[0].process.kill()
    runs[0].end()
    trial.seen()
    assert runs[1].end() == 0, runs[1].printed()
    trial.left = runs[0].left() + runs[1].left()


FAULTS: dict[str, Callable[[Trial], None]] = {
    f.__name__: f
    for f in (
        worker_killed,
        flow_killed,
        server_killed,
        disk_full,
        part_truncated,
        part_flipped,
        part_flipped_unseen,
        part_flipped_of_a_killed_run,
        clock_jumps,
        network_cut,
        one_of_two_killed,
    )
}
