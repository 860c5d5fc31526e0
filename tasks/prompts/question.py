"""A question for a prompt: for which task of a study, and what proposes prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas import Study, StudyError


@dataclass(frozen=True)
class PromptQuestion:
    """A task of a study, and what proposes prompts for it: a file of them, or a model that rewrites."""

    study: Study
    task: str
    candidates: str = ""
    rewriter: str = ""  # a model of the study, or a folder
    rounds: int = 3
    per_round: int = 8
    seed: int = 0
    models: Sequence[str] = ()  # evaluated; empty: all

    def check(self) -> None:
        """Raises StudyError for what the study cannot answer."""
        tasks, models = [t.name for t in self.study.tasks], [m.name for m in self.study.models]
        if self.task not in tasks:
            raise StudyError(f"--task {self.task}: the study has no such task; it has {', '.join(tasks) or 'none'}")
        for name in [name for name in self.models if name not in models]:
            raise StudyError(f"--models {name}: the study has no such model; it has {', '.join(models) or 'none'}")
        if bool(self.candidates) == bool(self.rewriter):
            raise StudyError("give either --candidates FILE, a file of prompts, or --rewriter MODEL, a model that writes them")
        if self.rounds < 1 or self.per_round < 1 or self.seed < 0:
            raise StudyError("--rounds and --per-round are at least 1, --seed at least 0")
        task = self.study.task(self.task)
        if task.reader == "pararel" and not task.prompt:
            raise StudyError(f"task {self.task!r} has a template per relation instead of one prompt; give it a `prompt`")
