"""Runs one planned step: skip what is done, map the rest over the cluster, validate, write manifests, record. Knows nothing of
Prefect; `flows/run.py` puts it into a flow."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from flows.manifests import describe, differs, is_finished, is_written, rows_of
from flows.plan import PlannedStage, PlannedStep
from flows.session import SECONDS_BETWEEN_LOOKS, Session
from flows.study_records import recorded_step
from schemas import CONTRACTS, StudyError
from tasks.cluster.submission import Finished
from tasks.step import PlannedJob, run_job
from tasks.storage.disk import not_written
from tasks.storage.leases import sweep
from tasks.storage.store import Part, Store, fingerprint

Jobs = list[PlannedJob]


class Reports(NamedTuple):
    """Where progress (parts done, parts to do), a failed part with its reason, and lines of a log go."""

    progress: Callable[[int, int], None] = lambda done, total: None
    part_failed: Callable[[str, str], None] = lambda part, why: None
    log: Callable[[str], None] = lambda line: None


class PartsFailed(StudyError):
    """Parts failed. `models`: why, by model, if they all are parts of models; {} if others failed, too."""

    def __init__(self, message: str, models: Mapping[str, str]) -> None:
        super().__init__(message)
        self.models = models


class StepFailed(PartsFailed):
    """A step did not finish; the message says why and how to run it again."""


@dataclass(frozen=True)
class Outcome:
    step: str
    state: str  # "done" or "skipped"
    computed: int
    parts: int
    part_seconds: float  # of the jobs that ran, added up
    wall_seconds: float  # from the start of the first job that ran to the end of the step
    changed: tuple[str, ...] = ()  # tables whose bytes differ from those of an earlier run: not deterministic
    manifests: tuple[Mapping[str, Any], ...] = ()  # of its tables

    @property
    def rows(self) -> int:
        return rows_of(self.manifests)

    @property
    def bytes(self) -> int:
        return sum(m["bytes"] for m in self.manifests)

    @property
    def checks(self) -> list[Mapping[str, Any]]:
        """Every check of every table, with the rows it was made on."""
        return [{"table": m["table"], "rows": m["rows"], **c} for m in self.manifests for c in m["validation"]["checks"]]


def run_step(planned: PlannedStep, session: Session, reports: Reports = Reports()) -> Outcome:  # noqa: B008 - it is a constant
    """Bring a step up to date. Raises StepFailed, after recording it, when a part or a contract fails."""
    store, name = session.store, planned.step.name
    session.check()
    if outcome := skipped(planned, session):
        return outcome
    void = {"void": True} if recorded_step(store, session.study.name, name).get("void") else {}
    forced = name in session.force or bool(void)
    spent, changed = _Costs(), []
    tables: dict[str, tuple[Part, ...]] = dict(planned.inputs)
    try:
        for number, stage in enumerate(planned.stages):
            before = {c.name: store.entries(c.name, stage.parts(c.name)) for c in stage.stage.writes}
            todo = _missing(store, stage, before, forced, session.verify)
            costs = _run_jobs(todo, stage, session, f"{name}-{number}" if number else name, reports, spent)
            tables |= {c.name: stage.parts(c.name) for c in stage.stage.writes}
            for contract in stage.stage.writes:
                sweep(store, contract.name, lambda key: not session.leases.taken(key))
                if not todo and is_written(store, contract.name, tables[contract.name], session.verify):
                    continue  # finished by an earlier run, which was interrupted after it
                manifest = describe(store, planned, stage, contract, tables, costs, before[contract.name])
                if differs(manifest, before[contract.name]):
                    session.void(name)  # before the manifest says that all is well
                    changed.append(contract.name)
                store.write_manifest(manifest)
    except Exception as error:
        words = str(error) if isinstance(error, StudyError) else not_written(error, store.base)
        if not words:
            raise
        with suppress(OSError):  # a disk that is full may have no room for that either
            session.record(planned, state="failed", seconds=spent.wall_seconds, error=words, **void)
        models = error.models if isinstance(error, PartsFailed) else {}
        raise StepFailed(f"{name}: {words}\n  run it again with: {session.command(name)}", models) from error
    session.record(planned, state="done", seconds=spent.wall_seconds)
    return _outcome(planned, store, "done", spent, tuple(changed))


def skipped(planned: PlannedStep, session: Session) -> Outcome | None:
    """The outcome of a step with nothing to do; None for one that has to run."""
    name = planned.step.name
    record = recorded_step(session.store, session.study.name, name)
    if name in session.force or record.get("void") or not is_finished(session.store, planned, verify=session.verify):
        return None
    if record.get("fingerprint") != planned.fingerprint or record.get("state") != "done":
        session.record(planned, state="done", seconds=0.0)
    return _outcome(planned, session.store, "skipped", _Costs(), ())


class _Costs:
    def __init__(self) -> None:
        self.jobs, self.part_seconds, self.first = 0, 0.0, time.monotonic()

    def add(self, seconds: float) -> None:
        began = time.monotonic() - seconds
        self.first = min(self.first, began) if self.jobs else began
        self.jobs, self.part_seconds = self.jobs + 1, self.part_seconds + seconds

    @property
    def wall_seconds(self) -> float:
        """Seconds since the first job began; if none ran, since the step did."""
        return time.monotonic() - self.first


def _missing(store: Store, stage: PlannedStage, entries: Mapping[str, Any], forced: bool, verify: bool) -> Jobs:
    """Jobs with a part that is missing or damaged, the most expensive first. entries: manifest entries of each table's parts."""

    def is_there(job: PlannedJob) -> bool:
        return all(store.is_whole(p, entries[p.table].get(p.key), verify=verify) for p in job.parts(stage.stage))

    return sorted((job for job in stage.jobs if forced or not is_there(job)), key=lambda job: -job.job.cost)


