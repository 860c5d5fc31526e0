"""Runs one planned step: skip what is done, map the rest over the cluster, validate, write manifests, record.

Knows nothing of Prefect; `flows/run.py` puts it into a flow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from flows.manifests import describe, differs, is_finished, is_written, read_again
from flows.plan import PlannedStage, PlannedStep
from flows.session import SECONDS_BETWEEN_LOOKS, Session
from flows.study_records import recorded_step
from schemas import CONTRACTS, StudyError
from tasks.cluster.submission import Finished
from tasks.step import PlannedJob, run_job
from tasks.storage.disk import not_written
from tasks.storage.leftovers import sweep
from tasks.storage.store import Part, Store, fingerprint

Progress = Callable[[int, int], None]  # parts done, parts to do
PartFailed = Callable[[str, str], None]  # a part's name, and why


class StepFailed(StudyError):
    """A step did not finish; the message says why and how to run it again."""


@dataclass(frozen=True)
class Outcome:
    """What running a step came to."""

    step: str
    state: str  # "done" or "skipped"
    computed: int
    parts: int
    rows: int
    bytes: int
    seconds: float  # wall time, in which it may have waited for other steps
    checks: int
    changed: tuple[str, ...] = ()  # tables whose bytes differ from those of an earlier run: not deterministic
    tables: tuple[Mapping[str, Any], ...] = ()
    again: str = ""  # which parts were read more than once, in words
    validations: tuple[Mapping[str, Any], ...] = ()  # every check of every table, with the rows it was made on
    part_seconds: float = 0.0  # what its jobs took on their workers, added up


def run_step(
    planned: PlannedStep,
    session: Session,
    progress: Progress = lambda done, total: None,
    part_failed: PartFailed = lambda part, why: None,
) -> Outcome:
    """Bring a step up to date. Raises StepFailed, after recording it, when a part or a contract fails."""
    store, name = session.store, planned.step.name
    session.check()
    known = recorded_step(store, session.study.name, name)
    void = {"void": True} if known.get("void") else {}
    forced = name in session.force or bool(void)
    if not forced and is_finished(store, planned, verify=session.verify):
        outcome = _outcome(planned, store, "skipped", 0, 0.0, ())
        if known.get("fingerprint") != planned.fingerprint or known.get("state") != "done":
            session.record(planned, state="done", seconds=0.0)
        return outcome
    began, computed, part_seconds, changed = time.monotonic(), 0, 0.0, []
    tables: dict[str, tuple[Part, ...]] = dict(planned.inputs)
    try:
        for number, stage in enumerate(planned.stages):
            before = {c.name: store.entries(c.name, stage.parts(c.name)) for c in stage.stage.writes}
            todo = _missing(store, stage, before, forced, session.verify)
            costs = _run_jobs(todo, stage, session, f"{name}-{number}" if number else name, progress, part_failed)
            computed += len(costs)
            part_seconds += sum(cost["seconds"] for cost in costs.values())
            tables |= {c.name: stage.parts(c.name) for c in stage.stage.writes}
            for contract in stage.stage.writes:
                sweep(store, contract.name, lambda key: not session.leases.taken(key))
                if not todo and is_written(store, contract.name, tables[contract.name], session.verify):
                    continue  # finished by an earlier run, which was interrupted behind it
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
            session.record(planned, state="failed", seconds=time.monotonic() - began, error=words, **void)
        raise StepFailed(f"{name}: {words}\n  run it again with: {session.command(name)}") from error
    seconds = time.monotonic() - began
    session.record(planned, state="done", seconds=seconds)
    return replace(_outcome(planned, store, "done", computed, seconds, tuple(changed)), part_seconds=part_seconds)


def _missing(
    store: Store, stage: PlannedStage, entries: Mapping[str, Mapping[str, Any]], forced: bool, verify: bool
) -> list[PlannedJob]:
    """Jobs with a part that is not there or not whole, dearest first. `entries`: what is known of each table's parts."""
    todo = [
        job
        for job in stage.jobs
        if forced or not all(store.is_whole(p, entries[p.table].get(p.key), verify=verify) for p in job.parts(stage.stage))
    ]
    return sorted(todo, key=lambda job: -job.job.cost)


