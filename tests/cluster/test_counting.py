"""Counts are the same bytes on workers not started here, one of which is killed: on ports, or in networks of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tests.cluster.support import FILES, REPOSITORY, Processes, count, state, wait_for


def count_and_kill(folder: str, root: str, address: str, victim: str) -> None:
    """Count on a scheduler; the worker of that process number is killed when two parts of `words` are there."""
    cluster, killed = Cluster(0, "1GB", f"{root}/.dask", address=address, store=Store(root)), []

    def progress(step: str, done: int) -> None:
        if step == "words" and done == 2 and not killed:
            os.kill(int(victim), signal.SIGKILL)
            killed.append(len(list(Path(root).glob("words/parts/*.parquet"))))

    wait_for(cluster, 2)
    count(Path(folder), Path(root), cluster, progress)
    print(json.dumps({"then": killed}))


def program(folder: Path, root: Path, address: str, victim: int, within: tuple[str, ...] = ()) -> dict[str, list[int]]:
    """The above, in a process of its own."""
    words = "import sys; from tests.cluster.test_counting import count_and_kill; count_and_kill(*sys.argv[1:])"
    run = subprocess.run(
        [*within, sys.executable, "-c", words, str(folder), str(root), address, str(victim)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


def test_one_of_two_workers_is_killed_in_the_middle_and_not_a_byte_differs(
    folder: Path, inline: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    address = processes.scheduler()
    victim = processes.worker("one")
    processes.worker("two")
    report = program(folder, tmp_path / "root", address, victim)
    assert 2 <= report["then"][0] < FILES, "it was in the middle"
    assert processes.running[1].wait(10) == -signal.SIGKILL
    assert state(tmp_path / "root") == inline
    assert not list((tmp_path / "root").glob(".probes/*")), "what was written to be looked for is gone"


@contextmanager
def networks(*names: str) -> Iterator[dict[str, tuple[str, ...]]]:
    """Network namespaces that reach each other over a bridge in the first: 10.213.77.1, .2, … Skips where none can be made."""
    mark = f"tg{os.getpid() % 100_000}"
    spaces = {name: f"{mark}{name}" for name in names}

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"networks cannot be made here: ip {' '.join(words)}: {done.stderr.strip()}; needs CAP_NET_ADMIN")

    if not shutil.which("ip") or os.geteuid():
        pytest.skip("needs root and the command ip (Debian: iproute2), to give each process a network of its own")
    hub = spaces[names[0]]
    try:
        for number, space in enumerate(spaces.values(), 1):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            if space == hub:
                ip("-n", hub, "link", "add", "bridge", "type", "bridge")
                ip("-n", hub, "addr", "add", f"10.213.77.{number}/24", "dev", "bridge")
                ip("-n", hub, "link", "set", "bridge", "up")
            else:
                ip("-n", space, "link", "add", "wire", "type", "veth", "peer", "name", f"to{number}", "netns", hub)
                ip("-n", hub, "link", "set", f"to{number}", "master", "bridge", "up")
                ip("-n", space, "addr", "add", f"10.213.77.{number}/24", "dev", "wire")
                ip("-n", space, "link", "set", "wire", "up")
        yield {name: ("ip", "netns", "exec", space) for name, space in spaces.items()}
    finally:
        for space in spaces.values():
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def test_scheduler_workers_and_flow_on_machines_of_their_own(
    folder: Path, inline: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    """Network namespaces: nothing is at 127.0.0.1 for the others. One worker is killed."""
    with networks("hub", "one", "two", "flow") as spaces:
        try:
            address = processes.scheduler(host="10.213.77.1", within=spaces["hub"])
            assert address.startswith("tcp://10.213.77.1:")
            victim = processes.worker("one", host="10.213.77.2", within=spaces["one"])  # `ip netns exec` becomes what it runs
            processes.worker("two", host="10.213.77.3", within=spaces["two"])
            report = program(folder, tmp_path / "root", address, victim, within=spaces["flow"])
            assert 2 <= report["then"][0] < FILES
            assert state(tmp_path / "root") == inline
        finally:
            processes.stop()
