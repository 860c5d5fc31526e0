"""Does the answer hang on a choice? Mem_n and Mem_Δ over γ, n, the stop-word policy and the encoder (docs/method.md §2, §15).

    sweep   spearman     gamma=0.7 mem_n · gamma=p99 mem_delta · study mem_n · stop_words=authors mem_n · encoder=labse mem_n
            acceptance   gamma=0.7         share of all candidate pairs that lie above γ: γ means little without it
            rows_found   gamma=0.7         rows of Φ whose pair stands in the corpus

for every n of the task (`order`), at each model's last checkpoint, in pair units. `study` is the study as it is set, its row for
each n the sweep over n. Pairs were mined once above the lowest γ, so that a γ selects among rows that are there: examples,
counts and scores are read once for all of them. A sweep is a look at many numbers: it is in no family of tests, and its p is not
corrected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study, StudyError
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.evidence import NO_EVIDENCE, NO_SCORE, floats
from tasks.metrics.pairs import EXAMPLES_AT_ONCE, PAIR, Examples, evaluated, gamma_settings, phi, with_counts
from tasks.metrics.probabilities import Spans, span_scores, spans_of
from tasks.statistics import Estimate, Rows, correlate, undefined, wilson
from tasks.step import Work
from tasks.text.gamma import resolve

READS = ("examples", "example_ngrams", "task_grams", "similarities", "pair_counts", "ngram_stats", "models", "token_scores")
STEPS = 5  # of an even sweep
RARE = 0.95  # where it ends: what one in twenty of the mined pairs exceeds
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides the sweeps."""
    t = study.task(task)
    return {
        **gamma_settings(t, t.orders),
        "lowest_gamma": t.lowest_gamma,
        "sweep_gammas": study.measures.sweep_gammas,
        "draws": study.measures.sweep_bootstrap,
        "seed": study.seed,
    }


def run(work: Work, answers: Answers) -> None:
    """The curve over γ of the study itself; of a variant its own γ alone."""
    examples, pairs = evaluated(work, answers.task), _mined(work, answers.task)
    spread = work.frame("similarities", "task", "order", "at_most", "candidates").filter(task=answers.task)
    found = _found(work, examples, pairs)
    levels = {n: _levels(work, answers.task, n, pairs, spread) for n in sorted(int(n) for n in work.settings["gamma"])}
    for order, here in levels.items():
        _acceptance(answers, order, here, pairs, spread, found)
    models = models_of(work)
    last = {a.model: a for a in models}  # checkpoints ascend
    spans = spans_of(examples, pairs.clear())
    for asked in last.values():
        said = _contrast(work, answers.task, examples, pairs, spans, asked)
        for order, here in levels.items():
            _correlations(work, answers, asked, order, here, found.filter(order=order), said, spans)


# -- which γ ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Level:
    """A γ of one n: what rows call it, its number, or why there is none; x, where it is a point of the curve over γ."""

    name: str
    gamma: float | None
    why: str = ""
    x: float | None = None

    def above(self, similarity: Any) -> Any:
        """Which lie above, strictly, γ being rounded to float32 as similarities are: nothing does where there is no γ."""
        return similarity > (np.inf if self.gamma is None else float(np.float32(self.gamma)))


def _levels(work: Work, task: str, order: int, pairs: pl.DataFrame, spread: pl.DataFrame) -> list[Level]:
    lowest, asked = work.settings["lowest_gamma"], work.settings["sweep_gammas"]
    rows = spread.filter(pl.col("order") == order).sort("at_most")

    def level(name: str, gamma: float | str, on_curve: bool) -> Level:
        try:
            what = f"task {task!r}, n = {order}"
            found = (
                resolve(gamma, rows["at_most"].to_numpy(), rows["candidates"].to_numpy(), lowest, what)
                if isinstance(gamma, str)
                else float(gamma)
            )
        except StudyError as error:
            return Level(name, None, str(error))
        if found < lowest:
            why = f"γ = {found:g} is below lowest_gamma = {lowest:g}, above which pairs were mined; lower lowest_gamma"
            return Level(name, None, why, found if on_curve else None)
        return Level(name, found, "", found if on_curve else None)

    own = level(work.settings.get("of", "study"), work.settings["gamma"][str(order)], on_curve=False)
    gammas = _even(lowest, pairs.filter(order=order)["similarity"]) if asked == "even" else asked
    return [own, *(level(f"gamma={g if isinstance(g, str) else format(g, 'g')}", g, on_curve=True) for g in gammas)]


