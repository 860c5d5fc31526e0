"""Emergence: from which size on do a model's probabilities follow the corpus's counts? (docs/method.md §9)

    slope_m  = slope of log P_LLM(s_y) on log C(s_x, s_y), over the rows that all models scored
    slope(N) = max(0, b · (log N - log N₀))           N: parameters, natural logarithms

A row is one (example, s_y), log C averaged over its s_x: y is the same for all of them, so that a row for each s_x would let
long inputs weigh more and say nothing new. The hinge is fitted by least squares, all models alike. Whole examples are
resampled, the same for all models (their slopes rest on the same rows and rise and fall together), and everything is fitted again.

N₀ is not identified where its interval reaches an end of the ladder: the smallest size, or the last but one, since a single
slope above zero fits any onset between the two largest. A slope on log C is no proof of memorized pairs: frequent outputs are
likelier whatever the input (docs/method.md §6a).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tasks.measures import Measure, MetricRows, settings_of_first_order
from tasks.pair_evidence import PAIRS_AND_SCORES, read_evidence
from tasks.statistics import Estimate, Floats, Ints, Rows, resample, with_interval
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.statistics.hinge import fit_hinges
from tasks.step import Work

FEWEST_SIZES = 5


@dataclass(frozen=True)
class Ladder:
    """log C and, for each model, log P_LLM of the same rows. Shapes: (rows,), (models, rows), (rows,), (models,)."""

    log_count: Floats
    log_p: Floats
    example: Ints
    log_size: Floats


@dataclass(frozen=True)
class Onset:
    """The slope of each model, and the hinge through them."""

    slopes: list[Estimate]
    parameters: Estimate
    rise: Estimate


def run(work: Work, rows: MetricRows) -> None:
    """One slope for each model's last checkpoint, and the onset and rise of the hinge."""
    order, evidence = work.settings["order"], read_evidence(work, rows.task, last=True)
    pairs = evidence.phi(order).filter(pl.col("pair_documents") > 0)
    outputs = pairs.group_by("example", "span").agg(x=pl.col("pair_documents").log().mean()).sort("span")
    span = outputs["span"].to_numpy()
    log_probs = {m: evidence.of(m).log_prob[span] for m in evidence.models}
    ladder = [m for m in evidence.models if np.isfinite(log_probs[m]).any()]
    y = np.array([log_probs[m] for m in ladder], dtype=np.float64).reshape(len(ladder), len(span))
    common, unscored = np.isfinite(y).all(axis=0), [m for m in evidence.models if m not in ladder]
    lost = ("not scored by every model", (~common).sum(), "rows")
    for reason, number, of in (("no score of this model", len(unscored), "models"), lost, ("kept", common.sum(), "rows")):
        rows.exclude("emergence", reason, number, of, order=order)
    log_size = np.log(np.array([m.parameters for m in ladder], dtype=np.float64))
    table = Ladder(outputs["x"].to_numpy()[common], y[:, common], outputs["example"].to_numpy()[common], log_size)
    hinge, more = onset(table, work.settings), dict[str, Any](order=order, unit="example_output")
    over = Rows(table.log_count, table.log_count, table.example, table.example)
    for checkpoint, estimate in zip(ladder, hinge.slopes, strict=True):
        rows.add("emergence", "log_count_slope", estimate, of=checkpoint, over=over, **more)
    for checkpoint in unscored:
        missing = Estimate(None, note="no score: the model has no log-probability of any of these outputs")
        rows.add("emergence", "log_count_slope", missing, of=checkpoint, **more)
    rows.add("emergence", "onset_parameters", hinge.parameters, over=over, **more)
    rows.add("emergence", "slope", hinge.rise, over=over, **more)


def onset(table: Ladder, settings: Any) -> Onset:
    """Slopes, N₀ in parameters and b in nats per (log count × log size), each with its joint percentile interval."""
    why = "log C is the same in all rows" if len(table.log_count) and np.ptp(table.log_count) == 0 else ""
    if len(table.log_count) < FEWEST_ROWS:
        why = f"fewer than {FEWEST_ROWS} rows with a pair in the corpus that every model scored"
    if not len(table.log_size):
        why = "no score: no model has a log-probability of any of these outputs"
    if why:
        nothing = Estimate(None, note=why)
        return Onset([nothing] * len(table.log_size), nothing, nothing)
    example = np.unique(table.example, return_inverse=True)[1]
    x, y = table.log_count - table.log_count.mean(), table.log_p - table.log_p.mean(axis=1, keepdims=True)
    # per example: rows, Σx, Σx², then Σy and Σxy of each model; a draw's slopes are a product of its weights with these
    columns = (np.ones(len(x)), x, x * x, *y, *(x * y))
    sums = np.stack([np.bincount(example, weights=v).astype(np.float64) for v in columns], axis=1)
    point, draws = resample(len(sums), settings, lambda weights: _slopes(weights @ sums))
    draws = draws[: len(draws) * (len(sums) > 1)]
    slopes = [with_interval(value, column) for value, column in zip(point, draws.T, strict=True)]
    sizes = len(np.unique(table.log_size))
    drawn = draws[np.isfinite(draws).all(axis=1)]
    if sizes < FEWEST_SIZES:
        nothing = Estimate(None, note=f"the ladder has {sizes} sizes; {FEWEST_SIZES} are needed")
        return Onset(slopes, nothing, nothing)
    if len(drawn) < max(1, len(draws) / 2):
        note = "one example: no interval, so N₀ is not identified" if len(sums) < 2 else "most resamples are constant"
        return Onset(slopes, Estimate(None, note=note), Estimate(None, note=note))
    return Onset(slopes, *_identified(table.log_size, point, drawn))


def _identified(log_size: Floats, point: Floats, drawn: Floats) -> tuple[Estimate, Estimate]:
    """N₀ and b, or why they are not identified."""
    sizes = np.unique(log_size)
    (start,), (rise,) = fit_hinges(log_size, point[None, :])
    starts, rises = fit_hinges(log_size, drawn)
    low, high = np.percentile(starts, 2.5, method="lower"), np.percentile(starts, 97.5, method="higher")
    reached = [f"the smallest model ({np.exp(sizes[0]):.4g} parameters)"] if min(low, start) <= sizes[0] else []
    if at_end := max(high, start) >= sizes[-2]:
        reached.append(f"the last step of the ladder (from {np.exp(sizes[-2]):.4g} parameters)")
    if not reached:
        first, least, most = (float(np.exp(v)) for v in (start, low, high))
        return Estimate(first, least, most), with_interval(rise, rises)
    nothing = Estimate(None, note=f"not identified: the interval of N₀ reaches {' and '.join(reached)}")
    return nothing, nothing if at_end else with_interval(rise, rises)


def _slopes(sums: Floats) -> Floats:
    """cov(x, y) / var(x) of each model; NaN where x does not vary. Shapes: (draws, 3 + 2·models) → (draws, models)."""
    n, x, xx = (sums[:, i, None] for i in range(3))
    models = (sums.shape[1] - 3) // 2
    spread = xx - x * x / n
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (sums[:, 3 + models :] - x * sums[:, 3 : 3 + models] / n) / spread
    return np.where(spread > 1e-9 * np.maximum(xx, 1e-300), slopes, np.nan)


MEASURE = Measure("emergence", PAIRS_AND_SCORES, settings_of_first_order, run, cost=3.0)
