"""How the runs of an ensemble score every sequence, as arrays: what counterfactual estimates are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from schemas import StudyError
from tasks.memorization.run_contrasts import Arms, Bools, arms_of, difference, influence, regression
from tasks.statistics import Floats, Ints
from tasks.step import Work
from tasks.storage.store import Part

READS = ("controlled_sequences", "membership", "ensemble_runs", "ensemble_scores")
MOST_TWINS = 16  # of a sequence that its influence is computed on: all are drawn alike, so these are the first by name
Estimates = tuple[Floats, Floats]  # values and standard errors


@dataclass(frozen=True)
class EnsemblePanel:
    """The runs of one model that ended, and of pairs both. sequences: rows of `controlled_sequences`, by name; runs: their numbers;
    assigned, copies: int [runs, sequences]; values: log_p, accuracy, extracted, each float [checkpoints, runs, sequences];
    left_out: runs that are not here, by reason."""

    model: str
    parameters: int
    checkpoints: list[int]
    sequences: pl.DataFrame
    runs: Ints
    assigned: Ints
    copies: Ints
    paired: bool
    values: Mapping[str, Floats]
    left_out: Mapping[str, int]

    @property
    def member(self) -> Bools:
        """bool [sequences]: whether runs are trained on it."""
        return (self.sequences["split"] == "member").to_numpy()

    @property
    def arms(self) -> tuple[Arms, Arms]:
        """Leave-group-out and leave-one-out."""
        return arms_of(self.assigned, self.sequences["copies"].to_numpy(), self.paired)

    def of_runs(self, rows: Ints | Bools) -> EnsemblePanel:
        """The panel of some of its rows; whole pairs."""
        values = {name: of[:, rows] for name, of in self.values.items()}
        return replace(self, runs=self.runs[rows], assigned=self.assigned[rows], copies=self.copies[rows], values=values)

    def families(self) -> list[tuple[Ints, Ints, bool]]:
        """(members, never-trained twins, whether they are of one cycle) of each family that has members."""
        names, member, out = self.sequences["family"].to_numpy(), self.member, []
        cycle = self.sequences["group"].is_in(["ring", "rule"]).to_numpy()
        order = np.argsort(names, kind="stable")
        for rows in np.split(order, np.flatnonzero(names[order][1:] != names[order][:-1]) + 1) if len(order) else []:
            members, twins = rows[member[rows]], rows[~member[rows]]
            if len(members):
                out.append((members, twins[:MOST_TWINS], bool(cycle[rows[0]])))
        return out

    def effect(self, values: Floats, arms: Arms) -> Estimates:
        """Difference of means of values [runs, sequences], and its standard error. In a cycle, where one twin teaches another, from
        a regression on who of the whole family is in a run, if there are runs enough for it."""
        value, error = difference(values, arms)
        for members, twins, cycle in self.families():
            if not cycle:
                continue
            here = self.assigned[:, members] > 0
            if made := regression(values[:, members], here, self.paired):
                value[members], error[members] = (np.diag(of) for of in made)
            for twin in twins:
                if made := regression(values[:, [twin]], np.column_stack([here, self.assigned[:, twin] > 0]), self.paired):
                    value[twin], error[twin] = (float(of[-1, 0]) for of in made)
        return value, error

    def influences(self, values: Floats, arms: Arms) -> list[tuple[Ints, Ints, Floats, Floats]]:
        """(members, twins, influence, standard errors) of each family with never-trained twins, [members, twins]."""
        out = []
        for members, twins, cycle in self.families():
            if len(twins):
                made = regression(values[:, twins], self.assigned[:, members] > 0, self.paired) if cycle else None
                out.append((members, twins, *(made or influence(values[:, twins], arms.of(members)))))
        return out


def read_panel(work: Work, model: str) -> EnsemblePanel:
    """All runs of a model. Raises StudyError if a run was trained on a phantom, or none is left."""

    def parts(table: str) -> list[Part]:
        return [p for p in work.parts(table) if p.labels["ensemble"] == model]

    sequences = work.frame("controlled_sequences").sort("sequence")
    number = len(sequences)
    membership = work.frame("membership").sort("run", "sequence")
    runs = pl.concat([work.frame(p, "run", "diverged", "parameters") for p in parts("ensemble_runs")]).sort("run")
    if len(membership) != number * membership["run"].n_unique():
        raise StudyError(f"model {model!r}: membership has not a row for each run and sequence; run the step membership again")
    pair = membership["pair"].to_numpy().reshape(-1, number)[:, 0]
    paired, ended = bool(len(pair)) and pair[0] >= 0, ~runs["diverged"].to_numpy()
    kept = ended & (ended.reshape(-1, 2)[:, ::-1].ravel() if paired else True)
    left_out = {"the loss or a score was not finite": int((~ended).sum()), "its complement diverged": int((ended & ~kept).sum())}
    if not kept.any():
        raise StudyError(f"model {model!r}: no run ended whose complement did; lower learning_rate in [[membership.models]]")
    columns = ("run", "checkpoint", "sequence", "log_p", "accuracy", "extracted")
    scores = pl.concat([work.frame(p, *columns) for p in parts("ensemble_scores")])
    scores = scores.filter(pl.col("run").is_in(runs["run"].to_numpy()[kept].tolist())).sort("checkpoint", "run", "sequence")
    checkpoints, shape = scores["checkpoint"].unique().sort().to_list(), (-1, int(kept.sum()), number)
    assigned, copies = (membership[name].to_numpy().reshape(-1, number)[kept].astype(np.int64) for name in ("assigned", "copies"))
    panel = EnsemblePanel(
        model,
        int(runs["parameters"][0]),
        checkpoints,
        sequences,
        runs["run"].to_numpy()[kept].astype(np.int64),
        assigned,
        copies,
        paired,
        {name: scores[name].to_numpy().astype(np.float64).reshape(shape) for name in ("log_p", "accuracy", "extracted")},
        left_out,
    )
    if panel.copies[:, ~panel.member].any():
        raise StudyError(f"model {model!r}: a run was trained on a phantom; run the step membership again")
    return panel
