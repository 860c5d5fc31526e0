"""How a figure stands on the page: title, what is seen, key, panels in rows, how to read it, what is missing, its files."""

from __future__ import annotations

from itertools import groupby

from tasks.report.page.html import data_link, missing, text
from tasks.report.plot.drawing import WIDE, inline
from tasks.report.plot.figure import Figure
from tasks.report.plot.legend import key_html, key_of

FEW_GAPS = 2
EMBEDDED = 100_000  # characters of data that a page carries for one figure


def figure_html(figure: Figure, heading: str = "h3") -> str:
    """A figure, or why it is not there."""
    title = f"<{heading}>{text(figure.title)}</{heading}>"
    if not figure.panels:
        return f'<section class="absent">{title}{missing("not drawn: " + figure.missing)}</section>'
    body, index = "", 0
    for row, panels in groupby(figure.panels, key=lambda p: p.row):
        drawn = ""
        wide = False
        for panel in panels:
            head = f"<h4>{text(panel.title)}</h4>" if panel.title else ""
            drawn += f'<div class="panel">{head}{inline(panel, f"{figure.name}-{index}")}</div>'
            wide |= panel.width >= WIDE
            index += 1
        body += (f'<p class="row">{text(row)}</p>' if row else "") + f'<div class="panels{" wide" * wide}">{drawn}</div>'
    seen = f'<p class="seen">{text(". ".join(figure.seen))}.</p>' if figure.seen else ""
    inner = (
        f"<figure>{'' if figure.folded else title}{key_html(key_of(p.key for p in figure.panels))}{body}"
        f'<figcaption>{seen}<div class="how">{text(figure.caption)} {gaps_html(figure)}{files_html(figure)}</div></figcaption>'
        "</figure>"
    )
    if figure.folded:
        return f'<details class="folded"><summary>{text(figure.title)}</summary>{inner}</details>'
    return inner


def gaps_html(figure: Figure) -> str:
    """What the figure does not show, and why; folded where that is a list."""
    if len(figure.gaps) > FEW_GAPS:
        items = "".join(f"<li>{text(g)}</li>" for g in figure.gaps)
        return f'<details class="gaps"><summary>What is not shown, and why ({len(figure.gaps)})</summary><ul>{items}</ul></details>'
    return f'<span class="gaps">{text(". ".join(g.rstrip(".") for g in figure.gaps))}.</span> ' if figure.gaps else ""


def files_html(figure: Figure) -> str:
    """The data inside the page, unless there is much of it; the drawings beside it."""
    data = data_link(figure.csv) if len(figure.csv) <= EMBEDDED else f"figures/{figure.name}.csv"
    return (
        f'<span class="files"><a href="{data}" download="{figure.name}.csv">Data (CSV)</a> '
        f'<a href="figures/{figure.name}.svg">SVG</a> <a href="figures/{figure.name}.pdf">PDF</a></span>'
    )
