"""A question for a prompt: what is asked, and where its answer is worked on, with steps that are run unless they are finished."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from flows.engine import Outcome, Progress, run_step
from flows.plan import PlannedStep, lay_out
from flows.session import Session, default_root
from flows.study import STEPS
from schemas import Study, StudyError
from tasks.cluster.cluster import Cluster
from tasks.evidence.evidence_step import EVIDENCE
from tasks.metrics.measure import MEASURE, plan_measures, run_measure
from tasks.step import Inputs, Job, Stage, Step
from tasks.storage.leases import Leases
from tasks.storage.store import Store

ROUNDS, PER_ROUND = 3, 8
CORPUS = ("plant", "ids", "ingest", "words")
MODELS = ("plant", "ids", "ingest", "tokenizer", "tokens", "models")
ANSWERS = (*MODELS, "read", "score", "generate", "evidence", "measure")
Perform = Callable[[str, Callable[[], Any]], Any]  # runs a named piece of work; a Prefect flow makes a task of it


def _plan_score(study: Study, inputs: Inputs) -> list[Job]:
    """The job of `measure` that scores the task, the very one that the study has."""
    return [job for job in plan_measures(study, inputs) if job.labels["measure"] == "scores"]


SCORES = replace(
    MEASURE,
    reads=("examples", "models", "evidence_answers"),
    stages=(Stage(MEASURE.stages[0].writes, _plan_score, run_measure),),
)
GRADED = replace(EVIDENCE, reads=("examples", "token_scores", "generations"), stages=EVIDENCE.stages[:1])
NEEDED: tuple[Step, ...] = (
    *(s for s in STEPS if s.name in {*CORPUS, *ANSWERS, "index"} - {"evidence", "measure"}),
    GRADED,
    SCORES,
)


@dataclass(frozen=True)
class Question:
    """What is asked: a task of a study, and where candidates come from: a file of them, or a model that rewrites."""

    study: Study
    study_name: str  # the file or name given on the command line
    task: str
    candidates: str = ""
    rewriter: str = ""  # a model of the study, or a folder
    rounds: int = ROUNDS
    per_round: int = PER_ROUND
    seed: int = 0
    models: tuple[str, ...] = ()  # evaluated; empty: all

    def check(self) -> None:
        """Raises StudyError for what cannot be asked."""
        tasks, models = [t.name for t in self.study.tasks], [m.name for m in self.study.models]
        if self.task not in tasks:
            raise StudyError(f"--task {self.task}: the study has no such task; it has {', '.join(tasks) or 'none'}")
        for name in self.models:
            if name not in models:
                raise StudyError(f"--models {name}: the study has no such model; it has {', '.join(models) or 'none'}")
        if bool(self.candidates) == bool(self.rewriter):
            raise StudyError(
                "name what proposes prompts: --candidates FILE (a list), or --rewriter MODEL (a model of the "
                "study, or the folder of one)"
            )
        if self.rounds < 1 or self.per_round < 1 or self.seed < 0:
            raise StudyError("--rounds and --per-round are at least 1, --seed at least 0")
        task = self.study.task(self.task)
        if task.reader == "pararel" and not task.prompt:
            raise StudyError(
                f"task {self.task!r} has a template for each relation, not one prompt to choose; give it a `prompt`"
            )

    @property
    def command(self) -> str:
        """What asks it again."""
        words = ["taskgram", "prompts", self.study_name, "--task", self.task]
        if self.candidates:
            words += ["--candidates", self.candidates]
        else:
            words += ["--rewriter", self.rewriter, "--rounds", str(self.rounds)]
            words += ["--per-round", str(self.per_round), "--seed", str(self.seed)]
        return shlex.join([*words, *(["--models", *self.models] if self.models else [])])


@dataclass
class _Session(Session):
    again: str = ""

    def command(self, step: str) -> str:
        """A step is run again by asking again."""
        return self.again + ("" if self.store.root == default_root() else f" --root {shlex.quote(self.store.root)}")


@dataclass
class Choosing:
    """Where a question is worked on, and how its pieces are run."""

    question: Question
    store: Store
    cluster: Cluster
    perform: Perform = lambda name, act: act()
    progress: Callable[[str], Progress] = lambda step: lambda done, total: None
    finished: Callable[[Outcome], None] = lambda outcome: None
    computed: Counter[str] = field(default_factory=Counter)  # parts, by step

    def session(self, study: Study) -> Session:
        """A run of a study derived from the one that is asked about; it is recorded under its own name."""
        found = _Session(study, self.question.study_name, self.store, self.cluster, again=self.question.command)
        found.leases = self.leases
        found.begin()
        return found

    @cached_property
    def leases(self) -> Leases:
        """Those of all its runs."""
        return Leases(self.store)

    def bring(self, study: Study, names: Sequence[str]) -> dict[str, PlannedStep]:
        """Bring steps of a study up to date; returns its plan."""
        plan = {p.step.name: p for p in lay_out(NEEDED, study)}
        for name, planned in plan.items():
            if name in names:
                self.run(planned, self.session(study))
        return plan

    def run(self, planned: PlannedStep, session: Session, before: int = 0) -> None:
        """One step, unless it is finished; `before`: parts of it that were computed ahead, one behind the other."""
        name = planned.step.name
        outcome = self.perform(name, lambda: run_step(planned, session, self.progress(name)))
        outcome = replace(outcome, computed=outcome.computed + before)
        self.computed[name] += outcome.computed
        if outcome.state != "skipped":
            self.finished(outcome)
