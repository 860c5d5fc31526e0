"""How Δ grows with the number of documents that hold the pair, at equal frequency and length of s_y (docs/method.md §6d).

Rows are put into strata: quarters of df(s_y) by thirds of the characters of s_y. Everything is compared inside strata only:
    curve    Δ = α_stratum + β_bin by least squares, bins of equal numbers of rows along C; shown is mean Δ + β_bin - mean β,
             the Δ of the bin if all bins held the same strata
    slope    Δ = α_stratum + b · ln C: b nats for e times the documents
    documents per nat = C* / b, C* = geometric mean of C: how many more documents of the typical pair raise Δ by one nat, to
             first order (dΔ/dC = b / C). Not identified where the interval of b lies at or below 0
Each draw of whole examples gives a curve, a slope and a C*; the strata and the bins are those of all rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import Measure, MetricRows, ModelCheckpoint, orders_of, settings_of_all_orders
from tasks.pair_evidence import PAIRS_AND_SCORES, TaskEvidence, read_evidence
from tasks.pair_measures import NO_EVIDENCE, NO_SCORE, codes_of, floats
from tasks.statistics import Estimate, Floats, Ints, Rows, resample, with_interval
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.step import Work

FREQUENCIES, LENGTHS = 4, 3


def run(work: Work, rows: MetricRows) -> None:
    """The curve of every order and each model's last checkpoint."""
    evidence = read_evidence(work, rows.task, last=True)
    for order in orders_of(work):
        pairs = evidence.supported(order)
        for checkpoint in evidence.models:
            _curve(work, rows, evidence, pairs, order, checkpoint)


def quantile_bins(values: Floats, bins: int) -> Ints:
    """Codes from 0 of bins with about as many rows each; equal values share a bin, so there may be fewer."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    return codes_of(np.searchsorted(edges, values, side="right"))


def adjusted_means(rows: Floats, sums: Floats) -> Floats:
    """Mean of each bin, adjusted for strata. rows, sums: (draws, strata, bins) → (draws, bins). Bins that no chain of shared strata
    joins cannot be compared: such a draw is NaN, and so is a bin without rows."""
    in_bin, in_stratum = rows.sum(axis=1), rows.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(in_stratum[:, :, None] > 0, rows / in_stratum[:, :, None], 0.0)
    # the strata's effects are taken out first, which leaves one equation for each bin
    left = np.einsum("db,bc->dbc", in_bin, np.eye(rows.shape[2])) - np.einsum("dsb,dsc->dbc", rows, share)
    right = sums.sum(axis=1) - np.einsum("dsb,ds->db", share, sums.sum(axis=2))
    effects = np.einsum("dbc,dc->db", np.linalg.pinv(left, rcond=1e-9, hermitian=True), right)
    total = in_bin.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums.sum(axis=(1, 2))[:, None] - (in_bin * effects).sum(axis=1, keepdims=True)) / total + effects
    joined = np.linalg.matrix_rank(left, tol=1e-9 * total[:, :, None].max(initial=1), hermitian=True) == (in_bin > 0).sum(1) - 1
    return np.where(joined[:, None] & (in_bin > 0), means, np.nan)


def largest_component(rows: Floats) -> NDArray[np.bool_]:
    """Which bins hang together through strata with the most rows. rows: (strata, bins)."""
    touching = (rows.T @ rows) > 0
    reach = np.linalg.matrix_power(touching.astype(np.int64) + np.eye(len(touching), dtype=np.int64), len(touching)) > 0
    return reach[int(np.argmax(reach @ rows.sum(axis=0)))]


def _curve(work: Work, rows: MetricRows, evidence: TaskEvidence, pairs: pl.DataFrame, order: int, of: ModelCheckpoint) -> None:
    scores, span = evidence.of(of), pairs["span"].to_numpy()
    delta = scores.delta[span]
    kept = pairs.filter(pl.Series(np.isfinite(delta)))
    every = evidence.rows(kept, floats(kept["pair_documents"]), delta[np.isfinite(delta)])
    more: dict[str, Any] = {"of": of, "order": order, "unit": "pair"}
    why = NO_EVIDENCE if not len(pairs) else NO_SCORE if not np.isfinite(scores.log_prob[span]).any() else ""
    why = why or ("no other input without a partner" if not len(kept) else "")
    why = why or (f"fewer than {FEWEST_ROWS} rows" if len(kept) < FEWEST_ROWS else "")
    if why:
        for statistic, first in (("delta_mean", 0), ("slope", -1), ("documents_per_nat", -1)):
            rows.add("exposure", statistic, Estimate(None, note=why), bin=first, over=every, **more)
        return
    length = floats(kept["output_ngram"].str.len_chars())
    strata = quantile_bins(floats(kept["output_documents"]), FREQUENCIES) * LENGTHS + quantile_bins(length, LENGTHS)
    strata, bins = codes_of(strata), quantile_bins(every.x, work.settings["bins"])
    point, drawn, usable = _means(every, strata, bins, work.settings)
    for b in range(int(bins.max()) + 1):
        here = every.take(bins == b)
        estimate = Estimate(None, note="no stratum of df(s_y) and length holds rows of this bin and of the others")
        if usable[b]:
            estimate = _with_interval(point[b], drawn[:, b], every.examples)
        covers = f"C from {here.x.min():.0f} to {here.x.max():.0f}"
        rows.add("exposure", "delta_mean", estimate, bin=b, x=float(here.x.mean()), note=covers, over=here, **more)
    slope, typical = _slopes(every, strata, work.settings)
    rise = _with_interval(slope[0], slope[1:], every.examples, "C does not vary within strata of df(s_y) and length")
    for statistic, estimate in (("slope", rise), ("documents_per_nat", _per_nat(rise, slope, typical))):
        rows.add("exposure", statistic, estimate, x=float(typical[0]), over=every, **more)


def _means(rows: Rows, strata: Ints, bins: Ints, settings: Mapping[str, Any]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The curve (bins,), its draws (draws, bins), and which bins can be compared at all."""
    shape = (int(strata.max()) + 1, int(bins.max()) + 1)
    number, sums = (_by_example(v, rows, strata * shape[1] + bins, shape[0] * shape[1]) for v in (np.ones(len(rows)), rows.y))
    usable = largest_component(number.sum(axis=0).reshape(shape))

    def of(weights: NDArray[np.int32]) -> Floats:
        counts = weights.astype(np.float64)  # products of small integers with numbers are not left to BLAS
        tables = ((counts @ table).reshape(-1, *shape)[:, :, usable] for table in (number, sums))
        means = np.full((len(weights), shape[1]), np.nan)
        means[:, usable] = adjusted_means(*tables)
        return means

    return *resample(len(number), settings, of), usable


