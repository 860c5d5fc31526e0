"""The step `evidence`: the join that every measure needs, made once and before them.

    evidence_answers   graded answers                             a part per task, model and checkpoint
    evidence_spans     n-grams of the examples, with P_∞          a part per task, and per variant of the study
    evidence_pairs     Φ with the counts of every corpus          the same
    evidence_scores    log P_LLM of each s_y, for Mem_n and Δ     a part per task, model and checkpoint; of variants, the last one

So a tenth model computes its own parts and no other, and changing γ none at all.
"""

from collections.abc import Iterator

from schemas import EVIDENCE_ANSWERS, EVIDENCE_PAIRS, EVIDENCE_SCORES, EVIDENCE_SPANS, Study
from schemas.settings.study_file import Task
from schemas.settings.variant_views import views
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.evidence.grading import run_answers
from tasks.evidence.pairs_and_spans import run_pairs
from tasks.evidence.span_scores import run_scores
from tasks.step import Inputs, Job, Stage, Step, labelled, parts_of, parts_of_placebo
from tasks.storage.store import Part

OF_VARIANTS = ("example_ngrams", "task_grams", "ngram_stats", "pair_counts", "infinigram")
OF_STUDY = ("pair_windows", "clean_ngram_stats", "clean_pair_counts", "truth")


def plan_answers(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task, model and checkpoint that was scored or that generated text."""
    jobs, study_parts = [], parts_of(inputs)
    for task in study.tasks:
        for model in _checkpoints(study_parts, task):
            parts = _parts(study_parts, task, model, "examples", "token_scores", "generations")
            jobs.append(Job({"task": task.name, **model}, {"family": task.family}, parts))
    return jobs


def plan_pairs(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task, and one more for each variant of the study."""
    jobs, placebo = [], parts_of_placebo(inputs)
    for view in views(study):
        seen = _of_view(inputs, view.label, view.ngrams)
        settings = {} if view.label else {"windows": sorted(study.counting.windows)}
        for task in view.study.tasks:
            parts = _parts(seen, task, {}, *OF_VARIANTS, *OF_STUDY)
            if view.label:  # its pairs are counted in the corpus alone
                parts = {table: p if table in OF_VARIANTS else () for table, p in parts.items()}
            else:
                parts |= {table: parts[table] + placebo.get(table, ()) for table in ("ngram_stats", "pair_counts")}
            jobs.append(Job(labelled({"task": task.name}, view.label), settings, parts, cost=3.0))
    return jobs


def plan_scores(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task, model and checkpoint; of a variant, one for the last checkpoint of each model."""
    jobs = []
    for view in views(study):
        seen = _of_view(inputs, view.label, view.ngrams)
        for task in view.study.tasks:
            models = list(_checkpoints(seen, task, "token_scores"))
            models = list({m["model"]: m for m in models}.values()) if view.label else models
            for model in models:
                parts = _parts(seen, task, model, "examples", "example_ngrams", "task_grams", "token_scores")
                jobs.append(Job(labelled({"task": task.name, **model}, view.label), {}, parts, cost=2.0))
    return jobs


def _of_view(inputs: Inputs, label: str, ngrams: str) -> dict[str, tuple[Part, ...]]:
    """The parts of the study, or of one of its variants, whose pairs are counted together."""
    counted = "all" if label else ""
    return parts_of(inputs, example_ngrams=ngrams, task_grams=label, pair_counts=counted, ngram_stats=counted)


def _checkpoints(inputs: Inputs, task: Task, *tables: str) -> Iterator[dict[str, str]]:
    """The labels of every model and checkpoint with parts of these tables, in order."""
    parts = [p for t in tables or ("token_scores", "generations") for p in inputs.get(t, ()) if p.labels["task"] == task.name]
    for model, checkpoint in sorted({(p.labels["model"], int(p.labels["checkpoint"])) for p in parts}):
        yield {"model": model, "checkpoint": str(checkpoint)}


def _parts(inputs: Inputs, task: Task, labels: dict[str, str], *tables: str) -> dict[str, tuple[Part, ...]]:
    """The parts of these tables that belong to this task, and to this model."""
    wanted = {"task": task.name, **labels}
    return {t: tuple(p for p in inputs.get(t, ()) if all(p.labels.get(k, v) == v for k, v in wanted.items())) for t in tables}


RATES = {
    "evidence": Rate(1.9e-3, "s for each example and checkpoint", DEBIAN),
    "bytes of evidence": Rate(1300.0, "bytes for each example and checkpoint", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    """A part per task and checkpoint for answers and for scores, and per task for pairs; of variants the last checkpoint."""
    tasks, variants = len(sizes.tasks), len(sizes.study.variants)
    parts = tasks * (2 * sizes.checkpoints + 1 + variants * (1 + len(sizes.models)))
    rows = sizes.checkpoints * sum(t.evaluated for t in sizes.tasks)
    written, core = rows * RATES["bytes of evidence"], rows * RATES["evidence"]
    return Cost(parts, rows, "examples × checkpoints", written=written, core=core, memory=0.5e9, rates=RATES)


ABOUT = "The evidence of every number: pairs with all counts, and the scores and graded answers of models."
STAGES = (
    Stage(writes=(EVIDENCE_ANSWERS,), plan=plan_answers, run=run_answers),
    Stage(writes=(EVIDENCE_SPANS, EVIDENCE_PAIRS), plan=plan_pairs, run=run_pairs),
    Stage(writes=(EVIDENCE_SCORES,), plan=plan_scores, run=run_scores),
)
READS = ("examples", "token_scores", "generations", *OF_VARIANTS, *OF_STUDY)
EVIDENCE = Step("evidence", version=2, about=ABOUT, reads=READS, stages=STAGES, variants=True, cost=cost)
