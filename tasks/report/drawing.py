"""One small panel of lines, as SVG: how every figure looks. Knows nothing of measures.

Colours are those of Okabe and Ito, and no line is told by colour alone: each has its own marker and dash. A filled marker
says p or q < .05, an open one does not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tasks.report.numbers import short

INK, FAINT = "#2b2f36", "#c9ced6"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), (0, (8, 3)), (0, (1, 3)))
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
}


@dataclass(frozen=True)
class Panel:
    """One drawing. `svg` is the file; `description` is read out by a screen reader."""

    file: str
    title: str
    description: str
    svg: str


@dataclass(frozen=True)
class Line:
    """Points (x, y, low, high, filled) under one name."""

    name: str
    points: Sequence[tuple[float, float, float | None, float | None, bool]]
    style: int


def abscissa(ladder: dict[str, int], model: str) -> float:
    """Abscissa of a model; one of unknown size stands by its place in the order."""
    return float(ladder[model] or list(ladder).index(model) + 1)


def line_panel(
    name: str,
    title: str,
    lines: Sequence[Line],
    xlabel: str,
    ylabel: str,
    *,
    log: bool = False,
    symlog: bool = False,
    loglog: bool = False,
    zero: bool = False,
    plain: bool = False,
    ticks: dict[str, int] | None = None,
    clip: tuple[float | None, float | None] = (None, None),
) -> Panel:
    """Lines with markers and intervals in one pair of axes."""

    def paint(axes: Any) -> None:
        for line in lines:
            _line(axes, line, plain)
        if log or loglog:
            axes.set_xscale("log", base=2 if loglog else 10)
        if loglog:
            axes.set_yscale("log")
        if symlog:
            axes.set_xscale("symlog", base=2, linthresh=1)
            largest = max((p[0] for line in lines for p in line.points), default=1)
            axes.set_xlim(-0.4, max(largest, 1) * 1.4)
        _ticks(axes, ticks, symlog, loglog, plain, [p[0] for line in lines for p in line.points])
        if zero:
            axes.axhline(0, color=INK, linewidth=0.7)
            low, high = axes.get_ylim()
            axes.set_ylim(
                low if clip[0] is None else max(low, clip[0] - 0.03 * (high - low)),
                high if clip[1] is None else min(high, clip[1] * 1.03),
            )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        if sum(bool(line.points) and bool(line.name) for line in lines) > 0:
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(-0.02, 1.0),
                ncols=4,
                borderaxespad=0.1,
                columnspacing=1.0,
                handlelength=2.2,
                handletextpad=0.4,
            )

    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    description = f"{ylabel} over {xlabel}. " + " ".join(_spoken(line) for line in lines if line.points)
    return Panel(f"{safe}.svg", title, description, render(safe, paint))


def _line(axes: Any, line: Line, plain: bool) -> None:
    """One line, its intervals, and its markers, open or filled."""
    if not line.points:
        return
    colour, marker, dash = (s[line.style % len(s)] for s in (COLOURS, MARKERS, DASHES))
    x, y = [p[0] for p in line.points], [p[1] for p in line.points]
    for px, py, low, high, _ in line.points:
        if low is not None and high is not None:
            ends = [min(low, py), max(high, py)]
            axes.plot([px, px], ends, color=colour, linewidth=1.1, alpha=0.55, solid_capstyle="butt")
    marker = "" if plain else marker
    axes.plot(x, y, color=colour, linestyle=dash, marker=marker, markerfacecolor=colour, label=line.name or None)
    for px, py, _, _, filled in line.points:
        if not filled:
            axes.plot([px], [py], color=colour, marker=marker, markerfacecolor="#ffffff", linestyle="", zorder=3)


def _spoken(line: Line) -> str:
    """A line in words, for those who cannot see it."""
    points = line.points if len(line.points) <= 12 else [line.points[0], line.points[-1]]
    return f"{line.name or 'values'}: " + ", ".join(f"{short(p[0])}: {p[1]:.3g}" for p in points) + "."


def _ticks(axes: Any, ladder: dict[str, int] | None, symlog: bool, loglog: bool, plain: bool, xs: Sequence[float]) -> None:
    """Few ticks, written so that a person reads them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
    if ladder is not None:
        axes.xaxis.set_major_locator(FixedLocator([abscissa(ladder, m) for m in ladder]))
        axes.margins(x=0.12)
    elif symlog:
        top = max(1, int(max(xs, default=1)).bit_length())
        axes.xaxis.set_major_locator(FixedLocator([0, *(2**k for k in range(0, top + 1, max(1, -(-top // 6))))]))
    elif plain:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    elif not loglog:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if loglog:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))


def render(name: str, paint: Callable[[Any], None]) -> str:
    """Draw into a fresh SVG, whatever a person's own matplotlib settings are."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": name})
        drawing = Drawing(figsize=(4.1, 2.9), layout="constrained")
        FigureCanvasSVG(drawing)
        paint(drawing.add_subplot())
        out = io.StringIO()
        drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def _once(svg: str) -> str:
    """Matplotlib defines an equal marker anew for each line, under the same id; only the first keeps it."""
    seen: set[str] = set()

    def keep(match: re.Match[str]) -> str:
        first = match[1] not in seen
        seen.add(match[1])
        return match[0] if first else ""

    return re.sub(r'\s+id="([^"]*)"', keep, svg)


def inline(panel: Panel, name: str) -> str:
    """The SVG as part of a page: no prolog, no outside name, colours that follow the page's light or dark."""
    svg = panel.svg[panel.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = _once(re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", svg))
    svg = re.sub(
        r'(<svg)[^>]*?(viewBox="[^"]*")[^>]*>',
        rf'\1 \2 role="img" aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{escape(panel.title)}</title>'
        rf'<desc id="{name}-d">{escape(panel.description)}</desc>',
        svg,
        count=1,
    )
    svg = svg.replace(INK, "var(--ink)").replace(FAINT, "var(--line)").replace("#ffffff", "var(--page)")
    for index, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--c{index})")
    return re.sub(r"\n\s*", "\n", svg).strip()
