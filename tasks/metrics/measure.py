"""The step `measure`: every measure of every task, then the family of primary tests.

A job is one measure of one task and declares only the tables and settings that measure needs: changing γ computes the measures
that depend on γ again and no other, and nothing before them.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from schemas import EXCLUSIONS, METRIC_FAMILY, METRICS, Study
from schemas.settings.study_file import Task
from schemas.settings.variant_views import View, views
from schemas.tables.metrics import QUALIFIERS
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.measures import Measure, MetricRows, count_excluded, exclusion_settings, parts_of_measure
from tasks.metrics import MEASURES
from tasks.statistics import benjamini_hochberg
from tasks.step import Inputs, Job, Stage, Step, Work, parts_of

EVERY_MEASURE = ("similarities", "contamination")  # a percentile as γ, and the switch exclude_contaminated


def plan_measures(study: Study, inputs: Inputs, measures: Sequence[Measure] = MEASURES) -> list[Job]:
    """One job per measure and task, and per variant for those that variants have too; one for a measure that is not of tasks."""
    study_view, *variants = views(study)
    apply = [m for m in measures if m.applies(study)]
    seen = parts_of(inputs)
    jobs = [_job(m, task, study_view, seen) for task in study.tasks for m in apply if m.of_tasks]
    once = {m.name: (m, {t: seen.get(t, ()) for t in m.reads}) for m in apply if not m.of_tasks}
    jobs += [Job({"measure": name}, m.settings(study), parts, cost=m.cost) for name, (m, parts) in once.items()]
    for view in variants:
        pairs = {t: view.label for t in ("evidence_spans", "evidence_pairs", "evidence_scores", "task_grams", "similarities")}
        seen = parts_of(inputs, **pairs)
        jobs += [_job(m, task, view, seen) for m in measures if m.of_variants for task in view.study.tasks]
    return jobs


def _job(measure: Measure, task: Task, view: View, inputs: Inputs) -> Job:
    labels = {"measure": measure.name, "task": task.name}
    switch = {} if measure.keeps_contaminated else exclusion_settings(view.study)
    settings = measure.settings(view.study, task) | switch
    if view.label:
        labels, settings = labels | {"of": view.label}, settings | {"of": view.label}
    tables = [*measure.reads, *(["contamination"] if switch else [])]
    if task.has_percentiles and "evidence_pairs" in tables and "similarities" not in tables:
        tables.append("similarities")
    tasks = {task.name, task.repeat_of} if measure.name == "confounds" else {task.name}
    return Job(labels, settings, parts_of_measure(inputs, tables, tasks), cost=measure.cost)


def run_measure(work: Work, measures: Sequence[Measure] = MEASURES) -> None:
    """Compute one measure of one task, or of the study."""
    rows = MetricRows(work.labels.get("task", ""))
    next(m for m in measures if m.name == work.labels["measure"]).run(work, rows)
    count_excluded(work, rows, work.labels["measure"])
    rows.write(work)


def plan_family(study: Study, inputs: Inputs) -> list[Job]:
    """One job: the family is fixed by the study, over task × model."""
    parts = tuple(p for p in inputs.get("metrics", ()) if p.labels.get("measure") == "distributional_memorization")
    return [Job({}, {"first_order": {t.name: t.first_order for t in study.tasks}}, {"metrics": parts})]


def run_family(work: Work) -> None:
    """Benjamini-Hochberg over Mem_n and Mem_Δ (Spearman, pair unit) at each task's first n and each model's last checkpoint. A
    checkpoint is a point of a sweep, and sweeps are not in the family. Tests without a p are counted, not corrected for."""
    first = pl.DataFrame(list(work.settings["first_order"].items()), schema={"task": pl.String, "order": pl.Int16}, orient="row")
    table = work.frame("metrics", *METRICS.key, "p_value")
    table = table.filter(unit="pair", statistic="spearman", **QUALIFIERS | {"interval": "two_way"})
    family = table.filter(pl.col("measure").is_in(["mem_n", "mem_delta"])).join(first, on=["task", "order"])
    family = family.filter(pl.col("checkpoint") == pl.col("checkpoint").max().over("model"))
    tested = family.drop_nulls("p_value").sort(METRIC_FAMILY.key)
    work.add("tests", len(tested))
    work.add("without_p", len(family) - len(tested))
    q = np.minimum(benjamini_hochberg(tested["p_value"].to_numpy()), 1.0)
    rows = tested.select(*METRIC_FAMILY.key, "p_value").with_columns(q_value=pl.Series(q, dtype=pl.Float64))
    work.write("metric_family", rows.to_arrow())


RATES = {"measure": Rate(0.88, "s for each task and checkpoint", DEBIAN)}


def cost(sizes: Sizes, measures: Sequence[Measure] = MEASURES) -> Cost:
    """A part for each measure and task, for each variant and task, and one for the family of tests."""
    study, tasks = sizes.study, len(sizes.tasks)
    apply = [m for m in measures if m.applies(study)]
    each = sum(m.of_tasks for m in apply) + len(study.variants) * sum(m.of_variants for m in measures)
    once = sum(not m.of_tasks for m in apply)
    work = tasks * sizes.checkpoints
    core, longest = (work + once * sizes.checkpoints) * RATES["measure"], sizes.checkpoints * RATES["measure"]
    parts, unit = tasks * each + once + 1, "tasks × checkpoints"
    return Cost(parts, work, unit, written=4e5, core=core, longest=longest, memory=1e9, rates=RATES)


ABOUT = "What is memorized and what is generalized, as numbers with intervals."
READS = tuple(sorted({table for measure in MEASURES for table in measure.reads} | set(EVERY_MEASURE)))
STAGES = (Stage((METRICS, EXCLUSIONS), plan_measures, run_measure), Stage((METRIC_FAMILY,), plan_family, run_family))
MEASURE = Step("measure", version=6, about=ABOUT, reads=READS, stages=STAGES, variants=True, cost=cost)


def with_measures(step: Step, more: Sequence[Measure]) -> Step:
    """The step `measure` with the measures of another group too, which this one may not import."""
    measures, family = (*MEASURES, *more), step.stages[1]
    first = Stage((METRICS, EXCLUSIONS), partial(plan_measures, measures=measures), partial(run_measure, measures=measures))
    reads = tuple(sorted({*step.reads, *(table for measure in more for table in measure.reads)}))
    return replace(step, reads=reads, stages=(first, family), cost=partial(cost, measures=measures))
