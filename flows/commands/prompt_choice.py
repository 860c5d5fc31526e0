"""Which prompt consists of the corpus's own words, which does not, and how models do with both (docs/method.md §12).

All of it is steps of derived studies, which differ from the study in the task's prompt alone: what the study has finished under
the task's own prompt is not done again, and no model is trained twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from flows.commands.corpus_questions import open_corpus
from flows.plan import PlannedStage, PlannedStep, lay_out, upstream
from flows.session import Session
from flows.study import STEPS
from schemas import CONTRACTS, Study, StudyError
from schemas.settings.study_file import Model
from schemas.tables.prompt_scores import DIRECTIONS
from tasks.cluster.cluster import Cluster
from tasks.evidence.evidence_step import EVIDENCE
from tasks.examples.model_prompts import fill, prompt_template
from tasks.examples.record import Example
from tasks.metrics.measure import MEASURE, plan_measures, run_measure
from tasks.models.generate import generate
from tasks.models.ladder import checkpoints, inference_settings, parts_with
from tasks.models.load import open_checkpoint, repeatable
from tasks.models.sampling import Sampling
from tasks.ngrams.index import CorpusLookup, Index
from tasks.prompts.candidate import TaskPrompt
from tasks.prompts.choose import EVALUATE, PromptSource, list_source, read_trace, scores_job, search_rounds, search_step
from tasks.prompts.optimise import Candidate, PromptSearch, Rewrite, best
from tasks.prompts.prompt_answer import describe
from tasks.prompts.question import PromptQuestion
from tasks.prompts.rewrite import model_rewriter
from tasks.step import Inputs, Job, Stage, Step, Work, keyed, parts_of
from tasks.storage.store import Part, Store

SearchResult = tuple[list[Candidate], dict[str, tuple[Part, ...]], str]
Run = Callable[[Sequence[PlannedStep], Session], None]  # brings planned steps up to date
SECONDS_OF_WORKERS = 40.0  # of computing that two workers finish no sooner than this process, because they have to start
SAMPLING = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 96}  # of a model that rewrites


def _plan_scores(study: Study, inputs: Inputs) -> list[Job]:
    """Of the jobs of `measure` those that score a task, the very ones that the study has."""
    return [job for job in plan_measures(study, inputs) if job.labels["measure"] == "scores"]


SCORES = Stage(MEASURE.stages[0].writes, _plan_scores, run_measure)
# Steps of which prompts need a part only; the keys of its jobs are those of the whole step.
SUBSETS = {
    "evidence": replace(EVIDENCE, reads=("examples", "token_scores", "generations"), stages=EVIDENCE.stages[:1]),
    "measure": replace(MEASURE, reads=("examples", "models", "evidence_answers"), stages=(SCORES,)),
}


def _up_to(names: set[str], steps: Sequence[Step]) -> tuple[Step, ...]:
    """These steps and all that they depend on."""
    for step in reversed(steps):
        names = names | {s.name for s in upstream(step, steps)} if step.name in names else names
    return tuple(step for step in steps if step.name in names)


STEPS_FOR_PROMPTS = _up_to({"measure", "index"}, [SUBSETS.get(step.name, step) for step in STEPS])


@dataclass
class PromptSession(Session):
    """A run of a derived study, recorded under its own name. A failed step is repeated by repeating the question."""

    repeat: str = "taskgram prompts"

    def command(self, step: str) -> str:
        return self.repeat

    def of(self, study: Study) -> Self:
        """The same run on another study, with the same leases."""
        session = replace(self, study=study)
        session.leases = self.leases
        return session


def choose(question: PromptQuestion, session: PromptSession, run: Run) -> dict[str, Any]:
    """Search and evaluate; returns the answer as a plain object."""
    question.check()
    session.begin()
    study, task, store = question.study, question.study.task(question.task), session.store
    home = study.model_copy(update={"name": f"{study.name}.prompts.{task.name}", "tasks": (task,), "models": (), "placebo": None})
    original = TaskPrompt(task.instruction, prompt_template(task))
    trace, tables, read = _search(question, home, original, session, run)
    chosen: dict[str, Candidate | None] = {d: best(trace, d) for d in DIRECTIONS} | {"original": trace[0]}
    models = tuple(m for m in study.models if not question.models or m.name in question.models)
    scores: list[dict[str, Any]] = []
    own_prompts = 0
    if models:
        studies = {d: _asked_with(home, models, d, c.prompt, original) for d, c in chosen.items() if c}
        evaluating = session.of(home)
        if _is_quick(session, studies["original"], len(studies) - 1):
            evaluating.cluster = Cluster(0, "", session.cluster.scratch, address="")
        plans = {d: _bring("measure", evaluating.of(derived), run) for d, derived in studies.items()}
        metrics = {d: plan["measure"].outputs["metrics"][0] for d, plan in plans.items()}
        own_prompts = _own_prompts(store, plans["original"]["read"].outputs["examples"], original)
        jobs = (keyed(EVALUATE, 0, scores_job(task.name, chosen, metrics)),)
        evaluate = PlannedStep(EVALUATE, (PlannedStage(EVALUATE.stages[0], jobs),), {})
        run([evaluate], session.of(home))
        tables |= evaluate.outputs
        scores = store.read(tables["prompt_scores"], CONTRACTS["prompt_scores"].schema).to_pylist()
    files = {t: [store.part_path(p) for p in parts] for t, parts in tables.items()}
    answer = {"study": study.name, "task": task.name, "read": read, "examples_with_own_prompt": own_prompts, "files": files}
    return answer | describe(trace, chosen, scores, [model.name for model in models])


def _is_quick(session: PromptSession, original: Study, others: int) -> bool:
    """Whether models, as slow as with the task's own prompt, will be done before workers have started and imported torch."""
    if session.cluster.remote or original.scoring.device != "cpu":
        return False
    plan, seconds = {p.step.name: p for p in lay_out(STEPS_FOR_PROMPTS, original)}, 0.0
    for step, table, inputs in (("score", "token_scores", 1 + original.scoring.other_inputs), ("generate", "generations", 1)):
        parts = plan[step].outputs[table]
        entries = session.store.entries(table, parts)
        if len(entries) < len(parts):
            return False
        seconds += sum(e.get("seconds", 0.0) for e in entries.values()) / inputs
    return seconds * others < SECONDS_OF_WORKERS