def _slopes(rows: Rows, strata: Ints, settings: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """b and C*, of all rows first and then of each draw."""
    logs, delta, size = np.log(rows.x), rows.y, int(strata.max()) + 1
    centred = logs - logs.mean()  # sums of squares then keep their digits
    values = (np.ones(len(delta)), centred, delta, centred**2, centred * delta)
    tables = np.concatenate([_by_example(v, rows, strata, size) for v in values], axis=1)

    def of(weights: NDArray[np.int32]) -> Floats:
        n, c, d, cc, cd = np.moveaxis((weights.astype(np.float64) @ tables).reshape(len(weights), 5, size), 1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.where(n > 0, cc - c * c / n, 0.0).sum(axis=1)
            together = np.where(n > 0, cd - c * d / n, 0.0).sum(axis=1)
            slope = np.where(spread > 1e-9 * cc.sum(axis=1), together / spread, np.nan)
            return np.column_stack([slope, np.exp(logs.mean() + c.sum(axis=1) / n.sum(axis=1))])

    point, drawn = resample(len(tables), settings, of)
    both = np.concatenate([point[None], drawn])
    return both[:, 0], both[:, 1]


def _by_example(values: Floats, rows: Rows, cell: Ints, cells: int) -> Floats:
    example = codes_of(rows.example)
    sums = np.bincount(example * cells + cell, weights=values, minlength=(int(example.max()) + 1) * cells)
    return np.asarray(sums, np.float64).reshape(-1, cells)


def _with_interval(value: float, drawn: Floats, examples: int, undefined: str = "not defined") -> Estimate:
    return with_interval(value, drawn if examples > 1 else None, undefined=undefined)


def _per_nat(rise: Estimate, slope: Floats, typical: Floats) -> Estimate:
    """C* / b. A draw with b ≤ 0 asks for endlessly many documents."""
    if rise.value is None:
        return rise
    if rise.value <= 0 or (rise.high is not None and rise.high <= 0):
        return Estimate(None, note="not identified: Δ does not rise with C")
    value = float(typical[0] / slope[0])
    if rise.low is None:
        return Estimate(value, note=rise.note)
    if rise.low <= 0:
        return Estimate(value, note="not identified from above: the interval of the slope reaches 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(slope[1:] > 0, typical[1:] / slope[1:], np.where(np.isnan(slope[1:]), np.nan, np.inf))
    low, high = np.nanpercentile(needed, [2.5, 97.5], method="higher")
    return Estimate(value, float(low), float(high))


MEASURE = Measure(
    "count_response", PAIRS_AND_SCORES, lambda s, t: settings_of_all_orders(s, t) | {"bins": s.measures.bins}, run, cost=2.0
)
