"""The kinds of panel: lines over an axis, dots with intervals, stacked bars, arrows. Knows nothing of measures.

A filled marker is significant, an open one is not. Lines carry their names at their right end where there is room for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, NamedTuple

from tasks.report.formatting import short
from tasks.report.plot.axes import XAxis, scale_x, scale_y
from tasks.report.plot.drawing import Margins, Panel
from tasks.report.plot.palette import FAINT, INK, PAPER, SOFT, LineStyle, bar_styles

NAME_SPACING = 0.075  # of the height of the axes, between two names at the ends of lines
Span = tuple[float, float]


class Point(NamedTuple):
    """One number. `wide` is a second, wider interval, drawn thin."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    filled: bool = True
    wide: Span | None = None


@dataclass(frozen=True)
class Series:
    """Points under one name; `end` is written at the line's right end."""

    name: str
    points: Sequence[Point]
    style: LineStyle
    end: str = ""
    markers: bool = True
    intervals: bool = True


Dots = Sequence[tuple[str, LineStyle, Point]]
Groups = Sequence[tuple[str, Dots]]
Mark = tuple[float, str]  # a broken line at a number, and what it is


def lines_panel(
    name: str, title: str, series: Sequence[Series], x: XAxis, label: str, span: Span | None = None, row: str = "", y: str = "zero"
) -> Panel:
    """Lines in one pair of axes. `span` are the ends of the y axis, so that panels can share them; y: with a line at "zero",
    "linear" or "log"."""
    shown = [line for line in series if line.points]

    def paint(axes: Any) -> None:
        for line in shown:
            _paint_series(axes, line)
        scale_x(axes, x, [p.x for line in shown for p in line.points])
        if y == "log":
            axes.set_yscale("log")
        if span:
            axes.set_ylim(*span)
        if y == "zero":
            axes.axhline(0, color=SOFT, linewidth=0.7, zorder=1)
        scale_y(axes, label, y == "log")
        _paint_names(axes, [line for line in shown if line.end])

    spoken = f"{label} over {x.label}. " + " ".join(_spoken(line) for line in shown)
    legend = tuple((line.name, line.style) for line in shown if line.name)
    margins = Margins(right=0.5) if any(line.end for line in shown) else Margins()
    return Panel(name, title, spoken, paint, legend, row, margins=margins)


def _paint_series(axes: Any, line: Series) -> None:
    colour, marker, dash = line.style
    wide = [(p.x, *p.wide) for p in line.points if p.wide]
    narrow = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
    for ends, width, alpha in ((wide, 0.7, 0.55), (narrow, 1.6, 0.4)):
        if ends and line.intervals:
            axes.vlines(*zip(*ends, strict=True), color=colour, linewidth=width, alpha=alpha)
    axes.plot([p.x for p in line.points], [p.y for p in line.points], color=colour, linestyle=dash)
    if line.markers:
        _paint_markers(axes, [(p.x, p.y, p.filled) for p in line.points], line.style, markeredgewidth=1.1, zorder=3)


def _paint_markers(axes: Any, points: Sequence[tuple[float, float, bool]], style: LineStyle, **options: Any) -> None:
    for filled in (True, False):
        if places := [(x, y) for x, y, is_filled in points if is_filled == filled]:
            face = style.colour if filled else PAPER
            axes.plot(*zip(*places, strict=True), style.marker, color=style.colour, markerfacecolor=face, **options)


def _spoken(line: Series) -> str:
    """A line in words, for those who cannot see it."""
    points = line.points if len(line.points) <= 12 else [line.points[0], line.points[-1]]
    return f"{line.name or 'values'}: " + ", ".join(f"{short(p.x)}: {p.y:.3g}" for p in points) + "."


