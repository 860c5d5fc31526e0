"""Colours, markers, dashes and hatches of every figure, their CSS names on the page, and the samples in its legends.

No two lines differ by colour alone, and the colours stay apart for readers who do not see red or green: a test simulates them,
for the light and the dark page.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

INK, SOFT, FAINT, PAPER = "#2b2f36", "#5c6470", "#dfe2e6", "#ffffff"
COLOURS = ("#005a9c", "#e0650f", "#1b9e77", "#a63d86", "#7a5200", "#4fa7e0", "#8b8f96")
RAMP = ("#8fc3a0", "#71af9e", "#539c9b", "#3d8999", "#377796", "#316594", "#2e5187", "#2c3d76", "#2a2a66")  # small to large
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), (0, (8, 3)), (0, (1, 3)))
MARKERS = {  # with the path of each in a legend's sample
    "o": "M11.6 6a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z",
    "s": "M12 3h6v6h-6z",
    "^": "M15 2l4 7.4h-8z",
    "D": "M15 1.6l4.4 4.4-4.4 4.4-4.4-4.4z",
    "v": "M15 10l4-7.4h-8z",
    "P": "M13.5 2h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z",
    "X": "M12 2l3 2.4 3-2.4 1.6 1.8-2.4 2.2 2.4 2.2-1.6 1.8-3-2.4-3 2.4-1.6-1.8 2.4-2.2-2.4-2.2z",
    "p": "M15 1.8l4.2 3.2-1.6 5h-5.2l-1.6-5z",
}
HATCHES = {  # of bars, likewise
    "": "",
    "///": "M4 11l10-10M11 11l10-10M18 11l8-8",
    "..": "M7 4h1M13 4h1M19 4h1M10 8h1M16 8h1M22 8h1",
    "\\\\\\": "M4 1l10 10M11 1l10 10M18 1l8 8",
    "xx": "M4 11l10-10M14 11l10-10M4 1l10 10M14 1l10 10",
    "--": "M4 4h22M4 8h22",
}
BAR = "bar"  # the marker of a style whose dash is a hatch


class LineStyle(NamedTuple):
    """Colour, marker and dash of a line; or colour and hatch of a bar."""

    colour: str
    marker: str
    dash: Any


Legend = Sequence[tuple[str, LineStyle]]


def style_of(index: int) -> LineStyle:
    """The style of the index-th of several unordered lines; no two of the first 56 share marker and dash."""
    return LineStyle(COLOURS[index % len(COLOURS)], [*MARKERS][index % len(MARKERS)], DASHES[index % len(DASHES)])


def rung_style(step: int, of: int) -> LineStyle:
    """The style of a rung of a ladder: light is small, dark is large."""
    rung = round(step * (len(RAMP) - 1) / (of - 1)) if of > 1 else len(RAMP) - 1
    return style_of(step)._replace(colour=RAMP[rung % len(RAMP)])


def bar_styles(kinds: Sequence[str]) -> dict[str, LineStyle]:
    """Colour and hatch per kind of bar; the last kind is the rest: grey, without a hatch."""
    hatches = [*HATCHES]
    styles = [LineStyle(COLOURS[i % 6], BAR, hatches[i % len(hatches)]) for i in range(len(kinds) - 1)]
    return dict(zip(kinds, [*styles, LineStyle(COLOURS[-1], BAR, "")], strict=True)) if kinds else {}


def sample(style: LineStyle) -> str:
    """A short piece of a line or bar, as SVG paths in a box of 30 × 12."""
    colour, marker, dash = style
    if marker == BAR:
        return f'<path fill="{colour}" d="M4 1h22v10h-22z"/><path stroke="{PAPER}" d="{HATCHES[dash]}"/>'
    broken = f' stroke-dasharray="{" ".join(f"{1.4 * d:g}" for d in dash[1])}"' if dash and dash != "-" else ""
    line = dash and f'<path stroke="{colour}" stroke-width="1.8" fill="none" d="M0 6h30"{broken}/>'
    return f'{line}<path fill="{colour}" d="{MARKERS[marker]}"/>'


def themed(svg: str) -> str:
    """Replace colours by the page's names for them, which light, dark and print define."""
    names = {INK: "ink", SOFT: "soft", FAINT: "line", PAPER: "page"}
    names |= {c: f"c{i}" for i, c in enumerate(COLOURS)} | {c: f"r{i}" for i, c in enumerate(RAMP)}
    return re.sub("|".join(names), lambda m: f"var(--{names[m[0]]})", svg)
