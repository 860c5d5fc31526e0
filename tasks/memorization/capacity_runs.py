"""Runs of the grid of capacities as arrays, and what of memorization and generalization is left once capacity is held fixed.

All correlations are of ranks. Runs of a cell differ in their seeds alone, so intervals resample whole cells, and permutations move
the means of cells within strata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.statistics import Estimate, Floats, Ints, bootstrap_many
from tasks.statistics.partial import partial_correlation, rank_correlations
from tasks.step import Work

MEMORIZATION = ("bits", "extraction", "accuracy")  # definitions that are compared
CONTROLS = ("log parameters", "log corpus", "log epochs")
OVERFITS = 0.002  # validation perplexity this much above the best before it
DRAWS, PERMUTATIONS = 2_000, 2_000
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class CapacityRuns:
    """Runs that ended, each as one element. epochs: how often a run sees a sequence on average, copies included; memorization: by
    definition, at the end of the training: unintended bits of a sequence, and extraction and token accuracy beyond phantoms of the
    same group; generalization: minus bits per token of fresh sequences; before: token accuracy beyond phantoms at the checkpoint
    before the run overfits, or the last one; overfits: whether it does; diverged: runs that are not here; seed: of the draws."""

    parameters: Floats
    corpus: Floats
    epochs: Floats
    cell: Ints
    memorization: Mapping[str, Floats]
    generalization: Floats
    before: Floats
    overfits: Bools
    variant: Ints  # weight decay and copies
    diverged: int = 0
    seed: int = 0

    def __len__(self) -> int:
        return len(self.parameters)

    def take(self, rows: Ints | Bools) -> CapacityRuns:
        """Some of the runs."""
        arrays: dict[str, Any] = {name: of[rows] for name, of in vars(self).items() if isinstance(of, np.ndarray)}
        return replace(self, **arrays, memorization={name: of[rows] for name, of in self.memorization.items()})

    @property
    def controls(self) -> list[tuple[str, Floats]]:
        """What is held fixed, of it what varies."""
        of = (np.log(self.parameters), np.log(self.corpus), np.log(self.epochs))
        return [(name, values) for name, values in zip(CONTROLS, of, strict=True) if len(values) and np.ptp(values) > 0]

    def strata(self, *columns: Floats | Ints) -> Ints:
        """Codes of the runs that are equal in all of these columns."""
        return np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].ravel().astype(np.int64)

    @property
    def capacity(self) -> Ints:
        """Codes of runs of the same size, corpus and epochs."""
        return self.strata(self.parameters, self.corpus, self.epochs)


def read_runs(work: Work, overfits: float = OVERFITS) -> CapacityRuns:
    """The grid of the study."""
    table = work.frame("capacity_runs").filter(kind="grid").sort("cell", "seed", "checkpoint", "group")
    return runs_of(table, work.settings.get("seed", 0), overfits)


def runs_of(table: pl.DataFrame, seed: int = 0, overfits: float = OVERFITS) -> CapacityRuns:
    """The same of rows of `capacity_runs` in the order of its key."""
    run = ["cell", "seed"]
    diverged = table.filter("diverged").select(run).unique().height
    table = table.filter(~pl.col("diverged"))
    # beyond phantoms of the same group, weighted by its members: groups have not the same share of members and of phantoms
    by_group = table.filter((pl.col("group") != "") & (pl.col("sequences") > 0) & (pl.col("phantoms") > 0))
    more = [
        ((pl.col(f"training_{name}") - pl.col(f"validation_{name}")) * pl.col("sequences")).sum().alias(f"excess_{name}")
        / pl.col("sequences").sum()
        for name in ("accuracy", "extraction")
    ]
    excess = by_group.group_by(*run, "checkpoint").agg(more)
    # with copies an epoch has more steps: held fixed is how often a run sees a sequence; rounded, as corpora differ a little
    views = pl.col("epochs") * pl.col("instances") / pl.col("sequences")
    table = table.with_columns(epochs=views.round_sig_figs(2))
    whole = table.filter(group="").join(excess, on=[*run, "checkpoint"], how="left").sort(*run, "checkpoint")
    rows = list[dict[str, Any]]()
    for _, of in whole.group_by(run, maintain_order=True):
        at, ends = before_overfitting(of["validation_bits"].to_numpy(), overfits)
        rows.append(of.row(-1, named=True) | {"before": of["excess_accuracy"][at], "overfits": ends})
    ended = pl.DataFrame(rows) if rows else whole.with_columns(before=0.0, overfits=False)

    def column(name: str) -> Floats:
        return ended[name].cast(pl.Float64).fill_null(np.nan).to_numpy()

    parameters, corpus, epochs, generalization, before = map(column, ("parameters", "corpus", "epochs", "generalization", "before"))
    memorization = {"bits": column("bits"), "extraction": column("excess_extraction"), "accuracy": column("excess_accuracy")}
    cell, variant = (
        ended.select(pl.struct(names).rank("dense").cast(pl.Int64)).to_series().to_numpy()
        for names in (["cell"], ["weight_decay", "dedup"])
    )
    overfit = ended["overfits"].to_numpy()
    return CapacityRuns(parameters, corpus, epochs, cell, memorization, generalization, before, overfit, variant, diverged, seed)


def before_overfitting(bits: Floats, above: float = OVERFITS) -> tuple[int, bool]:
    """(number of the checkpoint before the first whose perplexity, 2 to the bits per token, is above the best before it by a share,
    whether there is such a one); else the last checkpoint."""
    best = np.minimum.accumulate(bits)[:-1]
    later = np.flatnonzero(bits[1:] > best + np.log2(1 + above))
    return (int(later[0]), True) if len(later) else (len(bits) - 1, False)


# -- correlations -------------------------------------------------------------------------------------------------------------
def correlations(runs: CapacityRuns, of: str, level: float = 0.95) -> dict[str, Estimate]:
    """Spearman's ρ of memorization and generalization, `raw`, `partial` given size, corpus and epochs, and `half`: half of the
    former minus the latter, which is above 0 if capacity explains more than half of it."""
    x, y = runs.memorization[of], runs.generalization
    if why := undefined(x, y):
        return dict.fromkeys(("raw", "partial", "half"), Estimate(None, note=why))
    columns = np.array([x, y, *(values for _, values in runs.controls)])

    def values(matrices: Floats) -> dict[str, Floats]:
        raw, partial = partial_correlation(matrices, []), partial_correlation(matrices, range(2, len(columns)))
        return {"raw": raw, "partial": partial, "half": raw / 2 - partial}

    drawn, cells = values(bootstrap_many(columns, runs.cell, None, DRAWS, runs.seed)), len(np.unique(runs.cell))
    points = values(rank_correlations(columns)[None])
    return {name: _with_interval(float(point[0]), drawn[name], level, cells) for name, point in points.items()}


def _with_interval(value: float, drawn: Floats, level: float, cells: int) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, note="size, corpus and epochs decide one of them")
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < DRAWS / 2:
        return Estimate(value, note="no interval: most resamples are constant")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), clusters=float(cells))


def undefined(x: Floats, y: Floats) -> str:
    """Why there is no correlation; empty if there is one."""
    if len(x) < 4:
        return "fewer than four runs ended"
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return "a run has no value, because there are no phantoms to compare with"
    for name, values in (("memorization", x), ("generalization", y)):
        if np.ptp(values) == 0:
            return f"{name} is the same in all runs"
    return ""


def within(runs: CapacityRuns, of: str, strata: Ints) -> Estimate:
    """Spearman's ρ inside strata, pooled: ranks of the cells' means minus their stratum's mean; p by permutation inside strata."""
    cells, first = np.unique(runs.cell, return_index=True)
    code = np.searchsorted(cells, runs.cell)
    number = np.bincount(code)
    x, y = (np.bincount(code, weights=values) / number for values in (runs.memorization[of], runs.generalization))
    if why := undefined(x, y):
        return Estimate(None, note=why)
    from scipy import stats

    stratum = np.unique(strata[first], return_inverse=True)[1]
    sizes = np.bincount(stratum)
    if sizes.max() < 2:
        return Estimate(None, note="one cell in each stratum: nothing varies there")
    a, b = (ranks - (np.bincount(stratum, weights=ranks) / sizes)[stratum] for ranks in (stats.rankdata(x), stats.rankdata(y)))
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    if scale < 1e-9:
        return Estimate(None, note="nothing varies inside strata")
    order, random, products = np.argsort(stratum, kind="stable"), np.random.default_rng(runs.seed), []
    for _ in range(PERMUTATIONS):
        moved = np.lexsort((random.random(len(b)), stratum))
        products.append((a[order] * b[moved]).sum())
    value = float((a * b).sum() / scale)
    p = (1 + int((np.abs(products) >= abs(value) * scale - 1e-9).sum())) / (1 + PERMUTATIONS)
    return Estimate(value, p_value=p, clusters=float(len(cells)))


def dummies(*columns: Floats | Ints) -> Floats:
    """A constant, and for each column an indicator of each of its values but the first."""
    indicators: Sequence[Any] = [(of[:, None] == np.unique(of)[1:]).astype(float) for of in columns]
    return np.column_stack([np.ones(len(columns[0])), *indicators])
