"""Records of what was measured, one for each row, peer and size: `benchmarks/results.json` is a list of them. And what fails."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import QUANTITIES, ROWS, BenchmarkRow, disagreement, version_of
from benchmarks.side import OURS
from benchmarks.timing import Timing

PATH = Path(__file__).resolve().parent / "results.json"
Record = dict[str, Any]


def machine() -> str:
    """CPU, cores, memory and Python of this machine."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"


def make_records(name: str, case: Mapping[str, Any], timings: Mapping[str, Timing], source: str) -> list[Record]:
    """One for each bar of the case; one without a peer, if there is no bar."""
    row, ours = ROWS[name], timings[OURS]
    sizes = {k: v for k, v in case.items() if k not in ("bars", "peers")}
    base = {"row": name, "sizes": sizes, "machine": machine(), "corpus": source}
    made = []
    for peer, bar in (case["bars"] or {"": None}).items():
        of_peer = peer and peer not in QUANTITIES
        record = _of_peer(row, peer, ours, timings[peer]) if of_peer else _of_quantity(peer, ours)
        record |= base | {"bar": bar}
        judged = bar is not None and record["ratio"] is not None
        made.append(record | {"reached": score(record) >= 1 if judged else None})
    return made


def _of_quantity(name: str, ours: Timing) -> Record:
    quantity = QUANTITIES.get(name)
    return {
        "peer": "",
        "figure": name,
        "unit": quantity.unit if quantity else "",
        "ratio": quantity.read(ours.figures) if quantity and not ours.problem else None,
        "at_most": bool(quantity and quantity.at_most),
        "figures": {OURS: dict(ours.figures)},
        "equal": None,
        "note": ours.problem,
    }


def _of_peer(row: BenchmarkRow, peer: str, ours: Timing, theirs: Timing) -> Record:
    problem = ours.problem or theirs.problem
    differs = None if problem else disagreement(row, ours.answer, theirs.answer)
    seconds = [] if problem else [t.figures[row.by] / t.figures["items"] for t in (theirs, ours)]
    return {
        "peer": version_of(peer),
        "figure": "",
        "unit": "×",
        "ratio": seconds[0] / seconds[1] if seconds else None,
        "at_most": False,
        "figures": {OURS: dict(ours.figures), "peer": dict(theirs.figures)},
        "equal": None if differs is None else not differs,
        "note": (f"{peer}: {theirs.problem}" if theirs.problem else ours.problem) or differs or "",
    }


# -- judging ----------------------------------------------------------------------------------------------------------
def score(record: Mapping[str, Any]) -> float:
    """1 at the bar, more above it, whichever way is better."""
    return record["bar"] / record["ratio"] if record["at_most"] else record["ratio"] / record["bar"]


def is_missing(record: Mapping[str, Any]) -> bool:
    """Whether a peer is not installed, which is no error."""
    return "not installed" in record["note"]


def failures(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each failure: a row that could not run, answers that differ, a ratio below half its bar."""
    lines = []
    for record in records:
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


def _measurement(record: Mapping[str, Any]) -> str:
    """What a record is of: a row at one size, with one peer. A new measurement replaces all its figures."""
    return json.dumps([record["row"], record["peer"].split(" ")[0], record["sizes"]], sort_keys=True)


def write(new: Sequence[Record], path: Path = PATH) -> None:
    """Replace the records of the same row, peer and sizes by new ones; all others stay."""
    again = {_measurement(r) for r in new}
    kept = [*(r for r in read(path) if _measurement(r) not in again), *new]
    order = {name: number for number, name in enumerate(ROWS)}
    every = sorted(kept, key=lambda r: (order.get(r["row"], len(order)), r["sizes"].get("tokens", 0)))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(every, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
