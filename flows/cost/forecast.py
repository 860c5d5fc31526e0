"""What `taskgram plan` answers, before anything is spent: each step's parts, what of them is there, and what the rest costs.

The sum of what the steps of `flows/study.py` say of themselves (`Step.cost`). Reads a sample of the corpus and asks no hub. Parts
are compared with those under the root where planning needs no long hashing: files hashed for an earlier run, or few bytes.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any

from flows.cost.survey import survey
from flows.plan import PlannedStep, lay_out_what_can_be
from flows.start import problems
from flows.study import STEPS
from flows.study_files import study_path
from flows.terminal import size
from schemas import load_study
from schemas.settings.base import parse_size
from tasks.cost import RATES, Cost, Sizes
from tasks.step import Step
from tasks.storage.store import Store

NOT_COMPARED = "not compared"
HASHED_AT_ONCE = 2e9  # bytes of corpus that are hashed for the sake of a plan


@dataclass(frozen=True)
class StepForecast:
    """A step: its cost in all, its finished parts (None: not compared, for a reason), the share and the seconds that are left."""

    step: str
    cost: Cost
    there: int | None
    left: float
    wall: float
    reason: str = ""

    @property
    def parts(self) -> int:
        return int(self.cost.parts)


@dataclass(frozen=True)
class Forecast:
    """All steps, in the order they run, and what a user should know of the study before it runs."""

    sizes: Sizes
    steps: tuple[StepForecast, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...] = ()  # what would stop a run, besides what is not here yet

    def total(self, what: str) -> float:
        """Sum over the steps of "core", "gpu", "written" or "read" that is left, or of "wall"."""
        return sum(s.wall if what == "wall" else getattr(s.cost, what) * s.left for s in self.steps)

    @property
    def wall_range(self) -> tuple[float, float]:
        """Seconds between which the run should end: half of what it takes if nothing ever waits, and twice what it takes if steps
        follow each other, three times that of steps which rest on a guess."""
        machine = self.sizes.machine
        busy = max(self.total("core") / machine.processes, self.total("gpu") / machine.gpus)
        return busy / 2, sum(s.wall * (3 if s.cost.guesses else 2) for s in self.steps)


def forecast(study: str, root: str, workers: int | None = None) -> Forecast:
    """The forecast of a study. Raises StudyError for a study that cannot be read, never for what is not here yet."""
    settings = load_study(study_path(study))
    sizes, store = survey(settings if workers is None else settings.with_workers(workers), root), Store(root)
    plan = _plan(store, sizes)
    steps = tuple(_step(step, sizes, plan[step.name], store) for step in STEPS if step.name in plan)
    absent = [m.where for m in sizes.missing]
    stops = tuple(p for p in problems(plan, store) if not any(where in p for where in absent) and NOT_COMPARED not in p)
    return Forecast(sizes, steps, (*sizes.notes, *_warnings(sizes, steps)), stops)


def cost_of(step: Step, sizes: Sizes, parts: int | None = None) -> Cost:
    """What a step says it costs, in the parts that are planned, else in as many as it expects."""
    if step.cost is None:
        raise AssertionError(f"step {step.name} declares no cost: give Step(…, cost=…) a function of Sizes")
    cost = step.cost(sizes)
    return cost.in_parts(int(cost.parts) if parts is None else parts)


def _plan(store: Store, sizes: Sizes) -> dict[str, PlannedStep | str]:
    packed, study = sizes.corpus.packed, sizes.study
    if packed > HASHED_AT_ONCE and not sizes.missing and store.read_json(store.layout.study(study.name)) is None:
        why = f"{NOT_COMPARED}: {size(packed)} of corpus would have to be hashed first"
        return {s.name: why for s in STEPS if s.applies(study)}
    before = os.environ.get("HF_HUB_OFFLINE", "0")
    os.environ["HF_HUB_OFFLINE"] = "1"  # a plan must not wait for a network
    try:
        return lay_out_what_can_be(STEPS, study)
    finally:
        os.environ["HF_HUB_OFFLINE"] = before


def _step(step: Step, sizes: Sizes, planned: PlannedStep | str, store: Store) -> StepForecast:
    if isinstance(planned, str):
        cost = cost_of(step, sizes)
        return StepForecast(step.name, cost, None, 1.0, cost.wall(sizes.machine), planned)
    jobs = [job.parts(stage.stage) for stage in planned.stages for job in stage.jobs]
    there = sum(all(store.fs.exists(store.part_path(p)) for p in parts) for parts in jobs)
    left = 1 - there / len(jobs) if jobs else 0.0
    cost = cost_of(step, sizes, len(jobs))
    return StepForecast(step.name, cost, there, left, cost.wall(sizes.machine) * left + (RATES["step"] if left else 0.0))


def _warnings(sizes: Sizes, steps: tuple[StepForecast, ...]) -> list[str]:
    """What would stop the study, or leave much of the machine idle."""
    study, machine, notes = sizes.study, sizes.machine, list[str]()
    worker, card = float(parse_size(study.worker_memory)), machine.gpu.memory if machine.gpu else 0.0
    if machine.processes < machine.cores and not machine.gpu:
        notes.append(f"workers = {study.workers} leaves {machine.cores - machine.processes} of {machine.cores} cores idle")
    if study.hardware.gpu and study.scoring.device == "cpu":
        notes.append(f'{study.hardware.gpu} is named, but scoring.device = "cpu"; set device = "cuda"')
    left = [s for s in steps if s.left and s.parts]
    for s in left:
        if s.cost.memory > worker:
            notes.append(f"{s.step}: a worker needs about {size(s.cost.memory)}, worker_memory is {study.worker_memory}")
        if card and s.cost.gpu and s.cost.memory > card:
            notes.append(f"{s.step}: {size(s.cost.memory)} do not fit the {size(card)} of one GPU")
    runs = [s for s in left if s.cost.gpu and s.cost.unit == "forward passes"]
    models = machine.processes * max((s.cost.memory for s in runs), default=0.0)
    if card and models > card * machine.gpus:
        notes.append(
            f"{machine.processes} workers may load the largest model at once, {size(models)}, and share the "
            f"{size(card * machine.gpus)} of {machine.gpus} GPU; run {' and '.join(s.step for s in runs)} with fewer --workers"
        )
    if machine.ram and worker * max(1, study.workers) > machine.ram:
        notes.append(f"{study.workers} workers of {study.worker_memory} are more than the {size(machine.ram)} of main memory")
    written = sum(s.cost.written * s.left for s in steps)
    if machine.disk and written > machine.disk:
        notes.append(f"about {size(written)} are written, {size(machine.disk)} are free")
    return notes


def as_json(f: Forecast) -> dict[str, Any]:
    """The forecast as plain values; bytes, seconds of cores, GPUs and of the clock."""
    sizes, machine = f.sizes, f.sizes.machine
    names = {"step": "step", "parts": "parts", "there": "there", "left": "left", "wall": "wall_seconds", "reason": "not_compared"}
    costs = {"read": "bytes_read", "written": "bytes_written", "core": "core_seconds", "gpu": "gpu_seconds", "work": "work"}
    costs |= {"unit": "unit", "memory": "worker_memory", "guesses": "guesses"}
    pairs = [((s, names), (s.cost, costs)) for s in f.steps]
    steps = [{name: getattr(of, field) for of, fields in both for field, name in fields.items()} for both in pairs]
    rates = RATES | {name: rate for s in f.steps for name, rate in s.cost.rates.items()}
    left: dict[str, Any] = {f"{n}_seconds": f.total(n) for n in ("core", "gpu", "wall")} | {"wall_range": list(f.wall_range)}
    left |= {"bytes_written": f.total("written"), "bytes_read": f.total("read")}
    of_machine = {"processes": machine.processes, "cores": machine.cores, "gpu": sizes.study.hardware.gpu}
    of_machine |= {"gpus": machine.gpus if machine.gpu else 0, "memory": machine.ram, "disk": machine.disk}
    models, missing = ([asdict(one) for one in some] for some in (sizes.models, sizes.missing))
    parts = {"corpus": asdict(sizes.corpus), "tasks": [asdict(t) | {"pairs": t.pairs} for t in sizes.tasks], "models": models}
    more = {"machine": of_machine, "missing": missing, "notes": list(f.notes), "problems": list(f.problems)}
    sources = {name: {"value": float(r), **vars(r)} for name, r in rates.items()}
    return {"study": sizes.study.name, "steps": steps, "left": left, **parts, **more, "rates": sources}
