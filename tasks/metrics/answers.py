"""What a measure answers: rows of `metrics` and `exclusions`, collected, and written sorted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas import EXCLUSIONS, METRICS
from tasks.statistics import Estimate
from tasks.step import Work


@dataclass(frozen=True)
class Asked:
    """A model at a checkpoint, with the abscissa of curves over size."""

    model: str = ""
    checkpoint: int = -1
    parameters: float | None = None
    tokenizer: str = ""


@dataclass
class Answers:
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
        asked: Asked = Asked(),
        order: int = 0,
        unit: str = "",
        detail: str = "",
        x: float | None = None,
        rows: int = 0,
        examples: int = 0,
        truth: float | None = None,
        note: str = "",
    ) -> None:
        """One number. What is not finite is stored as null, with a reason."""
        value = _finite(estimate.value)
        notes = [n for n in (note, estimate.note) if n]
        if value is None and not notes:
            notes = ["not defined: the value is not finite"]
        self.metrics.append(
            {
                "measure": measure,
                "task": self.task,
                "model": asked.model,
                "checkpoint": asked.checkpoint,
                "order": order,
                "unit": unit,
                "statistic": statistic,
                "detail": detail,
                "x": _finite(asked.parameters if x is None else x),
                "estimate": value,
                "low": _finite(estimate.low),
                "high": _finite(estimate.high),
                "standard_error": _finite(estimate.standard_error) if value is not None else None,
                "p_value": _finite(estimate.p_value),
                "rows": rows,
                "examples": examples,
                "truth": _finite(truth),
                "note": "; ".join(notes),
            }
        )

    def exclude(self, measure: str, reason: str, rows: int, of: str, *, asked: Asked = Asked(), order: int = 0) -> None:
        """How many things a measure left out for one reason, or kept."""
        self.exclusions.append(
            {
                "measure": measure,
                "task": self.task,
                "model": asked.model,
                "checkpoint": asked.checkpoint,
                "order": order,
                "reason": reason,
                "rows": int(rows),
                "of": of,
            }
        )

    def write(self, work: Work) -> None:
        """Both tables, in the order of their keys."""
        for contract, rows in ((METRICS, self.metrics), (EXCLUSIONS, self.exclusions)):
            work.write(contract.name, pa.Table.from_pylist(_sorted(rows, contract.key), schema=contract.schema))


def models_of(work: Work) -> list[Asked]:
    """Every model and checkpoint of the study, in order."""
    table = work.read("models", "model", "checkpoint", "parameters", "tokenizer").to_pylist()
    return [
        Asked(r["model"], r["checkpoint"], float(r["parameters"]), r["tokenizer"])
        for r in sorted(table, key=lambda r: (r["model"], r["checkpoint"]))
    ]


def _sorted(rows: list[dict[str, Any]], key: tuple[str, ...]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: tuple(row[k] for k in key))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
