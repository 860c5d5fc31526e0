"""A study laid out before anything runs: every step's jobs and the parts they will write, by key. Planning reads no stored data, so
`status` can compare what a study asks for with what is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas import Study, StudyError
from tasks.step import PlannedJob, Stage, Step, keyed, parts_of
from tasks.storage.store import Part, fingerprint


@dataclass(frozen=True)
class PlannedStage:
    """A stage, its jobs in the order of their cost, and the parts of each of its tables in planned order."""

    stage: Stage
    jobs: tuple[PlannedJob, ...]

    def parts(self, table: str) -> tuple[Part, ...]:
        index = [c.name for c in self.stage.writes].index(table)
        return tuple(job.parts(self.stage)[index] for job in self.jobs)


@dataclass(frozen=True)
class PlannedStep:
    step: Step
    stages: tuple[PlannedStage, ...]
    inputs: Mapping[str, tuple[Part, ...]]

    @property
    def outputs(self) -> dict[str, tuple[Part, ...]]:
        return {c.name: s.parts(c.name) for s in self.stages for c in s.stage.writes}

    @property
    def fingerprints(self) -> dict[str, str]:
        return {table: fingerprint(parts) for table, parts in self.outputs.items()}

    @property
    def fingerprint(self) -> str:
        """The step's own: the hash of its tables'."""
        return fingerprint([p for parts in self.outputs.values() for p in parts])


def lay_out(steps: Sequence[Step], study: Study) -> list[PlannedStep]:
    """Plan all steps of the study, each on the planned parts of those before it. StudyError where it cannot be planned."""
    plans = list(lay_out_what_can_be(steps, study).values())
    if reason := next((plan for plan in plans if isinstance(plan, str)), None):
        raise StudyError(reason)
    return [plan for plan in plans if isinstance(plan, PlannedStep)]


def lay_out_what_can_be(steps: Sequence[Step], study: Study) -> dict[str, PlannedStep | str]:
    """By step: its plan, or why there is none yet: what is missing, or which steps before it have no plan."""
    tables: dict[str, tuple[Part, ...]] = {}
    plans: dict[str, PlannedStep | str] = {}
    for step in steps:
        tables |= {c.name: () for c in step.writes}
        if not step.applies(study):
            continue
        waits = sorted(s.name for s in upstream(step, steps) if isinstance(plans.get(s.name), str))
        try:
            plans[step.name] = f"waits for {', '.join(waits)}" if waits else plan_step(step, study, tables)
        except StudyError as error:
            plans[step.name] = str(error)
        planned = plans[step.name]
        if isinstance(planned, PlannedStep):
            tables |= planned.outputs
    return plans


def plan_step(step: Step, study: Study, tables: Mapping[str, tuple[Part, ...]]) -> PlannedStep:
    """One step on the planned parts of the tables it reads."""
    inputs = {t: tables[t] for t in step.reads}
    inputs = inputs if step.variants else parts_of(inputs)
    stages: list[PlannedStage] = []
    for number, stage in enumerate(step.stages):
        seen = inputs | {c.name: s.parts(c.name) for s in stages for c in s.stage.writes}
        jobs = tuple(keyed(step, number, job) for job in stage.plan(study, seen))
        keys = [j.key for j in jobs]
        if len(set(keys)) != len(keys):
            raise AssertionError(f"{step.name}: two jobs have one key; labels must tell parts apart")
        stages.append(PlannedStage(stage, jobs))
    return PlannedStep(step, tuple(stages), inputs)


def upstream(step: Step, steps: Sequence[Step]) -> list[Step]:
    return [s for s in steps if {c.name for c in s.writes} & set(step.reads)]


def downstream(names: set[str], steps: Sequence[Step]) -> set[str]:
    """These steps and all that depend on them."""
    reached = set(names)
    for step in steps:
        if any(s.name in reached for s in upstream(step, steps)):
            reached.add(step.name)
    return reached
