"""How the measures of this group read windows and what models make of them: a checkpoint at a time, its windows as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.tables.sequences import NULLS, SAMPLES, SEQUENCES
from tasks.measures import ModelCheckpoint, checkpoints_of
from tasks.statistics import Estimate, Floats, Ints, bootstrap_statistic, percentile_interval, ratio
from tasks.step import Work

READS = ("models", "sequences", "sequence_scores")
MEASURED = ("models", "sequences", "sequence_measures")


def null_of(sample: str) -> str:
    """The sample of phantoms that a sample of members is compared with; "" for phantoms."""
    return NULLS.get(sample, "")


@dataclass(frozen=True)
class ScoredWindows:
    """Windows as one checkpoint sees them. `table`: rows of `sequences`; `values`: columns of `sequence_scores` or
    `sequence_measures`, a row for each window: [windows], of lists [windows, tokens], of `sampled` [windows, schemes, tokens]."""

    of: ModelCheckpoint
    table: pl.DataFrame
    values: dict[str, NDArray[Any]]

    @property
    def prefix(self) -> int:
        """Tokens of the prefix."""
        return int(self.table["prefix"][0])

    def samples(self) -> Iterator[tuple[str, Ints]]:
        """(sample, its rows) of each sample that has windows."""
        names = self.table["sample"].to_numpy()
        yield from ((name, rows) for name in SAMPLES if len(rows := np.flatnonzero(names == name)))

    def clusters(self, rows: Ints) -> Ints:
        """For each of these rows the number of its cluster of near copies, from 0 without gaps."""
        return np.unique(self.table["near_cluster"].to_numpy()[rows], return_inverse=True)[1]


def members_and_null(windows: ScoredWindows) -> Iterator[tuple[str, Ints, Ints]]:
    """(sample, its rows, the rows of the phantoms that it is compared with) of each sample of members."""
    samples = dict(windows.samples())
    yield from ((name, rows, samples.get(NULLS[name], np.empty(0, np.int64))) for name, rows in samples.items() if name in NULLS)


def read_windows(work: Work, *columns: str, of: str = "sequence_scores") -> Iterator[ScoredWindows]:
    """The windows of each checkpoint, in the order of models and training steps, with these columns of a table."""
    sequences = work.frame("sequences", *(name for name in SEQUENCES.schema.names if name != "ids")).sort("sequence")
    for checkpoint in checkpoints_of(work):
        labels = {"model": checkpoint.model, "checkpoint": str(checkpoint.checkpoint)}
        parts = [p for p in work.parts(of) if labels.items() <= p.labels.items()]
        if not parts:
            continue
        scores = pl.concat([work.frame_part(p, "sequence", *columns) for p in parts])
        table = sequences.join(scores, on="sequence", how="inner", maintain_order="left")
        if len(table):
            yield ScoredWindows(checkpoint, table.drop(columns), {name: as_array(table[name]) for name in columns})


def as_array(column: pl.Series) -> NDArray[Any]:
    """A column as an array of one row per window; lists, and lists of lists, must be of one length."""
    shape = [len(column)]
    while column.dtype == pl.List:
        column = column.explode(empty_as_null=False)
        shape.append(len(column) // max(1, int(np.prod(shape))))
    return column.to_numpy().reshape(shape)


def difference_of_means(values: Floats, members: NDArray[np.bool_], clusters: Ints, work: Work) -> Estimate:
    """The mean of members minus that of the others, with an interval that draws whole clusters of near copies."""
    if members.all() or not members.any():
        return Estimate(None, note="nothing to compare with" if members.any() else "nothing to take a mean of")
    sides = [np.where(side, 1.0, 0.0) for side in (members, ~members)]
    columns = [np.bincount(clusters, weights=w * of) for w in sides for of in (values, np.ones(len(values)))]

    def of(weights: NDArray[Any]) -> Floats:
        sums, n, others, m = (weights @ np.stack(columns, axis=1)).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / n - others / m

    drawn = bootstrap_statistic(int(clusters.max()) + 1, work.settings["draws"], work.settings["seed"], of)
    low, high, note = percentile_interval(drawn)
    return Estimate(float(of(np.ones((1, int(clusters.max()) + 1)))[0]), low, high, note=note)


def mean(values: Floats, clusters: Ints, work: Work) -> Estimate:
    """The mean over windows; its interval draws whole clusters of near copies."""
    sums, sizes = (np.bincount(clusters, weights=of).astype(np.float64) for of in (values, np.ones(len(values))))
    return ratio(sums, sizes, work.settings["draws"], work.settings["seed"])
