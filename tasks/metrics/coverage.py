"""What the corpus has to say about a task at all: pairs found, their counts, and test text that stands in the corpus.

coverage        share of examples with a pair in the corpus; share of pairs found; acceptance of mining (docs/method.md §2, §14)
contamination   share of evaluated examples that share an n-gram with the corpus, by side (docs/method.md §13)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.metrics.answers import Answers
from tasks.metrics.pairs import PAIR, candidates_of, evaluated, gamma_settings, gammas_of, mined, phi, with_counts
from tasks.statistics import Estimate, wilson
from tasks.step import Work

COVERAGE_READS = ("examples", "example_ngrams", "task_grams", "pair_counts", "ngram_stats")
CONTAMINATION_READS = ("examples", "contamination")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SIDES = ("input", "output", "either")


def coverage_settings(study: Study, task: str) -> dict[str, Any]:
    """What decides the coverage."""
    t = study.task(task)
    return gamma_settings(t, t.orders)


def contamination_settings(study: Study, task: str) -> dict[str, Any]:
    """What decides the contamination."""
    return {"orders": sorted(study.counting.contamination_orders)}


def run_coverage(work: Work, answers: Answers) -> None:
    """Coverage for every order; acceptance is given beside γ, since γ means little without it."""
    gammas = gammas_of(work, answers.task)
    said = {
        n: f"{g:g}" if g == work.settings["gamma"][n] else f"{work.settings['gamma'][n]}, {g:.4f}" for n, g in gammas.items()
    }
    examples, pairs = evaluated(work, answers.task), mined(work, answers.task, gammas)
    ngrams = work.frame("example_ngrams", "task", "split", "example", "side", "order", "ngram").filter(task=answers.task)
    mining = ngrams.filter(split="mine")
    mining = mining if len(mining) else ngrams  # mined from the evaluated examples themselves
    for order in sorted(int(n) for n in gammas):
        above, candidates = len(pairs.filter(order=order)), candidates_of(mining, order)
        answers.add(
            "coverage",
            "acceptance",
            wilson(above, max(candidates, above)),
            order=order,
            unit="pair",
            rows=candidates,
            note=f"mined pairs above γ = {said[str(order)]}, of all pairs of n-grams of one example",
        )
        found = with_counts(work, phi(examples, pairs, order).rows)
        supported = found.filter(pl.col("count") > 0)
        answers.add(
            "coverage",
            "examples_with_pair",
            wilson(supported["example"].n_unique(), len(examples.names)),
            order=order,
            unit="example",
            rows=len(examples.names),
            examples=len(examples.names),
        )
        distinct = found.unique(PAIR)
        counts = distinct["count"].fill_null(0).to_numpy()
        share = (
            wilson(int((counts > 0).sum()), len(counts))
            if len(counts)
            else Estimate(None, note="no mined pair stands in an evaluated example")
        )
        answers.add(
            "coverage",
            "pairs_found",
            share,
            order=order,
            unit="pair",
            rows=len(counts),
            examples=found["example"].n_unique(),
        )
        _quantiles(answers, order, counts, found["example"].n_unique())


def _quantiles(answers: Answers, order: int, counts: Any, examples: int) -> None:
    """How C is distributed over the distinct pairs of evaluated examples."""
    for q in QUANTILES:
        estimate = Estimate(float(np.quantile(counts, q))) if len(counts) else Estimate(None, note="no pair to count")
        answers.add(
            "coverage",
            "count_quantile",
            estimate,
            order=order,
            unit="pair",
            detail=f"q={q:.2f}",
            x=q,
            rows=len(counts),
            examples=examples,
        )


def run_contamination(work: Work, answers: Answers) -> None:
    """Share of evaluated examples with a shared n-gram, of those long enough to have one."""
    from tasks.text.words.analyzer import normalise

    table = work.frame("examples", "task", "split", "example", "input", "output").filter(task=answers.task, split="evaluate")
    lengths = {
        side: {e: len(normalise(t).split()) for e, t in table.select("example", side).iter_rows()} for side in SIDES[:2]
    }
    lengths["either"] = {e: max(lengths["input"][e], lengths["output"][e]) for e in lengths["input"]}
    shared = work.frame("contamination", "task", "example", "order", "side").filter(task=answers.task)
    for order in work.settings["orders"]:
        here = shared.filter(pl.col("order") == order)
        for side in SIDES:
            hit = set(here["example"] if side == "either" else here.filter(side=side)["example"]) & set(lengths[side])
            long = {e for e, n in lengths[side].items() if n >= order} | hit
            estimate = wilson(len(hit), len(long)) if long else Estimate(None, note=f"no text of {order} words or more")
            answers.add(
                "contamination",
                "share",
                estimate,
                order=order,
                unit="example",
                detail=side,
                rows=len(long),
                examples=len(long),
            )
            if side != "either":
                answers.exclude(
                    "contamination", f"{side} shorter than n", len(lengths[side]) - len(long), "examples", order=order
                )
