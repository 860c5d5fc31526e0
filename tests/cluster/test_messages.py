"""What Dask's processes write to a user's terminal, and that a worker never waits for memory that nothing will free."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.cluster.cluster import LOGGING, Cluster

LIMIT = 1_000_000_000  # bytes: of one worker


def hold(share: float) -> int:
    """Use a share of the limit for some looks of Dask's at the memory of its worker."""
    missing = int(share * LIMIT) - psutil.Process().memory_info().rss
    held = np.ones(missing, np.int8)
    time.sleep(1.0)
    lost_heartbeat()
    return held.nbytes


def lost_heartbeat() -> None:
    """What a worker logs that asks its scheduler for work while both stop."""
    logging.getLogger("distributed.worker").error("Failed to communicate with scheduler during heartbeat.")


KEPT: list[np.ndarray] = []  # in a worker: what its libraries would keep


def keep(share: float) -> None:
    """Use a share of the limit from now on."""
    KEPT.append(np.ones(int(share * LIMIT) - psutil.Process().memory_info().rss, np.int8))
    time.sleep(1.0)


def test_a_worker_that_keeps_much_memory_still_gets_calls(tmp_path: Path) -> None:
    cluster = Cluster(1, str(LIMIT), str(tmp_path), address="")
    try:
        assert [f.error for f in cluster.run(keep, [(0.92,)], "keep")] == [None]
        assert [f.value for f in cluster.run(abs, [(-1,), (2,)], "next")] == [1, 2]
    finally:
        cluster.close()


@pytest.mark.parametrize("level", ["", "warning"])
def test_a_job_s_memory_and_the_end_of_a_worker_are_no_warnings_to_a_user(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Dask calls it unmanaged, and warns of it; who sets the level of its messages gets those."""
    monkeypatch.delenv(LOGGING, raising=False)
    if level:
        monkeypatch.setenv(LOGGING, level)
    cluster = Cluster(1, str(LIMIT), str(tmp_path), address="")
    try:
        assert [f.error for f in cluster.run(hold, [(0.8,)], "hold")] == [None]
    finally:
        cluster.close()
    out, err = capfd.readouterr()
    for message in ("Unmanaged memory use is high", "Failed to communicate"):
        assert (message in out + err) == bool(level)