def _bring(step: str, session: Session, run: Run) -> dict[str, PlannedStep]:
    """Bring a step of a study, and those it depends on, up to date; returns the study's plan."""
    plan = {p.step.name: p for p in lay_out(STEPS_FOR_PROMPTS, session.study)}
    run([plan[needed.name] for needed in _up_to({step}, STEPS_FOR_PROMPTS)], session)
    return plan


# -- the search --------------------------------------------------------------------------------------------------------
def _search(question: PromptQuestion, home: Study, original: TaskPrompt, session: PromptSession, run: Run) -> SearchResult:
    """All rounds, in this process: what was proposed, the tables that hold it, and whether counts come from the index or a scan."""
    words = _bring("words", session.of(home), run)
    corpus, inputs = open_corpus(session.store, words), parts_of(words["words"].outputs)
    file = question.candidates
    source = list_source(Path(file), original) if file else _model_source(question, home, session, run)
    search = PromptSearch(original, home.counting.stop_words, per_round=source.per_round)
    step = search_step(source.rewriter, lambda ngrams: _counts(corpus, ngrams))
    here = session.of(home)
    here.cluster = Cluster(0, "", session.cluster.scratch, address="")
    for jobs in search_rounds(step, question.task, search, source, inputs):
        planned = PlannedStep(step, (PlannedStage(step.stages[0], jobs),), inputs)
        run([planned], here)
    rows = session.store.read(planned.outputs["prompt_candidates"], CONTRACTS["prompt_candidates"].schema).to_pylist()
    return read_trace(rows), planned.outputs, "index" if isinstance(corpus, Index) else "scan"


