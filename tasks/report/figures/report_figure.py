"""What a figure of the report is: panels, observations, gaps and data; and the lines and axes that several figures share."""

import csv
import io
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.report.data import ReportData
from tasks.report.formatting import short, statistic_name
from tasks.report.numbers import HUNDREDS, SHARES, MetricRow, has_interval, has_number, notes_of
from tasks.report.plot.axes import XAxis
from tasks.report.plot.drawing import Panel
from tasks.report.plot.palette import LineStyle, rung_style, style_of
from tasks.report.plot.panels import Point, Series, Span, lines_panel, shared_span

EMPHASISED = 4  # with more lines than this only the first and the last have intervals and names
MOST_SHOWN = 3  # models, where each needs much room
MOST_OBSERVATIONS = 8  # sentences under one figure
with Path(__file__).with_name("figures.toml").open("rb") as file:
    TEXTS = {n: {"section": section} | text for section, texts in tomllib.load(file).items() for n, text in texts.items()}


@dataclass(frozen=True)
class ReportFigure:
    """Panels, and their rows as CSV. figures.toml has the title, the caption, and why there may be no panels. `observations` are
    sentences made from the numbers, `gaps` what is not shown and why."""

    name: str
    panels: Sequence[Panel]
    rows: Sequence[MetricRow]
    observations: Sequence[str]
    gaps: Sequence[str]
    caption: str
    missing: str
    kind = "figure"

    @property
    def text(self) -> Mapping[str, Any]:
        """Section, title and folded."""
        return TEXTS[self.name]

    @property
    def csv(self) -> str:
        return csv_text(self.rows, [*self.rows[0]])


def figure(
    data: ReportData,
    name: str,
    panels: Sequence[Panel],
    rows: Sequence[MetricRow],
    shown: Sequence[MetricRow] = (),
    *,
    sentences: Iterable[str] = (),
    caption: str = "",
    models: bool = True,
    tasks: bool = True,
) -> ReportFigure:
    """A figure over `shown`, whose gaps are listed (also `models` and `tasks` without any row); `rows` are its data. `caption` is
    added to the one in figures.toml."""
    kept, text = [s for s in sentences if s], TEXTS[name]
    if len(kept) > MOST_OBSERVATIONS:
        kept[MOST_OBSERVATIONS:] = [f"The data has {len(kept) - MOST_OBSERVATIONS} more"]
    gaps, missing = _gaps(data, shown, models, tasks), text["missing"] + notes_of(shown)
    return ReportFigure(name, panels, rows, kept, gaps, text["caption"] + caption, missing)