def _even(lowest: float, similarity: pl.Series) -> list[float]:
    """Even steps, in hundredths, from the lowest γ to what one in twenty of the mined pairs exceeds."""
    if not len(similarity):
        return [lowest]
    highest = float(np.quantile(similarity.to_numpy(), RARE))
    steps = [round(float(g), 2) for g in np.linspace(lowest, max(lowest, highest), STEPS)[1:-1]]
    steps.append(round((math.ceil(highest * 100) - 1) / 100, 2))  # below the similarity of pairs that are there
    return [lowest, *(g for g in dict.fromkeys(steps) if g > lowest)]


# -- what the corpus says ---------------------------------------------------------------------------------------------
def _mined(work: Work, task: str) -> pl.DataFrame:
    """All mined pairs: order, input_ngram, output_ngram, similarity."""
    table = work.frame("task_grams", "task", "order", *PAIR, "similarity").filter(task=task)
    return table.select(pl.col("order").cast(pl.Int64), *PAIR, pl.col("similarity").cast(pl.Float64)).sort("order", *PAIR)


def _found(work: Work, examples: Examples, pairs: pl.DataFrame) -> pl.DataFrame:
    """Φ at the lowest γ, of all n: the rows with a pair in the corpus, its counts and its similarity."""
    orders = sorted(int(n) for n in work.settings["gamma"])
    rows = [phi(examples, pairs, n).rows.with_columns(order=pl.lit(n, pl.Int64)) for n in orders]
    counted = with_counts(work, pl.concat(rows))
    counted = counted.filter((pl.col("count") > 0) & (pl.col("input_documents") > 0) & (pl.col("output_documents") > 0))
    return counted.join(pairs, on=["order", *PAIR], how="left", maintain_order="left")


def _acceptance(
    answers: Answers, order: int, levels: list[Level], pairs: pl.DataFrame, spread: pl.DataFrame, found: pl.DataFrame
) -> None:
    """The acceptance rate and the rows of each level, which no model decides."""
    mined = pairs.filter(order=order)["similarity"].to_numpy()
    candidates = int(spread.filter(pl.col("order") == order)["candidates"].sum() or 0)
    here = found.filter(order=order)
    for level in levels:
        accepted, rows = int(level.above(mined).sum()), here.filter(level.above(here["similarity"].to_numpy()))
        share = Estimate(None, note=level.why) if level.gamma is None else wilson(accepted, max(candidates, accepted))
        said = "" if level.gamma is None or level.x is not None else f"γ = {level.gamma:g}"
        answers.add(
            "sweep", "acceptance", share, order=order, unit="pair", detail=level.name, x=level.x, rows=candidates, note=said
        )
        number = Estimate(None, note=level.why) if level.gamma is None else Estimate(float(len(rows)))
        answers.add(
            "sweep",
            "rows_found",
            number,
            order=order,
            unit="pair",
            detail=level.name,
            x=level.x,
            rows=len(rows),
            examples=rows["example"].n_unique(),
            note=said,
        )


# -- what a model says ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Contrast:
    """log P of each span after its own input, and what Δ is taken from: after other inputs, with how alike the span's n-gram is
    to the n-gram of that input which is most alike (-inf: it is in a mined pair with none)."""

    own: Floats
    span: Ints
    other: Floats
    partner: Floats

    def delta(self, level: Level) -> Floats:
        """Δ = own - mean over the other inputs that hold no partner of s_y at this γ; NaN without any."""
        usable = np.isfinite(self.other) & ~level.above(self.partner)
        number = np.bincount(self.span, weights=usable, minlength=len(self.own))
        total = np.bincount(self.span, weights=np.where(usable, self.other, 0.0), minlength=len(self.own))
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.own - np.where(number > 0, total / number, np.nan)


