"""Pieces of HTML that are made outside of the templates. All text from outside is escaped."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import Any

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def fit(html: str) -> str:
    """Replace the characters that a page may not contain, or that change the direction of the text after them."""
    return _UNFIT.sub("\ufffd", html)


def text(value: Any) -> str:
    """Escape anything for HTML."""
    return escape(fit(str(value)), quote=True)


def data_link(content: str) -> str:
    """A CSV file inside a link, so that the page needs no other file."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(content.encode()).decode()


def highlight(excerpt: str, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Escaped text with both spans marked; they may overlap, and a span of −1 is not in the excerpt."""
    spans = [s if 0 <= s[0] < s[1] <= len(excerpt) else (0, 0) for s in (first, second)]
    cuts = sorted({0, len(excerpt), *spans[0], *spans[1]})
    names = {(True, True): "both", (True, False): "in", (False, True): "out"}
    html = ""
    for start, end in zip(cuts, cuts[1:], strict=False):
        inside_first, inside_second = (span[0] <= start < span[1] for span in spans)
        kind, piece = names.get((inside_first, inside_second)), text(excerpt[start:end])
        html += f'<mark class="{kind}">{piece}</mark>' if kind else piece
    return html
