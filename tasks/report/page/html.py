"""Small pieces of HTML. All text that is not ours passes through `text`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape as html_escape
from typing import Any

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def text(value: Any) -> str:
    """Escape anything for HTML. Characters a page may not hold, or that turn the direction of what follows, are replaced."""
    return html_escape(_UNFIT.sub("\ufffd", str(value)), quote=True)


def missing(what: str) -> str:
    """A section that cannot be there says why."""
    return f'<p class="missing">{text(what[:1].upper() + what[1:].rstrip("."))}.</p>'


def grid(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """A plain table; the first cell of a row heads it. `right` names the columns of numbers."""
    css = [' class="n"' if i in right else "" for i in range(len(heads))]
    head = "".join(f'<th scope="col"{c}>{text(h)}</th>' for h, c in zip(heads, css, strict=True))
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(f"<td{c}>{text(v)}</td>" for v, c in zip(row[1:], css[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    said = text(caption)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{said}"><table><caption>{said}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def data_link(content: str) -> str:
    """A file inside a link, so that the page needs nothing beside it."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(content.encode()).decode()


def highlight(excerpt: str, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Escaped text with both spans marked; they may overlap, and a span of −1 is not in the excerpt."""
    spans = [s if 0 <= s[0] < s[1] <= len(excerpt) else (0, 0) for s in (first, second)]
    cuts = sorted({0, len(excerpt), *spans[0], *spans[1]})
    html = ""
    for start, end in zip(cuts, cuts[1:], strict=False):
        kind = {(True, True): "both", (True, False): "in", (False, True): "out"}.get(
            (_in(spans[0], start), _in(spans[1], start))
        )
        piece = text(excerpt[start:end])
        html += f'<mark class="{kind}">{piece}</mark>' if kind else piece
    return html


def _in(span: tuple[int, int], at: int) -> bool:
    return span[0] <= at < span[1]
