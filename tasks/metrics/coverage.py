"""Coverage: what the corpus has to say about a task at all (docs/method.md §2, §14).

The share of examples with a pair in the corpus, the share of pairs that occur, how their counts are distributed, and the
acceptance of mining, next to γ, since γ means little without it.
"""

from typing import Any

import numpy as np
import polars as pl

from tasks.measures import Measure, MetricRows, gamma_settings, gammas_of
from tasks.pair_evidence import PAIR, read_evidence
from tasks.statistics import Estimate, wilson
from tasks.step import Work

READS = ("examples", "evidence_spans", "evidence_pairs", "task_grams", "similarities")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def run(work: Work, rows: MetricRows) -> None:
    gammas, evidence = gammas_of(work, rows.task), read_evidence(work, rows.task, scored=False)
    mined = work.frame("task_grams", "task", "order", "similarity").filter(task=rows.task)
    candidates = work.frame("similarities", "task", "order", "candidates").filter(task=rows.task)
    examples = len(evidence.examples)
    for order, gamma in sorted(gammas.items()):
        above = int((mined.filter(order=order)["similarity"].cast(pl.Float64) > float(np.float32(gamma))).sum())
        number, named = int(candidates.filter(order=order)["candidates"].sum() or 0), work.settings["gamma"][str(order)]
        shown = f"{gamma:g}" if gamma == named else f"{named}, {gamma:.4f}"
        note = f"mined pairs above γ = {shown}, of all pairs of n-grams of one example"
        accepted = wilson(above, max(number, above))
        rows.add("coverage", "acceptance", accepted, order=order, unit="pair", rows=number, note=note)
        phi = evidence.phi(order)
        covered = wilson(phi.filter(pl.col("pair_documents") > 0)["example"].n_unique(), examples)
        rows.add("coverage", "examples_with_pair", covered, order=order, unit="example", rows=examples, examples=examples)
        counts = phi.unique(PAIR)["pair_documents"].fill_null(0).to_numpy()
        none = Estimate(None, note="no mined pair occurs in an evaluated example")
        share = wilson(int((counts > 0).sum()), len(counts)) if len(counts) else none
        more: dict[str, Any] = {"order": order, "unit": "pair", "rows": len(counts), "examples": phi["example"].n_unique()}
        rows.add("coverage", "pairs_found", share, **more)
        for q in QUANTILES:
            value = Estimate(float(np.quantile(counts, q))) if len(counts) else Estimate(None, note="no pair to count")
            rows.add("coverage", "count_quantile", value, level=q, x=q, **more)


MEASURE = Measure("coverage", READS, lambda study, task: gamma_settings(task, task.orders), run)
