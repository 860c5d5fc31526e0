"""The step `measure`: every measure of every task, then the family of primary tests.

A job is one measure of one task and declares only the tables and settings that measure needs: changing γ takes the measures
that know γ anew and no other, and nothing before them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from schemas import EXCLUSIONS, METRIC_FAMILY, METRICS, Study
from schemas.settings.study_file import Task
from schemas.settings.variant_views import View, views
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.metrics import (
    attribution,
    comparisons,
    confounds,
    contaminated,
    count_response,
    coverage,
    distributional_memorization,
    emergence,
    judging,
    novelty,
    paper_v1,
    performance,
    planted_truth,
    recount,
    scores,
    sweeps,
)
from tasks.metrics.answers import Answers
from tasks.statistics import benjamini_hochberg
from tasks.step import Inputs, Job, Stage, Step, Work, parts_of, parts_of_placebo


@dataclass(frozen=True)
class Measure:
    """What a measure reads of a task, what decides it, and how it is taken."""

    reads: Callable[[Task], tuple[str, ...]]
    settings: Callable[[Study, str], dict[str, Any]]
    run: Callable[[Work, Answers], None]
    cost: float = 1.0


MEASURES = {
    "distributional": Measure(
        lambda _: distributional_memorization.READS,
        distributional_memorization.settings,
        distributional_memorization.run,
        cost=10.0,
    ),
    "comparison": Measure(lambda _: comparisons.READS, comparisons.settings, comparisons.run, cost=5.0),
    "confound": Measure(lambda _: confounds.READS, confounds.settings, confounds.run, cost=10.0),
    "attribution": Measure(lambda _: attribution.READS, attribution.settings, attribution.run, cost=3.0),
    "exposure": Measure(lambda _: count_response.READS, count_response.settings, count_response.run, cost=2.0),
    "score": Measure(lambda task: judging.reads(task.family), scores.settings, scores.run, cost=3.0),
    "performance": Measure(lambda task: performance.reads(task.family), performance.settings, performance.run, cost=3.0),
    "emergence": Measure(lambda _: emergence.READS, emergence.settings, emergence.run, cost=3.0),
    "novelty": Measure(lambda _: novelty.READS, novelty.settings, novelty.run),
    "coverage": Measure(lambda _: coverage.COVERAGE_READS, coverage.coverage_settings, coverage.run_coverage),
    "contamination": Measure(
        lambda _: coverage.CONTAMINATION_READS, coverage.contamination_settings, coverage.run_contamination
    ),
    "v1": Measure(lambda _: paper_v1.READS, paper_v1.settings, paper_v1.run, cost=3.0),
    "sweeps": Measure(lambda _: sweeps.READS, sweeps.settings, sweeps.run, cost=5.0),
    "placebo": Measure(lambda _: recount.READS, recount.settings, recount.run_placebo, cost=3.0),
    "clean_recount": Measure(lambda _: recount.CLEAN_READS, recount.settings, recount.run_clean, cost=2.0),
    "truth": Measure(lambda task: planted_truth.reads(task.family), planted_truth.settings, planted_truth.run),
}

NEEDS = {"truth": "truth", "placebo": "pair_counts"}  # measures that a study has only where it (its placebo) has this table


def _percentiles(task: Task, measure: Measure) -> tuple[str, ...]:
    """The table that γ as a percentile is taken from, for a measure that needs γ."""
    return ("similarities",) if task.has_percentiles and "task_grams" in measure.reads(task) else ()


def plan_measures(study: Study, inputs: Inputs) -> list[Job]:
    """One job per measure and task, of what the study has tables for; `sweeps` for each variant of the study as well."""
    variants = [_job("sweeps", task, view, inputs) for view in views(study)[1:] for task in view.study.tasks]
    own, placebo = parts_of(inputs), parts_of_placebo(inputs)
    seen = {name: own for name in MEASURES} | {"placebo": {t: parts + placebo[t] for t, parts in own.items()}}
    asked = {name: (placebo if name == "placebo" else own).get(table) for name, table in NEEDS.items()}
    named = [name for name in MEASURES if asked.get(name, True)]
    return [_job(name, task, views(study)[0], seen[name]) for task in study.tasks for name in named] + variants


def _job(name: str, task: Task, view: View, inputs: Inputs) -> Job:
    """One measure of one task, of what the study, or one of its variants, has of it."""
    measure, labels = MEASURES[name], {"measure": name, "task": task.name}
    leave_out = {} if name == "contamination" else contaminated.switch(view.study)
    settings = measure.settings(view.study, task.name) | leave_out
    if view.label:
        labels, settings = labels | {"of": view.label}, settings | {"of": view.label}
        asked = {t: view.label for t in ("task_grams", "similarities")} | {t: "all" for t in ("pair_counts", "ngram_stats")}
        inputs = parts_of(inputs, example_ngrams=view.ngrams, **asked)
    tables = (*measure.reads(task), *_percentiles(task, measure), *([contaminated.TABLE] if leave_out else []))
    mine = {task.name, task.repeat_of if name == "confound" else task.name}  # its prompt and pairs are compared with the own
    parts = {t: tuple(p for p in inputs.get(t, ()) if p.labels.get("task", task.name) in mine) for t in tables}
    return Job(labels, settings, parts, cost=measure.cost)


def run_measure(work: Work) -> None:
    """Take one measure of one task."""
    answers = Answers(work.labels["task"])
    MEASURES[work.labels["measure"]].run(work, answers)
    contaminated.exclude(work, answers, work.labels["measure"])
    answers.write(work)


def plan_family(study: Study, inputs: Inputs) -> list[Job]:
    """One job: the family is fixed by the study, over task × model."""
    parts = tuple(p for p in inputs.get("metrics", ()) if p.labels.get("measure") == "distributional")
    return [Job({}, {"first_order": {t.name: t.first_order for t in study.tasks}}, {"metrics": parts})]


def run_family(work: Work) -> None:
    """Benjamini-Hochberg over Mem_n and Mem_Δ (Spearman, pair unit) at each task's first n and each model's last checkpoint.

    A checkpoint is a point of a sweep, and sweeps are not in the family. Tests without a p are counted, not corrected for.
    """
    first = pl.DataFrame(
        list(work.settings["first_order"].items()), schema={"task": pl.String, "order": pl.Int16}, orient="row"
    )
    table = work.frame(
        "metrics", "measure", "task", "model", "checkpoint", "order", "unit", "statistic", "detail", "p_value"
    )
    family = table.filter(pl.col("measure").is_in(["mem_n", "mem_delta"]), unit="pair", statistic="spearman", detail="")
    family = family.join(first, on=["task", "order"])
    family = family.filter(pl.col("checkpoint") == pl.col("checkpoint").max().over("model"))
    tested = family.drop_nulls("p_value").sort(METRIC_FAMILY.key)
    work.add("tests", len(tested))
    work.add("without_p", len(family) - len(tested))
    q = np.minimum(benjamini_hochberg(tested["p_value"].to_numpy()), 1.0)
    work.write(
        "metric_family",
        tested.select(*METRIC_FAMILY.key, "p_value").with_columns(q_value=pl.Series(q, dtype=pl.Float64)).to_arrow(),
    )


RATES = {"measure": Rate(0.6, "s for each task and checkpoint", DEBIAN)}


def cost(sizes: Sizes) -> Cost:
    """A part for each measure and task, for each variant and task, and one for the family of tests."""
    study, tasks = sizes.study, len(sizes.tasks)
    optional = {"truth": study.corpus.planted, "placebo": study.placebo}
    measures = sum(name not in NEEDS or optional[name] is not None for name in MEASURES)
    parts, work = tasks * (measures + len(study.variants)) + 1, tasks * sizes.checkpoints
    core, longest = work * RATES["measure"], sizes.checkpoints * RATES["measure"]
    return Cost(parts, work, "tasks × checkpoints", written=4e5, core=core, longest=longest, memory=1e9, rates=RATES)


MEASURE = Step(
    "measure",
    version=3,
    about="What is memorized and what is generalized, as numbers with intervals.",
    reads=(
        "examples",
        "example_ngrams",
        "task_grams",
        "similarities",
        "ngram_stats",
        "pair_counts",
        "pair_windows",
        "clean_ngram_stats",
        "clean_pair_counts",
        "contamination",
        "infinigram",
        "models",
        "token_scores",
        "tokenizer",
        "generations",
        "generation_counts",
        "truth",
    ),
    stages=(
        Stage(writes=(METRICS, EXCLUSIONS), plan=plan_measures, run=run_measure),
        Stage(writes=(METRIC_FAMILY,), plan=plan_family, run=run_family),
    ),
    variants=True,
    cost=cost,
)
