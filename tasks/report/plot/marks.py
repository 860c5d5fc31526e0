"""What stands on a panel's axes: lines over an abscissa, dots with intervals, stacked bars, arrows. Knows nothing of measures.

A filled marker is significant, an open one is not. Lines carry their names at their right end where there is room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, NamedTuple

from tasks.report.numbers import short
from tasks.report.plot.axes import Abscissa, scale_x, scale_y
from tasks.report.plot.drawing import Margins, Panel
from tasks.report.plot.palette import COLOURS, FAINT, HATCHES, INK, PAPER, SOFT, Look

ENDS = Margins(right=0.5)
ROOM = 0.075  # of the height of the axes, between two names at the ends of lines


class Point(NamedTuple):
    """One number. `wide` is a second, wider interval, drawn thin."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    filled: bool = True
    wide: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """Points under one name; `end` is written at the line's right end."""

    name: str
    points: Sequence[Point]
    look: Look
    end: str = ""
    plain: bool = False  # no markers
    intervals: bool = True


def lines_panel(
    name: str,
    title: str,
    lines: Sequence[Line],
    x: Abscissa,
    label: str,
    *,
    span: tuple[float, float] | None = None,
    zero: bool = True,
    log_y: bool = False,
    row: str = "",
) -> Panel:
    """Lines in one pair of axes. `span` are the ends of the ordinate, so that panels can share them."""
    shown = [line for line in lines if line.points]

    def paint(axes: Any) -> None:
        for line in shown:
            _line(axes, line)
        scale_x(axes, x, [p.x for line in shown for p in line.points])
        if log_y:
            axes.set_yscale("log")
        if span:
            axes.set_ylim(*span)
        if zero:
            axes.axhline(0, color=SOFT, linewidth=0.7, zorder=1)
        scale_y(axes, label, log_y)
        _ends(axes, shown, log_y)

    return Panel(
        name,
        title,
        f"{label} over {x.label}. " + " ".join(_spoken(line) for line in shown),
        paint,
        tuple((line.name, line.look) for line in shown if line.name),
        row,
        margins=ENDS if any(line.end for line in shown) else Margins(),
    )


def _line(axes: Any, line: Line) -> None:
    """One line, its intervals, and its markers, open or filled."""
    from matplotlib.collections import LineCollection

    colour, marker, dash = line.look
    for width, alpha, ends in (
        (0.7, 0.55, [(p.x, *p.wide) for p in line.points if p.wide]),
        (1.6, 0.4, [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]),
    ):
        if ends and line.intervals:
            bars = LineCollection(
                [[(a, low), (a, high)] for a, low, high in ends], color=colour, linewidth=width, alpha=alpha
            )
            axes.add_collection(bars, autolim=True)
    axes.plot([p.x for p in line.points], [p.y for p in line.points], color=colour, linestyle=dash)
    if line.plain:
        return
    for filled in (True, False):
        at = [p for p in line.points if p.filled == filled]
        if at:
            axes.plot(
                [p.x for p in at],
                [p.y for p in at],
                color=colour,
                marker=marker,
                linestyle="",
                zorder=3,
                markerfacecolor=colour if filled else PAPER,
                markeredgewidth=1.1,
            )


def _spoken(line: Line) -> str:
    """A line in words, for those who cannot see it."""
    points = line.points if len(line.points) <= 12 else [line.points[0], line.points[-1]]
    return f"{line.name or 'values'}: " + ", ".join(f"{short(p.x)}: {p.y:.3g}" for p in points) + "."


