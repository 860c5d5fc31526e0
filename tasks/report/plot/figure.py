"""What a figure is: panels, what is seen in them, what is missing and why, and the data. Shared by all files of figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.data import Facts
from tasks.report.numbers import HUNDREDS, SHARES, Row, has_interval, known, short
from tasks.report.plot.axes import Abscissa
from tasks.report.plot.drawing import Panel
from tasks.report.plot.marks import Line, Point, lines_panel, shared_span
from tasks.report.plot.palette import Look, look, step_look

METRIC_COLUMNS = (
    "measure",
    "task",
    "model",
    "checkpoint",
    "order",
    "unit",
    "statistic",
    "detail",
    "x",
    "estimate",
    "low",
    "high",
    "p_value",
    "rows",
    "examples",
    "truth",
    "note",
)
EMPHASISED = 4  # with more lines than this only the first and the last carry intervals and names


@dataclass(frozen=True)
class Figure:
    """Panels with a caption and one CSV; without panels, `missing` says why.

    `seen` are sentences made from the numbers, `caption` says how to read the figure, `gaps` what is not there and why.
    `place` is the section of the page; a `folded` figure stands in a block that a reader opens.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    csv: str
    seen: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    missing: str = ""
    place: str = "performance"
    folded: bool = False


def figure(
    name: str,
    title: str,
    panels: Sequence[Panel],
    rows: Iterable[Row],
    *,
    caption: str,
    missing: str,
    place: str,
    seen: Sequence[str] = (),
    gaps: Sequence[str] = (),
    columns: Sequence[str] = METRIC_COLUMNS,
    folded: bool = False,
) -> Figure:
    """A figure with its data, or the reason why there is none."""
    why = "" if panels else missing
    data = table(rows, columns) if panels else ""
    return Figure(name, title, caption, tuple(panels), data, tuple(seen), tuple(gaps), why, place, folded)


