"""What measures share: how one is declared, the rows it gives, its settings, and the examples and models it is about.

A measure is a file of `tasks/metrics` or `tasks/memorization` that exports one `Measure`. It reads tables of the step `evidence`,
or the windows of a study's sequences, and adds rows to `metrics` and `exclusions`; those of pairs read them through
`tasks/pair_evidence.py`.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from schemas import EXCLUSIONS, METRICS, Study
from schemas.settings.study_file import Task
from schemas.tables.metrics import QUALIFIERS
from tasks.statistics import Estimate, Rows
from tasks.step import Work, every_study
from tasks.storage.store import Part
from tasks.text.gamma import resolved


@dataclass(frozen=True)
class Measure:
    """What a measure reads of a task, the settings that decide it, and how it is computed.

    `cost` is a relative weight: the most expensive measures start first. `applies`: whether a study has this measure at all.
    `of_variants`: whether it is computed of the study's variants too. `keeps_contaminated`: the switch does not concern it.
    `of_tasks`: computed of each task; else once, and `task` is empty in its rows.
    """

    name: str
    reads: tuple[str, ...]
    settings: Callable[..., dict[str, Any]]  # of the study and the task; of the study alone if it is not `of_tasks`
    run: Callable[[Work, "MetricRows"], None]
    cost: float = 1.0
    applies: Callable[[Study], bool] = every_study
    of_variants: bool = False
    keeps_contaminated: bool = False
    of_tasks: bool = True


# -- what a measure writes ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ModelCheckpoint:
    """A model at a checkpoint; the number of parameters is the abscissa of curves over size."""

    model: str = ""
    checkpoint: int = -1
    parameters: float | None = None
    tokenizer: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Model and checkpoint."""
        return self.model, self.checkpoint


NO_MODEL = ModelCheckpoint()


@dataclass
class MetricRows:
    """The rows of one measure of one task."""

    task: str
    metrics: list[dict[str, Any]] = field(default_factory=list)
    exclusions: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        measure: str,
        statistic: str,
        estimate: Estimate,
        *,
        of: ModelCheckpoint = NO_MODEL,
        order: int = 0,
        unit: str = "",
        x: float | None = None,
        rows: int = 0,
        examples: int = 0,
        clusters: float | None = None,
        over: Rows | None = None,
        truth: float | None = None,
        note: str = "",
        **qualifiers: str | float,
    ) -> None:
        """One number; `qualifiers` are columns that tell rows of one statistic apart, e.g. interval="bca" or bin=3. `clusters`
        are those of an estimate that does not name its own; `over`: the rows that these three numbers are of.

        What is not finite is stored as null, with a reason. Raises TypeError for a column that is not there.
        """
        if over is not None:
            rows, examples, clusters = len(over), over.examples, over.clusters
        if unknown := qualifiers.keys() - QUALIFIERS.keys():
            raise TypeError(f"metrics has no column {', '.join(sorted(unknown))} that tells rows apart")
        value = _finite(estimate.value)
        notes = [n for n in (note, estimate.note) if n]
        if value is None and not notes:
            notes = ["not defined: the value is not finite"]
        error = _finite(estimate.standard_error) if value is not None else None
        self.metrics.append(
            self._key(measure, of, order)
            | QUALIFIERS
            | qualifiers
            | {"unit": unit, "statistic": statistic, "x": _finite(of.parameters if x is None else x)}
            | {"estimate": value, "low": _finite(estimate.low), "high": _finite(estimate.high), "standard_error": error}
            | {"p_value": _finite(estimate.p_value), "rows": rows, "examples": examples, "truth": _finite(truth)}
            | {"clusters": None if value is None else _finite(clusters if estimate.clusters is None else estimate.clusters)}
            | {"note": "; ".join(notes)}
        )

    def exclude(
        self, measure: str, reason: str, number: int, counted: str, *, of: ModelCheckpoint = NO_MODEL, order: int = 0
    ) -> None:
        """How many things a measure left out for one reason, or kept. counted: what they are, e.g. rows."""
        self.exclusions.append(self._key(measure, of, order) | {"reason": reason, "rows": int(number), "of": counted})

    def _key(self, measure: str, of: ModelCheckpoint, order: int) -> dict[str, Any]:
        return {"measure": measure, "task": self.task, "model": of.model, "checkpoint": of.checkpoint, "order": order}

    def write(self, work: Work) -> None:
        """Both tables, in the order of their keys."""
        for contract, rows in ((METRICS, self.metrics), (EXCLUSIONS, self.exclusions)):
            rows.sort(key=lambda row: tuple(row[k] for k in contract.key))
            work.write(contract.name, pa.Table.from_pylist(rows, schema=contract.schema))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


