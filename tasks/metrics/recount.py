"""Mem_n and Mem_Δ by other counts of the same rows (docs/method.md §6c, §6d), at a task's first n and each model's last checkpoint.

    placebo          counts from a corpus of the same kind that no model has seen. What Mem keeps there belongs to language and
                     not to this corpus: Mem - Mem_placebo, on the rows both corpora support, with the same bootstrap draws.
    clean recount    counts from the corpus without the documents that hold a long n-gram of an evaluated example: what Mem owes
                     to test text that stands in the corpus goes with them.

Rows without support in the other counts are left out and counted, as they are in Mem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.evidence import by_output, floats
from tasks.metrics.pairs import PAIR, SCORED, drawn_settings, evaluated, gammas_of, mined, phi, with_counts
from tasks.metrics.probabilities import Scores, Spans, read_scores, spans_of
from tasks.statistics import Estimate, Rows, bootstrap_correlation, correlate, percentile_interval, spearman, undefined
from tasks.step import PLACEBO, Work

READS = SCORED
CLEAN_READS = (*READS, "clean_ngram_stats", "clean_pair_counts")
NO_ROWS = "no row of this task has support in these counts"
NO_SCORE = "no score: the model has no log-probability of any of these outputs"
CLEAN = "without contaminated documents"
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides these measures."""
    t = study.task(task)
    return {**drawn_settings(study, t, [t.first_order]), "first_order": t.first_order}


@dataclass(frozen=True)
class Counted:
    """Counts of the rows of Φ in one corpus: C(s_x, s_y), df(s_x), df(s_y); NaN where it was not asked."""

    count: Floats
    inputs: Floats
    outputs: Floats

    @property
    def supported(self) -> Mask:
        """Rows that a logarithm can be taken of."""
        return (self.count > 0) & (self.inputs > 0) & (self.outputs > 0)

    def x(self, measure: str) -> Floats:
        """log P_n, or log PMI but for a constant; one division of exact integers, so that equal values stay tied."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.count / (self.inputs if measure == "mem_n" else self.inputs * self.outputs))


@dataclass(frozen=True)
class Scored:
    """The rows of Φ, and what one model says of them: y of Mem_n and of Mem_Δ."""

    asked: Asked
    example: NDArray[np.int64]
    output: NDArray[np.int64]
    y: Mapping[str, Floats]

    def rows(self, counted: Counted, measure: str, keep: Mask) -> Rows:
        """What is correlated."""
        return Rows(counted.x(measure)[keep], self.y[measure][keep], self.example[keep], self.output[keep])


# -- what is measured ---------------------------------------------------------------------------------------------------
def run_placebo(work: Work, answers: Answers) -> None:
    """Mem by the placebo's counts, and Mem minus that, in both units."""
    order = work.settings["first_order"]
    table, scored = _rows(work, answers.task)
    own, other = _counted(with_counts(work, table)), _counted(with_counts(work, table, PLACEBO))
    _exclude(answers, "placebo", order, other)
    for model in scored:
        for measure in ("mem_n", "mem_delta"):
            known = np.isfinite(model.y[measure])
            alone, both = known & other.supported, known & other.supported & own.supported
            here, there = model.rows(own, measure, both), model.rows(other, measure, both)
            for unit, of_unit in (("pair", _same), ("example_output", by_output)):
                placebo = of_unit(model.rows(other, measure, alone))
                why = _why(model, measure, other)
                _add(answers, measure, _correlation(work, placebo, why), unit, order, model, placebo, detail="placebo")
                left, right = of_unit(here), of_unit(there)
                _add(
                    answers,
                    measure,
                    _difference(work, left, right, why),
                    unit,
                    order,
                    model,
                    left,
                    detail="minus placebo",
                    note=f"on {len(left)} rows that both corpora support",
                )


def run_clean(work: Work, answers: Answers) -> None:
    """Mem without the documents that hold test text."""
    order = work.settings["first_order"]
    table, scored = _rows(work, answers.task)
    every = with_counts(work, table)
    own, clean = _counted(every), _counted(_without_contaminated(work, answers.task, every))
    _exclude(answers, CLEAN, order, clean, of=own)
    fewer = int((own.supported & (clean.count < own.count)).sum())
    for model in scored:
        for measure in ("mem_n", "mem_delta"):
            rows = model.rows(clean, measure, np.isfinite(model.y[measure]) & clean.supported)
            _add(
                answers,
                "confound",
                _correlation(work, rows, _why(model, measure, clean)),
                measure,
                order,
                model,
                rows,
                detail=CLEAN,
                note=f"{fewer} of {int(own.supported.sum())} rows are counted in fewer documents",
            )


