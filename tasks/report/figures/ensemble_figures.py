"""Memorized or learned: what the runs of an ensemble show about each claim (docs/memorization.md), with its null."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, point
from tasks.report.formatting import short
from tasks.report.numbers import MetricRow, has_number
from tasks.report.plot.axes import XAxis
from tasks.report.plot.drawing import Panel
from tasks.report.plot.palette import DASHES, LineStyle, rung_style, style_of
from tasks.report.plot.panels import Point, Series, Span, columns_panel, lines_panel, shared_span
from tasks.statistics import Floats, wilson

BINS = 16  # of U between its tails, at most
MOST_DOTS = 1_500  # of a panel; more are thinned, the same of every group
NO_LINE = ""  # the dash of dots
COPIES, TWINS = XAxis("copies, d", "log"), XAxis("trained members, k", "log")
OF_COPIES = (("leave_group_out", "M, all copies left out"), ("leave_one_out", "M, one copy left out"))
OF_EXTRACTION = (("extracted_in", "extracted by runs with it"), ("extracted_out", "by runs without it"))


def bin_edges(u: Floats) -> Floats:
    """Edges of equal, round width over the middle 98 % of U; below the first and above the last are open bins. A bin is (a, b]."""
    low, high = (float(v) for v in np.quantile(u, (0.01, 0.99)))
    least = (high - low) / BINS or 1.0
    power = 10.0 ** np.floor(np.log10(least))
    width = power * next(step for step in (1, 2, 5, 10) if step * power >= 0.999 * least)
    first = np.floor(low / width)
    return np.arange(first, max(np.ceil(high / width), first + 1) + 1) * width


def density(data: ReportData) -> ReportFigure:
    """Fig. 3a and 3b of arXiv 2106.03216: highly memorized sequences by log p in runs with them, next to those of phantoms."""
    panels, used, observations = list[Panel](), list[MetricRow](), list[str]()
    for network, row in sentences.networks(data):
        members, phantoms = (data.ensembles.of(network, split) for split in ("member", "phantom"))
        if len(members) < 2 or len(phantoms) < 2:
            continue
        (u, m), (null_u, null_m) = (_columns(rows, "in_log_p", "leave_group_out") for rows in (members, phantoms))
        edges, at_null = bin_edges(u), sentences.threshold(null_m)
        width, high = float(edges[1] - edges[0]), m > sentences.threshold(m)
        kinds = (("above the members' threshold", u, high), ("above the phantoms' threshold", u, m > at_null))
        lines, stacks = list[Series](), list[tuple[float, list[tuple[str, float]]]]()
        for index, (name, log_p, chosen) in enumerate((*kinds, ("phantoms above theirs", null_u, null_m > at_null))):
            code, points = np.searchsorted(edges, log_p), list[Point]()
            for bin in np.unique(code).tolist():
                n, k, middle = int((code == bin).sum()), int(chosen[code == bin].sum()), float(edges[0]) + (bin - 0.5) * width
                share, ends = wilson(k, n), [None, *edges.tolist(), None][bin : bin + 2]
                y, low, top = (100 * (v or 0.0) for v in (share.value, share.low, share.high))
                points.append(Point(middle, y, low, top))
                about = {"model": network, "series": name, "from": ends[0], "to": ends[1], "sequences": n, "highly_memorized": k}
                used.append(about | {"share": share.value, "low": share.low, "high": share.high})
                stacks += [(middle, [("highly memorized", float(k)), ("others", float(n - k))])] if index == 0 else []
            style = style_of(index) if index < 2 else style_of(index)._replace(colour=style_of(6).colour, dash=DASHES[1])
            lines.append(Series(name, points, style, intervals=index < 2))
        axis = XAxis("U: log p in runs with it, nats")
        panels.append(columns_panel(f"density-a-{network}", "How many", stacks, axis, "sequences", width, row))
        panels.append(lines_panel(f"density-b-{network}", "Which share", lines, axis, "highly memorized, %", (-4.0, 104.0), row))
        observations += sentences.density(row, (u, m), (null_u, null_m))
    return figure(data, "density", panels, used, sentences=observations, models=False, tasks=False)


def leverage(data: ReportData) -> ReportFigure:
    """M of sequences with one copy against the leverage that agrees best with it."""
    panels, used, observations = list[Panel](), list[MetricRow](), list[str]()
    for network, row in sentences.networks(data):
        best, rows = data.ensembles.leverage.get(network), data.ensembles.of(network, "member", single=True)
        if best is None:
            continue
        rows = rows.filter(pl.col("leverage").is_not_null())
        every, lines = -(-len(rows) // MOST_DOTS), []
        for index, group in enumerate(sorted(set(rows["group"]))):
            x, m = _columns(rows.filter(group=group), "leverage", "leave_group_out")
            points = [Point(a, b, filled=False) for a, b in sorted(zip(x.tolist(), m.tolist(), strict=True))][::every]
            lines.append(Series(group.replace("_", " "), points, style_of(index)._replace(dash=NO_LINE), intervals=False))
        axis = XAxis(f"{sentences.LEVERAGES[best.kind]} leverage, damping {best.damping:g}")
        panels.append(_dots(f"leverage-{network}", lines, axis, "M, nats", row))
        used += rows.select("model", "sequence", "group", "leverage", "leave_group_out").to_dicts()
        observations += sentences.leverage(row, best, rows)
    return figure(data, "leverage", panels, used, sentences=observations, models=False, tasks=False)


def copies(data: ReportData) -> ReportFigure:
    """M and extraction by the number of copies, in dense text and of canaries."""
    panels, used = list[Panel](), list[MetricRow]()
    for network, row in sentences.networks(data):
        for kind in ("dense", "canary"):
            for details, label, what in ((OF_COPIES, "M, nats", "M"), (OF_EXTRACTION, "extracted, %", "extracted")):
                wanted = [(kind, f"{kind}_copies", detail, name) for detail, name in details]
                lines = _lines(data, network, wanted, used, 2 * (details is OF_EXTRACTION))
                span: Span | None = (-4.0, 104.0) if details is OF_EXTRACTION else shared_span(lines)
                axis = XAxis(COPIES.label, "log", _whole(lines))
                name = f"copies-{network}-{kind}-{what}"
                panels += [lines_panel(name, f"{what}: {kind}", lines, axis, label, span, row)] if lines else []
    return figure(data, "copies", panels, used, sentences=sentences.copies(data), models=False, tasks=False)


def twins(data: ReportData) -> ReportFigure:
    """ω and M of rings by the number of trained members, next to those of canaries."""
    panels, used = list[Panel](), list[MetricRow]()
    for network, row in sentences.networks(data):
        for detail, label in (("specificity", "ω"), ("leave_group_out", "M, nats")):
            lines = _lines(data, network, [("", "ring", detail, "rings"), ("canary", "", detail, "canaries")], used)
            if not any(line.name == "rings" for line in lines):
                continue
            places = [p.x for line in lines for p in line.points]
            lines = [_level(line, min(places), max(places)) if line.name == "canaries" else line for line in lines]
            axis = XAxis(TWINS.label, "log", _whole([line for line in lines if line.name == "rings"]))
            panels.append(lines_panel(f"twins-{network}-{detail}", "", lines, axis, label, shared_span(lines), row))
    return figure(data, "twins", panels, used, sentences=sentences.twins(data), models=False, tasks=False)


def capacity(data: ReportData) -> ReportFigure:
    """How well a run generalizes against how much it memorizes, one dot per run of the grid, coloured by size."""
    rows = sentences.grid(data)
    sizes, lines = sorted({r["parameters"] for r in rows}), []
    for step, size in enumerate(sizes):
        points = [Point(r["bits"], r["generalization"]) for r in rows if r["parameters"] == size]
        style = rung_style(step, len(sizes))._replace(dash=NO_LINE)
        lines.append(Series(f"{short(size)} parameters", sorted(points), style, intervals=False))
    axis = XAxis("memorized, bits of a sequence")
    panels = [_dots("capacity", lines, axis, "generalization, −bits per token")] if lines else []
    return figure(data, "capacity", panels, rows, sentences=sentences.capacity(data), models=False, tasks=False)


# -- lines -----------------------------------------------------------------------------------------------------------
def _dots(name: str, lines: Sequence[Series], x: XAxis, label: str, row: str = "") -> Panel:
    """A larger panel, for many dots."""
    return replace(lines_panel(name, "", lines, x, label, row=row, y="linear"), width=4.1, height=2.6)


def _columns(rows: pl.DataFrame, *names: str) -> list[Floats]:
    return [rows[name].to_numpy() for name in names]


Wanted = Iterable[tuple[str, str, str, str]]  # group of one copy, group of several, detail, name of the line


def _lines(data: ReportData, network: str, wanted: Wanted, used: list[MetricRow], style: int = 0) -> list[Series]:
    """A line for each that is wanted; other seeds of the network have open dots and no name."""
    lines = []
    for index, (single, several, detail, name) in enumerate(wanted, style):
        for model in reversed(data.settings["ensembles"]["networks"][network]):  # the first on top
            rows = [r for r in sentences.by_level(data, model, single, several, detail) if has_number(r)]
            first = model == network
            points = [point(r, r["level"], filled=first) for r in rows]
            look = style_of(index) if first else style_of(index)._replace(dash=NO_LINE)
            lines.append(Series(name if first else "", points, look, intervals=first))
            used += rows
    return [line for line in lines if line.points]


def _level(line: Series, low: float, high: float) -> Series:
    """A number that does not depend on x, as a broken line across the panel."""
    style: LineStyle = line.style._replace(dash=DASHES[1])
    return Series(line.name, [line.points[0]._replace(x=x) for x in (low, high)], style, markers=line.markers, intervals=False)


def _whole(lines: Sequence[Series]) -> tuple[tuple[float, str], ...]:
    """Ticks at the whole numbers that have a point."""
    return tuple((x, f"{x:g}") for x in sorted({p.x for line in lines for p in line.points}))
