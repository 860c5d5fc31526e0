"""One run of a study: where its results are, where its jobs run, and which parts it computes while other runs work. Knows nothing
of Prefect."""

import os
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.plan import PlannedStep, downstream
from flows.study_records import mark_void, record
from schemas import Study, StudyError
from tasks.cluster.cluster import Cluster
from tasks.step import Step
from tasks.storage.leases import Leases, sweep, sweep_small_files
from tasks.storage.store import Store

SECONDS_BETWEEN_LOOKS = 0.5
STEPS_AT_ONCE = 6
CLEANING = "clean"  # the lease of who removes what nothing records


@dataclass
class Session:
    """One run of a study: its root, where its jobs run, and the command that runs it again."""

    study: Study
    study_name: str  # the file or name given on the command line
    store: Store
    cluster: Cluster
    force: set[str] = field(default_factory=set)
    verify: bool = False
    steps: Sequence[Step] = ()  # of the study: which depend on a step whose bytes are others than before
    _stopped: threading.Event = field(default_factory=threading.Event)
    _failed: list[Mapping[str, str]] = field(default_factory=list)

    @cached_property
    def leases(self) -> Leases:
        """Which parts this run computes, and no other run."""
        return Leases(self.store)

    def stop(self) -> None:
        """End the parts that run and start no more; what is finished is kept."""
        self._stopped.set()
        self.cluster.close()

    def close(self) -> None:
        self.cluster.close()
        self.leases.close()

    def sweep(self, tables: Iterable[str]) -> None:
        """Remove what runs that were killed left of these tables, those that were finished among them."""
        for table in tables:
            sweep(self.store, table, lambda key: not self.leases.taken(key))
        sweep_small_files(self.store)
        self.cluster.sweep()

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        while not self.leases.take(what):
            self.wait(SECONDS_BETWEEN_LOOKS)
        try:
            yield
        finally:
            self.leases.drop(what)

    def begin(self) -> None:
        """Show that this run is alive, and wait while the root is cleaned: what it finds finished would be removed."""
        with self.alone(CLEANING):
            pass

    def wait(self, seconds: float) -> None:
        """Do nothing for a while; StudyError once the run was stopped."""
        self._stopped.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raises StudyError once the run was stopped."""
        if self._stopped.is_set():
            raise StudyError("stopped")

    def failed(self, models: Mapping[str, str]) -> None:
        """Note that a step failed, and for which models and why; {} if not for some models alone."""
        self._failed.append(models)

    def without_failed_models(self) -> Study | None:
        """The study without the models that failed since this was last asked; None if all did, or more than models."""
        failed, self._failed = self._failed, []
        if self._stopped.is_set() or not failed or not all(failed):
            return None
        rest = self.study.without({name: why for models in failed for name, why in models.items()})
        return rest if rest.models else None

    def command(self, step: str) -> str:
        root = "" if self.store.root == default_root() else f" --root {shlex.quote(self.store.root)}"
        return f"taskgram run {shlex.quote(self.study_name)} --from {step}{root}"

    def void(self, step: str) -> None:
        """What depends on this step is to be computed again, by the next run if not by this one."""
        names = downstream({step}, self.steps) - {step}
        for name in names:
            mark_void(self.store, self.study.name, name)
        self.force |= names

    def record(self, planned: PlannedStep, **what: Any) -> None:
        """Write down, under `<root>/studies/`, what this study has run."""
        left_out = {"left_out": dict(self.study.left_out)} if self.study.left_out else {}
        record(self.store, self.study, self.study_name, planned, **left_out, **what)


def default_root() -> str:
    """Where results go unless --root or TASKGRAM_ROOT says otherwise."""
    return os.environ.get("TASKGRAM_ROOT", str(Path.cwd() / "taskgram-data"))
