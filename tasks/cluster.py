"""Where jobs run: in this process, on a local Dask cluster, or on a scheduler that is already there.

The only file that knows Dask. A cluster starts with the first job that needs it, so that a run with nothing to do starts
none; one cluster serves the whole study, and steps that do not depend on each other share it.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

CALLS_PER_THREAD = 3
# One thread per worker: the same sums in the same order, whatever the number of workers.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Finished:
    """One call that ended: its index, and either what it returned or the exception it raised."""

    index: int
    value: Any = None
    error: BaseException | None = None


class Cluster:
    """Runs calls; `workers = 0` means here, one after the other. Safe to use from several threads."""

    def __init__(self, workers: int, worker_memory: str, scratch: str, address: str | None = None) -> None:
        self.workers, self.worker_memory, self.scratch = workers, worker_memory, scratch
        self.address = address if address is not None else os.environ.get("DASK_SCHEDULER_ADDRESS", "")
        self._closed = False
        self._client: Any = None
        self._cluster: Any = None
        self._starting, self._inline = threading.Lock(), threading.Lock()

    @property
    def started(self) -> bool:
        """Whether a Dask client is open."""
        return self._client is not None

    @property
    def inline(self) -> bool:
        """Whether calls run in this process."""
        return not self.address and self.workers == 0

    def run(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], name: str) -> Iterator[Finished]:
        """Call `function(*call)` for each call, the first ones first; yields each as it ends, in any order.

        Calls are asked for as workers become free. An exception in a call ends that call only. `name` stands in Dask's
        dashboard.
        """
        if self.inline:
            for index, call in enumerate(calls):
                with self._inline:
                    finished = _attempt(index, function, call)
                yield finished
            return
        more = iter(calls)
        first = next(more, None)
        if first is not None:  # else no cluster needs to start
            yield from self._run_dask(function, chain([first], more), name)

    def _run_dask(self, function: Callable[..., Any], calls: Iterator[tuple[Any, ...]], name: str) -> Iterator[Finished]:
        from distributed import as_completed

        client = self._open()
        run = uuid.uuid4().hex[:8]
        futures: dict[Any, int] = {}
        numbered = enumerate(calls)

        def submit(count: int) -> list[Any]:
            new = {
                client.submit(function, *call, key=f"{name}-{run}-{i}", pure=False, priority=-i, retries=0): i
                for i, call in islice(numbered, count)
            }
            futures.update(new)
            return list(new)

        # Enough for every worker to have its next call at hand, and no more: another run may take the rest.
        ahead = CALLS_PER_THREAD * max(1, sum(client.nthreads().values()))
        completed = as_completed(submit(ahead), loop=client.loop, raise_errors=False)
        try:
            for future in completed:
                index = futures.pop(future)
                if future.status == "finished":
                    yield Finished(index, value=future.result())
                else:
                    yield Finished(index, error=future.exception() if future.status == "error" else _cancelled(name))
                future.release()
                completed.update(submit(1))
        finally:
            if self._client is client:  # else it was closed, and its futures with it
                client.cancel([f for f in futures if not f.done()])

    def _open(self) -> Any:
        with self._starting:
            if self._closed:
                raise RuntimeError("the run was stopped")
            if self._client is None:
                import dask
                from distributed import Client, LocalCluster

                if self.address:
                    self._client = Client(self.address, set_as_default=False)
                else:
                    os.environ.update({k: v for k, v in WORKER_ENVIRONMENT.items() if k not in os.environ})
                    dask.config.set(
                        {
                            "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
                            "distributed.worker.memory.terminate": 0.95,
                            "distributed.scheduler.allowed-failures": 3,
                            "distributed.worker.memory.pause": 0.9,
                            "logging": {"distributed": "error"},
                        }
                    )
                    self._cluster = LocalCluster(
                        n_workers=self.workers, threads_per_worker=1, memory_limit=self.worker_memory, processes=True,
                        dashboard_address="127.0.0.1:0", local_directory=self.scratch, host="127.0.0.1",
                    )  # fmt: skip
                    self._client = Client(self._cluster, set_as_default=False)
            return self._client

    def close(self) -> None:
        """Stop what was started here; a scheduler that was already there stays."""
        self._closed = True
        things, self._client, self._cluster = (self._client, self._cluster), None, None
        for thing in things:
            if thing is not None:
                thing.close()


def _attempt(index: int, function: Callable[..., Any], call: tuple[Any, ...]) -> Finished:
    try:
        return Finished(index, value=function(*call))
    except Exception as error:
        return Finished(index, error=error)


def _cancelled(name: str) -> RuntimeError:
    return RuntimeError(f"{name}: the scheduler cancelled this part; run the study again, finished parts are kept")