def _run_jobs(todo: Jobs, stage: PlannedStage, session: Session, name: str, reports: Reports, spent: _Costs) -> dict[str, Any]:
    """Run the jobs that no other run computes, then wait for the others'; returns what each cost. Raises failures at the end."""
    reports.progress(len(stage.jobs) - len(todo), len(stage.jobs))
    costs: dict[str, dict[str, Any]] = {}
    failures: list[tuple[PlannedJob, str]] = []
    logged: set[str] = set()
    waiting = list(todo)
    store = session.store
    absent = {job.key for job in todo if any(store.stat(store.part_path(p)) is None for p in job.parts(stage.stage))}
    while waiting:
        turn, before = _Turn(waiting, stage, session, absent), len(waiting)
        try:
            for finished in session.cluster.run(run_job, turn, name, lambda call: call[1].job.resources):
                session.check()
                job = turn.mine[finished.index]
                session.leases.drop(job.key)
                if why := _explain(finished, session, name, job):
                    failures.append((job, why))
                    reports.part_failed(job.job.name, why)
                else:
                    costs[job.key] = finished.value
                    for line in finished.value.pop("notes", ()):
                        if line not in logged:
                            logged.add(line)
                            reports.log(line)
                    spent.add(finished.value["seconds"])
                    reports.progress(len(stage.jobs) - len(todo) + len(costs) + turn.elsewhere, len(stage.jobs))
        except BaseException:  # the run may go on with other steps, and another run need not wait for its end
            for job in turn.mine:
                session.leases.drop(job.key)
            raise
        waiting = turn.held
        if len(waiting) == before:
            session.wait(SECONDS_BETWEEN_LOOKS)
    if failures:
        more = f"\n  and {len(failures) - 3} more" if len(failures) > 3 else ""
        lines = [f"{job.job.name}: {why}" for job, why in failures[:3]]
        of_models = {job.job.labels.get("model", ""): why for job, why in reversed(failures)}
        models = {} if "" in of_models else of_models
        raise PartsFailed(f"{len(failures)} of {len(todo)} parts failed\n  " + "\n  ".join(lines) + more, models)
    return costs


class _Turn:
    """The calls of the jobs whose lease is free, taken one by one as workers become free. mine: jobs that were called; held: jobs
    that another run computes; elsewhere: how many jobs of `absent`, the keys whose parts did not exist at first, another run has
    finished meanwhile."""

    def __init__(self, jobs: Iterable[PlannedJob], stage: PlannedStage, session: Session, absent: set[str]) -> None:
        self.jobs, self.stage, self.session, self.absent = jobs, stage, session, absent
        self.mine: list[PlannedJob] = []
        self.held: list[PlannedJob] = []
        self.elsewhere = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        store, leases = self.session.store, self.session.leases
        for job in self.jobs:
            if not leases.take(job.key):
                self.held.append(job)
                continue
            parts = job.parts(self.stage.stage)
            if job.key in self.absent and all(store.stat(store.part_path(p)) for p in parts):
                leases.drop(job.key)
                self.elsewhere += 1
                continue
            self.mine.append(job)
            # Only those of its own tables: sending all of them would take longer than a small job.
            contracts = {name: CONTRACTS[name] for name in job.tables(self.stage.stage)}
            yield (store, job, self.stage.stage, contracts, job.key in self.absent)


def _explain(finished: Finished, session: Session, name: str, job: PlannedJob) -> str:
    """Why a part failed; "" if it did not. The traceback of an internal error goes to a file."""
    if finished.error is not None:
        if type(finished.error).__name__ == "KilledWorker":
            return "its worker was stopped again and again, most likely for memory: raise worker_memory, or make the part smaller"
        return f"{type(finished.error).__name__}: {finished.error}"
    message, trace = finished.value.get("error", ""), finished.value.get("traceback", "")
    if not trace:
        return str(message)
    path = session.store.layout.log(f"{session.study.name}-{name}-{job.key[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace, encoding="utf-8")
    except OSError:
        return f"{message} (internal error, please report it; there is no room for its traceback)\n{trace}"
    return f"{message} (internal error, please report it; its traceback is in {path})"


def _outcome(planned: PlannedStep, store: Store, state: str, spent: _Costs, changed: Iterable[str]) -> Outcome:
    manifests = tuple(m for t, parts in planned.outputs.items() if (m := store.manifest(t, fingerprint(parts))))
    seconds, parts = (spent.part_seconds, spent.wall_seconds if state == "done" else 0.0), sum(len(s.jobs) for s in planned.stages)
    return Outcome(planned.step.name, state, spent.jobs, parts, *seconds, tuple(changed), manifests)
