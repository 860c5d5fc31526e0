"""What a step is: tables in, tables out. Nothing here runs anything in parallel, and nothing knows what a step computes.

A `Step` has one or more `Stage`s. A stage plans `Job`s from the study and the parts it reads; each job writes one part of
each table of its stage. Planning reads no data, so the whole study can be laid out, and compared with what is there,
before anything runs. A job carries every setting that decides its content; `run` sees those and no others.
"""

import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas import Contract, Study, StudyError
from tasks.cost import Cost, Sizes
from tasks.storage import memory
from tasks.storage.disk import not_written
from tasks.storage.parts import Part, SourceFile, digest, shown
from tasks.storage.store import Store

if TYPE_CHECKING:
    import polars as pl

Contracts = Mapping[str, Contract]
Inputs = Mapping[str, tuple[Part, ...]]
Plan = Callable[[Study, Inputs], list["Job"]]
PLACEBO = "placebo"  # the label `corpus` of a part that is made of the study's placebo corpus
GPU, MODEL = "GPU", "model"  # what a job may need of its worker: a device of its own; room for a model


def parts_of(inputs: Inputs, **variant: str) -> dict[str, tuple[Part, ...]]:
    """The study's own parts; of the tables that are named, a variant's: parts_of(inputs, task_grams="encoder=labse")."""
    wanted = {table: variant.get(table, "") for table in inputs}
    return {t: tuple(p for p in parts if p.variant == wanted[t] and not p.corpus) for t, parts in inputs.items()}


def parts_of_placebo(inputs: Inputs) -> dict[str, tuple[Part, ...]]:
    return {table: tuple(p for p in parts if p.corpus == PLACEBO) for table, parts in inputs.items()}


def for_each_corpus(plan: Plan, shared: Collection[str] = ()) -> Plan:
    """A plan for the study's corpus and, where the study names one, for its placebo (docs/method.md §6d), labelled so. shared:
    tables that are not made of a corpus; the placebo's jobs read the study's own parts of these."""
    return partial(_plan_each_corpus, plan, frozenset(shared))  # a closure could not be sent to a worker


def _plan_each_corpus(plan: Plan, shared: frozenset[str], study: Study, inputs: Inputs) -> "list[Job]":
    jobs = plan(study, {table: tuple(p for p in parts if not p.corpus) for table, parts in inputs.items()})
    instead = study.of_placebo()
    if instead is None:
        return jobs
    study_parts = parts_of(inputs)
    again = plan(instead, parts_of_placebo(inputs) | {table: study_parts[table] for table in shared})
    return [*jobs, *(replace(job, labels={**job.labels, "corpus": PLACEBO}) for job in again)]


def every_study(study: Study) -> bool:
    """A step, or a measure, that applies whatever the study."""
    return True


def asks_for_memorization(study: Study) -> bool:
    return study.memorization is not None


def asks_for_recitation(study: Study) -> bool:
    """A study with `[memorization]` whose models write the suffixes that they do not reproduce."""
    return study.memorization is not None and study.memorization.recite


def labelled(labels: Mapping[str, str], variant: str) -> dict[str, str]:
    """The labels of a variant's part. The study's own parts keep their labels, and so their keys."""
    return {**labels, "variant": variant} if variant else dict(labels)


@dataclass(frozen=True)
class Job:
    """The making of one part of each table of a stage. `cost` is a rough relative weight: the most expensive jobs start first.
    `memory` (bytes) limits what grows with the data. It decides how the job does its work and never what it writes, so it is not
    part of the key; nor are `resources`, what it needs of a worker, e.g. {"GPU": 1}."""

    labels: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=dict)
    files: tuple[SourceFile, ...] = ()
    cost: float = 1.0
    memory: int = 1_000_000_000
    resources: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return shown(self.labels) or "all"

    @property
    def keys(self) -> dict[str, list[str]]:
        return {table: [p.key for p in parts] for table, parts in self.inputs.items()}


@dataclass(frozen=True)
class Stage:
    writes: tuple[Contract, ...]
    plan: Plan
    run: Callable[["Work"], None]


@dataclass(frozen=True)
class Step:
    """Named and versioned: raise `version` whenever the same inputs and settings would give other bytes. `reads` names tables of
    other steps. Planning sees the study's own parts of these and, with `variants`, also the parts that answer the same question of
    other input: those labelled `variant=…` and `corpus=placebo`. A step that does not ask for labelled parts cannot mistake them
    for the study's. `applies`: whether a study has this step at all."""

    name: str
    version: int
    about: str
    reads: tuple[str, ...]
    stages: tuple[Stage, ...]
    variants: bool = False
    cost: Callable[[Sizes], Cost] | None = None  # what it takes, for `taskgram plan`
    applies: Callable[[Study], bool] = every_study

    @property
    def writes(self) -> tuple[Contract, ...]:
        return tuple(c for stage in self.stages for c in stage.writes)


@dataclass(frozen=True)
class PlannedJob:
    job: Job
    key: str
    step: str
    version: int
    stage: int

    def parts(self, stage: Stage) -> tuple[Part, ...]:
        return tuple(Part(c.name, self.key, self.job.labels) for c in stage.writes)

    def tables(self, stage: Stage) -> set[str]:
        return {*self.job.inputs, *(c.name for c in stage.writes)}

    @property
    def footer(self) -> dict[str, Any]:
        """How the part was made, stored in its footer."""
        by_step = {"step": self.step, "version": self.version, "stage": self.stage, "key": self.key}
        files = [{"name": f.name, "sha256": f.sha256} for f in self.job.files]
        settings = {"labels": dict(self.job.labels), "settings": self.job.settings}
        return by_step | settings | {"inputs": self.job.keys, "files": files}