def csv_text(rows: Iterable[MetricRow], columns: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(r.get(k)) for k in columns] for r in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets read as "text"; a carriage
    return, which would end the row, becomes a space."""
    if isinstance(value, str):
        text = value.replace("\r", " ")
        return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
    return "" if value is None else value


def _gaps(data: ReportData, rows: Sequence[MetricRow], models: bool, tasks: bool) -> list[str]:
    """What these rows do not show, and why: their notes, then tasks and models of the study without any row."""
    measured, present = ({(r["task"], r["model"]) for r in rows if every or has_number(r)} for every in (False, True))
    without: dict[tuple[str, str], dict[str, None]] = {}
    for r in rows:
        if not has_number(r):
            without.setdefault((r["note"] or "no number", r["task"]), {})[r["model"]] = None
    places: dict[str, list[str]] = {}
    for (note, task), who in without.items():
        everyone = set(who) == {m for t, m in present if t == task} or not any(who)
        names = "" if everyone else f" ({', '.join(m for m in who if m)})"
        partly = ", in part" if any((task, m) in measured for m in who) else ""
        places.setdefault(note, []).append(f"{task or 'all tasks'}{names}{partly}")
    sentences = [f"No number for {'; '.join(where)}: {note}" for note, where in places.items()]
    missing = [t["name"] for t in data.settings["tasks"] if t["name"] not in {t for t, _ in present}]
    if tasks and missing and rows:
        sentences.append(f"Not measured for {', '.join(missing)}")
    missing = [m for m in data.settings["models"] if m not in {m for _, m in present}]
    if models and missing and rows:
        sentences.append(f"No row of {', '.join(missing)}: named in the study, not measured")
    return sentences


# -- points, axes and lines that several figures share ----------------------------------------------------------------
def is_percent(statistic: str) -> bool:
    """Whether a statistic runs from 0 to 100 once it is drawn."""
    return statistic in SHARES or statistic in HUNDREDS


def point(row: MetricRow, x: float, *, filled: bool = True, wide: MetricRow | None = None) -> Point:
    """A row as a point of a line; shares as percent."""
    scale = 100 if row["statistic"] in SHARES else 1
    low, high = (row["low"] * scale, row["high"] * scale) if has_interval(row) else (None, None)
    outer = (wide["low"] * scale, wide["high"] * scale) if wide is not None and has_interval(wide) else None
    return Point(float(x), row["estimate"] * scale, low, high, filled, outer)


def position(ladder: Mapping[str, int], model: str) -> float:
    """x of a model: its parameters, or its rank where the size is unknown."""
    return float(ladder[model] or list(ladder).index(model) + 1)


def size_axis(ladder: Mapping[str, int]) -> XAxis:
    """Parameters on a log scale; about five models are labelled, and only one of several close ones."""
    places = [position(ladder, m) for m in ladder]
    spacing = (max(places, default=1.0) / max(min(places, default=1.0), 1e-9)) ** 0.16
    ticks: list[tuple[float, str]] = []
    for model, place in zip(ladder, places, strict=True):
        if not ticks or place > ticks[-1][0] * spacing:
            ticks.append((place, short(place) if ladder[model] else model))
    return XAxis("parameters", "log", tuple(ticks))


def shown_models(data: ReportData, rows: Iterable[MetricRow]) -> list[str]:
    """Smallest, middling and largest: what a figure with a panel or a row of dots for each has room for."""
    models = list(data.ladder_of(rows))
    return models if len(models) <= MOST_SHOWN else [models[0], models[len(models) // 2], models[-1]]


def ladder_panels(
    data: ReportData, name: str, rows: Sequence[MetricRow], style: int, label: str = "", span: Span | None = None
) -> list[Panel]:
    """One panel per task, with one line over model size."""
    ladder, panels = data.ladder_of(rows), []
    for task, of_task in data.by_task(rows):
        here = {r["model"]: r for r in of_task if has_number(r)}
        points = [point(here[m], position(ladder, m)) for m in ladder if m in here]
        if points:
            statistic = next(iter(here.values()))["statistic"]
            full = is_percent(statistic) and max(p.y for p in points) > 1 or statistic in HUNDREDS
            ends = span or ((-3.0, 103.0) if full else None)
            line = Series("", points, style_of(style))
            label_y = label or statistic_name(statistic)
            panels.append(lines_panel(f"{name}-{task}", task, [line], size_axis(ladder), label_y, span=ends))
    return panels


def task_panels(
    data: ReportData,
    name: str,
    rows: Sequence[MetricRow],
    x: XAxis,
    column: str = "x",
    label: str = "",
    *,
    row: str = "",
    limits: tuple[float | None, float | None] = (None, None),
    extra: Sequence[tuple[str, str]] = (),
) -> list[Panel]:
    """One panel per task, one line per model over a column of the rows; y axes of the same unit share their ends. `extra` are
    (model, name) of lines that are no rung of the ladder."""
    drawn: list[tuple[str, list[Series], str]] = []
    for task, here in data.by_task(r for r in rows if has_number(r) and r[column] is not None):
        if series := model_series(data, here, column, extra):
            drawn.append((task, series, here[0]["statistic"]))
    spans: dict[bool, Span | None] = {}
    for kind in {is_percent(s) for *_, s in drawn}:
        span = shared_span([n for _, series, s in drawn if is_percent(s) == kind for n in series], *limits)
        spans[kind] = (-4.0, 104.0) if kind and span and max(span) > 40 else span
    return [
        lines_panel(f"{name}-{task}", task, series, x, label or statistic_name(s), span=spans[is_percent(s)], row=row)
        for task, series, s in drawn
    ]


def model_series(data: ReportData, rows: Sequence[MetricRow], column: str, extra: Sequence[tuple[str, str]] = ()) -> list[Series]:
    """One line per model, light for small and dark for large, then the extra ones."""
    ladder = list(data.ladder_of(rows))
    series = []
    for step, (model, name) in enumerate([*((m, m) for m in ladder), *extra]):
        index, last = step - len(ladder), len(ladder) - 1
        emphasised = len(ladder) <= EMPHASISED or step in (0, last) or index >= 0
        style = rung_style(step, len(ladder))
        if index >= 0:
            style = LineStyle(style_of(1 + 5 * index).colour, *style_of(4 + index)[1:])
        points = [point(r, r[column]) for r in sorted((r for r in rows if r["model"] == model), key=lambda r: r[column])]
        series.append(Series(name, points, style, name if emphasised else "", intervals=emphasised))
    return [line for line in series if line.points]
