"""benchmarks/results.json as the tables of docs/benchmarks.md, between two marks; the text around them is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records as record_file
from benchmarks.rows import ROWS
from benchmarks.side import OURS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables: made by python -m benchmarks -->", "<!-- end of tables -->"
Record = Mapping[str, Any]


def number(value: float | None) -> str:
    """Three digits: 0.0123, 1.23, 12.3, 1,230."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def short(count: float) -> str:
    """1k, 10M, 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:g}"


def sizes(record: Record) -> str:
    """The sizes, in words."""
    names = {
        "tokens": "{} tokens",
        "ngrams": "{} n-grams",
        "sentences": "{} sentences",
        "examples": "{} examples",
        "queries": "{} " + items(record),
        "memory": "memory = {}",
        "command": "{}",
    }
    shown = {k: v for k, v in record["sizes"].items() if k in names and v}  # some rows have no tokens
    return ", ".join(names[k].format(short(v) if isinstance(v, int) else v) for k, v in shown.items())


def items(record: Record) -> str:
    """What a row's times are given per."""
    return ROWS[record["row"]].items if record["row"] in ROWS else "items"


def each(record: Record, side: str) -> str:
    """Time per item, or items per second for rows of tokens and words."""
    figures = record["figures"].get(side)
    if not figures:
        return "–"
    by = ROWS[record["row"]].by if record["row"] in ROWS else "cpu_seconds"
    seconds = figures[by] / figures["items"]
    if items(record) in ("tokens", "words"):
        return f"{number(1e-6 / seconds)} M/s"
    return f"{number(seconds * 1e6)} µs"


def memory(record: Record, side: str) -> str:
    """Peak, in GB."""
    figures = record["figures"].get(side)
    return f"{figures['peak_memory'] / 1e9:.2f}" if figures else "–"


def line(record: Record) -> str:
    """One record, for the terminal."""
    compared = f"{record['peer'] or record['figure'] or 'growth':<18}"
    ratio = f"{number(record['ratio'])} {record['unit']}" if record["ratio"] is not None else ""
    bar = "" if record["reached"] is None else f"bar {record['bar']:g} {'reached' if record['reached'] else 'not reached'}"
    same = {True: "equal", False: "answers differ", None: ""}[record["equal"]]
    theirs = f" / {each(record, 'peer')}" if record["peer"] else ""
    row = f"{record['row']:<14}"
    columns = [row, compared, f"{sizes(record):<28}", f"{each(record, OURS)}{theirs}", ratio, bar, same, record["note"]]
    return "  ".join(part for part in columns if part)


def page(records: Sequence[Record]) -> str:
    """All tables."""
    if not records:
        return "Nothing has been measured yet; run `make bench`.\n"
    return "\n".join([*_machines(records), *_bars(records), *_growth(records), *_counting(records), *_compiling(records)])


def _machines(records: Sequence[Record]) -> list[str]:
    machines = sorted({r["machine"] for r in records})
    corpora = sorted({r["corpus"] for r in records})
    return [f"Machine: {'; '.join(machines)}. Corpus: {'; '.join(corpora)}.", ""]


def _bars(records: Sequence[Record]) -> list[str]:
    lines = [
        "### Bars",
        "",
        "| work | at | peer | ours | peer | GB, ours | GB, peer | figure | bar | |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for r in records:
        if r["row"] not in ROWS or not (r["peer"] or r["figure"]):
            continue
        sign = "" if r["bar"] is None else f"{'≤' if r['at_most'] else '≥'} {r['bar']:g}"
        reached = {True: "reached", False: "**not reached**", None: ""}[r["reached"]]
        remarks = "; ".join(t for t in (reached, "equal answers" if r["equal"] else "", r["note"]) if t)
        unit = "" if r["ratio"] is None else f" {r['unit']}"
        lines.append(
            f"| {ROWS[r['row']].work} | {sizes(r)} | {r['peer']} | {each(r, OURS)} | {each(r, 'peer')} "
            f"| {memory(r, OURS)} | {memory(r, 'peer')} | {number(r['ratio'])}{unit} | {sign} | {remarks} |"
        )
    notes = [f"- {row.work}: {row.note}." for row in ROWS.values() if row.note]
    return [*lines, "", *notes, ""]


def _growth(records: Sequence[Record]) -> list[str]:
    lines = ["### Growth", "", "| work | size | CPU s | wall s | each | peak GB | GB before |", "|---|---|--:|--:|--:|--:|--:|"]
    seen = set()
    for r in records:
        name = (r["row"], sizes(r))
        if r["row"] in ROWS and r["figures"].get(OURS) and name not in seen:
            seen.add(name)
            f = r["figures"][OURS]
            lines.append(
                f"| {ROWS[r['row']].work} | {sizes(r)} | {number(f['cpu_seconds'])} | {number(f['wall_seconds'])} "
                f"| {each(r, OURS)} | {memory(r, OURS)} | {f['memory_before'] / 1e9:.2f} |"
            )
    return [*lines, ""]


def _counting(records: Sequence[Record]) -> list[str]:
    lines = [
        "### What counting all orders spills and writes",
        "",
        "| work | size | spilled bytes a token | rows a token | peak GB |",
        "|---|---|--:|--:|--:|",
    ]
    seen = set()
    for r in records:
        f = r["figures"].get(OURS, {})
        if "spilled_bytes" in f and (name := (r["row"], sizes(r))) not in seen:
            seen.add(name)
            lines.append(
                f"| {ROWS[r['row']].work} | {sizes(r)} | {number(f['spilled_bytes'] / f['items'])} "
                f"| {number(f['rows'] / f['items'])} | {memory(r, OURS)} |"
            )
    return [*lines, ""] if seen else []


def _compiling(records: Sequence[Record]) -> list[str]:
    seconds = [f"{r['figure']} {r['ratio']:.1f} s" for r in records if r["row"] not in ROWS]
    if not seconds:
        return []
    return ["### Compile time", "", f"Once, with an empty cache; not included above: {', '.join(seconds)}.", ""]


def write(path: Path = PAGE, source: Path = record_file.PATH) -> None:
    """Put the tables into the page. ValueError if its marks are gone."""
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path.name} has lost its marks {BEGIN!r} and {END!r}; put them back where the tables belong")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    path.write_text(f"{before}{BEGIN}\n\n{page(record_file.read(source))}\n{after}", encoding="utf-8")
