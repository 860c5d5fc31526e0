"""Some measures without the others, for tests of these: the evidence is made from a world's tables, and the measures read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from schemas import Study
from schemas.tables.metrics import QUALIFIERS
from tasks.evidence.evidence_step import EVIDENCE
from tasks.metrics.measure import MEASURE
from tasks.step import Step
from tasks.storage.store import Part
from tests.metrics.world import World
from tests.support import read_rows, run_step

Tables = Mapping[str, tuple[Part, ...]]


def with_evidence(study: Study, root: Path, tables: Tables) -> dict[str, tuple[Part, ...]]:
    """These tables and those of the step `evidence`, checked against their contracts."""
    return run_step(EVIDENCE, study, root, {t: () for t in (*EVIDENCE.reads, *MEASURE.reads)} | dict(tables))


def only(*measures: str) -> Step:
    """The step `measure` with these measures alone, and without the family of tests."""
    first = MEASURE.stages[0]

    def plan(study: Study, inputs: Tables) -> list:
        return [job for job in first.plan(study, inputs) if job.labels["measure"] in measures]

    return replace(MEASURE, stages=(replace(first, plan=plan),))


def run_measures(study: Study, root: Path, tables: Tables, *measures: str) -> dict[str, tuple[Part, ...]]:
    """The tables of the step `measure`, with all measures if none is named."""
    return run_step(only(*measures) if measures else MEASURE, study, root, with_evidence(study, root, tables))


def run_alone(measure: str, study: Study, root: Path, tables: Tables) -> tuple[list[dict], list[dict]]:
    """Rows of `metrics` and of `exclusions`."""
    out = run_measures(study, root, tables, measure)
    return read_rows(root, out["metrics"]), read_rows(root, out["exclusions"])


def taken(root: Path, study: Study, tables: Tables, *measures: str) -> list[dict]:
    """The rows of `metrics` of these measures."""
    return read_rows(root, run_measures(study, root, tables, *measures)["metrics"])


def measured(root: Path, world: World, measure: str, **task: object) -> dict[tuple, dict]:
    """The metrics of one measure of a little world, by (measure, model, order, statistic, what tells them apart)."""
    rows, _ = run_alone(measure, world.study(**task), root, world.tables(root))
    return {(r["measure"], r["model"], r["order"], r["statistic"], which(r)): r for r in rows}


def which(row: dict) -> str:
    """The columns that tell rows of a statistic apart, where they are not empty: "of_measure=mem_n gamma=0.7"."""
    return " ".join(f"{column}={row[column]}" for column, empty in QUALIFIERS.items() if row[column] != empty)