def table(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Rows as CSV with a heading."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(r.get(k)) for k in columns] for r in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """What stands in a cell. A text that a spreadsheet would take for a formula has an apostrophe before it, as they write it;
    a carriage return, which would end the row, is a space.
    """
    if isinstance(value, str):
        text = value.replace("\r", " ")
        return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
    return "" if value is None else value


# -- rows -------------------------------------------------------------------------------------------------------------
def last(rows: Iterable[Row]) -> list[Row]:
    """The rows of each model's last checkpoint."""
    kept = list(rows)
    newest: dict[tuple[str, str], int] = {}
    for r in kept:
        newest[r["task"], r["model"]] = max(newest.get((r["task"], r["model"]), -1), r["checkpoint"])
    return [r for r in kept if r["checkpoint"] == newest[r["task"], r["model"]]]


def tasks_of(facts: Facts, rows: Iterable[Row]) -> list[str]:
    """Tasks that these rows speak of, in the study's order."""
    found = {r["task"] for r in rows}
    named = [t["name"] for t in facts.settings["tasks"]]
    return [t for t in named if t in found] + sorted(found - set(named))


def ladder_of(facts: Facts, rows: Iterable[Row]) -> dict[str, int]:
    """Models that these rows speak of, smallest first, with their parameters (0: unknown)."""
    found = {r["model"] for r in rows}
    return {m: n for m, n in facts.ladder.items() if m in found}


def gaps(facts: Facts, rows: Sequence[Row], *, models: bool = True, tasks: bool = True) -> list[str]:
    """What these rows do not say, and why: their own notes, then tasks and models of the study that no row speaks of."""
    why: dict[tuple[str, str], dict[str, None]] = {}
    some = {(r["task"], r["model"]) for r in rows if known(r)}
    for r in rows:
        if not known(r):
            why.setdefault((r["note"] or "no number", r["task"]), {})[r["model"]] = None
    named: dict[str, list[str]] = {}
    for (note, task), who in why.items():
        here = {m for t, m in {(r["task"], r["model"]) for r in rows} if t == task}
        partly = any((task, m) in some for m in who)
        told = "" if set(who) == here or not any(who) else f" ({', '.join(m for m in who if m)})"
        named.setdefault(note, []).append(f"{task or 'all tasks'}{told}{', in part' if partly else ''}")
    said = [f"No number for {'; '.join(where)}: {note}" for note, where in named.items()]
    absent = [t["name"] for t in facts.settings["tasks"] if t["name"] not in {r["task"] for r in rows}]
    if tasks and absent and rows:
        said.append(f"Not measured for {', '.join(absent)}")
    silent = [m for m in facts.settings["models"] if m not in {r["model"] for r in rows}]
    if models and silent and rows:
        said.append(f"No row of {', '.join(silent)}: named in the study, not measured")
    return said


def scale_of(statistic: str) -> int:
    """Shares are drawn as percent."""
    return 100 if statistic in SHARES else 1


def is_percent(statistic: str) -> bool:
    """Whether a statistic runs from 0 to 100 once it is drawn."""
    return statistic in SHARES or statistic in HUNDREDS


def point(row: Row, x: float, *, filled: bool = True, wide: Row | None = None) -> Point:
    """A row as a point of a line."""
    scale = scale_of(row["statistic"])
    low, high = (row["low"] * scale, row["high"] * scale) if has_interval(row) else (None, None)
    outer = (wide["low"] * scale, wide["high"] * scale) if wide is not None and has_interval(wide) else None
    return Point(float(x), row["estimate"] * scale, low, high, filled, outer)


def statistic_name(statistic: str) -> str:
    """As an axis says it."""
    return statistic.replace("_", " ") + (", %" if scale_of(statistic) == 100 else "")


# -- axes and lines that several figures share ------------------------------------------------------------------------
def place_of(ladder: dict[str, int], model: str) -> float:
    """Abscissa of a model; one of unknown size stands by its place in the order."""
    return float(ladder[model] or list(ladder).index(model) + 1)


def by_size(ladder: dict[str, int]) -> Abscissa:
    """Parameters on a log scale; with many models every second or third is named, and one name for close ones."""
    ticks: list[tuple[float, str]] = []
    for m in ladder:
        at = place_of(ladder, m)
        if not ticks or at > ticks[-1][0] * _spacing(ladder):
            ticks.append((at, short(at) if ladder[m] else m))
    return Abscissa("parameters", "log", tuple(ticks))


def _spacing(ladder: dict[str, int]) -> float:
    """Ratio of two abscissas whose names do not touch: about five stand side by side."""
    places = [place_of(ladder, m) for m in ladder]
    return (max(places) / max(min(places), 1e-9)) ** 0.16


def aside(x: float, index: int, of: int) -> float:
    """Beside each other, so that intervals do not hide each other."""
    return float(x * 1.045 ** (index - (of - 1) / 2))


def model_lines(
    facts: Facts, rows: Sequence[Row], x: Callable[[Row], float | None], *, extra: Sequence[tuple[str, str]] = ()
) -> list[Line]:
    """One line per model, light for small and dark for large; `extra` are (model, name) lines that are no rung of the ladder."""
    ladder = ladder_of(facts, [r for r in rows if known(r)])
    lines = []
    for step, model in enumerate(ladder):
        shown = len(ladder) <= EMPHASISED or step in (0, len(ladder) - 1)
        lines.append(_line_of(rows, x, model, model, step_look(step, len(ladder)), shown))
    for index, (model, name) in enumerate(extra):
        lines.append(_line_of(rows, x, model, name, Look(*look(1 + 5 * index)[:1], *look(4 + index)[1:]), True))
    return [line for line in lines if line.points]


def _line_of(rows: Sequence[Row], x: Callable[[Row], float | None], model: str, name: str, kind: Look, shown: bool) -> Line:
    own = [(at, r) for r in rows if r["model"] == model and known(r) and (at := x(r)) is not None]
    own.sort(key=lambda pair: pair[0])
    return Line(name, [point(r, at) for at, r in own], kind, name if shown else "", intervals=shown)


def task_panels(
    facts: Facts,
    name: str,
    rows: Sequence[Row],
    x: Abscissa,
    at: Callable[[Row], float | None],
    label: str = "",
    *,
    row: str = "",
    low: float | None = None,
    high: float | None = None,
    extra: Sequence[tuple[str, str]] = (),
) -> list[Panel]:
    """One panel per task, one line per model; ordinates of one unit share their ends."""
    drawn = []
    for task in tasks_of(facts, rows):
        own = [r for r in rows if r["task"] == task]
        lines = model_lines(facts, own, at, extra=extra)
        if lines:
            statistic = next(r["statistic"] for r in own if known(r))
            drawn.append((task, lines, statistic))
    kinds = {is_percent(s) for *_, s in drawn}
    spans = {k: shared_span([n for _, lines, s in drawn if is_percent(s) == k for n in lines], low, high) for k in kinds}
    spans = {k: (-4.0, 104.0) if k and span and max(span) > 40 else span for k, span in spans.items()}
    return [
        lines_panel(f"{name}-{task}", task, lines, x, label or statistic_name(s), span=spans[is_percent(s)], row=row)
        for task, lines, s in drawn
    ]
