"""One Prefect flow per study, one Prefect task per step; steps run in parallel where their tables allow it. Import it after
`flows.environment.prepare`."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
from prefect import flow, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed, State
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.engine import Reports, StepFailed, run_step
from flows.environment import check_root, use_own_server
from flows.manifests import is_finished, rejected
from flows.plan import PlannedStep, lay_out, upstream
from flows.prefect_log import Post, Watch, key
from flows.session import STEPS_AT_ONCE, Session, default_root
from flows.start import choose, lay_out_run, publish
from flows.study import STEPS
from flows.study_files import report_link, reports_url, study_path
from flows.terminal import WIDTH, Terminal
from schemas import StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tasks.text.display import printable

use_own_server()  # where Prefect has started this process, for a run on a schedule
StepName = Annotated[str, Field(json_schema_extra={"enum": [s.name for s in STEPS]})]  # a list to choose from, in the UI
NOT_RUN = "not run because of that"


def _run_name() -> str:
    """The study and the options: "sample", "sample only score", "sample from count"."""
    options = flow_run.parameters or {}
    words = [Path(str(options.get("study", ""))).stem]
    words += [f"{word} {options[name]}" for name, word in (("only", "only"), ("start", "from")) if options.get(name)]
    return " ".join([*words, *(f"again {step}" for step in options.get("force") or ())])


@flow(name="study", flow_run_name=_run_name, persist_result=False, validate_parameters=True)
def study(
    study: str,
    root: str = "",
    only: StepName | None = None,
    start: StepName | None = None,
    force: list[StepName] | None = None,
    workers: Annotated[int, Field(ge=0)] | None = None,
    verify: bool = False,
) -> None:
    """Bring a study up to date: finished parts are skipped, missing parts are computed.

    Args:
        study: a study file, or the name of a shipped study.
        root: folder (or URL) for all results; empty: TASKGRAM_ROOT, else taskgram-data in the folder the run works in.
        only: run this step alone; its inputs must be finished.
        start: run this step and those that depend on it.
        force: steps to compute again and compare with their earlier bytes.
        workers: Dask workers; 0 runs everything in this process; empty: what the study says.
        verify: hash the bytes of finished parts before skipping them.
    """
    root = check_root(root or default_root())
    reports_url(root)  # raises for a wrong address before anything is computed
    settings = load_study(study_path(study))
    if workers is not None:
        settings = settings.with_workers(workers)
    store = Store(root)
    cluster = Cluster.of(settings, store)
    session = Session(settings, study, store, cluster, set(force or ()), verify, STEPS)
    terminal, post = Terminal(), Post()
    try:
        session.begin()
        plan = lay_out_run(settings, store)
        chosen = choose(plan, session, only, start)
        failures = run_all(plan, chosen, session, terminal, post)
        earlier: list[str] = []
        while failures and not only and (rest := session.without_failed_models()):  # their parts failed; the others are measured
            earlier += [f for f in failures if not f.startswith(NOT_RUN)]
            session.study, session.force = rest, set()
            terminal.line(f"\nWithout {', '.join(rest.left_out)}:")
            plan = lay_out(STEPS, rest)
            chosen = {p.step.name for p in plan}  # the tables are others than before, if only by a part less
            failures = run_all(plan, chosen, session, terminal, post)
        for planned in (p for p in plan if p.step.name in chosen):
            for number, line in enumerate(rejected(store, planned)):
                terminal.line(f"  {'' if number else planned.step.name:<{WIDTH}} {line}")
        if "report" in chosen and not failures:
            page = report_link(root, publish(plan, session), settings.name)
            with suppress(httpx.HTTPError):  # a server that has gone away is no error
                create_link_artifact(link=page, link_text=f"Report of {settings.name}", key=key(settings.name, "report-page"))
    finally:
        terminal.close()
        session.close()
        post.close()
    if earlier or failures:
        there = f"The report is there, without {', '.join(session.study.left_out)}."
        raise StudyError("\n".join([*earlier, *(failures or [there])]))


def run_all(plan: list[PlannedStep], chosen: set[str], session: Session, terminal: Terminal, post: Post) -> list[str]:
    """Run every chosen step after the steps it reads; returns a message for each that failed."""
    # Inline runs are for debugging: one step at a time, in order.
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1 if session.cluster.inline else STEPS_AT_ONCE)
    futures: dict[str, PrefectFuture[Any]] = {}
    failures: dict[str, str] = {}
    read = {s.name for step in STEPS if step.name in chosen for s in upstream(step, STEPS)}  # by a chosen step
    with runner:
        for planned in plan:
            name = planned.step.name
            if name not in chosen:
                if name in read and not is_finished(session.store, planned):
                    return [f"{name} is not finished, and this run starts after it. Run: {session.command(name)}"]
                continue
            waits = [futures[s.name] for s in upstream(planned.step, STEPS) if s.name in futures]
            futures[name] = runner.submit(_step_task(planned, session, terminal, post, failures), parameters={}, wait_for=waits)
        try:
            for future in futures.values():
                future.wait()
        except BaseException:  # SIGTERM, Ctrl-C: end the running steps and start no more
            session.stop()
            raise
    waiting = [name for name, future in futures.items() if not future.state.is_completed() and name not in failures]
    return [*failures.values(), *([f"{NOT_RUN}: {', '.join(waiting)}"] if waiting else [])]


def _step_task(planned: PlannedStep, session: Session, terminal: Terminal, post: Post, failures: dict[str, str]) -> Any:
    """One step as a Prefect task without parameters, which Prefect would copy and hash. Its failure is put into `failures`."""
    name, about = planned.step.name, planned.step.about
    of_run = f"{session.study.name}/{name}/{planned.fingerprint[:8]}"

    @task(name=name, task_run_name=of_run, description=about, cache_policy=NO_CACHE, persist_result=False)
    def step() -> State[Any]:
        watch = Watch(planned, session, post)

        def progress(done: int, total: int) -> None:
            terminal.progress(name, done, total)
            watch.progress(done, total)

        try:
            outcome = run_step(planned, session, Reports(progress, watch.part_failed, watch.line))
        except Exception as error:
            text = str(error) if isinstance(error, StepFailed) else f"{name}: {type(error).__name__}: {error}"
            failures[name] = printable(text)
            session.failed(error.models if isinstance(error, StepFailed) else {})
            terminal.line(f"  {name:<{WIDTH}} failed")
            watch.failed(failures[name], error)
            raise
        terminal.finished(outcome)
        watch.finished(outcome)
        return Completed(name="Skipped" if outcome.state == "skipped" else "Completed", message=f"{outcome.rows} rows")

    return step