def _ends(axes: Any, lines: Sequence[Line], log_y: bool) -> None:
    """Names at the right ends, pushed apart where they would lie on each other."""
    named = [line for line in lines if line.end]
    if not named:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    at = [(float(to_axes.transform((line.points[-1].x, line.points[-1].y))[1]), line) for line in named]
    right = max(float(to_axes.transform((line.points[-1].x, line.points[-1].y))[0]) for line in named)
    at.sort(key=lambda pair: pair[0])
    heights: list[float] = []
    for height, _ in at:
        heights.append(max(height, heights[-1] + ROOM) if heights else height)
    over = max(0.0, heights[-1] - 1.0)
    for (_, line), height in zip(at, heights, strict=True):
        axes.text(
            right + 0.05,
            height - over,
            line.end,
            transform=axes.transAxes,
            color=line.look.colour,
            size=7.2,
            va="center",
            clip_on=False,
        )


def dots_panel(
    name: str,
    title: str,
    groups: Sequence[tuple[str, Sequence[tuple[str, Look, Point]]]],
    label: str,
    *,
    span: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    row: str = "",
    width: float = 4.1,
    places: Abscissa | None = None,
) -> Panel:
    """Rows from top to bottom, each with one dot per (name, look, point), whose abscissa is the number."""
    most = max((len(dots) for _, dots in groups), default=1)
    step = 0.16 + 0.03 * max(0, most - 1)
    longest = max((len(said) for said, _ in groups), default=1)
    margins = Margins(left=min(2.0, 0.25 + 0.062 * longest), bottom=0.42, top=0.1)

    def paint(axes: Any) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.ticker import MaxNLocator

        alike: dict[tuple[Look, bool], list[tuple[float, Point]]] = {}
        for place, (_, dots) in enumerate(groups):
            for index, (_, kind, p) in enumerate(dots):
                y = place + (index - (len(dots) - 1) / 2) * 0.66 / max(1, most - 1) if len(dots) > 1 else place
                alike.setdefault((kind, p.filled), []).append((y, p))
        for ((colour, marker, _), filled), found in alike.items():
            ends = [[(p.low, y), (p.high, y)] for y, p in found if p.low is not None and p.high is not None]
            axes.add_collection(LineCollection(ends, color=colour, linewidth=1.3, alpha=0.45))
            axes.plot(
                [p.x for _, p in found],
                [y for y, _ in found],
                color=colour,
                marker=marker,
                linestyle="",
                markersize=4.4,
                markerfacecolor=colour if filled else PAPER,
                markeredgewidth=1.0,
            )
        axes.set_yticks(range(len(groups)), [said for said, _ in groups])
        axes.set_ylim(len(groups) - 0.45, -0.55)
        axes.grid(axis="x")
        axes.grid(False, axis="y")
        for between in range(len(groups) - 1) if most > 1 else ():
            axes.axhline(between + 0.5, color=FAINT, linewidth=0.5, zorder=0)
        if places is None:
            axes.axvline(0, color=SOFT, linewidth=0.8, zorder=1)
        if reference:
            axes.axvline(reference[0], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        if span:
            axes.set_xlim(*span)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if places is not None:
            scale_x(axes, places, [p.x for _, dots in groups for *_, p in dots])
        axes.set_xlabel(label + (f" (broken: {reference[1]})" if reference else ""), labelpad=2)

    spoken = " ".join(f"{said}: " + ", ".join(f"{who} {p.x:.3g}" for who, _, p in dots) + "." for said, dots in groups)
    key = dict.fromkeys((who, kind) for _, dots in groups for who, kind, _ in dots if who)
    return Panel(
        name,
        title,
        f"{label}. {spoken}",
        paint,
        tuple(key),
        row,
        width,
        margins.top + margins.bottom + step * len(groups),
        margins,
    )


def bars_panel(
    name: str, title: str, bars: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str, *, row: str = ""
) -> Panel:
    """Stacked bars, one below the other; each share has its colour and its hatch."""
    kinds = list(dict.fromkeys(kind for _, shares in bars for kind, _ in shares))
    rest = len(COLOURS) - 1  # the last kind is what is left over: grey, without a hatch
    looks = {
        kind: Look(COLOURS[rest], "bar", "")
        if i == len(kinds) - 1
        else Look(COLOURS[i % rest], "bar", HATCHES[i % len(HATCHES)])
        for i, kind in enumerate(kinds)
    }
    longest = max((len(said) for said, _ in bars), default=1)
    margins = Margins(left=min(1.6, 0.2 + 0.062 * longest), bottom=0.42, top=0.1)

    def paint(axes: Any) -> None:
        for place, (_, shares) in enumerate(bars):
            left = 0.0
            for kind, share in shares:
                axes.barh(
                    place,
                    share,
                    0.66,
                    left=left,
                    color=looks[kind].colour,
                    hatch=looks[kind].dash,
                    edgecolor=PAPER,
                    linewidth=0.6,
                )
                left += share
        axes.set_yticks(range(len(bars)), [said for said, _ in bars])
        axes.set_ylim(len(bars) - 0.45, -0.55)
        axes.grid(axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel(label, labelpad=2)

    spoken = " ".join(
        f"{said}: " + ", ".join(f"{kind} {share:.3g}" for kind, share in shares) + "." for said, shares in bars
    )
    return Panel(
        name,
        title,
        f"{label}. {spoken}",
        paint,
        tuple(looks.items()),
        row,
        2.7,
        margins.top + margins.bottom + 0.27 * max(1, len(bars)),
        margins,
    )


def arrows_panel(name: str, title: str, lines: Sequence[Line], x: Abscissa, label: str) -> Panel:
    """One path per line with an arrow at its end and its name beside it."""
    wide = Margins(left=0.44, right=0.75, bottom=0.42, top=0.26)

    def paint(axes: Any) -> None:
        for line in lines:
            colour, marker, dash = line.look
            xs, ys = [p.x for p in line.points], [p.y for p in line.points]
            axes.plot(xs, ys, color=colour, linestyle=dash, marker=marker, markersize=3.6, markerfacecolor=PAPER)
            axes.plot(xs[-1:], ys[-1:], color=colour, marker=marker, markersize=6, linestyle="")
            if len(xs) > 1:
                axes.annotate(
                    "",
                    (xs[-1], ys[-1]),
                    (xs[-2], ys[-2]),
                    zorder=4,
                    arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkB": 4, "linewidth": 1.2},
                )
            axes.annotate(
                line.name,
                (xs[-1], ys[-1]),
                (7, 0),
                textcoords="offset points",
                color=colour,
                size=7.5,
                va="center",
                annotation_clip=False,
            )
        axes.axhline(0, color=SOFT, linewidth=0.7, zorder=1)
        axes.margins(0.08)
        scale_x(axes, x, [p.x for line in lines for p in line.points])
        scale_y(axes, label)

    spoken = " ".join(_spoken(line) for line in lines)
    return Panel(
        name,
        title,
        f"{label} over {x.label}. {spoken}",
        paint,
        tuple((n.name, n.look) for n in lines),
        width=4.1,
        height=2.6,
        margins=wide,
    )


def absent_panel(name: str, title: str, why: str, row: str = "") -> Panel:
    """The place of a panel that cannot be there says why."""

    def paint(axes: Any) -> None:
        axes.axis("off")
        axes.text(
            0, 0.95, "\n".join(wrap(why, 36)), transform=axes.transAxes, size=7.5, color=SOFT, va="top", linespacing=1.5
        )

    return Panel(name, title, why, paint, (), row, margins=Margins(left=0.06))


def shared_span(lines: Sequence[Line], low: float | None = None, high: float | None = None) -> tuple[float, float] | None:
    """Ends of an ordinate that holds every point and interval of these lines (and 0), no further than `low` and `high`."""
    values = [v for line in lines for p in line.points for v in (p.y, p.low, p.high, *(p.wide or ())) if v is not None]
    if not values:
        return None
    bottom, top = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    room = 0.06 * (top - bottom or 1.0)
    bottom, top = bottom - room, top + room
    return (bottom if low is None else max(bottom, low - room), top if high is None else min(top, high + room))
