"""From seconds to records, and what is judged: `benchmarks/results.json` is a list of these, one for each row, peer and size."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import OURS, Measured
from benchmarks.rows import FIGURES, ROWS, Row, disagreement, version_of

PATH = Path(__file__).resolve().parent / "results.json"
Record = dict[str, Any]


def machine() -> str:
    """CPU, cores, memory and Python, without a name or a place."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = found[0] if found else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"


def records(name: str, case: Mapping[str, Any], measured: Mapping[str, Measured], source: str) -> list[Record]:
    """One for each bar of the case; one without a peer, if there is no bar."""
    row, ours = ROWS[name], measured[OURS]
    base = {
        "row": name,
        "sizes": {k: v for k, v in case.items() if k not in ("bars", "peers")},
        "machine": machine(),
        "corpus": source,
    }
    found = []
    for peer, bar in (case["bars"] or {"": None}).items():
        if peer and peer not in FIGURES:
            found.append({**base, **_beside(row, peer, bar, ours, measured[peer])})
            continue
        figure = FIGURES.get(peer)
        ratio = figure.read(ours.figures) if figure and not ours.problem else None
        found.append(
            {
                **base,
                "peer": "",
                "figure": peer,
                "unit": figure.unit if figure else "",
                "ratio": ratio,
                "bar": bar,
                "at_most": bool(figure and figure.at_most),
                "figures": {OURS: dict(ours.figures)},
                "equal": None,
                "note": ours.problem,
            }
        )
    for record in found:
        record["reached"] = None if record["bar"] is None or record["ratio"] is None else score(record) >= 1
    return found


def _beside(row: Row, peer: str, bar: float | None, ours: Measured, theirs: Measured) -> Record:
    problem = ours.problem or theirs.problem
    differs = None if problem else disagreement(row, ours.answer, theirs.answer)
    ratio = None
    if not problem:
        ratio = _each(theirs.figures, row.by) / _each(ours.figures, row.by)
    return {
        "peer": version_of(peer),
        "figure": "",
        "unit": "×",
        "ratio": ratio,
        "bar": bar,
        "at_most": False,
        "figures": {OURS: dict(ours.figures), "peer": dict(theirs.figures)},
        "equal": None if differs is None else not differs,
        "note": (f"{peer}: {theirs.problem}" if theirs.problem else ours.problem) or differs or "",
    }


def _each(figures: Mapping[str, Any], by: str) -> float:
    return figures[by] / figures["items"]


# -- judging ----------------------------------------------------------------------------------------------------------
def score(record: Mapping[str, Any]) -> float:
    """1 at the bar, more above it, whichever way is better."""
    return record["bar"] / record["ratio"] if record["at_most"] else record["ratio"] / record["bar"]


def is_missing(record: Mapping[str, Any]) -> bool:
    """Whether a peer is simply not there, which is no error."""
    return "not installed" in record["note"]


def failures(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong: a row that could not run, answers that differ, a ratio below half its bar."""
    lines = []
    for record in found:
        name = f"{record['row']} {record['peer'] or record['figure']}".strip()
        if record["ratio"] is None and record["bar"] is not None and not is_missing(record):
            lines.append(f"{name}: {record['note']}")
        elif record["equal"] is False or (record["note"] and not is_missing(record)):
            lines.append(f"{name}: {record['note'] or 'answers differ'}")
        elif record["bar"] is not None and record["ratio"] is not None and score(record) < 0.5:
            lines.append(f"{name}: {record['ratio']:.3g} {record['unit']} is below half the bar, {record['bar']:g}")
    return lines


# -- the file ---------------------------------------------------------------------------------------------------------
def read(path: Path = PATH) -> list[Record]:
    """All records; none, if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _measured(record: Mapping[str, Any]) -> str:
    """What was measured together: a row at one size, beside one peer. Whatever figures it has now are all that it has."""
    return json.dumps([record["row"], record["peer"].split(" ")[0], record["sizes"]], sort_keys=True)


def write(new: Sequence[Record], path: Path = PATH) -> None:
    """Put new records in the places of those about the same row, peer and sizes; all others stay."""
    again = {_measured(r) for r in new}
    kept = [*(r for r in read(path) if _measured(r) not in again), *new]
    order = {name: number for number, name in enumerate(ROWS)}
    every = sorted(kept, key=lambda r: (order.get(r["row"], len(order)), r["sizes"].get("tokens", 0)))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(every, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
