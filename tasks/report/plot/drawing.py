"""How panels become SVG for the page, and whole figures SVG and PDF files. Knows nothing of measures.

Each panel is painted by a small function on its own axes, so that the page can stack the panels on a phone while the files have
them side by side. `taskgram.mplstyle` holds the look.
"""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from tasks.report.plot.palette import BAR, INK, PAPER, SOFT, Legend

STYLE_SHEET = Path(__file__).with_name("taskgram.mplstyle")
COLUMNS = 4
WIDE = 3.0  # inches: wider panels are set in half as many columns
LEGEND_COLUMNS = 5
NO_METADATA = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}


class Margins(NamedTuple):
    """Room around the axes, in inches."""

    left: float = 0.44
    right: float = 0.12
    bottom: float = 0.42
    top: float = 0.24


@dataclass(frozen=True)
class Panel:
    """One drawing. `description` is read out by a screen reader. Panels of one `row` (a heading, or nothing) are neighbours."""

    name: str
    title: str
    description: str
    paint: Callable[[Any], None]
    legend: Legend = ()
    row: str = ""
    width: float = 2.7
    height: float = 2.0
    margins: Margins = Margins()

    @cached_property
    def svg_content(self) -> str:
        """What the panel's <svg> contains, for the page: no title, and ids only where a marker is defined."""
        with _style(self.name):
            drawing = _canvas(self.width, self.height)
            _add_axes(drawing, self, 0, 0)
            svg = _saved(drawing, "svg").decode()
        svg = svg[svg.index(">") + 1 : svg.rindex("</svg>")].replace("xlink:href", "href")
        return re.sub(r"\n\s*", "\n", _unique_ids(re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", svg))).strip()


def legend_of(panels: Iterable[Panel]) -> Legend:
    """Every named line of the panels once; a single name needs no legend."""
    entries = tuple(dict.fromkeys(entry for panel in panels for entry in panel.legend))
    return entries if len(entries) > 1 else ()


def drawing_files(name: str, panels: Sequence[Panel]) -> tuple[str, bytes]:
    """SVG and PDF of a whole figure: a legend above rows of panels with their headings and titles."""
    legend, rows = legend_of(panels), _rows(panels)
    top = 0.08 + 0.2 * -(-len(legend) // LEGEND_COLUMNS)
    width = max(sum(p.width for p in row) for _, row in rows)
    height = top + sum(_height(*row) for row in rows)
    with _style(name):
        drawing = _canvas(width, height)
        if legend:
            drawing.legend(handles=_handles(legend), loc="upper left", ncols=LEGEND_COLUMNS, bbox_to_anchor=(0, 1))
        for heading, row in rows:
            drawing.text(0.06 / width, 1 - (top + 0.16) / height, heading, size=8.5, color=SOFT)
            top += _height(heading, row)
            left, row_top = 0.0, top - max(p.height for p in row)
            for panel in row:
                drawing.text((left + 0.06) / width, 1 - (row_top - 0.03) / height, panel.title, size=8.5, color=INK)
                _add_axes(drawing, panel, left, height - row_top - panel.height)
                left += panel.width
        return _saved(drawing, "svg").decode(), _saved(drawing, "pdf")


def _style(salt: str) -> AbstractContextManager[None]:
    """The style sheet over Matplotlib's defaults, whatever the user's own settings are."""
    import matplotlib

    return matplotlib.rc_context({"svg.hashsalt": salt}, STYLE_SHEET)


def _canvas(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    return FigureCanvasSVG(Figure(figsize=(width, height))).figure


def _saved(drawing: Any, kind: str) -> bytes:
    out = io.BytesIO()
    drawing.savefig(out, format=kind, metadata=NO_METADATA[kind])
    content = out.getvalue()
    if kind == "svg":
        content = re.sub(rb"<metadata>.*?</metadata>\s*", b"", content[content.index(b"<svg") :], flags=re.S)
    return content


def _add_axes(drawing: Any, panel: Panel, x: float, y: float) -> None:
    """Paint a panel whose lower left corner is at (x, y), in inches."""
    (width, height), m = drawing.get_size_inches(), panel.margins
    inner_width, inner_height = panel.width - m.left - m.right, panel.height - m.top - m.bottom
    box = ((x + m.left) / width, (y + m.bottom) / height, inner_width / width, inner_height / height)
    panel.paint(drawing.add_axes(box))


def _handles(legend: Legend) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=style.colour, hatch=style.dash, edgecolor=PAPER, label=name)
        if style.marker == BAR
        else Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=name)
        for name, style in legend
    ]


def _rows(panels: Sequence[Panel]) -> list[tuple[str, list[Panel]]]:
    """Panels side by side, each row with its heading; where a row continues on the next, it is not repeated."""
    rows: list[tuple[str, list[Panel]]] = []
    for heading, group in groupby(panels, key=lambda p: p.row):
        members = list(group)
        columns = COLUMNS if members[0].width < WIDE else COLUMNS // 2
        rows += [("" if i else heading, members[i : i + columns]) for i in range(0, len(members), columns)]
    return rows


def _height(heading: str, row: Sequence[Panel]) -> float:
    return max(p.height for p in row) + 0.24 * any(p.title for p in row) + (0.2 if heading else 0.0)


def _unique_ids(svg: str) -> str:
    """Matplotlib repeats an equal marker's definition for each line, under the same id; only the first keeps the id."""
    first = {match[1]: match.start() for match in reversed(list(re.finditer(r'\s+id="([^"]*)"', svg)))}
    return re.sub(r'\s+id="([^"]*)"', lambda m: m[0] if first[m[1]] == m.start() else "", svg)