def keyed(step: Step, stage: int, job: Job) -> PlannedJob:
    """Give a job its key: hash(step, version, stage, labels, settings, keys of inputs, hashes of files)."""
    files = [[f.name, f.sha256] for f in job.files]
    key = digest([step.name, step.version, stage, dict(job.labels), dict(job.settings), job.keys, files])
    return PlannedJob(job, key, step.name, step.version, stage)


class Work:
    """What a running job may use: its settings, the parts it declared, and a way to write its own."""

    def __init__(self, store: Store, planned: PlannedJob, stage: Stage, contracts: Contracts) -> None:
        self.store, self.planned, self.stage, self.contracts = store, planned, stage, contracts
        self.job, self.settings, self.labels = planned.job, planned.job.settings, planned.job.labels
        self.sums: dict[str, int | float] = {}
        self.notes: list[str] = []
        self.passes = 1  # times the data is read: more, where its questions do not fit into the job's memory at once

    def parts(self, table: str) -> tuple[Part, ...]:
        return self.job.inputs[table]

    def read(self, table: str | Part, *columns: str) -> pa.Table:
        """A part, or all declared parts of a table as one, with these columns (all, if none is named)."""
        name, parts = (table.table, (table,)) if isinstance(table, Part) else (table, self.parts(table))
        return self.store.read(parts, self.contracts[name].schema, columns)

    def frame(self, table: str | Part, *columns: str) -> "pl.DataFrame":
        """The same as a polars frame."""
        import polars as pl

        return pl.DataFrame(self.read(table, *columns))

    def batches(self, part: Part, *columns: str, rows: int = 1024) -> Iterator[pa.RecordBatch]:
        yield from self.store.open(part, mapped=False).iter_batches(batch_size=rows, columns=list(columns) or None)

    def count(self, part: Part) -> int:
        return int(self.store.open(part).metadata.num_rows)

    def in_order(self, part: Part, *columns: str) -> Callable[[range], pa.Table]:
        """What reads ranges of rows of one part, each of which begins no earlier than the one before; it holds no others."""
        batches, first = self.batches(part, *columns), 0
        schema = self.contracts[part.table].schema
        held = pa.schema([schema.field(name) for name in columns or schema.names]).empty_table()

        def read(rows: range) -> pa.Table:
            nonlocal held, first
            assert rows.start >= first, "internal error: rows that were read before"
            while first + len(held) < rows.stop:
                held, first = held.slice(max(0, rows.start - first)), max(first, min(rows.start, first + len(held)))
                held = pa.concat_tables([held, pa.Table.from_batches([next(batches)])])
            held, first = held.slice(rows.start - first), rows.start
            return held.slice(0, len(rows))

        return read

    def folder_of(self, part: Part) -> Path:
        return self.store.fetched(part)

    def folder(self) -> Path:
        """The folder for files that belong to this job's part: kept when the job is killed, so that it can resume."""
        return self.store.folder(self.stage.writes[0].name, self.planned.key)

    def write(self, table: str, rows: pa.Table | pa.RecordBatch | Mapping[str, Any]) -> None:
        """Append rows to this job's part of a table: Arrow, or a mapping of column names to values."""
        if isinstance(rows, Mapping):
            rows = pa.table(dict(rows), schema=pa.schema([self.contracts[table].schema.field(n) for n in rows]))
        self._writer.write(table, rows)

    def add(self, name: str, value: int | float = 1) -> None:
        """Add to a number that the manifest keeps: records read, pairs dropped …"""
        self.sums[name] = self.sums.get(name, 0) + value

    def note(self, line: str) -> None:
        """Put a line into the run's log; the same line of several jobs of a stage appears once."""
        self.notes.append(line)

    def execute(self) -> dict[str, Any]:
        """Run the job and publish its parts. Returns seconds, peak memory (bytes), passes, notes, and its manifest entries."""
        began = time.monotonic()
        footer: dict[str, Any] = dict(self.planned.footer)
        tables = {c.name: c for c in self.stage.writes}
        with self.store.writing(tables, self.planned.key, footer) as self._writer:
            self.stage.run(self)
            footer["sums"] = self.sums
        cost = {"seconds": time.monotonic() - began, "peak_memory": memory.peak(), "passes": self.passes, "notes": self.notes}
        # Described here, where the bytes are still in memory, and on as many workers as there are.
        return {**cost, "described": {p.table: self.store.describe(p) for p in self.planned.parts(self.stage)}}


def run_job(store: Store, planned: PlannedJob, stage: Stage, contracts: Contracts, absent: bool = False) -> dict[str, Any]:
    """Run a job on a worker. Returns what it cost, or {"error", "traceback"}; `traceback` is empty for what a user can fix. Errors
    are returned as text, because not every exception can be sent between processes. absent: the job's parts did not exist when it
    was planned; if they do now, a worker that was killed had finished them, and they stay as they are."""
    parts = planned.parts(stage)
    try:
        if absent and all(store.stat(store.part_path(p)) for p in parts):
            return {"seconds": 0.0, "peak_memory": 0, "passes": 1, "described": {p.table: store.describe(p) for p in parts}}
        return Work(store, planned, stage, contracts).execute()
    except StudyError as error:
        return {"error": str(error), "traceback": ""}
    except Exception as error:
        if words := not_written(error, store.part_path(parts[0])):
            return {"error": words, "traceback": ""}
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    finally:
        memory.give_back()
