"""Taking one measure of a made-up world, without the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from schemas import Study
from tasks.metrics.measure import MEASURE
from tasks.step import Step
from tasks.storage.store import Part
from tests.support import read_rows, run_step


def only(*measures: str) -> Step:
    """The step `measure` with these measures alone, and without the family of tests."""
    first = MEASURE.stages[0]

    def plan(study: Study, inputs: Mapping[str, tuple[Part, ...]]) -> list:
        return [job for job in first.plan(study, inputs) if job.labels["measure"] in measures]

    return replace(MEASURE, stages=(replace(first, plan=plan),))


def taken(root: Path, study: Study, tables: Mapping[str, tuple[Part, ...]], *measures: str) -> list[dict]:
    """The rows of `metrics` of these measures."""
    return read_rows(root, run_step(only(*measures), study, root, tables)["metrics"])
