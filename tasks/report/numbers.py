"""Which rows of `metrics` answer which question.

Shared by the page, the figures and the terminal.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.tables.metrics import QUALIFIERS
from tasks.statistics import FEWEST_CLUSTERS as FEWEST_CLUSTERS

MetricRow = Mapping[str, Any]

LEVEL = 0.05
HUNDREDS = ("bleu", "chrf", "chrf++", "sentence_chrf")
_OF_WINDOWS = ("rate_by_prefix", "rate_by_duplicates", "cut_share", "true_positives")
SHARES = ("exact_match", "accuracy", "rate", "share", "equal", "recall", "coverage", "final_number", "number_match", *_OF_WINDOWS)
NO_MODELS = {"reference", "held_out"}  # novelty compares the models with these texts
PRIMARY = ("main_score", "mem_n", "mem_delta", "mem_infinity")
MEASURE_NAMES = {"mem_n": "Mem", "mem_delta": "Mem Δ", "mem_infinity": "Mem ∞"}
UNITS = ("pair", "example_output", "example", "")


# -- what the columns that tell rows apart mean ----------------------------------------------------------------------
def is_plain(row: MetricRow, **qualifiers: Any) -> bool:
    """Whether a row is the measure itself, but for these columns: no selection of rows, other corpus, interval …"""
    return all(row[column] == value for column, value in (QUALIFIERS | qualifiers).items())


def label_of(row: MetricRow) -> str:
    """What distinguishes this row from others of its measure, in words: "bin 09 overflow", "mem_n minus neox-0.1M"."""
    corpus = {"placebo": "placebo", "difference": "minus placebo"}.get(row["corpus"])
    gamma, against = row["gamma"] and f"gamma={row['gamma']}", row["against"] and f"minus {row['against']}"
    bin_, level = row["bin"] >= 0 and f"bin {row['bin']:02d}", row["level"] >= 0 and f"{row['level']:g}"
    named = [row[column] for column in ("group", "detail", "interval")]
    return " ".join(filter(None, (row["variant"], gamma, row["of_measure"], against, bin_, *named, level, corpus)))


def remedy_of(row: MetricRow) -> str:
    """The remedy of a row `confound`, a window with its width."""
    return f"{row['detail']}={row['level']:g}" if row["level"] >= 0 else str(row["detail"])


def counts_pairs(row: MetricRow) -> bool:
    """Whether a novelty row counts pairs instead of n-grams."""
    return "pair" in (row["unit"], row["detail"])


def _preference(row: MetricRow) -> tuple[Any, ...]:
    unit = UNITS.index(row["unit"]) if row["unit"] in UNITS else len(UNITS)
    which = tuple(row[c] for c in QUALIFIERS)
    return (-row["checkpoint"], unit, not is_plain(row), "paper" in row["detail"], row["order"], row["statistic"], which)


# -- which row --------------------------------------------------------------------------------------------------------
def sizes(models: Iterable[MetricRow], names: Sequence[str] = ()) -> dict[str, int]:
    """Parameters of each model's last checkpoint, smallest first; then `names` of unknown size, as 0."""
    parameters = {r["model"]: int(r["parameters"]) for r in sorted(models, key=lambda r: (r["model"], r["checkpoint"]))}
    order = sorted(parameters, key=lambda m: (parameters[m], m))
    return {m: parameters[m] for m in order} | {m: 0 for m in names if m not in parameters}


def pick(metrics: Iterable[MetricRow], which: Mapping[str, Any] | None = None, **wanted: Any) -> MetricRow | None:
    """The preferred row of those with the wanted values: last checkpoint, unit `pair` before others, plain rows before others.
    `which` are the columns in which the row is not plain; {} accepts plain rows only."""
    rows = [r for r in metrics if all(r[column] == value for column, value in wanted.items())]
    if which is not None:
        rows = [r for r in rows if is_plain(r, **which)]
    return min(rows, key=_preference) if rows else None


