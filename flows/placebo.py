"""The step `placebo`: how often the task-grams stand in a corpus that no model has seen (docs/method.md §6d).

The steps that count pairs in a corpus, as they are, on the study's `placebo` in its place: each pass of theirs is a stage here,
reads the tasks of the study, and writes tables of the placebo's own. A study that names no placebo gets none of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from schemas import Study
from schemas.tables.placebo_tables import PLACEBO_TABLES, PREFIX
from tasks.corpus.encode import WORDS
from tasks.corpus.ids import IDS
from tasks.corpus.ingest import INGEST
from tasks.corpus.planted.plant import PLANT
from tasks.ngrams.query.query import QUERY
from tasks.step import Inputs, Job, Stage, Step

STEPS_OF_A_CORPUS = (PLANT, IDS, INGEST, WORDS, QUERY)
OF_A_CORPUS = tuple(contract.name for step in STEPS_OF_A_CORPUS for contract in step.writes)


def plan_stage(step: Step, number: int, study: Study, inputs: Inputs) -> list[Job]:
    """The jobs of one stage of a step on the placebo corpus; none where the study names no placebo."""
    instead = study.of_placebo()
    if instead is None:
        return []
    seen = dict(inputs) | {table: inputs.get(PREFIX + table, ()) for table in OF_A_CORPUS if table != "truth"}
    jobs = step.stages[number].plan(instead, seen)
    return [replace(job, settings={**job.settings, "of_step": [step.name, step.version]}) for job in jobs]


def _stage(step: Step, number: int) -> Stage:
    stage = step.stages[number]
    writes = tuple(PLACEBO_TABLES[c.name] for c in stage.writes if c.name in PLACEBO_TABLES)
    stored_as = {c.name: PREFIX + c.name if c.name in PLACEBO_TABLES else "" for c in stage.writes}
    return Stage(writes, partial(plan_stage, step, number), stage.run, stored_as)


PLACEBO = Step(
    "placebo",
    version=1,
    about="how often the task-grams stand in a corpus that no model has seen, where the study names one",
    reads=("task_grams", "example_ngrams", "examples", "truth"),
    stages=tuple(_stage(step, number) for step in STEPS_OF_A_CORPUS for number in range(len(step.stages))),
)
