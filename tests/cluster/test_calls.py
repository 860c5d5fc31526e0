"""Quick calls go to a worker several to a task; each has its own result."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.cluster.cluster import Cluster
from tasks.cluster.submission import CALLS_IN_A_TASK, Finished

CALLS = 300


def task_of(number: int, wrong: int = -1, deadly: int = -1, seconds: float = 0.0) -> tuple[int, str]:
    """The number, and the key of the Dask task that this call is made in."""
    from distributed import get_worker

    if number == deadly:
        os._exit(1)
    if number == wrong:
        raise ZeroDivisionError(f"of number {number}")
    time.sleep(seconds)
    return number, str(get_worker().get_current_task())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    opened = Cluster(2, "1GB", str(tmp_path_factory.mktemp("scratch")), address="")
    yield opened
    opened.close()


def threads_of_libraries() -> list[int]:
    """Threads of the linear algebra of this process."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    return [int(pool["num_threads"]) for pool in threadpool_info()]


def test_in_this_process_sums_are_taken_by_one_thread_as_on_a_worker(tmp_path: Path) -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2):  # as NumPy has it on a machine with two cores, imported before the variables of a run are set
        assert set(threads_of_libraries()) == {2}
        (finished,) = Cluster(0, "1GB", str(tmp_path), address="").run(threads_of_libraries, [()], "threads")
    assert finished.error is None and set(finished.value) == {1}


def values(found: list[Finished]) -> dict[int, tuple[int, str]]:
    """Values by index of those that ended well."""
    assert len({f.index for f in found}) == len(found), "each call is reported once"
    return {f.index: f.value for f in found if f.error is None}


def test_quick_calls_share_tasks_and_slow_ones_do_not(cluster: Cluster) -> None:
    quick = values(list(cluster.run(task_of, [(n,) for n in range(CALLS)], "quick")))
    assert {i: number for i, (number, _) in quick.items()} == {n: n for n in range(CALLS)}
    tasks = {key for _, key in quick.values()}
    assert CALLS / CALLS_IN_A_TASK <= len(tasks) < CALLS / 4
    slow = values(list(cluster.run(task_of, [(n, -1, -1, 0.25) for n in range(12)], "slow")))
    assert len({key for _, key in slow.values()}) == 12


def test_slow_calls_after_quick_ones_are_not_one_workers_alone(cluster: Cluster) -> None:
    """Quick ones may have been refused in no time: their duration says nothing about those after them."""
    calls = [(n,) for n in range(60)] + [(n, -1, -1, 0.3) for n in range(60, 76)]
    found = values(list(cluster.run(task_of, calls, "mixed")))
    assert sorted(found) == list(range(76))
    slow = [found[n][1] for n in range(60, 76)]
    assert all(slow.count(key) == 1 for key in slow), "a task that takes long is given no second call"


def test_the_error_of_one_among_quick_calls_is_its_own(cluster: Cluster) -> None:
    found = list(cluster.run(task_of, [(n, CALLS // 2) for n in range(CALLS)], "wrong"))
    (wrong,) = [f for f in found if f.error is not None]
    assert (wrong.index, type(wrong.error), str(wrong.error)) == (CALLS // 2, ZeroDivisionError, f"of number {CALLS // 2}")
    assert sorted(values(found)) == [n for n in range(CALLS) if n != CALLS // 2]


def test_a_call_that_ends_its_worker_fails_and_the_others_in_its_task_do_not(cluster: Cluster) -> None:
    """A worker that runs out of memory is killed with all that its task held."""
    found = list(cluster.run(task_of, [(n, -1, CALLS // 2) for n in range(CALLS)], "deadly"))
    (dead,) = [f for f in found if f.error is not None]
    assert (dead.index, type(dead.error).__name__) == (CALLS // 2, "KilledWorker")
    assert sorted(values(found)) == [n for n in range(CALLS) if n != CALLS // 2]
