"""Novelty of what models write: the share of n-grams and of aligned pairs that the corpus does not hold (docs/method.md §10).

The reference outputs are counted in the same way, as the model `reference`, and held-out text of their lengths, as `held_out`
(n-grams only: it has no input), for comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from schemas.settings.study_file import Task
from tasks.measures import Measure, MetricRows, ModelCheckpoint, checkpoints_of, draw_settings, excluded_examples
from tasks.statistics import Estimate, ratio
from tasks.step import Work

CURVE = ["model", "checkpoint", "kind", "order"]


def settings(study: Study, task: Task) -> dict[str, Any]:
    """What decides this measure."""
    return draw_settings(study)


def run(work: Work, rows: MetricRows) -> None:
    """Rate and count per model, kind and order; the interval of the rate resamples examples."""
    table = work.frame("generation_counts").filter(task=rows.task).sort(*CURVE, "example")
    table = table.filter(~pl.col("example").is_in(excluded_examples(work, rows.task)))
    models = {m.key: m for m in checkpoints_of(work)}
    for (model, checkpoint, kind, order), curve in table.group_by(CURVE, maintain_order=True):
        of = models.get((model, checkpoint), ModelCheckpoint(str(model), int(checkpoint)))  # type: ignore[call-overload]
        novel, total = (curve[c].to_numpy().astype(np.float64) for c in ("novel", "total"))
        rate = ratio(novel, total, work.settings["draws"], work.settings["seed"])
        if not total.sum():
            rate = Estimate(None, note=f"nothing generated has a {kind} of this order")
        more: dict[str, Any] = {"of": of, "order": int(order), "unit": "example", "detail": str(kind)}  # type: ignore[call-overload]
        more |= {"rows": int(total.sum()), "examples": int((total > 0).sum())}
        rows.add("novelty", "rate", rate, **more)
        rows.add("novelty", "count", Estimate(float(novel.sum())), **more)
    for key in sorted(set(models) - set(table.select("model", "checkpoint").unique().iter_rows())):
        none = Estimate(None, note="no generations of this model for this task")
        rows.add("novelty", "rate", none, of=models[key], unit="example")


MEASURE = Measure("novelty", ("models", "generation_counts"), settings, run)
