"""Which prompt is made of the corpus' own words, which is not, and what a model makes of both (docs/method.md §12).

The search asks a finished corpus; the prompts it finds are then put to the models by the study's own steps, in a study that
differs in the task's prompt alone. So what the study has done under the task's own prompt is taken from there, and no model is
trained twice. Knows nothing of Prefect; `flows/commands/prompts.py` puts it into a flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flows.commands.corpus_questions import open_corpus
from flows.commands.prompt_question import ANSWERS, CORPUS, Choosing, Question
from flows.commands.prompt_search import counter, search_prompts
from flows.plan import PlannedStage, PlannedStep
from schemas import CONTRACTS, METRICS, PROMPT_SCORES, Study
from schemas.settings.study_file import Model
from schemas.tables.prompt_scores import DIRECTIONS
from tasks.examples.model_prompts import fill, prompt_template
from tasks.examples.record import Example
from tasks.ngrams.lookup import Index
from tasks.prompts.candidate import Prompt
from tasks.prompts.choose import PROMPT_SCORES_STEP, scores_job
from tasks.prompts.optimise import Candidate, Search, best
from tasks.step import keyed
from tasks.storage.store import Part, Store


def choose(choosing: Choosing) -> dict[str, Any]:
    """Search, evaluate, and tell: the answer as a plain object."""
    question = choosing.question
    question.check()
    study, task = question.study, question.study.task(question.task)
    original = Prompt(task.instruction, prompt_template(task))
    home = study.model_copy(update={"name": f"{study.name}.prompts.{task.name}", "tasks": (task,), "models": ()})
    corpus = choosing.bring(home, CORPUS)
    words = open_corpus(choosing.store, corpus)
    search = Search(original, study.counting.stop_words, per_round=question.per_round)
    trace, tables = search_prompts(choosing, home, search, corpus, counter(words))
    chosen: dict[str, Candidate | None] = {d: best(trace, d) for d in DIRECTIONS}
    chosen["original"] = trace[0]
    models = tuple(m for m in study.models if not question.models or m.name in question.models)
    scores: list[dict[str, Any]] = []
    own_prompts = 0
    if models:
        done = {d: _evaluate(choosing, home, models, d, c, original) for d, c in chosen.items() if c}
        metrics = {d: part for d, (part, _) in done.items()}
        own_prompts = _own_prompts(choosing.store, done["original"][1], original)
        step = PROMPT_SCORES_STEP
        stage = PlannedStage(step.stages[0], (keyed(step, 0, scores_job(task.name, chosen, metrics)),))
        choosing.run(PlannedStep(step, (stage,), {"metrics": tuple(metrics.values())}), choosing.session(home))
        tables["prompt_scores"] = stage.parts("prompt_scores")
        scores = choosing.store.read(tables["prompt_scores"], PROMPT_SCORES.schema).to_pylist()
    files = {t: [choosing.store.part_path(p) for p in parts] for t, parts in tables.items()}
    read = "index" if isinstance(words, Index) else "scan"
    answer = describe(question, read, trace, chosen, scores)
    return answer | {"examples_with_own_prompt": own_prompts, "files": files}


# -- the evaluation --------------------------------------------------------------------------------------------------
def _evaluate(
    choosing: Choosing, home: Study, models: tuple[Model, ...], direction: str, candidate: Candidate, original: Prompt
) -> tuple[Part, tuple[Part, ...]]:
    """The task's scores under a prompt, a part of `metrics`, and the examples as they were asked.

    The task's own prompt is asked as the study asks it, so that nothing is done twice.
    """
    task, scoring = home.tasks[0], home.scoring
    name = f"{home.name}.original"
    if candidate.prompt != original:
        name = f"{home.name}.{direction}"
        words = {"instruction": candidate.prompt.instruction, "prompt": candidate.prompt.template}
        task = task.model_copy(update={**words, "record_prompts": False})
        scoring = scoring.model_copy(update={"other_inputs": 0})  # no score reads them
    study = home.model_copy(update={"name": name, "tasks": (task,), "models": models, "scoring": scoring})
    plan = choosing.bring(study, ANSWERS)
    (part,) = plan["measure"].outputs[METRICS.name]
    return part, plan["read"].outputs["examples"]


def _own_prompts(store: Store, parts: Sequence[Part], original: Prompt) -> int:
    """Evaluated examples that bring a prompt of their own, so that the task's is not what they are asked with."""
    names = ("split", "prompt", "separator", "input", "options")
    rows = store.read(parts, CONTRACTS["examples"].schema, names).to_pylist()
    asked = (
        (r["prompt"] + r["separator"], Example(0, "", r["input"], "", options=tuple(r["options"])))
        for r in rows
        if r["split"] == "evaluate"
    )
    return sum(not text.endswith(fill(original.template, found)) for text, found in asked)


# -- the answer ------------------------------------------------------------------------------------------------------
def describe(
    question: Question,
    read: str,
    trace: Sequence[Candidate],
    chosen: Mapping[str, Candidate | None],
    scores: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The answer as a plain object."""
    order = {model.name: place for place, model in enumerate(question.study.models)}  # a ladder from its foot
    looked = {d: [c for c in trace if c.direction == d and c.round] for d in DIRECTIONS}
    return {
        "study": question.study.name,
        "task": question.task,
        "read": read,
        "proposed": {d: len(found) for d, found in looked.items()},
        "rejected": {
            d: dict(sorted(Counter(c.rejected for c in found if c.rejected).items())) for d, found in looked.items()
        },
        "prompts": {d: _describe(chosen[d]) for d in ("original", *DIRECTIONS)},
        "scores": [
            {k: v for k, v in row.items() if k not in ("task", "instruction", "template", "mean_count")}
            for row in sorted(scores, key=lambda row: order[row["model"]])
        ],
    }


def _describe(candidate: Candidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    found = candidate.score
    return {
        "instruction": candidate.prompt.instruction,
        "template": candidate.prompt.template,
        "round": candidate.round,
        "mean_count": found.mean if found else None,
        "missing": found.missing if found else 0,
        "not_counted": candidate.rejected,
        "ngrams": dict(zip(found.ngrams.counted, found.counts, strict=True)) if found else {},
    }