def _contrast(work: Work, task: str, examples: Examples, pairs: pl.DataFrame, spans: Spans, asked: Asked) -> Contrast:
    """Read the scores of one model."""
    wanted = {"model": asked.model, "checkpoint": str(asked.checkpoint)}
    parts = [p for p in work.parts("token_scores") if all(p.labels.get(k, v) == v for k, v in wanted.items())]
    own, at, given, other = np.full(len(spans.start), np.nan), [], [], []
    for _, piece in span_scores(work, task, examples, spans, parts, {(asked.model, asked.checkpoint)}):
        own[piece.span[piece.own]] = piece.sums[piece.own]
        known = ~piece.own & (piece.given >= 0)
        at.append(piece.span[known])
        given.append(piece.given[known])
        other.append(piece.sums[known])
    span, whose_input = (np.concatenate([np.empty(0, np.int64), *values]).astype(np.int64) for values in (at, given))
    after = np.concatenate([np.empty(0), *other])
    return Contrast(own, span, after, _partners(examples, pairs, spans, span, whose_input))


def _partners(examples: Examples, pairs: pl.DataFrame, spans: Spans, span: Ints, given: Ints) -> Floats:
    """The largest similarity of each span's n-gram to an n-gram of the input that was given; -inf where no pair was mined."""
    outputs = examples.spans.select("span", "order", "output_ngram")
    rows = pl.DataFrame({"example": given, "span": span}).join(outputs, on="span", how="left", maintain_order="left")
    asked = rows.select("example", "order", "output_ngram").unique()
    found = [asked.clear().with_columns(similarity=pl.lit(0.0))]
    inputs = examples.inputs.join(asked, on=["example", "order"], how="semi")
    for begin in range(0, len(examples.names), EXAMPLES_AT_ONCE):
        here = pl.col("example").is_between(begin, begin + EXAMPLES_AT_ONCE, closed="left")
        held = inputs.filter(here).join(pairs, on=["order", "input_ngram"])
        held = held.join(asked.filter(here), on=["example", "order", "output_ngram"], how="semi")
        found.append(held.group_by("example", "order", "output_ngram").agg(pl.col("similarity").max()))
    alike = rows.join(pl.concat(found), on=["example", "order", "output_ngram"], how="left", maintain_order="left")
    return alike["similarity"].fill_null(-np.inf).to_numpy()


def _correlations(
    work: Work,
    answers: Answers,
    asked: Asked,
    order: int,
    levels: list[Level],
    found: pl.DataFrame,
    said: Contrast,
    spans: Spans,
) -> None:
    """Mem_n and Mem_Δ of one model at one n, as `distributional` takes them, at each γ."""
    span, count = found["span"].to_numpy(), floats(found["count"])
    similarity, examples = found["similarity"].to_numpy(), found["example"].to_numpy()
    log_p = np.log(count / floats(found["input_documents"]))
    # one division of exact integers, so that equal values stay tied
    pmi = np.log(count / (floats(found["input_documents"]) * floats(found["output_documents"])))
    for level in levels:
        above = level.above(similarity)
        for measure, x, values, names in (
            ("mem_n", log_p, said.own, ("log P_n", "log P_LLM")),
            ("mem_delta", pmi, said.delta(level), ("log PMI", "Δ")),
        ):
            y = values[span]
            keep = above & np.isfinite(y)
            rows = Rows(x[keep], y[keep], examples[keep], spans.output[span[keep]])
            why = next(_why(level, above, said, rows, names), "")
            estimate = (
                Estimate(None, note=why)
                if why
                else correlate(rows, work.settings["draws"], work.settings["seed"], x_name=names[0], y_name=names[1])
            )
            answers.add(
                "sweep",
                "spearman",
                estimate,
                asked=asked,
                order=order,
                unit="pair",
                detail=f"{level.name} {measure}",
                x=level.x,
                rows=len(rows),
                examples=rows.examples,
            )


def _why(level: Level, above: NDArray[np.bool_], said: Contrast, rows: Rows, names: tuple[str, str]) -> Iterator[str]:
    """Why there is no number, the first reason first."""
    if level.gamma is None:
        yield level.why
    if not above.any():
        yield NO_EVIDENCE
    if not np.isfinite(said.own).any():
        yield NO_SCORE
    if why := undefined(rows, *names):
        yield why
