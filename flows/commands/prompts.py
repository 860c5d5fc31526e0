"""`taskgram prompts`, in this process, without Prefect: a question is asked once and waited for."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from flows.commands.prompt_choice import PromptSession, choose
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


def ask(study: str, root: str, question: dict[str, Any], workers: int | None, repeat: str) -> dict[str, Any]:
    """Choose the prompts with the most and the least of the corpus in them, and evaluate both. question: the fields of
    `PromptQuestion` besides the study; repeat: the command that asks it again."""
    settings, store, terminal = load_study(study_path(study)), Store(root), Terminal(show_skipped=False)
    settings = settings if workers is None else settings.with_workers(workers)
    session = PromptSession(settings, study, store, Cluster.of(settings, store), repeat=repeat)
    try:
        return choose(PromptQuestion(settings, **question), session, partial(_run_steps, terminal))
    finally:
        terminal.close()
        session.close()


def _run_steps(terminal: Terminal, planned: Sequence[PlannedStep], session: Session) -> None:
    """Run steps in parallel where their tables allow it. Raises StudyError with what failed."""
    futures: dict[str, Future[None]] = {}

    def run(step: PlannedStep, waits: list[Future[None]]) -> None:
        for before in waits:
            before.result()
        progress = partial(terminal.progress, step.step.name)
        terminal.finished(run_step(step, session, Reports(progress)))

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
    if unexpected := [error for error in errors if not isinstance(error, StudyError)]:
        raise unexpected[0]
    if errors:
        raise StudyError("\n".join(dict.fromkeys(map(str, errors))))
