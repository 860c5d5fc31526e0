"""Measured beside true, where the world is planted (docs/method.md §16).

planted_counts        share of planted pairs whose counts equal the plan exactly; anything below 1 is a counting error
recall_by_exposure    share of single-answer facts answered, by how often they were stated
recall_by_count       the same for the factorial's facts, by C(s_x, s_y)
rule_accuracy         answers that follow from a rule, stated in the corpus or held out of it
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.metrics import judging, official
from tasks.metrics.answers import Answers, models_of
from tasks.metrics.contaminated import contaminated
from tasks.metrics.pairs import PAIR, select_rows
from tasks.statistics import Estimate, wilson
from tasks.step import Work

MEASURES = {
    "exposure": "recall_by_exposure",
    "factorial": "recall_by_count",
    "rule": "rule_accuracy",
    "arithmetic": "rule_accuracy",
}
COUNTED = {
    "pair_documents": "count",
    "input_documents": "found_input_documents",
    "input_occurrences": "found_input_occurrences",
    "output_documents": "found_output_documents",
    "output_occurrences": "found_output_occurrences",
}


def reads(family: str) -> tuple[str, ...]:
    """Tables this measure needs for a task of this family."""
    return (*judging.reads(family, likelihood=False), "truth", "pair_counts", "ngram_stats")


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides this measure."""
    return {"family": study.task(task).family}


def run(work: Work, answers: Answers) -> None:
    """Nothing, if the task is not planted."""
    truth = work.frame("truth").filter(task=answers.task).sort("pair")
    if len(truth):
        _counts(work, answers, truth)
        if work.settings["family"] != "translation":  # a sentence is no planted pair: it cannot be answered right or wrong
            _recall(work, answers, truth)


def _counts(work: Work, answers: Answers, truth: pl.DataFrame) -> None:
    """Compare every planted count with the counted one. A pair or n-gram that was never counted is not equal."""
    pairs = select_rows(work, "pair_counts", truth.select(PAIR).unique(), PAIR).rename({"documents": "count"})
    names = pl.concat([truth.select(ngram="input_ngram"), truth.select(ngram="output_ngram")]).unique()
    stats = select_rows(work, "ngram_stats", names, ["ngram"])
    table = truth.join(pairs, on=PAIR, how="left", maintain_order="left")
    for side in ("input", "output"):
        found = stats.select(
            pl.col("ngram").alias(f"{side}_ngram"),
            pl.col("documents").alias(f"found_{side}_documents"),
            pl.col("occurrences").alias(f"found_{side}_occurrences"),
        )
        table = table.join(found, on=f"{side}_ngram", how="left", maintain_order="left")
    equal = {planned: (table[planned] == table[counted]).fill_null(False).to_numpy() for planned, counted in COUNTED.items()}
    for detail, same in {"": np.logical_and.reduce(list(equal.values())), **equal}.items():
        wrong = np.flatnonzero(~same)
        note = ""
        if len(wrong):
            row = table.row(int(wrong[0]), named=True)
            note = f"first that differs: {row['input_ngram']!r}, {row['output_ngram']!r}" + (
                f": planned {row[detail]}, counted {row[COUNTED[detail]]}" if detail else ""
            )
        answers.add(
            "planted_counts",
            "equal",
            Estimate(float(same.mean())),
            unit="pair",
            detail=detail,
            rows=len(table),
            truth=1.0,
            note=note,
        )
    answers.exclude("planted_counts", "pair never counted", table["count"].null_count(), "pairs")
    answers.exclude("planted_counts", "kept", len(table) - table["count"].null_count(), "pairs")


def planted_pairs(work: Work, task: str, family: str, truth: pl.DataFrame) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """The planted pair behind each evaluated example: s_x stands in the input, and s_y is the output.

    Of several, the one with the longest s_x. For sums s_y may also be the output's final number. Examples are numbered in
    the order of their names.
    """
    from tasks.text.words.analyzer import normalise

    by_output: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in truth.iter_rows(named=True):
        by_output[row["output_ngram"]].append(row)
    for rows in by_output.values():
        rows.sort(key=lambda r: (-len(r["input_ngram"]), r["pair"]))
    table = (
        work.frame("examples", "task", "split", "example", "input", "output")
        .filter(~pl.col("example").is_in(sorted(contaminated(work, task))), task=task, split="evaluate")
        .sort("example")
    )
    found = {}
    for i, (text, output) in enumerate(table.select("input", "output").iter_rows()):
        wanted = [normalise(output)]
        number = official.final_number(output) if family == "math" else None
        if number is not None:
            wanted.append(normalise(str(number)))
        words = f" {normalise(text)} "
        match = next((r for w in wanted for r in by_output.get(w, []) if f" {r['input_ngram']} " in words), None)
        if match is not None:
            found[i] = match
    return table["example"].to_list(), found


def _recall(work: Work, answers: Answers, truth: pl.DataFrame) -> None:
    family = work.settings["family"]
    asked = judging.asks(work, answers.task)
    names, planted = planted_pairs(work, answers.task, family, truth)
    values = judging.per_example(work, answers.task, family, asked)
    answers.exclude("recall", "no planted pair", len(names) - len(planted), "examples")
    answers.exclude("recall", "kept", len(planted), "examples")
    bins: dict[tuple[str, str, float], list[int]] = defaultdict(list)
    for i, row in planted.items():
        measure = MEASURES.get(row["kind"])
        if measure == "recall_by_exposure":
            bins[measure, f"{row['exposures']:06d}", float(row["exposures"])].append(i)
        elif measure == "recall_by_count":
            bins[measure, f"{row['pair_documents']:06d}", float(row["pair_documents"])].append(i)
        elif measure == "rule_accuracy":
            bins[measure, "held_out" if row["held_out"] else "stated", float(not row["held_out"])].append(i)
    for model in models_of(work):
        value = values.get((model.model, model.checkpoint), np.full(len(names), np.nan))
        for (measure, detail, x), members in sorted(bins.items()):
            known = value[members][np.isfinite(value[members])]
            estimate = (
                wilson(float(known.sum()), len(known))
                if len(known)
                else Estimate(None, note="no answer of this model to judge")
            )
            answers.add(
                measure,
                judging.main_statistic(family),
                estimate,
                asked=model,
                unit="example",
                detail=detail,
                x=x,
                rows=len(known),
                examples=len(known),
            )
