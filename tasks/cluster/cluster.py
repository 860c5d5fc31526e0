"""Where jobs run: in this process, on a local Dask cluster, on a scheduler that is already there, or on one that a class starts.

Only this file and `submission.py` know Dask. A cluster starts with the first job that needs it, so that a run with nothing to do
starts none; one cluster serves the whole study, and steps that do not depend on each other share it.
"""

import importlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from schemas import Study, StudyError
from schemas.settings.cluster_settings import ClusterSettings
from tasks.cluster.submission import Call, Finished, Flight, Function, Needs, attempt, several
from tasks.cluster.workers import DEVICES, WORKER_ENVIRONMENT, alike, code_versions, complaint, devices, look, mismatch, probing
from tasks.step import GPU, MODEL
from tasks.storage.store import Store

TASKS_PER_THREAD = 3
SECONDS_TO_CONNECT = 12
ADDRESS = "DASK_SCHEDULER_ADDRESS"
PACKAGES = ("dask_kubernetes", "dask_jobqueue", "coiled", "dask_gateway", "dask_cloudprovider", "dask_cuda")
LOGGING = "DASK_LOGGING__DISTRIBUTED"  # Dask's variable for the level of its messages


class Cluster:
    """Runs calls; `workers = 0` means in this process, one after the other. Thread-safe. devices: the GPUs of this machine that
    local workers get, one each, in order; each is a value of CUDA_VISIBLE_DEVICES. models: how many of the local workers may hold a
    model; 0: all. store: the root, which workers that were not started here must see."""

    def __init__(
        self,
        workers: int,
        worker_memory: str,
        scratch: str,
        address: str | None = None,
        *,
        settings: ClusterSettings | None = None,
        devices: tuple[str, ...] = (),
        models: int = 0,
        store: Store | None = None,
    ) -> None:
        self.workers, self.worker_memory, self.scratch, self.store = workers, worker_memory, scratch, store
        self.settings = settings or ClusterSettings()
        self.address = os.environ.get(ADDRESS) or self.settings.address if address is None else address
        self.devices, self.models = devices, models
        self._closed = False
        self._client: Any = None
        self._cluster: Any = None
        self._refused: StudyError | None = None
        self._known: set[str] = set()
        self._seen = 0.0  # when a worker was last seen
        self._declared: set[str] = set()
        self._starting, self._inline, self._checking = threading.Lock(), threading.Lock(), threading.Lock()

    @classmethod
    def of(cls, study: Study, store: Store) -> "Cluster":
        settings = study.cluster
        gpus: tuple[str, ...] = ()
        if study.scoring.device != "cpu" or study.encoder.device != "cpu":
            gpus = devices(settings.gpus)
            if study.scoring.device_map:  # one model over all GPUs: one worker has them all
                gpus = (",".join(gpus),) if gpus else ()
        options = study.workers, study.worker_memory, str(store.layout.dask)
        return cls(*options, settings=settings, devices=gpus, models=study.scoring.models_at_once, store=store)

    @property
    def started(self) -> bool:
        return self._client is not None

    @property
    def inline(self) -> bool:
        return not self.address and not self.settings.cluster_class and self.workers == 0

    def run(self, function: Function, calls: Iterable[Call], name: str, needs: Needs = lambda call: {}) -> Iterator[Finished]:
        """Call `function(*call)` for each call, the first ones first; yields each as it ends, in any order. Calls are taken as
        workers become free. An exception in a call ends that call only. name: shown in Dask's dashboard; needs(call): what a worker
        must have for it. Raises StudyError where no cluster can be started, or where its workers cannot compute this study."""
        if self.inline:
            for index, call in enumerate(calls):
                with self._inline, threadpool_limits(1):  # NumPy has its threads already, and sums of two are not those of one
                    finished = attempt(index, function, call)
                yield finished
            return
        more = iter(calls)
        if (first := next(more, None)) is None:
            return  # no cluster needs to start
        client = self._open()
        self._seen = time.monotonic()  # an adaptive cluster may have released all its workers while there was nothing to do
        work = (several, function) if self.store is None or not self.remote else (alike, code_versions(), several, function)
        flight = Flight(client, work, name, needs, self._required, partial(self._ahead, client, needs(first)))
        try:
            yield from flight.run(chain([first], more))
        except Exception as error:
            if self._client is client and client.status != "running":
                remedy = "What was finished is kept: start it again, and run the study again"
                raise StudyError(f"{self._where} does not answer any more. {remedy}") from error
            raise
        finally:
            if self._client is client and client.status == "running":  # else it was closed, and its futures with it
                flight.cancel()

    def _ahead(self, client: Any, needed: Mapping[str, int]) -> int:
        """How many tasks to keep submitted: every worker has its next one, and other runs may take the rest. Workers that were not
        seen before are checked first. Raises StudyError where there has been none for long."""
        workers = client.scheduler_info(n_workers=-1)["workers"]
        now = time.monotonic()
        if workers:
            self._seen = now
        if now - self._seen > self.settings.wait:
            why = "they were stopped, most likely for memory. Start new ones with more, and run the study again"
            raise StudyError(f"{self._where} has had no worker for {self.settings.wait:.0f} s: {why}; what is finished is kept")
        self._declared |= {name for w in workers.values() for name in w["resources"]}
        if self.remote:
            with self._checking:
                self._check(client, {a: w for a, w in workers.items() if a not in self._known})
        required = self._required(needed)
        able = [w for w in workers.values() if all(w["resources"].get(name, 0) >= n for name, n in required.items())]
        return TASKS_PER_THREAD * max(1, sum(w["nthreads"] for w in able), self.settings.most_workers)

    def _required(self, needed: Mapping[str, int]) -> dict[str, int]:
        """The resources that Dask requires of a worker, without those that no worker has ever declared."""
        named = {self.settings.resource if name == GPU else name: n for name, n in needed.items()}
        return {name: n for name, n in named.items() if name in self._declared}

    # -- workers that were not started here ------------------------------------------------------------------------
    def _check(self, client: Any, new: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises StudyError for workers that would write other bytes, or elsewhere."""
        if not new or self.store is None:
            return
        with probing(self.store) as probe:
            answers = client.run(look, self.store, probe, workers=list(new), on_error="return")
        broken = {a: s for a, s in answers.items() if not isinstance(s, dict | OSError)}  # OSError: gone meanwhile
        if broken:
            where, why = sorted(broken.items())[0]
            problem = f"workers have no taskgram, or another one than this process: {where}: {why}"
            remedy = "Install the same version there, and start the workers again"
            raise StudyError(f"{len(broken)} of {len(new)} {problem}. {remedy}")
        checked = {a: s for a, s in answers.items() if isinstance(s, dict)}
        if words := complaint(checked, {a: w["nthreads"] for a, w in new.items()}, self.store.root):
            raise StudyError(words)
        self._known |= set(checked)

    def _check_dask(self, client: Any) -> None:
        """Raises StudyError where the scheduler or a worker has another version of Dask, before any other call."""
        versions = client.get_versions()
        places = {"the scheduler": versions["scheduler"], **versions["workers"]}
        if words := mismatch({place: about["packages"] for place, about in places.items()}):
            raise StudyError(f"{self._where} {words}")

    # -- starting and stopping -------------------------------------------------------------------------------------
    @property
    def remote(self) -> bool:
        """Whether the workers are started elsewhere, and so may differ from this process."""
        return bool(self.address or self.settings.cluster_class)

    @property
    def _where(self) -> str:
        if self.address:
            return f"the cluster at {self.address}"
        return f"the cluster of {self.settings.cluster_class or 'this machine'}"

    def _open(self) -> Any:
        with self._starting:
            if self._closed:
                raise RuntimeError("the run was stopped")
            if self._refused is not None:
                raise self._refused  # the next step need not wait for it again
            if self._client is None:
                client = self._connect() if self.address else self._start()
                try:
                    if self.remote:
                        self._wait(client)
                        self._check_dask(client)
                except StudyError as error:
                    self._refused = error
                    client.close()
                    raise
                self._client = client
            return self._client

    def _connect(self) -> Any:
        from distributed import Client

        try:
            return Client(self.address, set_as_default=False, timeout=SECONDS_TO_CONNECT)
        except (OSError, ValueError) as error:
            remedy = f"Start one with `dask scheduler`, or correct {ADDRESS} (or `address` under [cluster])"
            raise StudyError(f"no Dask scheduler answers at {self.address}: {error}. {remedy}") from None

    def _start(self) -> Any:
        from distributed import Client

        settings = self.settings
        least = settings.workers or self.workers or 1
        self._cluster = _start_class(settings, least) if settings.cluster_class else _start_local(self)
        return Client(self._cluster, set_as_default=False)

    def _wait(self, client: Any) -> None:
        try:
            client.wait_for_workers(1, timeout=self.settings.wait)
        except TimeoutError:
            remedy = "Look at its logs or its queue; a longer `wait` under [cluster] waits longer"
            raise StudyError(f"{self._where} has no worker after {self.settings.wait:.0f} s. {remedy}") from None

    def sweep(self) -> None:
        """Remove the scratch folders of killed workers. Dask does so when it creates the next one."""
        if any(Path(self.scratch).glob("*/*.dirlock")):
            from distributed.diskutils import WorkSpace

            for space in Path(self.scratch).iterdir():
                with suppress(OSError):  # another user's, or no folder
                    WorkSpace(str(space)).new_work_dir(prefix="swept-").release()

    def close(self) -> None:
        self._closed = True
        things, self._client, self._cluster = (self._client, self._cluster), None, None
        for thing in things:
            if thing is not None:
                thing.close()


def _start_class(settings: ClusterSettings, least: int) -> Any:
    """A cluster of the class that the study names, with at least `least` workers. StudyError where it cannot be started."""
    module, _, name = settings.cluster_class.rpartition(".")
    setting = f'cluster.cluster_class = "{settings.cluster_class}"'
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        top = module.partition(".")[0]
        package = top.replace("_", "-") if top in PACKAGES else f"the package that has {module}"
        raise StudyError(f"{setting}: {error}. Install it here: pip install {package}, or correct the name") from None
    if not isinstance(kind, type) or not hasattr(kind, "scale"):
        raise StudyError(f"{setting} is not the class of a Dask cluster: it has no method scale")
    try:
        cluster = kind(**settings.cluster_kwargs)
        if settings.most_workers:
            cluster.adapt(minimum=least, maximum=max(least, settings.most_workers))
        else:
            cluster.scale(least)
    except Exception as error:  # each class has its own errors
        given = f"cluster_kwargs = {sorted(settings.cluster_kwargs)}: {type(error).__name__}: {error}"
        raise StudyError(f"{settings.cluster_class} could not be started with {given}") from error
    return cluster


def _start_local(limits: Cluster) -> Any:
    import dask
    from distributed import LocalCluster

    os.environ.update({k: v for k, v in WORKER_ENVIRONMENT.items() if k not in os.environ})
    # A worker reads its logging from its environment when it imports Dask. It warns of "unmanaged memory", which is that of the
    # running job, and which no user can change, and at the end of heartbeats that find no scheduler. A job that needs too much
    # is stopped and reported as failed.
    quiet = {LOGGING: os.environ.get(LOGGING, "critical")}
    dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT | quiet})
    dask.config.set({"distributed.worker.memory.terminate": 0.95, "distributed.scheduler.allowed-failures": 3})
    dask.config.set({"distributed.worker.memory.pause": False})  # it would wait for ever for memory that its libraries keep
    numbers = count()

    class Workers(LocalCluster):
        """Each of the first workers has its own device, or room for a model, as a Dask resource; the others do not."""

        def new_worker_spec(self) -> dict[Any, Any]:
            [(name, spec)] = super().new_worker_spec().items()
            options, number = dict(spec["options"]), next(numbers)
            resources = {MODEL: 1} if number < limits.models else {}
            if limits.devices:
                device = limits.devices[number] if number < len(limits.devices) else ""
                options["env"] = {DEVICES: device}
                resources |= {limits.settings.resource: 1} if device else {}
            return {name: {**spec, "options": {**options, "resources": resources}}}

    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "local_directory": limits.scratch}
    cluster = Workers(n_workers=0, threads_per_worker=1, memory_limit=limits.worker_memory, processes=True, **here)
    for _ in range(limits.workers):
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(cluster._correct_state)  # as `scale` does, which loses what keeps a worker from starting, and waits for ever
    except Exception as error:
        cluster.close()
        why: BaseException = error
        while why.__cause__ is not None:
            why = why.__cause__
        words = f"{type(why).__name__}: {why}. --workers 0 runs everything in this process"
        raise StudyError(f"the workers do not start: {words}") from error
    return cluster
