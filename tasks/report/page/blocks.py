"""What sections of the page are made of; each kind has a macro of that name in blocks.html. A figure is a block too."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.figures.report_figure import ReportFigure

LONGEST_LIST = 60  # lines of a table, where a corpus or a study decides how many there are


@dataclass(frozen=True)
class HtmlTable:
    """A plain table; the first cell of a row is its heading. `numeric` are the positions of columns of numbers."""

    caption: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    numeric: Collection[int] = ()
    kind = "table"


@dataclass(frozen=True)
class Remark:
    """A paragraph: plain (""), "small", or "missing", which says why a section is not there."""

    text: str
    style: str = "missing"
    kind = "remark"


def table_of(
    caption: str, columns: Sequence[str], rows: Collection[Sequence[Any]], numeric: Collection[int] = (), missing: str = ""
) -> list["Block"]:
    """A table, or why there is none."""
    return [HtmlTable(caption, columns, rows, numeric)] if rows else [Remark(missing)] if missing else []


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader opens."""

    summary: str
    blocks: Sequence["Block"]
    kind = "folded"


@dataclass(frozen=True)
class Custom:
    """A block with a macro of its own, and what it shows."""

    kind: str
    content: Any


Block = HtmlTable | Remark | Folded | Custom | ReportFigure
