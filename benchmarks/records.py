"""Records of what was measured, one for each processor, row, peer and size, in benchmarks/results.json. And what fails."""

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import sources
from benchmarks.rows import QUANTITIES, ROWS, BenchmarkRow, disagreement, version_of
from benchmarks.side import OURS
from benchmarks.timing import Timing

PATH = Path(__file__).resolve().parent / "results.json"
COMPILED = "compile"  # not a row: the seconds it takes to compile one's kernels
Record = dict[str, Any]


def processor() -> str:
    """The model of this machine's CPU."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: *(.*?) *$", info.read_text() if info.exists() else "", re.M)
    return (names or [platform.processor() or platform.machine()])[0]


def about(row: str, source: str, label: str = "") -> Record:
    """Where and of what a record is: processor (or a label), machine, texts, code."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    machine = f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"
    return {"processor": label or processor(), "machine": machine, "corpus": source, "code": sources.code(row)}


def make_records(name: str, case: Mapping[str, Any], timings: Mapping[str, Timing], source: str, label: str = "") -> list[Record]:
    """One for each bar of the case; one without a peer, if there is no bar."""
    row, ours = ROWS[name], timings[OURS]
    base = {"row": name, "sizes": _sizes(case), **about(name, source, label)}
    made = []
    for peer, bar in (case["bars"] or {"": None}).items():
        is_quantity = not peer or peer in QUANTITIES
        record = _of_quantity(peer, ours) if is_quantity else _of_peer(row, peer, ours, timings[peer])
        made.append(_judged(record | base, bar))
    return made


def _sizes(case: Mapping[str, Any]) -> Record:
    return {k: v for k, v in case.items() if k not in ("bars", "peers")}


def _of_quantity(name: str, ours: Timing) -> Record:
    quantity = QUANTITIES.get(name)
    ratio = quantity.read(ours.figures) if quantity and not ours.problem else None
    about = {"peer": "", "version": "", "figure": name, "unit": quantity.unit if quantity else "", "ratio": ratio}
    judged = {"at_most": bool(quantity and quantity.at_most), "equal": None, "note": ours.problem}
    return about | judged | {"figures": {OURS: dict(ours.figures)}}


def _of_peer(row: BenchmarkRow, peer: str, ours: Timing, theirs: Timing) -> Record:
    problem = f"{peer}: {theirs.problem}" if theirs.problem else ours.problem
    differs = None if problem else disagreement(row, ours.answer, theirs.answer)
    seconds = [] if problem else [t.figures[row.by] / t.figures["items"] for t in (theirs, ours)]
    ratio = seconds[0] / seconds[1] if seconds else None
    about = {"peer": peer, "version": version_of(peer), "figure": "", "unit": "×", "ratio": ratio, "at_most": False}
    judged = {"equal": None if differs is None else not differs, "note": problem or differs or ""}
    return about | judged | {"figures": {OURS: dict(ours.figures), "peer": dict(theirs.figures)}}


# -- judging ----------------------------------------------------------------------------------------------------------
def _judged(record: Record, bar: float | None) -> Record:
    record |= {"bar": bar}
    return record | {"reached": None if bar is None or record["ratio"] is None else score(record) >= 1}


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
    """All records of rows and peers that still exist, by their present bars; none, if there is no file."""
    made = []
    for record in json.loads(path.read_text(encoding="utf-8")) if path.exists() else []:
        row, peer = ROWS.get(record["row"]), record["peer"]
        if record["row"] == COMPILED or (row and (not peer or peer in row.sides)):
            cases = [c["bars"] for c in row.cases if _sizes(c) == record["sizes"]] if row else []
            made.append(_judged(record, cases[0].get(peer or record["figure"]) if cases else None))
    return made


def measurement(record: Mapping[str, Any]) -> str:
    """What a record is of: a row at one size, with one peer, whatever its figure. A new measurement replaces all its figures."""
    return json.dumps([record["row"], record["peer"], record["sizes"]], sort_keys=True)


def write(new: Sequence[Record], path: Path = PATH) -> None:
    """Replace the records of the same processor, row, peer and sizes by new ones; all others stay."""
    again = {(r["processor"], measurement(r)) for r in new}
    kept = [*(r for r in read(path) if (r["processor"], measurement(r)) not in again), *new]
    order = [*ROWS, COMPILED]
    kept.sort(key=lambda r: (r["processor"], order.index(r["row"]), r["sizes"].get("tokens", 0)))
    lines = [{k: v for k, v in r.items() if k not in ("bar", "reached")} for r in kept]  # those are judged when it is read
    text = ",\n".join(json.dumps(line, ensure_ascii=False, sort_keys=True, default=str) for line in lines)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(f"[\n{text}\n]\n", encoding="utf-8")
    temporary.replace(path)


def outdated(records: Iterable[Mapping[str, Any]], label: str) -> list[str]:
    """A line for each row that was not measured on this processor, or only before its code changed."""
    measured: dict[str, set[str]] = {name: set() for name in ROWS}
    for record in records:
        if record["processor"] == label and record["row"] in measured:
            measured[record["row"]].add(record["code"])
    old = {row: hashes for row, hashes in measured.items() if hashes != {sources.code(row)}}
    why = {True: "some of its records are older than its code", False: "not measured"}
    return [f"{row}: {why[bool(hashes)]} on {label}" for row, hashes in old.items()]
