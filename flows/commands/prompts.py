"""`taskgram prompts`: as a Prefect flow on a server that PREFECT_API_URL names, else in this process alone, which is faster. A
question is asked once and waited for, so without a server that somebody watches it needs none."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from flows.commands.prompt_choice import PromptSession, Run, choose
from flows.engine import Reports, run_step
from flows.plan import PlannedStep, upstream
from flows.session import STEPS_AT_ONCE, Session
from flows.study import STEPS
from flows.study_files import study_path
from flows.terminal import Terminal
from schemas import StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.prompts.question import PromptQuestion
from tasks.storage.store import Store


def ask(
    study: str, root: str, question: dict[str, Any], workers: int | None, repeat: str, run: Run | None = None
) -> dict[str, Any]:
    """Choose the prompts with the most and the least of the corpus in them, and evaluate both; without Prefect, unless `run` is a
    flow's. question: the fields of `PromptQuestion` besides the study; repeat: the command that asks it again."""
    settings, store, terminal = load_study(study_path(study)), Store(root), Terminal(show_skipped=False)
    settings = settings if workers is None else settings.with_workers(workers)
    session = PromptSession(settings, study, store, Cluster.of(settings, store), repeat=repeat)
    try:
        return choose(PromptQuestion(settings, **question), session, run or partial(_run_steps, terminal))
    finally:
        terminal.close()
        session.close()


def ask_in_flow(study: str, root: str, question: dict[str, Any], workers: int | None, repeat: str) -> dict[str, Any]:
    """The same as a flow, which the server shows. Import Prefect's settings first (`flows.environment.prepare`)."""
    from prefect import flow

    from flows.prefect_log import Post
    from flows.run import run_all

    @flow(name="prompts", flow_run_name="{study}/{question[task]}", persist_result=False)
    def prompts(study: str, root: str, question: dict[str, Any], workers: int | None, repeat: str) -> dict[str, Any]:
        terminal, post = Terminal(show_skipped=False), Post()

        def run(planned: Sequence[PlannedStep], session: Session) -> None:
            if failures := run_all(list(planned), {p.step.name for p in planned}, session, terminal, post):
                raise StudyError("\n".join(failures))

        try:
            return ask(study, root, question, workers, repeat, run)
        finally:
            terminal.close()
            post.close()

    return prompts(study, root, question, workers, repeat)


def _run_steps(terminal: Terminal, planned: Sequence[PlannedStep], session: Session) -> None:
    """Run steps in parallel where their tables allow it. Raises StudyError with what failed."""
    futures: dict[str, Future[None]] = {}

    def run(step: PlannedStep, waits: list[Future[None]]) -> None:
        for before in waits:
            before.result()
        name = step.step.name
        terminal.finished(run_step(step, session, Reports(lambda done, total: terminal.progress(name, done, total))))

    with ThreadPoolExecutor(1 if session.cluster.inline else STEPS_AT_ONCE) as pool:
        try:
            for step in planned:  # in order, so that a step waits only for those that have begun
                waits = [futures[s.name] for s in upstream(step.step, STEPS) if s.name in futures]
                futures[step.step.name] = pool.submit(run, step, waits)
            errors = [error for future in futures.values() if (error := future.exception())]
        except BaseException:  # SIGTERM, Ctrl-C: end the running steps and start no more
            session.stop()
            pool.shutdown(cancel_futures=True)
            raise
    for error in errors:
        if not isinstance(error, StudyError):
            raise error
    if errors:
        raise StudyError("\n".join(dict.fromkeys(map(str, errors))))
