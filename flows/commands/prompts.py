"""`taskgram prompts` as a Prefect flow. Import it after `flows.environment.prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.commands.prompt_choice import PromptSession, choose
from flows.plan import PlannedStep
from flows.prefect_log import Post
from flows.run import run_all
from flows.session import Session
from flows.study_files import study_path
from flows.terminal import Terminal
from schemas import StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.prompts.question import PromptQuestion
from tasks.storage.store import Store


@flow(name="prompts", flow_run_name="{study}/{question[task]}", persist_result=False)
def prompts(study: str, root: str, question: dict[str, Any], workers: int | None, repeat: str) -> dict[str, Any]:
    """Choose the prompts with the most and the least of the corpus in them, and evaluate both.

    question: the fields of `PromptQuestion` besides the study; repeat: the command that asks it again.
    """
    settings, store = load_study(study_path(study)), Store(root)
    if workers is not None:
        settings = settings.with_workers(workers)
    session = PromptSession(settings, study, store, Cluster.of(settings, store), repeat=repeat)
    terminal, post = Terminal(show_skipped=False), Post()

    def run(planned: Sequence[PlannedStep], session: Session) -> None:
        if failures := run_all(list(planned), {p.step.name for p in planned}, session, terminal, post):
            raise StudyError("\n".join(failures))

    try:
        return choose(PromptQuestion(settings, **question), session, run)
    finally:
        terminal.close()
        session.close()
        post.close()
