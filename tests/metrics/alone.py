"""One measure of the step `measure`, without the others: for tests of that measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from schemas import Study
from tasks.metrics.measure import MEASURE, plan_measures
from tasks.storage.store import Part
from tests.metrics.world import World
from tests.support import read_rows, run_step


def run_alone(
    measure: str, study: Study, root: Path, tables: Mapping[str, tuple[Part, ...]]
) -> tuple[list[dict], list[dict]]:
    """Rows of `metrics` and of `exclusions`, checked against their contracts."""
    step = replace(MEASURE, stages=(replace(MEASURE.stages[0], plan=lambda s, i: _jobs(measure, s, i)),))
    out = run_step(step, study, root, {t: () for t in MEASURE.reads} | dict(tables))
    return read_rows(root, out["metrics"]), read_rows(root, out["exclusions"])


def _jobs(measure, study, inputs):
    return [job for job in plan_measures(study, inputs) if job.labels["measure"] == measure]


def measured(root: Path, world: World, measure: str, **task: object) -> dict[tuple, dict]:
    """The metrics of one measure of a little world, by (measure, model, order, statistic, detail)."""
    rows, _ = run_alone(measure, world.study(**task), root, world.tables(root))
    return {(r["measure"], r["model"], r["order"], r["statistic"], r["detail"]): r for r in rows}