# -- settings ----------------------------------------------------------------------------------------------------------
def gamma_settings(task: Task, orders: Sequence[int]) -> dict[str, Any]:
    """γ per n, as the study names it; a percentile may not come out below the lowest γ."""
    gammas = {str(n): task.gamma_at(n) for n in orders}
    lowest = {"lowest_gamma": task.lowest_gamma} if any(isinstance(g, str) for g in gammas.values()) else {}
    return {"gamma": gammas} | lowest


def draw_settings(study: Study) -> dict[str, Any]:
    """The draws of an interval."""
    return {"draws": study.measures.bootstrap, "seed": study.seed}


def settings_of_all_orders(study: Study, task: Task) -> dict[str, Any]:
    """What decides most measures of pairs: γ per n, and the draws of their intervals."""
    return gamma_settings(task, task.orders) | draw_settings(study)


def settings_of_first_order(study: Study, task: Task) -> dict[str, Any]:
    """The same for a measure that is computed at the task's first n alone."""
    return gamma_settings(task, [task.first_order]) | draw_settings(study) | {"order": task.first_order}


def orders_of(work: Work) -> list[int]:
    """The n of a measure, ascending."""
    return sorted(int(n) for n in work.settings["gamma"])


def gammas_of(work: Work, task: str) -> dict[int, float]:
    """γ per n as numbers. Raises StudyError for a percentile below the lowest γ."""
    lowest = work.settings.get("lowest_gamma")
    spread = None if lowest is None else work.frame("similarities", "task", "order", "at_most", "candidates")
    gammas = resolved(work.settings["gamma"], spread, lowest if lowest is not None else -1.0, task)
    return {int(n): gamma for n, gamma in gammas.items()}


# -- the switch that leaves contaminated examples out of every measure (docs/method.md §13) --------------------------------
def exclusion_settings(study: Study) -> dict[str, Any]:
    """`[measures] exclude_contaminated = 13` leaves out each evaluated example that shares 13 words in a row with the corpus.

    Nothing while it is off, so that no key changes. An excluded example is also no other input for Mem_Δ.
    """
    n = study.measures.exclude_contaminated
    return {"exclude_contaminated": n} if n else {}


def excluded_examples(work: Work, task: str) -> list[str]:
    """The evaluated examples of a task that are left out; none while the switch is off.

    An example that shares 14 words with the corpus shares 13, so that longer orders need not be looked up.
    """
    order = work.settings.get("exclude_contaminated")
    if not order:
        return []
    return sorted(set(work.frame("contamination", "task", "example", "order").filter(task=task, order=order)["example"]))


def count_excluded(work: Work, rows: MetricRows, measure: str) -> None:
    """Record how many examples the switch left out of a measure; nothing while it is off."""
    if order := work.settings.get("exclude_contaminated"):
        reason = f"contaminated: shares {order} words in a row with the corpus"
        rows.exclude(measure, reason, len(excluded_examples(work, rows.task)), "examples")


# -- models, examples and answers ------------------------------------------------------------------------------------------
def checkpoints_of(work: Work, *, last: bool = False) -> list[ModelCheckpoint]:
    """Every model and checkpoint of the study, in order; `last`: each model at the end of its training."""
    table = work.frame("models", "model", "checkpoint", "parameters", "tokenizer").sort("model", "checkpoint")
    models = [ModelCheckpoint(m, c, float(n), t) for m, c, n, t in table.iter_rows()]
    return list({m.model: m for m in models}.values()) if last else models


def evaluated_examples(work: Work, task: str, *columns: str) -> pl.DataFrame:
    """The evaluated examples in the order of their names, but for those the study leaves out; `code` numbers them from 0."""
    table = work.frame("examples", "task", "split", "example", "group", *columns).filter(task=task, split="evaluate")
    table = table.filter(~pl.col("example").is_in(excluded_examples(work, task))).sort("example").drop("task", "split")
    return table.with_columns(code=pl.int_range(pl.len(), dtype=pl.Int64))


def read_answers(work: Work, task: str, examples: pl.DataFrame, *columns: str) -> dict[tuple[str, int], pl.DataFrame]:
    """Rows of `evidence_answers` by (model, checkpoint), one per example and in their order; null where there is none."""
    table = work.frame("evidence_answers", "task", "example", "model", "checkpoint", *columns).filter(task=task)
    names = examples.select("example")
    return {
        (str(model), int(checkpoint)): names.join(rows, on="example", how="left", maintain_order="left")  # type: ignore[call-overload]
        for (model, checkpoint), rows in table.group_by("model", "checkpoint")
    }


def parts_of_measure(
    inputs: Mapping[str, tuple[Part, ...]], tables: Iterable[str], tasks: Collection[str]
) -> dict[str, tuple[Part, ...]]:
    """The parts of these tables that belong to one of these tasks, or to all."""
    return {t: tuple(p for p in inputs.get(t, ()) if p.labels.get("task", "") in ("", *tasks)) for t in tables}
