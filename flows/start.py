"""The start of a run: what would stop it, which steps it is for, and whether anything is left to do. Knows nothing of Prefect, so
that all of it is answered before a server starts."""

from collections.abc import Mapping

from flows.engine import skipped
from flows.manifests import is_finished
from flows.plan import PlannedStep, downstream, lay_out_what_can_be, upstream
from flows.session import Session
from flows.study import STEPS
from flows.study_files import publish_report
from flows.study_records import recorded_steps
from flows.terminal import Terminal
from schemas import Study, StudyError
from tasks.examples.read import check_files
from tasks.step import Work
from tasks.storage.store import Store

WAITS = "waits for"  # a step whose inputs have no plan


def problems(plans: Mapping[str, PlannedStep | str], store: Store) -> list[str]:
    """What would stop a run: why steps cannot be planned, and task files without an example. plans: of `lay_out_what_can_be`."""
    reasons = [why for why in plans.values() if isinstance(why, str) and not why.startswith(WAITS)]
    read = plans.get("read")
    for planned in read.stages if isinstance(read, PlannedStep) else ():
        for job in planned.jobs:
            if not any(store.stat(store.part_path(part)) for part in job.parts(planned.stage)):
                try:
                    check_files(Work(store, job, planned.stage, {}))
                except StudyError as error:
                    reasons.append(str(error))
    return reasons


def lay_out_run(study: Study, store: Store) -> list[PlannedStep]:
    """The plan of a run. Raises StudyError with everything that would stop it."""
    plans = lay_out_what_can_be(STEPS, study)
    if reasons := problems(plans, store):
        raise StudyError("\n".join(reasons))
    return [plan for plan in plans.values() if isinstance(plan, PlannedStep)]


def choose(plan: list[PlannedStep], session: Session, only: str | None, start: str | None) -> set[str]:
    """Names of the steps to run. Raises StudyError for an unknown step, or for --only with unfinished inputs."""
    names = [p.step.name for p in plan]
    for name in [only, start, *session.force]:
        if name is not None and name not in names:
            raise StudyError(f"there is no step {name!r}; the steps are {', '.join(names)}")
    if only:
        step = next(p.step for p in plan if p.step.name == only)
        above = {s.name for s in upstream(step, STEPS)}
        unfinished = [p.step.name for p in plan if p.step.name in above and not is_finished(session.store, p)]
        if unfinished:
            why = f"its inputs are not finished: {', '.join(unfinished)}"
            raise StudyError(f"--only {only}: {why}. Run them first: {session.command(unfinished[0])}")
        return {only}
    return downstream({start}, STEPS) if start else set(names)


def repeat(plan: list[PlannedStep], session: Session) -> bool:
    """Whether a study has nothing left to do; then its steps are shown, and its report is published again."""
    records = recorded_steps(session.store, session.study.name)
    for planned in plan:
        record = records.get(planned.step.name, {})
        if record.get("state") != "done" or record.get("fingerprint") != planned.fingerprint:
            return False
    session.begin()
    outcomes = [outcome for planned in plan if (outcome := skipped(planned, session))]
    if len(outcomes) < len(plan):
        return False
    terminal = Terminal()
    for outcome in outcomes:
        terminal.finished(outcome)
    publish(plan, session)
    terminal.close()
    return True


def publish(plan: list[PlannedStep], session: Session) -> str:
    """Publish the report of a study that is done, and remove what killed runs left; returns the page."""
    with session.alone(f"report-{session.study.name}"):
        page = publish_report(plan, session.store, session.study.name)
    session.sweep(table for planned in plan for table in planned.outputs)
    return page