def _without_contaminated(work: Work, task: str, every: pl.DataFrame) -> pl.DataFrame:
    """The counts without contaminated documents, which are stored only where they differ."""
    pairs = work.frame("clean_pair_counts").filter(task=task).select(*PAIR, clean="documents")
    grams = work.frame("clean_ngram_stats").filter(task=task).select("ngram", "documents")
    found = every.join(pairs, on=PAIR, how="left", maintain_order="left").with_columns(count=pl.coalesce("clean", "count"))
    for side in ("input", "output"):
        own = grams.rename({"ngram": f"{side}_ngram", "documents": "fewer"})
        kept = pl.coalesce("fewer", f"{side}_documents").alias(f"{side}_documents")
        found = found.join(own, on=f"{side}_ngram", how="left", maintain_order="left").with_columns(kept).drop("fewer")
    return found


# -- rows -----------------------------------------------------------------------------------------------------------------
def _rows(work: Work, task: str) -> tuple[pl.DataFrame, list[Scored]]:
    """Φ at the first n, and every model at its last checkpoint."""
    gammas = gammas_of(work, task)
    examples, pairs = evaluated(work, task), mined(work, task, gammas)
    spans = spans_of(examples, pairs)
    table = phi(examples, pairs, work.settings["first_order"]).rows
    return table, list(_scored(work, table, spans, read_scores(work, task, examples, spans)))


def _scored(work: Work, table: pl.DataFrame, spans: Spans, scores: Mapping[tuple[str, int], Scores]) -> Iterator[Scored]:
    span = table["span"].to_numpy()
    for asked in {m.model: m for m in models_of(work)}.values():  # checkpoints come in order: the last one stays
        given = scores.get((asked.model, asked.checkpoint))
        nothing = np.full(len(span), np.nan)
        y = (
            {"mem_n": given.own[span], "mem_delta": given.delta[span]}
            if given
            else dict.fromkeys(("mem_n", "mem_delta"), nothing)
        )
        yield Scored(asked, table["example"].to_numpy(), spans.output[span], y)


def _counted(table: pl.DataFrame) -> Counted:
    return Counted(*(floats(table[name]) for name in ("count", "input_documents", "output_documents")))


def _same(rows: Rows) -> Rows:
    return rows


# -- answers --------------------------------------------------------------------------------------------------------------
def _why(model: Scored, measure: str, counted: Counted) -> str:
    """Why there is no number at all."""
    if not counted.supported.any():
        return NO_ROWS
    return "" if np.isfinite(model.y[measure]).any() else NO_SCORE


def _correlation(work: Work, rows: Rows, why: str) -> Estimate:
    return Estimate(None, note=why) if why else correlate(rows, work.settings["draws"], work.settings["seed"])


def _difference(work: Work, left: Rows, right: Rows, why: str) -> Estimate:
    """ρ of `left` minus ρ of `right`, which are the same rows: the same examples are drawn for both."""
    why = why or undefined(left) or undefined(right)
    if why:
        return Estimate(None, note=why)
    value = spearman(left.x, left.y) - spearman(right.x, right.y)
    if left.examples < 2:
        return Estimate(value, note="no interval: one example")
    first, second = (bootstrap_correlation(r, work.settings["draws"], work.settings["seed"]) for r in (left, right))
    low, high, missing = percentile_interval(first - second)
    return Estimate(value, low, high, note=missing)


def _add(
    answers: Answers,
    measure: str,
    estimate: Estimate,
    unit: str,
    order: int,
    model: Scored,
    rows: Rows,
    *,
    detail: str,
    note: str = "",
) -> None:
    answers.add(
        measure,
        "spearman",
        estimate,
        asked=model.asked,
        order=order,
        unit=unit,
        detail=detail,
        rows=len(rows),
        examples=rows.examples,
        note=note,
    )


def _exclude(answers: Answers, name: str, order: int, counted: Counted, of: Counted | None = None) -> None:
    """Rows of Φ by what became of them; with `of`, of those that it supports."""
    among = of.supported if of else np.ones(len(counted.count), bool)
    zero = among & (counted.count == 0)
    kept = among & counted.supported
    for reason, rows in {"zero corpus count": zero, "never counted": among & ~zero & ~kept, "kept": kept}.items():
        answers.exclude(
            "confound" if name == CLEAN else "placebo", f"{name}: {reason}", int(rows.sum()), "rows", order=order
        )