@dataclass(frozen=True)
class ResultsLine:
    """One line of the results table: a metrics row (or None) per primary measure, and q of those in the corrected family. Of a
    correlation it is the row whose interval belongs to its p, where there is one."""

    task: str
    model: str
    order: int
    rows: Mapping[str, MetricRow | None]
    q: Mapping[str, float]

    def significant(self, measure: str) -> bool:
        """Whether q < .05; only the study's primary family has a q."""
        row = self.rows.get(measure)
        return row is not None and significant(row, self.q.get(measure, 1.0))


def results_line(metrics: Sequence[MetricRow], family: Sequence[MetricRow], task: str, model: str, order: int) -> ResultsLine:
    metrics = [r for r in metrics if (r["task"], r["model"]) == (task, model)]

    def row_of(measure: str, **wanted: Any) -> MetricRow | None:
        picked = (pick(metrics, {"interval": kind}, measure=measure, **wanted) for kind in ("two_way", ""))  # never a placebo's
        return next((row for row in picked if row is not None), None)

    rows = {m: row_of(m, order=order, statistic="spearman") for m in ("mem_n", "mem_delta", "mem_infinity")}
    rows["main_score"] = row_of("main_score") or pick(metrics, measure="score")
    rows["mem_infinity"] = rows["mem_infinity"] or row_of("mem_infinity", statistic="spearman")
    q = {}
    for r in family:
        row = rows.get(r["measure"])
        if row and (r["task"], r["model"], r["order"], r["checkpoint"]) == (task, model, order, row["checkpoint"]):
            q[r["measure"]] = r["q_value"]
    return ResultsLine(task, model, order, rows, q)


def in_preferred_unit(rows: Sequence[MetricRow], *columns: str) -> list[MetricRow]:
    """Of rows that agree in these columns those of the preferred unit, `pair` where there is one: no number is there twice."""
    keys = [(tuple(r[c] for c in columns), UNITS.index(r["unit"]) if r["unit"] in UNITS else len(UNITS)) for r in rows]
    best = dict(sorted(keys, key=lambda k: -k[1]))
    return [r for r, (key, unit) in zip(rows, keys, strict=True) if unit == best[key]]


def first_orders(metrics: Sequence[MetricRow], family: Sequence[MetricRow]) -> dict[str, int]:
    """n of the results table per task: as the family fixed it, else the smallest n that was measured."""
    rows = sorted((r for r in metrics if r["measure"] in ("mem_n", "mem_delta") and r["order"]), key=lambda r: -r["order"])
    return {r["task"]: r["order"] for r in rows} | {r["task"]: r["order"] for r in family}


def last_checkpoints(rows: Iterable[MetricRow]) -> list[MetricRow]:
    """The rows of each model's last checkpoint."""
    kept = list(rows)
    newest = {(r["task"], r["model"]): r["checkpoint"] for r in sorted(kept, key=lambda r: r["checkpoint"])}
    return [r for r in kept if r["checkpoint"] == newest[r["task"], r["model"]]]


def has_number(row: MetricRow | None) -> bool:
    return row is not None and row["estimate"] is not None and math.isfinite(row["estimate"])


def has_interval(row: MetricRow | None) -> bool:
    """Whether both ends of the interval are there."""
    return row is not None and has_number(row) and row["low"] is not None and row["high"] is not None


def clusters_of(row: MetricRow) -> float:
    """The effective number of clusters that a row rests on, at most its examples; infinite where neither is known."""
    return min(row["clusters"] or math.inf, row["examples"] or math.inf)


def sign(row: MetricRow | None) -> int:
    """1 or −1 where the interval excludes 0 and rests on enough clusters, else 0."""
    if row is None or not has_interval(row) or clusters_of(row) < FEWEST_CLUSTERS:
        return 0
    return 1 if row["low"] > 0 else -1 if row["high"] < 0 else 0


def significant(row: MetricRow, q: float | None) -> bool:
    """q < .05 inside the corrected family, else p < .05; never on too few clusters."""
    p = q if q is not None else row["p_value"]
    return p is not None and p < LEVEL and clusters_of(row) >= FEWEST_CLUSTERS


def notes_of(rows: Iterable[MetricRow], before: str = ": ", most: int = 3) -> str:
    """The first different reasons why rows have no number."""
    notes = list(dict.fromkeys(r["note"] for r in rows if r["note"] and not has_number(r)))
    return before + "; ".join(notes[:most]) if notes else ""
