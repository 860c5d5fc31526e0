"""What the corpus says of a task at one order: Φ with its counts, and how pairs merge into outputs (docs/method.md §3-6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.answers import Answers
from tasks.metrics.pairs import PAIR, Examples, Phi, with_counts
from tasks.metrics.probabilities import Infinigram
from tasks.statistics import Rows, spearman, undefined
from tasks.step import Work

Floats = NDArray[np.float64]
NO_EVIDENCE = "no evidence: no pair of this task has support in the corpus"
NO_SCORE = "no score: the model has no finite log-probability of any of these outputs"


@dataclass(frozen=True)
class Evidence:
    """What the corpus says of one order: Φ with counts (`all`), and its rows with C > 0 (`found`), as they stand."""

    order: int
    all: pl.DataFrame
    found: pl.DataFrame
    infinigram: Infinigram
    optimal: Floats
    """log of the generator's own probability for each row of `found`; NaN where the pair is not planted"""
    planted: Floats
    """log P_n by the plan of the world"""


def evidence_of(work: Work, task: str, order: int, found: Phi, infinigram: Infinigram) -> Evidence:
    counted = with_counts(work, found.rows)
    truth = work.frame("truth", "task", *PAIR, "pair_documents", "input_documents", "optimal_log_probability").filter(
        task=task
    )
    planned = truth.select(
        *PAIR,
        optimal=pl.col("optimal_log_probability"),
        planted_count=pl.col("pair_documents"),
        planted_input=pl.col("input_documents"),
    ).unique(PAIR, keep="first", maintain_order=True)
    rows = supported(counted).join(planned, on=PAIR, how="left", maintain_order="left")
    log = pl.when(pl.col("planted_count") > 0).then((pl.col("planted_count") / pl.col("planted_input")).log())
    return Evidence(order, counted, rows, infinigram, floats(rows["optimal"]), floats(rows.select(log).to_series()))


def supported(counted: pl.DataFrame) -> pl.DataFrame:
    """The rows whose pair stands in the corpus."""
    return counted.filter((pl.col("count") > 0) & (pl.col("input_documents") > 0) & (pl.col("output_documents") > 0))


def log_p(found: pl.DataFrame, count: str = "count") -> Floats:
    """log P_n(s_y | s_x)."""
    return np.log(floats(found[count]) / floats(found["input_documents"]))


def log_pmi(found: pl.DataFrame, count: str = "count") -> Floats:
    """log of C / (df(s_x) · df(s_y)): one division of exact integers, so that equal values stay tied."""
    return np.log(floats(found[count]) / (floats(found["input_documents"]) * floats(found["output_documents"])))


def exclude_pairs(answers: Answers, work: Work, examples: Examples, evidence: Evidence, found: Phi) -> None:
    """What did not get as far as a model."""
    from tasks.text.words.analyzer import normalise

    order, counts = evidence.order, evidence.all["count"]
    with_output = set(examples.spans.filter(order=order)["example"].to_list())
    without = [i for i in range(len(examples.names)) if i not in with_output]
    short = 0 if work.settings["whole_answer"] else sum(len(normalise(examples.outputs[i]).split()) < order for i in without)
    answers.exclude("mem_n", "output shorter than n", short, "examples", order=order)
    answers.exclude("mem_n", "no n-gram of the output left", len(without) - short, "examples", order=order)
    answers.exclude("mem_n", "pair not mined above γ", found.candidates - len(evidence.all), "rows", order=order)
    answers.exclude("mem_n", "pair never counted", counts.null_count(), "rows", order=order)
    zero = int((counts == 0).sum())
    answers.exclude("mem_n", "zero corpus count", zero, "rows", order=order)
    lost = len(evidence.all) - counts.null_count() - zero - len(evidence.found)  # a broken contract of the counts, if not 0
    answers.exclude("mem_n", "n-gram never counted", lost, "rows", order=order)


def by_output(rows: Rows) -> Rows:
    """One row per (example, s_y): x averaged over s_x (`example_output` units, docs/method.md §6). y is the same in all of them."""
    if not len(rows):
        return rows
    codes, first = _codes(rows), first_rows(rows)
    mean = np.round(np.bincount(codes, weights=rows.x) / np.bincount(codes), 12)  # means of equal values stay tied
    return Rows(mean, rows.y[first], rows.example[first], rows.output[first])


def _codes(rows: Rows) -> NDArray[np.int64]:
    key = rows.example * (int(rows.output.max()) + 1) + rows.output if len(rows) else rows.example
    return np.unique(key, return_inverse=True)[1]


def first_rows(rows: Rows) -> NDArray[np.int64]:
    """Index of the first row of each (example, s_y), in the order of `by_output`."""
    return np.unique(_codes(rows), return_index=True)[1]


def rho(rows: Rows) -> float | None:
    return None if undefined(rows) else spearman(rows.x, rows.y)


def floats(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
