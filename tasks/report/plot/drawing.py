"""How every figure looks, and how it becomes SVG (for the page and for a file) and PDF. Knows nothing of measures.

No line is told from another by colour alone: each has its own marker and dash, and the colours stay apart for readers who do
not see red or green (a test simulates them). A figure is painted by small functions on one pair of axes each, so that the
page can stack the panels on a phone while the file sets them side by side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

from tasks.report.page.html import text
from tasks.report.plot.legend import KEY_COLUMNS, Key, handles, key_of, key_svg, lines_of
from tasks.report.plot.palette import FAINT, INK, SOFT, themed

STYLE: Any = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # journals turn Type 3 away; one weight only, since each one that is embedded takes its time
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 7.5,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
Paint = Callable[[Any], None]
COLUMNS = 4
WIDE = 3.0  # inches: panels from here on want more of the page


class Margins(NamedTuple):
    """Room around the axes, in inches."""

    left: float = 0.44
    right: float = 0.12
    bottom: float = 0.42
    top: float = 0.24


@dataclass(frozen=True)
class Panel:
    """One drawing. `description` is read out by a screen reader; `key` are the looks of the named lines.

    Panels of one `row` (a heading, or nothing) stand beside each other.
    """

    name: str
    title: str
    description: str
    paint: Paint
    key: Key = ()
    row: str = ""
    width: float = 2.7
    height: float = 2.0
    margins: Margins = Margins()

    @cached_property
    def svg(self) -> str:
        """The panel alone, without its title: for the page, and as a piece of the figure's file."""
        with _ours(self.name):
            drawing = _canvas(self.width, self.height)
            _axes(drawing, self, 0, 0, (self.width, self.height))
            out = io.StringIO()
            drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        svg = out.getvalue()
        svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.S)
        svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
        return _once(re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", svg))


@dataclass(frozen=True)
class Drawn:
    """A figure's files."""

    svg: str
    pdf: bytes


@contextmanager
def _ours(salt: str) -> Iterator[None]:
    """Whatever a person's own matplotlib settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": salt})
        yield


def _canvas(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height))
    FigureCanvasSVG(drawing)
    return drawing


def _axes(drawing: Any, panel: Panel, x: float, y: float, size: tuple[float, float]) -> Any:
    """Axes of a panel whose lower left corner stands at (x, y) inches of a drawing of this size."""
    m = panel.margins
    wide, high = panel.width - m.left - m.right, panel.height - m.top - m.bottom
    axes = drawing.add_axes(((x + m.left) / size[0], (y + m.bottom) / size[1], wide / size[0], high / size[1]))
    panel.paint(axes)
    return axes


def sheet(name: str, panels: Sequence[Panel]) -> Drawn:
    """The whole figure as files: rows of panels with their titles, and one key above."""
    key = key_of(p.key for p in panels)
    rows = _rows(panels)
    lines = lines_of(key)
    size = (max(sum(p.width for p in row) for _, row in rows), 0.08 + 0.2 * lines + sum(_height(*row) for row in rows))
    drawn: str = key_svg(key)
    top: float = 0.08 + 0.2 * lines
    with _ours(name):
        drawing = _canvas(*size)
        if lines:
            drawing.legend(
                handles=handles(key),
                loc="upper left",
                ncols=KEY_COLUMNS,
                bbox_to_anchor=(0, 1),
                handlelength=3,
                borderaxespad=0.2,
            )

        def say(x: float, y: float, said: str, colour: str) -> str:
            drawing.text(x / size[0], 1 - y / size[1], said, size=8.5, color=colour)
            return f'<text x="{72 * x:g}" y="{72 * y:g}" font-size="8.5" fill="{colour}">{text(said)}</text>'

        for heading, row in rows:
            bottom = top + _height(heading, row)
            drawn += say(0.06, top + 0.16, heading, SOFT) if heading else ""
            left: float = 0.0
            for panel in row:
                high = bottom - max(p.height for p in row)
                drawn += say(left + 0.06, high - 0.03, panel.title, INK)
                _axes(drawing, panel, left, size[1] - high - panel.height, size)
                # Within a drawing a point is one unit, and "pt" would make it 4/3.
                inner = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', panel.svg, count=2)
                drawn += inner.replace("<svg", f'<svg x="{72 * left:g}" y="{72 * high:g}"', 1)
                left += panel.width
            top = bottom
        pdf = io.BytesIO()
        drawing.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    across, down = (f"{72 * side:g}" for side in size)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" width="{across}pt" height="{down}pt"'
    return Drawn(f'{head} font-family="DejaVu Sans, sans-serif">{drawn}</svg>\n', pdf.getvalue())


def _rows(panels: Sequence[Panel]) -> list[tuple[str, list[Panel]]]:
    """Panels as they stand side by side, each row with its heading; a row that goes on below has none there."""
    rows: list[tuple[str, list[Panel]]] = []
    for heading, group in groupby(panels, key=lambda p: p.row):
        own = list(group)
        columns = COLUMNS if own[0].width < WIDE else COLUMNS // 2
        rows += [(heading if not i else "", own[i : i + columns]) for i in range(0, len(own), columns)]
    return rows


def _height(heading: str, row: Sequence[Panel]) -> float:
    return max(p.height for p in row) + 0.24 * any(p.title for p in row) + (0.2 if heading else 0.0)


# -- on the page ------------------------------------------------------------------------------------------------------
def inline(panel: Panel, name: str) -> str:
    """The SVG as part of a page: with words for who cannot see it, and colours that follow the page's light or dark."""
    svg = re.sub(
        r'(<svg)[^>]*?(viewBox="[^"]*")[^>]*>',
        rf'\1 \2 role="img" aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{text(panel.title or panel.name)}</title>'
        rf'<desc id="{name}-d">{text(panel.description)}</desc>',
        panel.svg,
        count=1,
    )
    return re.sub(r"\n\s*", "\n", themed(svg)).strip()


def _once(svg: str) -> str:
    """Matplotlib defines an equal marker anew for each line, under the same id; only the first keeps it."""
    seen: set[str] = set()

    def keep(match: re.Match[str]) -> str:
        first = match[1] not in seen
        seen.add(match[1])
        return match[0] if first else ""

    return re.sub(r'\s+id="([^"]*)"', keep, svg)
