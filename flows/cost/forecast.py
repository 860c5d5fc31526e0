"""What `taskgram plan` answers, before anything is spent: each step's parts, what of them is there, and what the rest costs.

Reads no corpus and asks no hub. Parts are compared with what lies under the root only where that needs no long hashing:
files that were hashed for an earlier run, or few bytes.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from flows.cost.estimate import Line, estimate
from flows.cost.hardware import Machine, cores_of, machine_of, room
from flows.cost.rates import RATES
from flows.cost.sizes import Missing, Sizes
from flows.cost.survey import sizes_of
from flows.plan import PlannedStep, lay_out_what_can_be
from flows.study_files import study_path
from flows.terminal import size
from schemas import Study, load_study
from schemas.settings.study_file import parse_size
from tasks.storage.store import Store

HASHED_AT_ONCE = 2e9  # bytes of corpus that are hashed for the sake of a plan


@dataclass(frozen=True)
class Row:
    """A step: its line, the parts that are finished already, and what is left to do."""

    line: Line
    there: int | None  # None: not compared
    left: float  # share of the work that is left
    wall: float
    why: str  # why its parts were not compared; empty where they were

    @property
    def parts(self) -> int:
        """Parts of the step."""
        return self.line.parts


@dataclass(frozen=True)
class Forecast:
    """All of it."""

    study: Study
    file: str
    rows: tuple[Row, ...]
    sizes: Sizes
    machine: Machine
    memory: float
    disk: float
    notes: tuple[str, ...]

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Files, folders and models that are not here."""
        return self.sizes.missing

    def total(self, what: str) -> float:
        """Sum over the steps of "core", "gpu", "written" or "read" that is left, or of "wall"."""
        return sum(r.wall if what == "wall" else getattr(r.line, what) * r.left for r in self.rows)


def forecast(study: str, root: str) -> Forecast:
    """The forecast of a study. Raises StudyError for a study that cannot be read, never for what is not here yet."""
    settings, store = load_study(study_path(study)), Store(root)
    sizes, machine = sizes_of(settings), machine_of(settings)
    lines = estimate(sizes.corpus, sizes.tasks, sizes.models, machine, sizes.asking, sizes.counting, sizes.placebo)
    found = _compare(settings, store, sizes)
    rows = tuple(_row(line, found[line.step], store, machine) for line in lines)
    memory, disk = room(settings, root)
    notes = (*sizes.notes, *_warnings(settings, rows, machine, memory, disk))
    return Forecast(settings, study, rows, sizes, machine, memory, disk, notes)


def _compare(study: Study, store: Store, sizes: Sizes) -> dict[str, PlannedStep | str]:
    from flows.study import STEPS

    if (
        sizes.corpus.packed > HASHED_AT_ONCE
        and not sizes.missing
        and store.read_json(store.layout.study(study.name)) is None
    ):
        why = f"not compared: {size(sizes.corpus.packed)} of corpus would have to be hashed first"
        return {s.name: why for s in STEPS}
    # a plan must not wait for a network
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        return lay_out_what_can_be(STEPS, study)
    finally:
        os.environ["HF_HUB_OFFLINE"] = before if before is not None else "0"


def _row(line: Line, planned: PlannedStep | str, store: Store, machine: Machine) -> Row:
    if isinstance(planned, str):
        return Row(line, None, 1.0, line.wall(machine), planned)
    parts = sum(len(stage.jobs) for stage in planned.stages)
    there = sum(
        all(store.fs.exists(store.part_path(p)) for p in job.parts(stage.stage))
        for stage in planned.stages
        for job in stage.jobs
    )
    counted = Line(**{**_fields(line), "parts": parts})
    left = 1 - there / parts if parts else 0.0
    wall = counted.wall(machine) * left + (RATES["step"].value if left else 0.0)
    return Row(counted, there, left, wall, "")


def _fields(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in line.__dataclass_fields__}


def _warnings(study: Study, rows: tuple[Row, ...], machine: Machine, memory: float, disk: float) -> list[str]:
    """What would stop the study, or leave much of the machine idle."""
    told, worker = [], float(parse_size(study.worker_memory))
    cores = cores_of(study)
    if machine.processes < cores and not machine.gpu:
        told.append(f"workers = {study.workers} leaves {cores - machine.processes} of {cores} cores idle")
    if study.hardware.gpu and study.scoring.device == "cpu":
        told.append(f'{study.hardware.gpu} is named, but scoring.device = "cpu"; set device = "cuda"')
    for row in rows:
        if row.left and row.parts and row.line.memory > worker:
            told.append(
                f"{row.line.step}: a worker needs about {size(row.line.memory)}, worker_memory is {study.worker_memory}"
            )
        if row.left and machine.gpu and machine.gpu.memory and row.line.gpu and row.line.memory > machine.gpu.memory:
            told.append(f"{row.line.step}: {size(row.line.memory)} do not fit the {size(machine.gpu.memory)} of one GPU")
    models = max((r.line.memory for r in rows if r.line.step in ("score", "generate") and r.left), default=0.0)
    if machine.gpu and machine.gpu.memory and models * machine.processes > machine.gpu.memory * machine.gpus:
        told.append(
            f"{machine.processes} workers may ask the largest model at once, {size(models * machine.processes)}, and share the "
            f"{size(machine.gpu.memory * machine.gpus)} of {machine.gpus} GPU; run score and generate with fewer --workers"
        )
    if memory and worker * max(1, study.workers) > memory:
        told.append(f"{study.workers} workers of {study.worker_memory} are more than the {size(memory)} of main memory")
    written = sum(r.line.written * r.left for r in rows)
    if disk and written > disk:
        told.append(f"about {size(written)} are written, {size(disk)} are free")
    return told


def as_json(found: Forecast) -> dict[str, Any]:
    """The forecast as plain values; bytes, seconds of cores, GPUs and of the clock."""
    return {
        "study": found.study.name,
        "steps": [
            {
                "step": r.line.step,
                "parts": r.parts,
                "there": r.there,
                "left": r.left,
                "work": r.line.work,
                "unit": r.line.unit,
                "bytes_read": r.line.read,
                "bytes_written": r.line.written,
                "core_seconds": r.line.core,
                "gpu_seconds": r.line.gpu,
                "wall_seconds": r.wall,
                "worker_memory": r.line.memory,
                "guesses": list(r.line.guesses),
                "not_compared": r.why,
            }
            for r in found.rows
        ],
        "left": {f"{n}_seconds": found.total(n) for n in ("core", "gpu", "wall")}
        | {"bytes_written": found.total("written"), "bytes_read": found.total("read")},
        "corpus": asdict(found.sizes.corpus),
        "tasks": [asdict(t) | {"pairs": t.pairs} for t in found.sizes.tasks],
        "models": [asdict(m) for m in found.sizes.models],
        "machine": {
            "processes": found.machine.processes,
            "cores": cores_of(found.study),
            "gpu": found.study.hardware.gpu,
            "gpus": found.machine.gpus if found.machine.gpu else 0,
            "memory": found.memory,
            "disk": found.disk,
        },
        "missing": [asdict(m) for m in found.missing],
        "notes": list(found.notes),
        "rates": {name: rate._asdict() for name, rate in RATES.items()},
    }
