"""What the report shows of runs with and without each sequence of a controlled corpus: claims, and each sequence at the end of the
training (docs/counterfactual.md)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from schemas.tables.verdicts import CLAIM_NAMES
from tasks.statistics import spearman
from tasks.step import Work

READS = ("controlled_sequences", "ensemble_runs", "counterfactual", "leverage", "capacity_runs", "verdicts", "claim_points")
SHOWN = ("in_log_p", "leave_group_out", "leave_one_out", "specificity")  # of `counterfactual`
ABOUT = ("sequence", "group", "split", "copies", "twins")
KINDS_OF_LEVERAGE = ("feature", "last_layer", "gauss_newton")


class BestLeverage(NamedTuple):
    """The kind and damping of leverage whose ranks agree best with those of M over sequences with one copy."""

    kind: str
    damping: float
    correlation: float


@dataclass(frozen=True)
class EnsembleData:
    """runs: a row per model; verdicts, capacity: rows of `verdicts` and `capacity_runs`; sequences: a row per model and
    sequence with M (`leave_group_out`), U (`in_log_p`), and the leverage in `leverage`, a mean over the runs trained on it."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    capacity: list[dict[str, Any]] = field(default_factory=list)
    sequences: pl.DataFrame = field(default_factory=pl.DataFrame)
    leverage: Mapping[str, BestLeverage] = field(default_factory=dict)

    def of(self, model: str, split: str, single: bool = False) -> pl.DataFrame:
        """The members or phantoms of a model that have an M; `single`: those with one copy."""
        if self.sequences.is_empty():
            return self.sequences
        rows = self.sequences.filter(pl.col("leave_group_out").is_not_null(), model=model, split=split)
        return rows.filter(copies=1) if single else rows


def gather_ensembles(work: Work) -> EnsembleData:
    """Read the tables of a study with a controlled corpus; of others nothing."""
    if not work.parts("counterfactual"):
        return EnsembleData()
    about = work.frame("controlled_sequences", *ABOUT)
    sequences = pl.concat(list(_last_estimates(work))).join(about, on="sequence").sort("model", "sequence")
    runs = (
        work.frame("ensemble_runs")
        .group_by("model")
        .agg(pl.first("parameters", "steps"), pl.len().alias("runs"), pl.sum("diverged"))
    )
    joined, best = _with_leverage(work, sequences)
    verdicts, capacity = (work.read(table).to_pylist() for table in ("verdicts", "capacity_runs"))
    return EnsembleData(runs.sort("model").to_dicts(), in_order(verdicts), capacity, joined, best)


def in_order(verdicts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `verdicts` by claim, as they are numbered, and by network."""
    return sorted(verdicts, key=lambda r: (CLAIM_NAMES.index(r["claim"]), r["network"]))


def _last_estimates(work: Work) -> Iterator[pl.DataFrame]:
    """Of each model, the estimates at its last checkpoint."""
    for part in work.parts("counterfactual"):
        rows = work.frame(part, "model", "checkpoint", "sequence", *SHOWN)
        yield rows.filter(pl.col("checkpoint") == pl.col("checkpoint").max()).drop("checkpoint")


def _with_leverage(work: Work, sequences: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, BestLeverage]]:
    """The sequences with a leverage of each model, and which that is: the one that its claims were decided by, else the one that
    agrees best with M."""
    none = sequences.with_columns(pl.lit(None, pl.Float64).alias("leverage"))
    if not work.parts("leverage"):
        return none, {}
    key, sums = ["model", "damping", "sequence"], [pl.sum(*KINDS_OF_LEVERAGE), pl.len().alias("runs")]
    partly = []
    for part in work.parts("leverage"):
        rows = work.frame(part, *key, *KINDS_OF_LEVERAGE)
        partly.append(rows.group_by(key, maintain_order=True).agg(sums))  # in the order of runs, so that the bytes are the same
    means = pl.concat(partly).group_by(key, maintain_order=True).agg(pl.sum(*KINDS_OF_LEVERAGE, "runs"))
    means = means.with_columns(pl.col(kind) / pl.col("runs") for kind in KINDS_OF_LEVERAGE)
    joined = means.join(sequences, on=["model", "sequence"]).sort(key)
    points = work.frame("claim_points", "model", "series", "figure").filter(figure="best leverage")
    chosen, best, kept = dict(points.select("model", "series").iter_rows()), dict[str, BestLeverage](), []
    for (model, damping), rows in joined.group_by("model", "damping", maintain_order=True):
        single = rows.filter(pl.col("leave_group_out").is_not_null(), split="member", copies=1)
        m = single["leave_group_out"].to_numpy()
        for kind in KINDS_OF_LEVERAGE:
            if chosen.get(model, name := f"{kind}, damping {damping:g}") != name:
                continue
            rho = spearman(single[kind].to_numpy(), m) if len(m) > 2 else np.nan
            if rho > best.get(str(model), BestLeverage("", 0.0, -1.0)).correlation:
                best[str(model)] = BestLeverage(kind, float(damping), float(rho))
    for model, (kind, damping, _) in best.items():
        kept.append(joined.filter(model=model, damping=damping).select("model", "sequence", pl.col(kind).alias("leverage")))
    return (sequences.join(pl.concat(kept), on=["model", "sequence"], how="left") if kept else none), best
