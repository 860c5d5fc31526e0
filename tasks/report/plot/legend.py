"""The key of a figure: a short piece of each line or bar with its name, on the page and in the files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.report.page.html import text as said_html
from tasks.report.plot.palette import INK, PAPER, Look, themed

Key = Sequence[tuple[str, Look]]
KEY_COLUMNS = 5


def key_of(keys: Iterable[Key]) -> Key:
    """Every named line of a figure's panels once."""
    return tuple(dict.fromkeys(entry for key in keys for entry in key))


def lines_of(key: Key) -> int:
    """Lines that a key takes in a file; a single name needs none."""
    return -(-len(key) // KEY_COLUMNS) if len(key) > 1 else 0


def key_html(key: Key) -> str:
    """The key of a figure, above its panels."""
    if len(key) < 2:
        return ""
    return '<ul class="key">' + "".join(f"<li>{_sample(k)}{said_html(name)}</li>" for name, k in key) + "</ul>"


SHAPES = {
    "o": '<circle cx="15" cy="6" r="3.4"/>',
    "s": '<path d="M12 3h6v6h-6z"/>',
    "^": '<path d="M15 2l4 7.4h-8z"/>',
    "D": '<path d="M15 1.6l4.4 4.4-4.4 4.4-4.4-4.4z"/>',
    "v": '<path d="M15 10l4-7.4h-8z"/>',
    "P": '<path d="M13.5 2h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z"/>',
    "X": '<path d="M12 2l3 2.4 3-2.4 1.6 1.8-2.4 2.2 2.4 2.2-1.6 1.8-3-2.4-3 2.4-1.6-1.8 2.4-2.2-2.4-2.2z"/>',
    "p": '<path d="M15 1.8l4.2 3.2-1.6 5h-5.2l-1.6-5z"/>',
}


def _sample(k: Look) -> str:
    """A short piece of a line, or of a bar."""
    return themed(f'<svg class="sample" viewBox="0 0 30 12" aria-hidden="true">{_sample_paths(k)}</svg>')


def _sample_paths(k: Look) -> str:
    if k.marker == "bar":
        return f'<path fill="{k.colour}" d="M4 1h22v10h-22z"/>{_hatching(k.dash)}'
    dash = "" if k.dash == "-" else f' stroke-dasharray="{" ".join(f"{1.4 * d:g}" for d in k.dash[1])}"'
    return (
        f'<g stroke="{k.colour}" fill="{k.colour}"><path stroke-width="1.8" fill="none" d="M0 6h30"{dash}/>'
        f'<g stroke="none">{SHAPES.get(k.marker, "")}</g></g>'
    )


def _hatching(hatch: str) -> str:
    """The same hatches as matplotlib's, coarse."""
    paths = {
        "/": "M4 11l10-10M11 11l10-10M18 11l8-8",
        "\\": "M4 1l10 10M11 1l10 10M18 1l8 8",
        "x": "M4 11l10-10M14 11l10-10M4 1l10 10M14 1l10 10",
        "-": "M4 4h22M4 8h22",
        ".": "M7 4h1M13 4h1M19 4h1M10 8h1M16 8h1M22 8h1",
    }
    return f'<path stroke="{PAPER}" stroke-width="1" d="{paths[hatch[0]]}"/>' if hatch else ""


def key_svg(key: Key) -> str:
    """The key of a figure's file."""
    return "".join(
        f'<g transform="translate({6 + 120 * (i % KEY_COLUMNS)} {4 + 14.4 * (i // KEY_COLUMNS)})">{_sample_paths(k)}'
        f'<text x="35" y="9" font-size="7.5" fill="{INK}">{said_html(name)}</text></g>'
        for i, (name, k) in enumerate(key if lines_of(key) else ())
    )


def handles(key: Key) -> list[Any]:
    """The same for matplotlib."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=k.colour, hatch=k.dash, edgecolor=PAPER, label=name)
        if k.marker == "bar"
        else Line2D([], [], color=k.colour, marker=k.marker, linestyle=k.dash, label=name)
        for name, k in key
    ]
