"""How the measures of this group read windows and what models make of them, and what they add of a sample and of its phantoms."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from schemas.tables.sequences import NULLS, SAMPLES, SEQUENCES
from tasks.measures import Measure, MetricRows, ModelCheckpoint, checkpoints_of, draw_settings
from tasks.statistics import Estimate, Floats, Ints, difference, ratio, resample, wilson, with_interval
from tasks.statistics.bins import bucket_of
from tasks.step import Work, asks_for_memorization
from tasks.storage.store import Part

READS = ("models", "sequences", "sequence_scores")
MEASURED = ("models", "sequences", "sequence_measures")
Mask = NDArray[np.bool_]
Settings = Callable[[Study], dict[str, Any]]
Run = Callable[[Work, MetricRows], None]


def of_windows(name: str, run: Run, reads: tuple[str, ...] = MEASURED, settings: Settings = draw_settings, **more: Any) -> Measure:
    """A measure of windows: computed once, not of each task, in a study that asks what is memorized."""
    about: dict[str, Any] = {"applies": asks_for_memorization, **more}
    return Measure(name, reads, settings, run, keeps_contaminated=True, of_tasks=False, **about)


@dataclass(frozen=True)
class ScoredWindows:
    """Windows as one checkpoint sees them, of a measure that adds rows to `out`. `table`: rows of `sequences`; `values`: columns
    of `sequence_scores` or `sequence_measures`, a row for each window: [windows], of lists [windows, tokens], of `sampled`
    [windows, schemes, tokens]."""

    work: Work
    out: MetricRows
    measure: str
    of: ModelCheckpoint
    table: pl.DataFrame
    values: dict[str, NDArray[Any]]

    @property
    def prefix(self) -> int:
        """Tokens of the prefix."""
        return int(self.table["prefix"][0])

    def samples(self, **which: Any) -> Iterator["WindowSample"]:
        """Each sample that has windows."""
        names = self.table["sample"].to_numpy()
        rows = {name: np.flatnonzero(names == name) for name in SAMPLES}
        none = np.empty(0, np.int64)
        yield from (WindowSample(self, n, at, rows.get(NULLS.get(n, ""), none), which) for n, at in rows.items() if len(at))

    def clusters(self, rows: Ints) -> Ints:
        """For each of these rows the number of its cluster of near copies, from 0 without gaps."""
        return np.unique(self.table["near_cluster"].to_numpy()[rows], return_inverse=True)[1]


@dataclass(frozen=True)
class WindowSample:
    """Windows of one sample, and the phantoms that they are compared with: rows of `windows`. Phantoms are compared with none.
    `which`: columns of all its rows of `metrics`. Numbers are of arrays with a value for each of `windows`."""

    windows: ScoredWindows
    name: str
    at: Ints
    null: Ints
    which: Mapping[str, Any] = field(default_factory=dict)

    @property
    def members(self) -> bool:
        """Whether they are compared with phantoms, of which there may be none."""
        return self.name in NULLS

    @cached_property
    def clusters(self) -> Ints:
        """The cluster of each window."""
        return self.windows.clusters(self.at)

    @property
    def both(self) -> tuple[Ints, Mask, Ints]:
        """Its windows and the phantoms: rows, which of them are its own, and the cluster of each."""
        rows = np.concatenate([self.at, self.null])
        return rows, np.arange(len(rows)) < len(self.at), self.windows.clusters(rows)

    def where(self, mask: Mask, **which: Any) -> "WindowSample":
        """Its windows, and the phantoms, of which `mask` is true."""
        at, null = (rows[mask[rows]] for rows in (self.at, self.null))
        return replace(self, at=at, null=null, which={**self.which, **which})

    def by_duplicates(self) -> Iterator["WindowSample"]:
        """Its windows in buckets of their occurrences in the corpus; `x` is the mean of these."""
        occurrences = self.windows.table["occurrences"].to_numpy()
        buckets = np.array([bucket_of(int(count)) for count in occurrences[self.at]])
        for bucket in np.unique(buckets):
            here = self.at[buckets == bucket]
            yield replace(self, at=here, which={**self.which, "bin": int(bucket), "x": float(occurrences[here].mean())})

    def share(self, true: Mask) -> Estimate:
        """The share of its windows, with Wilson's interval."""
        return wilson(int(true[self.at].sum()), len(self.at))

    def mean(self, values: NDArray[Any]) -> Estimate:
        """The mean of its windows."""
        return mean(values[self.at], self.clusters, self.windows.work)

    def excess(self, values: NDArray[Any]) -> Estimate:
        """The mean of its windows minus that of the phantoms, with an interval that draws whole clusters of near copies."""
        if not len(self.at) or not len(self.null):
            return Estimate(None, note="nothing to compare with" if len(self.at) else "nothing to take a mean of")
        rows, members, clusters = self.both
        sides = [np.where(side, 1.0, 0.0) for side in (members, ~members)]
        columns = [np.bincount(clusters, weights=w * of) for w in sides for of in (values[rows], np.ones(len(rows)))]

        def of(weights: NDArray[Any]) -> Floats:
            sums, n, others, m = (weights @ np.stack(columns, axis=1)).T
            with np.errstate(invalid="ignore", divide="ignore"):
                return sums / n - others / m

        return with_interval(*resample(int(clusters.max()) + 1, self.windows.work.settings, of))

    def add(self, statistic: str, estimate: Estimate, **which: Any) -> None:
        """A row of the measure about these windows, but for what `which` says otherwise."""
        place = {"of": self.windows.of, "unit": "sequence", "group": self.name, "rows": len(self.at)}
        examples = int(self.clusters.max(initial=-1)) + 1
        self.windows.out.add(self.windows.measure, statistic, estimate, **{**place, "examples": examples, **self.which, **which})

    def add_rate(self, true: Mask, **which: Any) -> Estimate:
        """The share of its windows, and of members the excess over that of the phantoms, with Newcombe's interval."""
        self.add("rate", self.share(true), **which)
        excess = difference(int(true[self.at].sum()), len(self.at), int(true[self.null].sum()), len(self.null))
        if self.members:
            self.add("excess", excess, **which)
        return excess

    def add_mean(self, values: NDArray[Any], statistic: str = "mean", excess: str = "excess", **which: Any) -> None:
        """The mean of its windows, and of members the excess over that of the phantoms."""
        self.add(statistic, self.mean(values), **which)
        if self.members:
            self.add(excess, self.excess(values), **which)