def _paint_names(axes: Any, named: Sequence[Series]) -> None:
    """Names at the right ends, pushed apart where they would overlap."""
    if not named:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [(*to_axes.transform(line.points[-1][:2]), line) for line in named]
    right = max(x for x, _, _ in ends)
    ends.sort(key=lambda end: end[1])
    heights: list[float] = []
    for _, height, _ in ends:
        heights.append(max(height, heights[-1] + NAME_SPACING) if heights else height)
    excess = max(0.0, heights[-1] - 1.0)
    place = {"transform": axes.transAxes, "va": "center", "clip_on": False}
    for (_, _, line), height in zip(ends, heights, strict=True):
        axes.text(right + 0.05, height - excess, line.end, color=line.style.colour, size=7.2, **place)


def dots_panel(
    name: str, title: str, groups: Groups, x: XAxis | str, *, span: Span | None = None, mark: Mark | None = None, row: str = ""
) -> Panel:
    """Groups from top to bottom, each with one dot per (name, style, point); the number is the point's x."""
    label = x if isinstance(x, str) else x.label
    most = max((len(dots) for _, dots in groups), default=1)

    def paint(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        alike: dict[LineStyle, list[tuple[float, Point]]] = {}
        for place, (_, dots) in enumerate(groups):
            for index, (_, style, p) in enumerate(dots):
                offset = (index - (len(dots) - 1) / 2) * 0.66 / max(1, most - 1) if len(dots) > 1 else 0.0
                alike.setdefault(style, []).append((place + offset, p))
        for style, dots_of_style in alike.items():
            if ends := [(y, p.low, p.high) for y, p in dots_of_style if p.low is not None and p.high is not None]:
                axes.hlines(*zip(*ends, strict=True), color=style.colour, linewidth=1.3, alpha=0.45)
            points = [(p.x, y, p.filled) for y, p in dots_of_style]
            _paint_markers(axes, points, style, markersize=4.4, markeredgewidth=1.0)
        _paint_rows(axes, [group for group, _ in groups])
        for between in range(len(groups) - 1) if most > 1 else ():
            axes.axhline(between + 0.5, color=FAINT, linewidth=0.5, zorder=0)
        if isinstance(x, str):
            axes.axvline(0, color=SOFT, linewidth=0.8, zorder=1)
        if mark:
            axes.axvline(mark[0], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        if span:
            axes.set_xlim(*span)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if isinstance(x, XAxis):
            scale_x(axes, x, [p.x for _, dots in groups for *_, p in dots])
        axes.set_xlabel(label + (f" (broken: {mark[1]})" if mark else ""))

    spoken = [f"{group}: " + ", ".join(f"{who} {p.x:.3g}" for who, _, p in dots) + "." for group, dots in groups]
    legend = tuple(dict.fromkeys((who, style) for _, dots in groups for who, style, _ in dots if who))
    margins = _row_margins([group for group, _ in groups], 0.25, 2.0)
    height = margins.top + margins.bottom + (0.16 + 0.03 * max(0, most - 1)) * len(groups)
    return Panel(name, title, " ".join([f"{label}.", *spoken]), paint, legend, row, 4.1, height, margins)


def _paint_rows(axes: Any, names: Sequence[str]) -> None:
    """Named rows from top to bottom, with the grid along x."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(axis="x")
    axes.grid(False, axis="y")


def _row_margins(names: Sequence[str], least: float, most: float) -> Margins:
    return Margins(left=min(most, least + 0.062 * max(map(len, names), default=1)), top=0.1)


def bars_panel(name: str, title: str, bars: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str) -> Panel:
    """Stacked bars, one below the other; each kind of share has its colour and its hatch."""
    styles = bar_styles(list(dict.fromkeys(kind for _, shares in bars for kind, _ in shares)))

    def paint(axes: Any) -> None:
        for place, (_, shares) in enumerate(bars):
            left = 0.0
            for kind, share in shares:
                look = {"color": styles[kind].colour, "hatch": styles[kind].dash, "edgecolor": PAPER, "linewidth": 0.6}
                axes.barh(place, share, 0.66, left=left, **look)
                left += share
        _paint_rows(axes, [bar for bar, _ in bars])
        axes.set_xlabel(label)

    spoken = [f"{bar}: " + ", ".join(f"{kind} {share:.3g}" for kind, share in shares) + "." for bar, shares in bars]
    margins = _row_margins([bar for bar, _ in bars], 0.2, 1.6)
    height = margins.top + margins.bottom + 0.27 * max(1, len(bars))
    text = " ".join([f"{label}.", *spoken])
    return Panel(name, title, text, paint, tuple(styles.items()), height=height, margins=margins)


def columns_panel(
    name: str,
    title: str,
    columns: Sequence[tuple[float, Sequence[tuple[str, float]]]],
    x: XAxis,
    label: str,
    width: float,
    row: str = "",
) -> Panel:
    """Stacked columns at places of the x axis; each kind has its colour and its hatch, and the last one is the rest."""
    styles = bar_styles(list(dict.fromkeys(kind for _, shares in columns for kind, _ in shares)))

    def paint(axes: Any) -> None:
        for at, shares in columns:
            bottom = 0.0
            for kind, share in shares:
                look = {"color": styles[kind].colour, "hatch": styles[kind].dash, "edgecolor": PAPER, "linewidth": 0.4}
                axes.bar(at, share, 0.92 * width, bottom=bottom, **look)
                bottom += share
        scale_x(axes, x, [at for at, _ in columns])
        scale_y(axes, label)

    spoken = [f"{short(at)}: " + ", ".join(f"{kind} {share:.3g}" for kind, share in shares) + "." for at, shares in columns]
    return Panel(name, title, " ".join([f"{label} over {x.label}.", *spoken]), paint, tuple(styles.items()), row)


def arrows_panel(name: str, title: str, series: Sequence[Series], x: XAxis, label: str) -> Panel:
    """One path per line with an arrow at its end and its name next to it."""

    def paint(axes: Any) -> None:
        for line in series:
            colour, marker, dash = line.style
            xs, ys = [p.x for p in line.points], [p.y for p in line.points]
            axes.plot(xs, ys, color=colour, linestyle=dash, marker=marker, markersize=3.6, markerfacecolor=PAPER)
            axes.plot(xs[-1:], ys[-1:], marker, color=colour, markersize=6)
            if len(xs) > 1:
                arrow = {"arrowstyle": "-|>", "color": colour, "shrinkB": 4, "linewidth": 1.2}
                axes.annotate("", (xs[-1], ys[-1]), (xs[-2], ys[-2]), zorder=4, arrowprops=arrow)
            place = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
            axes.annotate(line.name, (xs[-1], ys[-1]), (7, 0), color=colour, size=7.5, **place)
        axes.axhline(0, color=SOFT, linewidth=0.7, zorder=1)
        axes.margins(0.08)
        scale_x(axes, x, [p.x for line in series for p in line.points])
        scale_y(axes, label)

    text = f"{label} over {x.label}. {' '.join(_spoken(line) for line in series)}"
    legend = tuple((line.name, line.style) for line in series)
    margins = Margins(right=0.75, top=0.26)
    return Panel(name, title, text, paint, legend, width=4.1, height=2.6, margins=margins)


def absent_panel(name: str, title: str, why: str, row: str = "") -> Panel:
    """Says why a panel is not there, in its place."""

    def paint(axes: Any) -> None:
        axes.axis("off")
        look = {"size": 7.5, "color": SOFT, "va": "top", "linespacing": 1.5}
        axes.text(0, 0.95, "\n".join(wrap(why, 36)), transform=axes.transAxes, **look)

    return Panel(name, title, why, paint, row=row, margins=Margins(left=0.06))


def shared_span(series: Sequence[Series], low: float | None = None, high: float | None = None) -> Span | None:
    """Ends of a y axis that holds 0 and every point and interval of these lines, no further than `low` and `high`."""
    values = [v for line in series for p in line.points for v in (p.y, p.low, p.high, *(p.wide or ())) if v is not None]
    if not values:
        return None
    bottom, top = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    room = 0.06 * (top - bottom or 1.0)
    return max(bottom, low if low is not None else bottom) - room, min(top, high if high is not None else top) + room
