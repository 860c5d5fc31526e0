"""Colours, markers, dashes and hatches of every figure; their names on the page, which light, dark and print define.

No line is told from another by colour alone, and the colours stay apart for readers who do not see red or green: a test
simulates them, for the light and the dark page.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

INK, SOFT, FAINT, PAPER = "#2b2f36", "#5c6470", "#dfe2e6", "#ffffff"
COLOURS = ("#005a9c", "#e0650f", "#1b9e77", "#a63d86", "#7a5200", "#4fa7e0", "#8b8f96")
RAMP = ("#8fc3a0", "#71af9e", "#539c9b", "#3d8999", "#377796", "#316594", "#2e5187", "#2c3d76", "#2a2a66")  # small to large
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), (0, (8, 3)), (0, (1, 3)))
HATCHES = ("", "///", "..", "\\\\\\", "xx", "--", "")


class Look(NamedTuple):
    """Colour, marker and dash of a line."""

    colour: str
    marker: str
    dash: Any


def look(style: int) -> Look:
    """The style-th of the lines that have no order; no two of the first 56 share marker and dash."""
    return Look(COLOURS[style % len(COLOURS)], MARKERS[style % len(MARKERS)], DASHES[style % len(DASHES)])


def step_look(step: int, of: int) -> Look:
    """A rung of a ladder: light is small, dark is large."""
    at = round(step * (len(RAMP) - 1) / (of - 1)) if of > 1 else len(RAMP) - 1
    return Look(RAMP[at % len(RAMP)], MARKERS[step % len(MARKERS)], DASHES[step % len(DASHES)])


def themed(svg: str) -> str:
    """Colours become the page's own names for them, which light, dark and print define."""
    named = {INK: "ink", SOFT: "soft", FAINT: "line", PAPER: "page"}
    named |= {c: f"c{i}" for i, c in enumerate(COLOURS)} | {c: f"r{i}" for i, c in enumerate(RAMP)}
    return re.sub("|".join(named), lambda m: f"var(--{named[m[0]]})", svg)