def _counts(corpus: CorpusLookup, ngrams: Sequence[str]) -> Mapping[str, int]:
    """Occurrences of many n-grams at once: from the index, or by one scan of the words."""
    if isinstance(corpus, Index):
        return dict(zip(ngrams, corpus.counts(ngrams).tolist(), strict=True))
    return {n: c.occurrences for n, c in zip(ngrams, corpus.ask(list(ngrams)).counted, strict=True)}


def _model_source(question: PromptQuestion, home: Study, session: PromptSession, run: Run) -> PromptSource:
    """A model of the study, or of a folder, brought up to date."""
    name = question.rewriter
    model = next((m for m in question.study.models if m.name == name), None)
    if model is None:
        if not Path(name).expanduser().is_dir():
            names = ", ".join(m.name for m in question.study.models) or "none"
            raise StudyError(f"--rewriter {name}: neither a folder nor a model of the study; it has {names}")
        model = Model(name="rewriter", path=str(Path(name).expanduser().resolve()))
    study = home.model_copy(update={"name": f"{home.name}.rewriter", "tasks": (), "models": (model,)})
    parts = _bring("models", session.of(study), run)["models"].outputs["models"]
    settings = {"rewriter": "model", "seed": question.seed, **SAMPLING, **inference_settings(study, model)}
    labels = {"model": model.name, "checkpoint": str(checkpoints(model)[-1])}
    job = Job(labels, settings, {"models": parts_with(parts, model=model.name)})
    return PromptSource(_model_rewriter, question.rounds, question.per_round, job)


def _model_rewriter(work: Work) -> Rewrite:
    """The model of a round's job. Requests that do not fit its context lose their beginning, which is counted."""
    settings = work.settings
    sampling = Sampling(settings["temperature"], settings["top_p"], settings["seed"])

    def ask(texts: Sequence[str], names: Sequence[str]) -> list[str]:
        requests, limits = [(text, " ") for text in texts], (settings["max_new_tokens"], ["\n"], settings["batch_tokens"])
        with repeatable(settings.get("device", "cpu")):
            answers, shortened = generate(open_checkpoint(work), requests, *limits, sampling, names)
        work.add("truncated_requests", shortened)
        return [answer.text for answer in answers]

    return model_rewriter(ask)


# -- the evaluation ----------------------------------------------------------------------------------------------------
def _asked_with(home: Study, models: tuple[Model, ...], direction: str, prompt: TaskPrompt, original: TaskPrompt) -> Study:
    """The study that evaluates its models with a prompt. With the task's own it is the study itself, to do nothing twice."""
    if prompt == original:
        return home.model_copy(update={"name": f"{home.name}.original", "models": models})
    words = {"instruction": prompt.instruction, "prompt": prompt.template, "record_prompts": False}
    scoring = home.scoring.model_copy(update={"other_inputs": 0})  # no score reads them
    changes = {"tasks": (home.tasks[0].model_copy(update=words),), "models": models, "scoring": scoring}
    return home.model_copy(update={"name": f"{home.name}.{direction}", **changes})


def _own_prompts(store: Store, parts: Sequence[Part], original: TaskPrompt) -> int:
    """Number of evaluated examples with their own prompt, which replaces the task's."""
    names = ("split", "prompt", "separator", "input", "options")
    rows = store.read(parts, CONTRACTS["examples"].schema, names).to_pylist()
    rows = [r for r in rows if r["split"] == "evaluate"]
    records = [Example(0, "", r["input"], "", options=tuple(r["options"])) for r in rows]
    endings = [fill(original.template, record) for record in records]
    return sum(not (r["prompt"] + r["separator"]).endswith(text) for r, text in zip(rows, endings, strict=True))
