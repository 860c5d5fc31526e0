"""What is seen in a figure, in sentences made from its numbers. None says more than its intervals allow."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.report.numbers import LEVEL, Row, has_interval, known, number

FEW = 6  # sentences under one figure


def course(what: str, rows: Sequence[Row | None], over: str = "the ladder") -> str:
    """How a number changes from the first to the last of these rows: "… grows from 0.12 to 0.41 over the ladder"."""
    shown = [r for r in rows if r is not None and known(r)]
    if not shown:
        return ""
    first, end = shown[0], shown[-1]
    values = [number(r["estimate"], r["statistic"]) for r in (first, end)]
    if len(shown) == 1:
        return f"{what} is {values[0]}{_range(first)}"
    if not has_interval(first) or not has_interval(end):
        return f"{what} goes from {values[0]} to {values[1]} over {over}"
    if end["low"] > first["high"]:
        return f"{what} grows from {values[0]} to {values[1]} over {over}"
    if end["high"] < first["low"]:
        return f"{what} falls from {values[0]} to {values[1]} over {over}"
    return f"{what} goes from {values[0]} to {values[1]} over {over}, which its intervals do not tell apart"


def _range(row: Row) -> str:
    ends = [number(row[end], row["statistic"]) for end in ("low", "high")] if has_interval(row) else []
    return f" [{', '.join(ends)}]" if ends else ""


def sign(row: Row | None) -> int:
    """1 or −1 where the interval excludes 0, else 0."""
    if row is None or not has_interval(row):
        return 0
    return 1 if row["low"] > 0 else -1 if row["high"] < 0 else 0


def significant(row: Row, q: float | None) -> bool:
    """q < .05 inside the corrected family, else p < .05."""
    p = q if q is not None else row["p_value"]
    return p is not None and p < LEVEL


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def at_most(sentences: Sequence[str], most: int = FEW) -> tuple[str, ...]:
    """The first few that say something; the others are counted."""
    said = [s for s in sentences if s]
    return tuple(said) if len(said) <= most else (*said[:most], f"{len(said) - most} more are in the data")