def _run_jobs(
    todo: list[PlannedJob], stage: PlannedStage, session: Session, name: str, progress: Progress, part_failed: PartFailed
) -> dict[str, dict[str, Any]]:
    """Run the jobs that no other run computes, then look for the others'; returns what each of ours cost.

    Every part that can finish does, then the first failures are raised together.
    """
    progress(len(stage.jobs) - len(todo), len(stage.jobs))
    costs: dict[str, dict[str, Any]] = {}
    failures: list[str] = []
    waiting = list(todo)
    absent = {
        job.key
        for job in todo
        if any(session.store.stat(session.store.part_path(p)) is None for p in job.parts(stage.stage))
    }
    while waiting:
        turn, elsewhere = _Turn(waiting, stage, session, absent), len(waiting)
        try:
            for finished in session.cluster.run(run_job, turn, name, _needs):
                session.check()
                job = turn.mine[finished.index]
                session.leases.drop(job.key)
                if why := _explain(finished, session, name, job):
                    failures.append(f"{job.job.name}: {why}")
                    part_failed(job.job.name, why)
                else:
                    costs[job.key] = finished.value
                    progress(len(stage.jobs) - len(todo) + len(costs) + turn.found, len(stage.jobs))
        except BaseException:  # the run may go on with other steps, and another run need not wait for its end
            for job in turn.mine:
                session.leases.drop(job.key)
            raise
        waiting = turn.held
        if len(waiting) == elsewhere:
            session.wait(SECONDS_BETWEEN_LOOKS)
    if failures:
        more = f"\n  and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise StudyError(f"{len(failures)} of {len(todo)} parts failed\n  " + "\n  ".join(failures[:3]) + more)
    return costs


class _Turn:
    """The calls of the jobs whose lease is free, taken one by one as workers become free.

    mine: those that were called; held: those that another run computes; found: those of `absent`, the keys of parts that were
    not there at first, that one has finished meanwhile.
    """

    def __init__(self, jobs: Iterable[PlannedJob], stage: PlannedStage, session: Session, absent: set[str]) -> None:
        self.jobs, self.stage, self.session, self.absent = jobs, stage, session, absent
        self.mine: list[PlannedJob] = []
        self.held: list[PlannedJob] = []
        self.found = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        store, leases = self.session.store, self.session.leases
        for job in self.jobs:
            if not leases.take(job.key):
                self.held.append(job)
                continue
            parts = job.parts(self.stage.stage)
            if job.key in self.absent and all(store.stat(store.part_path(p)) for p in parts):
                leases.drop(job.key)
                self.found += 1
                continue
            self.mine.append(job)
            contracts = {
                name: CONTRACTS[name] for name in job.tables(self.stage.stage)
            }  # all, sent with each job, outlast it
            yield (store, job, self.stage.stage, contracts, job.key in self.absent)


def _needs(call: tuple[Any, ...]) -> Mapping[str, int]:
    """What the job of a call asks of its worker."""
    return call[1].job.resources


def _explain(finished: Finished, session: Session, name: str, job: PlannedJob) -> str:
    """Why a part failed, for a person; "" if it did not. The traceback of what they cannot mend goes to a file."""
    if finished.error is not None:
        if type(finished.error).__name__ == "KilledWorker":
            return "its worker was stopped again and again, most likely for memory: raise worker_memory, or make the part smaller"
        return f"{type(finished.error).__name__}: {finished.error}"
    message, trace = finished.value.get("error", ""), finished.value.get("traceback", "")
    if not trace:
        return str(message)
    path = session.store.near / "logs" / f"{session.study.name}-{name}-{job.key[:8]}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace, encoding="utf-8")
    except OSError:
        return f"{message} (this is a defect of ours; there is no room for its traceback)\n{trace}"
    return f"{message} (this is a defect of ours; its traceback is in {path})"


def _outcome(
    planned: PlannedStep, store: Store, state: str, computed: int, seconds: float, changed: Iterable[str]
) -> Outcome:
    manifests = [m for t, parts in planned.outputs.items() if (m := store.manifest(t, fingerprint(parts)))]
    rows = tuple(
        {
            "table": m["table"],
            "parts": len(m["parts"]),
            "rows": m["rows"],
            "bytes": m["bytes"],
            "checks": len(m["validation"]["checks"]),
            "valid": m["validation"]["success"],
            "fingerprint": m["fingerprint"][:12],
        }
        for m in manifests
    )
    return Outcome(
        planned.step.name,
        state,
        computed,
        sum(len(s.jobs) for s in planned.stages),
        sum(m["rows"] for m in manifests),
        sum(m["bytes"] for m in manifests),
        seconds,
        sum(r["checks"] for r in rows),
        tuple(changed),
        rows,
        read_again(manifests),
        tuple({"table": m["table"], "rows": m["rows"], **c} for m in manifests for c in m["validation"]["checks"]),
    )
