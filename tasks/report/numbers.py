"""Which rows of `metrics` answer which question, and how a number is written. Shared by page, figures and terminal.

A number that could not be taken is never shown as 0: it is "no evidence", with the reason beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

NO_EVIDENCE = "no evidence"
LEVEL = 0.05
HUNDREDS = ("bleu", "chrf", "chrf++", "sentence_chrf")
SHARES = ("exact_match", "accuracy", "rate", "share", "equal", "recall", "coverage", "final_number", "number_match")
NO_MODELS = {"reference", "held_out"}  # what novelty sets beside the models
PRIMARY = ("main_score", "score", "mem_n", "mem_delta", "mem_infinity")
UNITS = ("pair", "example_output", "example", "")
DETAILS = ("", "nonzero", "full", "backoff", "full back-off")


def sizes(models: Iterable[Row], names: Sequence[str] = ()) -> dict[str, int]:
    """Parameters of each model's last checkpoint, smallest first; models of unknown size stand behind, as 0."""
    found = {r["model"]: int(r["parameters"]) for r in sorted(models, key=lambda r: (r["model"], r["checkpoint"]))}
    order = sorted(found, key=lambda m: (found[m], m))
    return {m: found[m] for m in order} | {m: 0 for m in names if m not in found}


def pick(
    metrics: Iterable[Row], measure: str, task: str, model: str, order: int | None = None, statistic: str | None = None
) -> Row | None:
    """The row the results table shows: last checkpoint, pair unit before others, plain selection before variants."""
    rows = [
        r
        for r in metrics
        if r["measure"] == measure
        and r["task"] == task
        and r["model"] == model
        and (order is None or r["order"] == order)
        and (statistic is None or r["statistic"] == statistic)
    ]
    return min(rows, key=_preference) if rows else None


def _preference(row: Row) -> tuple[Any, ...]:
    unit = UNITS.index(row["unit"]) if row["unit"] in UNITS else len(UNITS)
    detail = DETAILS.index(row["detail"]) if row["detail"] in DETAILS else len(DETAILS)
    return (-row["checkpoint"], unit, detail, "paper" in row["detail"], row["order"], row["statistic"], row["detail"])


@dataclass(frozen=True)
class Cells:
    """One line of the results table; each is a metrics row or None, `q` the corrected p of the two primary measures."""

    task: str
    model: str
    order: int
    score: Row | None
    mem_n: Row | None
    mem_delta: Row | None
    mem_infinity: Row | None
    q: Mapping[str, float]

    def of(self, measure: str) -> Row | None:
        """The row of a measure by its name."""
        return self.score if measure == "main_score" else getattr(self, measure)

    def significant(self, measure: str) -> bool:
        """Whether q < .05; only the study's primary family has a q."""
        return self.q.get(measure, 1.0) < LEVEL


def cells(metrics: Sequence[Row], family: Sequence[Row], task: str, model: str, order: int) -> Cells:
    """Collect the four primary numbers of one task and model."""
    plain = [r for r in metrics if not r["measure"].startswith("mem_") or r["detail"] in DETAILS]  # never a placebo's
    found = {
        "score": pick(metrics, "main_score", task, model) or pick(metrics, "score", task, model),
        "mem_n": pick(plain, "mem_n", task, model, order, "spearman"),
        "mem_delta": pick(plain, "mem_delta", task, model, order, "spearman"),
        "mem_infinity": pick(plain, "mem_infinity", task, model, order, "spearman")
        or pick(plain, "mem_infinity", task, model, None, "spearman"),
    }
    q = {
        r["measure"]: r["q_value"]
        for r in family
        if r["task"] == task
        and r["model"] == model
        and r["order"] == order
        and (row := found.get(r["measure"])) is not None
        and r["checkpoint"] == row["checkpoint"]
    }
    return Cells(task, model, order, q=q, **found)  # type: ignore[arg-type]


def first_orders(metrics: Sequence[Row], family: Sequence[Row]) -> dict[str, int]:
    """n of the results table per task, as the family fixed it; else the smallest n that was measured."""
    found: dict[str, int] = {}
    for row in metrics:
        if row["measure"] in ("mem_n", "mem_delta") and row["order"]:
            found[row["task"]] = min(found.get(row["task"], row["order"]), row["order"])
    return found | {r["task"]: r["order"] for r in family}


def is_bare(detail: str) -> bool:
    """Whether a row is the measure itself and no variant of it."""
    return detail in DETAILS


def known(row: Row | None) -> bool:
    """Whether there is a number at all."""
    return row is not None and row["estimate"] is not None and math.isfinite(row["estimate"])


def has_interval(row: Row | None) -> bool:
    """Whether both ends of the interval are there."""
    return known(row) and row is not None and row["low"] is not None and row["high"] is not None


def number(value: float | None, statistic: str = "spearman") -> str:
    """Shares as percent, BLEU and chrF on their own scale with one decimal, all else with two decimals."""
    if value is None or not math.isfinite(value):
        return "–"
    if statistic in SHARES:
        text = f"{100 * value:.1f}"
    elif statistic in HUNDREDS:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}"
    text = text.lstrip("-") if float(text) == 0 else text
    return text.replace("-", "−") + (" %" if statistic in SHARES else "")


def interval(row: Row | None) -> str:
    """`[0.30, 0.52]`, or nothing."""
    if row is None or not has_interval(row):
        return ""
    low, high = (number(row[end], row["statistic"]).removesuffix(" %") for end in ("low", "high"))
    return f"[{low}, {high}]"


def with_interval(row: Row | None) -> str:
    """`0.41 [0.30, 0.52]`, or that there is no evidence."""
    return f"{number(row['estimate'], row['statistic'])} {interval(row)}".strip() if known(row) and row else NO_EVIDENCE


def integer(value: int) -> str:
    """12,345 as 12 345 with narrow spaces, which no language reads as a decimal mark."""
    return f"{value:,}".replace(",", "\u202f")


def short(value: float) -> str:
    """1_060_000 as 1.06M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
