"""Distributional generalization, the opposite of memorization: how unlike the two orders of the pairs are (docs/method.md §8).

kendall_distance          (1 - τ_b) / 2 of log P_n and log P_LLM over Φ (arXiv 2407.14985, Def. 4)
discordant_share          pairs of rows that the corpus and the model order differently, of all pairs
discordant_share_untied   the same, of the pairs that are tied on neither side
"""

from typing import Any

import numpy as np

from schemas import Study
from schemas.settings.study_file import Task
from tasks.measures import Measure, MetricRows, gamma_settings, orders_of
from tasks.pair_evidence import PAIRS_AND_SCORES, read_evidence
from tasks.pair_measures import MEM_N, why_none
from tasks.statistics import Estimate, kendall_order
from tasks.step import Work


def settings(study: Study, task: Task) -> dict[str, Any]:
    """γ per n: these numbers have no interval."""
    return gamma_settings(task, task.orders) | {"first_order": task.first_order}


def run(work: Work, rows: MetricRows) -> None:
    """The three statistics for every order and model."""
    evidence = read_evidence(work, rows.task)
    for order in sorted({*orders_of(work), work.settings["first_order"]}):
        pairs = evidence.supported(order)
        for checkpoint in evidence.models:
            scores = evidence.of(checkpoint)
            log_prob = scores.log_prob[pairs["span"].to_numpy()]
            scored = evidence.rows(pairs, MEM_N.x(pairs), log_prob).take(np.isfinite(log_prob))
            why = why_none(pairs, scored, scores, MEM_N.names)
            values: tuple[float | None, ...] = (None, None, None)
            if not why:
                ranks = kendall_order(scored.x, scored.y)
                untied = ranks.concordant + ranks.discordant
                share = ranks.discordant / untied if untied else None
                values = (1 - ranks.tau_b) / 2, ranks.discordant / ranks.pairs, share
            names = ("kendall_distance", "discordant_share", "discordant_share_untied")
            for statistic, value in zip(names, values, strict=True):
                estimate = Estimate(value, note=why or ("all pairs are tied" if value is None else ""))
                size: dict[str, Any] = {"rows": len(scored), "examples": scored.examples}
                rows.add("generalization", statistic, estimate, of=checkpoint, order=order, unit="pair", **size)


MEASURE = Measure("distributional_generalization", PAIRS_AND_SCORES, settings, run, cost=2.0)
