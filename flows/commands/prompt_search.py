"""The search for a prompt over a study's corpus: what counts, what proposes, and the rounds (docs/method.md §12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flows.commands.prompt_question import MODELS, Choosing, Question
from flows.plan import PlannedStage, PlannedStep
from schemas import CONTRACTS, Study, StudyError
from schemas.settings.study_file import Model
from tasks.models.generate import generate
from tasks.models.ladder import checkpoints, inference_settings, parts_with
from tasks.models.load import repeatable
from tasks.models.sampling import Sampling
from tasks.models.score import open_checkpoint
from tasks.ngrams.lookup import Corpus, Index
from tasks.prompts.candidate import Prompt
from tasks.prompts.choose import read_trace, round_job, search_step
from tasks.prompts.optimise import Candidate, Count, Rewriter, Search
from tasks.prompts.rewrite import ListRewriter, ModelRewriter, read_candidates
from tasks.step import PlannedJob, Stage, Work, keyed, run_job
from tasks.storage.store import Part, Store, digest

TEMPERATURE, TOP_P, MAX_NEW_TOKENS = 0.8, 0.95, 96


def counter(corpus: Corpus) -> Count:
    """Occurrences of many n-grams at once: from the index, or by one scan of the words."""

    def count(ngrams: Sequence[str]) -> Mapping[str, int]:
        if isinstance(corpus, Index):
            return dict(zip(ngrams, corpus.counts(ngrams).tolist(), strict=True))
        return {n: c.occurrences for n, c in zip(ngrams, corpus.ask(list(ngrams)).counted, strict=True)}

    return count


class _Source(NamedTuple):
    """What proposes: how it is made in a job, for how many rounds of how many, and all that decides what it says."""

    rewriter: Callable[[Work], Rewriter]
    rounds: int
    per_round: int
    asked: Mapping[str, Any]
    labels: Mapping[str, str] = {}
    inputs: Mapping[str, tuple[Part, ...]] = {}


def search_prompts(
    choosing: Choosing, home: Study, search: Search, corpus: Mapping[str, PlannedStep], count: Count
) -> tuple[list[Candidate], dict[str, tuple[Part, ...]]]:
    """All rounds, each unless it is there; then the contract over them all. Their trace, and the parts it is in."""
    store = choosing.store
    words = {t: corpus["words"].outputs[t] for t in ("words", "vocabulary")}
    source = _a_list(choosing.question, search.original) if choosing.question.candidates else _a_model(choosing, home)
    search = replace(search, per_round=source.per_round)
    step = search_step(source.rewriter, count)
    stage = step.stages[0]
    jobs: list[PlannedJob] = []
    computed = 0
    for number in range(source.rounds + 1):
        earlier = [part for job in jobs for part in job.parts(stage)]
        inputs = {**words, **source.inputs}
        job = keyed(step, 0, round_job(number, home.tasks[0].name, search, source.asked, source.labels, inputs, earlier))
        jobs.append(job)
        (part,) = job.parts(stage)
        if not store.is_whole(part, store.entries(part.table, [part]).get(part.key)):
            choosing.perform(f"round-{number}", partial(_run_round, store, job, stage))
            computed += 1
    planned = PlannedStep(step, (PlannedStage(stage, tuple(jobs)),), words)
    choosing.run(planned, choosing.session(home), computed)
    rows = store.read(planned.outputs["prompt_candidates"], CONTRACTS["prompt_candidates"].schema).to_pylist()
    return read_trace(rows), planned.outputs


def _run_round(store: Store, job: PlannedJob, stage: Stage) -> None:
    """In this process: it holds the index, and at most one model."""
    result = run_job(store, job, stage, CONTRACTS)
    if "error" in result:
        raise RuntimeError(result["traceback"]) if result["traceback"] else StudyError(result["error"])


def _a_list(question: Question, original: Prompt) -> _Source:
    prompts = read_candidates(Path(question.candidates), original)
    asked = {"rewriter": "list", "candidates": digest([[p.instruction, p.template] for p in prompts])}
    return _Source(lambda work: ListRewriter(prompts), 1, len(prompts), asked)


def _a_model(choosing: Choosing, home: Study) -> _Source:
    """A model of the study, or of a folder, brought up to date."""
    question, name = choosing.question, choosing.question.rewriter
    model = next((m for m in question.study.models if m.name == name), None)
    if model is None:
        if not Path(name).expanduser().is_dir():
            known = ", ".join(m.name for m in question.study.models) or "none"
            raise StudyError(f"--rewriter {name}: neither a folder nor a model of the study; it has {known}")
        model = Model(name="rewriter", path=str(Path(name).expanduser().resolve()))
    study = home.model_copy(update={"name": f"{home.name}.rewriter", "tasks": (), "models": (model,)})
    parts = choosing.bring(study, MODELS)["models"].outputs["models"]
    asked = {
        "rewriter": "model",
        "seed": question.seed,
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
        "max_new_tokens": MAX_NEW_TOKENS,
        **inference_settings(study, model),
    }
    labels = {"model": model.name, "checkpoint": str(checkpoints(model)[-1])}
    return _Source(
        _model_rewriter, question.rounds, question.per_round, asked, labels, {"models": parts_with(parts, model=model.name)}
    )


def _model_rewriter(work: Work) -> Rewriter:
    """The model that a round's job names; requests that do not fit its context lose their beginning, which is counted."""
    settings = work.settings
    sampling = Sampling(settings["temperature"], settings["top_p"], settings["seed"])

    def ask(texts: Sequence[str], names: Sequence[str]) -> list[str]:
        with repeatable(settings.get("device", "cpu")):
            answers, shortened = generate(
                open_checkpoint(work),
                [(text, " ") for text in texts],
                settings["max_new_tokens"],
                ["\n"],
                settings["batch_tokens"],
                sampling,
                names,
            )
        work.add("truncated_requests", shortened)
        return [answer.text for answer in answers]

    return ModelRewriter(ask)
