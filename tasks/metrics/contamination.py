"""Contamination: the share of evaluated examples that share an n-gram with the corpus, by side (docs/method.md §13)."""

from typing import Any

import polars as pl

from schemas import Study
from schemas.settings.study_file import Task
from tasks.measures import Measure, MetricRows
from tasks.statistics import Estimate, wilson
from tasks.step import Work

SIDES = ("input", "output")


def settings(study: Study, task: Task) -> dict[str, Any]:
    return {"orders": sorted(study.counting.contamination_orders)}


def run(work: Work, rows: MetricRows) -> None:
    """Share of evaluated examples with a shared n-gram, of those long enough to have one."""
    from tasks.text.words.analyzer import normalise

    table = work.frame("examples", "task", "split", "example", *SIDES).filter(task=rows.task, split="evaluate")
    lengths = {side: {e: len(normalise(t).split()) for e, t in table.select("example", side).iter_rows()} for side in SIDES}
    lengths["either"] = {e: max(lengths["input"][e], lengths["output"][e]) for e in lengths["input"]}
    shared = work.frame("contamination", "task", "example", "order", "side").filter(task=rows.task)
    for order in work.settings["orders"]:
        here = shared.filter(pl.col("order") == order)
        for side, words in lengths.items():
            hit = set(here["example"] if side == "either" else here.filter(side=side)["example"]) & set(words)
            long = {e for e, n in words.items() if n >= order} | hit
            share = wilson(len(hit), len(long)) if long else Estimate(None, note=f"no text of {order} words or more")
            more: dict[str, Any] = {"order": order, "unit": "example", "detail": side, "rows": len(long), "examples": len(long)}
            rows.add("contamination", "share", share, **more)
            if side != "either":
                rows.exclude("contamination", f"{side} shorter than n", len(words) - len(long), "examples", order=order)


MEASURE = Measure("contamination", ("examples", "contamination"), settings, run, keeps_contaminated=True)