def read_windows(work: Work, out: MetricRows, measure: str, *columns: str, of: str = MEASURED[2]) -> Iterator[ScoredWindows]:
    """The windows of each checkpoint, in the order of models and training steps, with these columns of a table."""
    sequences = work.frame("sequences", *(name for name in SEQUENCES.schema.names if name != "ids")).sort("sequence")
    for checkpoint in checkpoints_of(work):
        labels = {"model": checkpoint.model, "checkpoint": str(checkpoint.checkpoint)}
        if parts := [p for p in work.parts(of) if labels.items() <= p.labels.items()]:
            scores = pl.concat([work.frame(p, "sequence", *columns) for p in parts])
            table = sequences.join(scores, on="sequence", how="inner", maintain_order="left")
            if len(table):
                values = {name: as_array(table[name]) for name in columns}
                yield ScoredWindows(work, out, measure, checkpoint, table.drop(columns), values)


def number_of_piece(part: Part) -> int:
    """The number of the piece of the windows that a part is about: the order of pieces is that of the windows."""
    return int(part.labels.get("piece", "1/1").split("/")[0])


def as_array(column: pl.Series) -> NDArray[Any]:
    """A column as an array of one row per window; lists, and lists of lists, must be of one length."""
    shape = [len(column)]
    while column.dtype == pl.List:
        column = column.explode(empty_as_null=False)
        shape.append(len(column) // max(1, int(np.prod(shape))))
    return column.to_numpy().reshape(shape)


def mean(values: NDArray[Any], clusters: Ints, work: Work) -> Estimate:
    """The mean over windows; its interval draws whole clusters of near copies."""
    sums, sizes = (np.bincount(clusters, weights=of).astype(np.float64) for of in (values, np.ones(len(values))))
    return ratio(sums, sizes, work.settings["draws"], work.settings["seed"])
