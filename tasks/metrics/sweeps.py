"""Does the answer depend on a choice? Mem_n and Mem_Δ over γ, n, the stop-word policy and the encoder (docs/method.md §2, §15).

    sweep   spearman     of_measure mem_n or mem_delta; gamma 0.7, p99 …, or variant stop_words=authors, encoder=labse …
            acceptance   share of all candidate pairs that lie above γ: γ means little without it
            rows_found   rows of Φ whose pair occurs in the corpus

for every n of the task (`order`), at each model's last checkpoint, in pair units. Without `gamma` and `variant` a row is of
the study as it is set; for each n it is the sweep over n. Pairs were mined once above the lowest γ, so that a γ selects among
rows that are there: examples, counts and scores are read once for all of them. A sweep is a look at many numbers: it is in no
family of tests, and its p is not corrected.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from schemas import Study, StudyError
from schemas.settings.study_file import Task
from tasks.measures import Measure, MetricRows, ModelCheckpoint, gamma_settings, orders_of
from tasks.pair_evidence import PAIRS_AND_SCORES, TaskEvidence, read_evidence
from tasks.pair_measures import MEM_DELTA, MEM_N, why_none
from tasks.statistics import Estimate, correlate, wilson
from tasks.step import Work
from tasks.text.gamma import resolve

STEPS = 5  # of an even sweep
RARE = 0.95  # where it ends: what one in twenty of the mined pairs exceeds


def settings(study: Study, task: Task) -> dict[str, Any]:
    draws = {"draws": study.measures.sweep_bootstrap, "seed": study.seed}
    lowest = {"lowest_gamma": task.lowest_gamma, "sweep_gammas": study.measures.sweep_gammas}
    return gamma_settings(task, task.orders) | lowest | draws


def run(work: Work, rows: MetricRows) -> None:
    """The curve over γ of the study itself; of a variant its own γ alone."""
    evidence = read_evidence(work, rows.task, last=True, every_pair=True)
    mined = work.frame("task_grams", "task", "order", "similarity").filter(task=rows.task)
    spread = work.frame("similarities", "task", "order", "at_most", "candidates").filter(task=rows.task)
    levels, variant = {}, work.settings.get("of", "")
    for order in orders_of(work):
        here = mined.filter(order=order)["similarity"].cast(pl.Float64)
        levels[order] = _levels(work, rows.task, order, here, spread)
        candidates = int(spread.filter(pl.col("order") == order)["candidates"].sum() or 0)
        _acceptance(rows, order, levels[order], here.to_numpy(), candidates, evidence.supported(order), variant)
    for checkpoint in evidence.models:
        for order, some in levels.items():
            _correlations(work, rows, checkpoint, order, some, evidence)


# -- which γ ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Level:
    """A γ of one n: how it is named, where it is not as set, its number, or why there is none; x, where it is on the curve."""

    named: str
    gamma: float | None
    why: str = ""
    x: float | None = None

    @property
    def rounded(self) -> float:
        """γ rounded to float32 as similarities are; infinite where there is none."""
        return float("inf") if self.gamma is None else float(np.float32(self.gamma))

    def above(self, similarity: Any) -> Any:
        """Which lie above, strictly: nothing does where there is no γ."""
        return similarity > self.rounded


def _levels(work: Work, task: str, order: int, mined: pl.Series, spread: pl.DataFrame) -> list[Level]:
    lowest, wanted = work.settings["lowest_gamma"], work.settings["sweep_gammas"]
    rows = spread.filter(pl.col("order") == order).sort("at_most")
    spread_of = (rows["at_most"].to_numpy(), rows["candidates"].to_numpy())

    def level(gamma: float | str, on_curve: bool) -> Level:
        name = "" if not on_curve else gamma if isinstance(gamma, str) else format(gamma, "g")
        try:
            what = f"task {task!r}, n = {order}"
            number = resolve(gamma, *spread_of, lowest, what) if isinstance(gamma, str) else float(gamma)
        except StudyError as error:
            return Level(name, None, str(error))
        if number < lowest:
            why = f"γ = {number:g} is below lowest_gamma = {lowest:g}, above which pairs were mined; lower lowest_gamma"
            return Level(name, None, why, number if on_curve else None)
        return Level(name, number, "", number if on_curve else None)

    base = level(work.settings["gamma"][str(order)], on_curve=False)
    gammas = _even(lowest, mined) if wanted == "even" else wanted
    return [base, *(level(g, on_curve=True) for g in gammas)]


def _even(lowest: float, similarity: pl.Series) -> list[float]:
    """Even steps, in hundredths, from the lowest γ to what one in twenty of the mined pairs exceeds."""
    if not len(similarity):
        return [lowest]
    highest = float(np.quantile(similarity.to_numpy(), RARE))
    steps = [round(float(g), 2) for g in np.linspace(lowest, max(lowest, highest), STEPS)[1:-1]]
    steps.append(round((math.ceil(highest * 100) - 1) / 100, 2))  # below the similarity of pairs that are there
    return [lowest, *(g for g in dict.fromkeys(steps) if g > lowest)]


# -- the numbers at each γ ---------------------------------------------------------------------------------------------
def _acceptance(rows: MetricRows, n: int, levels: list[Level], mined: Any, every: int, pairs: pl.DataFrame, variant: str) -> None:
    """The acceptance rate and the rows of each level, which no model decides. every: candidates."""
    for level in levels:
        accepted, here = int(level.above(mined).sum()), pairs.filter(level.above(pairs["similarity"].to_numpy()))
        share, number = wilson(accepted, max(every, accepted)), Estimate(float(len(here)))
        if level.gamma is None:
            share = number = Estimate(None, note=level.why)
        note = "" if level.gamma is None or level.x is not None else f"γ = {level.gamma:g}"
        more: dict[str, Any] = {"order": n, "unit": "pair", "x": level.x, "note": note, "variant": variant}
        more["gamma"] = level.named
        rows.add("sweep", "acceptance", share, rows=every, **more)
        rows.add("sweep", "rows_found", number, rows=len(here), examples=here["example"].n_unique(), **more)


def _correlations(work: Work, rows: MetricRows, of: ModelCheckpoint, n: int, levels: list[Level], evidence: TaskEvidence) -> None:
    """Mem_n and Mem_Δ of one model at one n, as `distributional_memorization` has them, at each γ."""
    pairs, scores = evidence.supported(n), evidence.of(of)
    span, similarity = pairs["span"].to_numpy(), pairs["similarity"].to_numpy()
    draws, sides = (work.settings["draws"], work.settings["seed"]), [(m, m.x(pairs)) for m in (MEM_N, MEM_DELTA)]
    for level in levels:
        above, at_level = level.above(similarity), scores.at_gamma(level.rounded)
        for measure, x in sides:
            y = measure.y(at_level)[span]
            kept = evidence.rows(pairs, x, y).take(above & np.isfinite(y))
            why = level.why or why_none(pairs.filter(above), kept, scores, measure.names)
            estimate = Estimate(None, note=why) if why else correlate(kept, *draws)
            more: dict[str, Any] = {"of": of, "order": n, "unit": "pair", "of_measure": measure.name, "over": kept}
            rows.add("sweep", "spearman", estimate, variant=work.settings.get("of", ""), gamma=level.named, x=level.x, **more)


READS = (*PAIRS_AND_SCORES, "task_grams", "similarities")
MEASURE = Measure("sweeps", READS, settings, run, cost=5.0, of_variants=True)
