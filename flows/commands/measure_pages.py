"""The table of docs/measures.md, the catalogue of what the table `metrics` contains and where the report shows it.

Its rows are written by hand; `make docs` adds one for each number of a measure that has none, so that a new measure needs no edit
there. A test compares the rows with finished studies.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from schemas.tables.metrics import QUALIFIERS

ROOT = Path(__file__).resolve().parents[2]
PAGE, GROUPS = "docs/measures.md", ("tasks/metrics", "tasks/memorization")


@dataclass(frozen=True)
class MetricDescription:
    """Which rows of `metrics` a line of the page is about: the patterns of each column, of which one holds."""

    patterns: Mapping[str, tuple[str, ...]]

    def describes(self, measure: str, statistic: str, unit: str = "*", qualifiers: Mapping[str, object] | None = None) -> bool:
        """Whether these values of the columns are meant; unit and the columns that tell rows apart may be left out."""
        cells = {"measure": measure, "statistic": statistic, "unit": unit} | {k: str(v) for k, v in (qualifiers or {}).items()}
        return all(value == "*" or any(fnmatchcase(value, p) for p in self.patterns[name]) for name, value in cells.items())


def described(text: str) -> list[MetricDescription]:
    """The lines of a page: measure, statistic, unit, then columns as "`bin=…` `detail=input`, `output`", and words."""
    lines = [line.replace("…", "*").split("|")[1:5] for line in text.splitlines() if line.startswith("| `")]
    return [MetricDescription(_patterns([re.findall(r"`([^`]*)`", cell) for cell in cells])) for cells in lines]


def _patterns(cells: list[list[str]]) -> dict[str, tuple[str, ...]]:
    patterns: dict[str, tuple[str, ...]] = {name: (str(value),) for name, value in QUALIFIERS.items()}
    patterns |= {name: tuple(cell) for name, cell in zip(("measure", "statistic", "unit"), cells, strict=False)}
    column = ""
    for name, equals, value in (pattern.rpartition("=") for pattern in cells[3]):
        column, before = (name, ()) if equals else (column, patterns[column])
        patterns[column] = (*before, value)
    return patterns


def undescribed(text: str) -> Iterator[str]:
    """A line for each number that a file of measures adds under a name that the page lacks; its first paragraph says what it is."""
    catalogue = described(text)
    for path in (path for group in GROUPS for path in sorted((ROOT / group).glob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        about = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "add"):
            names = [a.value for a in call.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if len(names) == 2 and not any(d.describes(names[0], names[1]) for d in catalogue):
                given = {k.arg: str(k.value.value) if isinstance(k.value, ast.Constant) else "…" for k in call.keywords}
                columns = " ".join(f"`{name}={value}`" for name, value in given.items() if name in QUALIFIERS)
                unit = f"`{given['unit']}`" if "unit" in given else ""
                yield f"| `{names[0]}` | `{names[1]}` | {unit} | {columns} | {about} | – |\n"


def page(text: str) -> str:
    """The text of docs/measures.md with the lines that it lacks."""
    return text + "".join(undescribed(text))
