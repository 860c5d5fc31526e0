"""HTML that is not made by the templates. All text is escaped."""

import base64
import re
from html import escape
from typing import Any

from tasks.text.display import mark_spans

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
    spans = [[s] if 0 <= s[0] < s[1] <= len(excerpt) else [] for s in (first, second)]
    marks = {bits: (f'<mark class="{kind}">', "</mark>") for bits, kind in ((1, "in"), (2, "out"), (3, "both"))}
    return mark_spans(excerpt, spans, marks, text)
