"""The checkpoints of one training run, in the order of their training steps: what curves over training are made of.

A model that is trained here is a run. Entries of one hub model, and entries that name the same `run`, are checkpoints of one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from schemas import Study, StudyError
from tasks.measures import MetricRows, ModelCheckpoint, checkpoints_of
from tasks.memorization.scored_windows import ScoredWindows, read_windows
from tasks.statistics import ONE_EXAMPLE, Estimate, Floats
from tasks.step import Work
from tasks.text.training_order import document_lengths

Reduce = Callable[[ScoredWindows], dict[str, Floats]]


@dataclass(frozen=True)
class TrainingRun:
    """One run. `windows`: the rows of `sequences`, as at each checkpoint; `values`: [checkpoints, windows, …] each."""

    checkpoints: list[ModelCheckpoint]
    windows: ScoredWindows
    values: dict[str, Floats]

    @property
    def steps(self) -> Floats:
        """Training steps of the checkpoints, increasing."""
        return np.array([c.checkpoint for c in self.checkpoints], np.float64)


def runs_of(study: Study) -> dict[str, str]:
    """The run of each model. Raises StudyError for two entries of a run of which one has no training step, or both the same."""
    runs = {m.name: m.run or m.hub or m.name for m in study.models}
    for name in sorted({run for run in runs.values() if list(runs.values()).count(run) > 1}):
        models = sorted((m for m in study.models if runs[m.name] == name), key=lambda m: m.training_step)
        for model in models:
            if model.pretrain or not model.has_step:
                why = ", but is trained here; give it another name, or the others another `run`"
                if not model.pretrain:
                    why = " and has no training step; set its `checkpoint` to the step, or another `run` for another training"
                raise StudyError(f"model {model.name!r} is one of {len(models)} checkpoints of {name!r}{why}")
        for one, other in zip(models, models[1:], strict=False):
            if one.training_step == other.training_step:
                raise StudyError(
                    f"models {one.name!r} and {other.name!r} are both step {one.training_step} of {name!r}; correct the "
                    "`checkpoint` of one, or leave it out"
                )
    return runs


def read_runs(work: Work, rows: MetricRows, measure: str, columns: tuple[str, ...], reduce: Reduce) -> list[TrainingRun]:
    """The runs with several checkpoints, and what `reduce` makes of each of these; the other runs are excluded and counted."""
    names: dict[str, str] = work.settings["runs"]
    checkpoints: dict[str, list[ModelCheckpoint]] = {}
    for checkpoint in checkpoints_of(work):
        if checkpoint.model in names:
            checkpoints.setdefault(names[checkpoint.model], []).append(checkpoint)
    for only in (c for c in checkpoints.values() if len(c) == 1):
        rows.exclude(measure, "one checkpoint is no curve", 1, "models", of=only[0])
    seen = {c.key for several in checkpoints.values() if len(several) > 1 for c in several}
    if not seen:
        return []
    tables: dict[tuple[str, int], tuple[ScoredWindows, dict[str, Floats]]] = {}
    for windows in read_windows(work, rows, measure, *columns, of="sequence_scores"):
        if windows.of.key in seen:
            tables[windows.of.key] = (replace(windows, values={}), reduce(windows))
    runs = []
    for several in checkpoints.values():
        scored = sorted((c for c in several if c.key in tables), key=lambda c: c.checkpoint)
        if len(several) > 1 and scored:
            values = [tables[c.key][1] for c in scored]
            stacked = {name: np.stack([v[name] for v in values]) for name in values[0]}
            runs.append(TrainingRun(scored, tables[scored[-1].key][0], stacked))
    return runs


def ids_of(work: Work, windows: ScoredWindows) -> np.ndarray:
    """int32 [windows, tokens]: the token ids of these windows."""
    ids = work.frame("sequences", "sequence", "ids")
    ordered = windows.table.select("sequence").join(ids, on="sequence", how="left", maintain_order="left")["ids"]
    return ordered.explode().to_numpy().astype(np.int32).reshape(len(ordered), -1)


def lengths_of_corpus(work: Work) -> np.ndarray:
    """int64 [documents]: tokens of each document that models are trained on here, in the order of the tokens parts."""
    return document_lengths(b for part in work.parts("tokens") for b in work.batches(part, "ids", rows=4_096))


def sums_by(clusters: np.ndarray, values: Floats, count: int) -> Floats:
    """[count, …] sums of the rows of values, [rows, …], over their clusters."""
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, clusters, values)
    return sums


def reached(value: float, draws: Floats, why: str) -> Estimate:
    """When a curve reaches something; ∞ where it does not. The ends of the interval are draws themselves, since some may be ∞."""
    if not np.isfinite(value):
        return Estimate(None, note=why)
    draws = draws[~np.isnan(draws)]
    if len(draws) < 2:
        return Estimate(value, note=ONE_EXAMPLE)
    low, high = np.quantile(draws, [0.025], method="lower")[0], np.quantile(draws, [0.975], method="higher")[0]
    open_end = "" if np.isfinite(high) else "no upper end: not reached in some resamples"
    return Estimate(value, min(low, value), max(high, value) if np.isfinite(high) else None, note=open_end)
