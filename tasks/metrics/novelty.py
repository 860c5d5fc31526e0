"""Novelty of what models write: the share of n-grams and of aligned pairs that the corpus does not hold (docs/method.md §10).

The reference outputs are counted in the same way, as the model `reference`, and held-out text of their lengths, as `held_out`
(n-grams only: it has no input), for comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.contaminated import contaminated
from tasks.statistics import Estimate, ratio
from tasks.step import Work

READS = ("models", "generation_counts")
CURVE = ["model", "checkpoint", "kind", "order"]


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides this measure."""
    return {"draws": study.measures.bootstrap, "seed": study.seed}


def run(work: Work, answers: Answers) -> None:
    """Rate and count per model, kind and order; the interval of the rate resamples examples."""
    table = work.frame("generation_counts").filter(task=answers.task).sort(*CURVE, "example")
    table = table.filter(~pl.col("example").is_in(sorted(contaminated(work, answers.task))))
    known = {(m.model, m.checkpoint): m for m in models_of(work)}
    for (model, checkpoint, kind, order), rows in table.group_by(CURVE, maintain_order=True):
        asked = known.get((model, checkpoint), Asked(str(model), int(checkpoint)))  # type: ignore[call-overload]
        novel, total = rows["novel"].to_numpy().astype(np.float64), rows["total"].to_numpy().astype(np.float64)
        estimate = ratio(novel, total, work.settings["draws"], work.settings["seed"])
        if not total.sum():
            estimate = Estimate(None, note=f"nothing generated has a {kind} of this order")
        more: dict[str, Any] = {
            "asked": asked,
            "order": int(order),
            "unit": "example",
            "detail": str(kind),  # type: ignore[call-overload]
            "rows": int(total.sum()),
            "examples": int((total > 0).sum()),
        }
        answers.add("novelty", "rate", estimate, **more)
        answers.add("novelty", "count", Estimate(float(novel.sum())), **more)
    silent = set(known) - set(table.select("model", "checkpoint").unique().iter_rows())
    for key in sorted(silent):
        answers.add(
            "novelty",
            "rate",
            Estimate(None, note="no generations of this model for this task"),
            asked=known[key],
            unit="example",
        )
