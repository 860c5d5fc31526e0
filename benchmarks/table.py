"""benchmarks/results.json as the tables of docs/benchmarks.md, between two marks; the text around them is written by hand."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import records as record_file
from benchmarks.rows import ROWS
from benchmarks.side import OURS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
NOT_COUNTED = ("bench", "ask", "tokenizer")  # steps of the row `billion` that do not grow with the corpus, or make it
BEGIN, END = "<!-- tables: made by python -m benchmarks -->", "<!-- end of tables -->"
Record = Mapping[str, Any]


def number(value: float | None) -> str:
    """Three digits: 0.0123, 1.23, 12.3, 1,230."""
    shown = "–" if value is None else f"{value:.3g}"
    return f"{value:,.0f}" if value is not None and abs(value) >= 100 else shown


def short(count: float) -> str:
    """1k, 10M, 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:g}"


def sizes(record: Record) -> str:
    names = {"tokens": "tokens", "ngrams": "n-grams", "queries": items(record), "memory": "", "command": ""}
    names |= {name: name for name in ("sentences", "examples", "windows")}
    shown = {k: v for k, v in record["sizes"].items() if k in names and v}  # some rows have no tokens
    words = {"memory": "memory = {}", "command": "{}"}
    return ", ".join(words.get(k, f"{{}} {names[k]}").format(short(v) if isinstance(v, int) else v) for k, v in shown.items())


def items(record: Record) -> str:
    """What a row's times are given per."""
    return ROWS[record["row"]].items if record["row"] in ROWS else "items"


def each(record: Record, side: str) -> str:
    """Time per item, or items per second for rows of tokens and words."""
    if not (figures := record["figures"].get(side)):
        return "–"
    by = ROWS[record["row"]].by if record["row"] in ROWS else "cpu_seconds"
    seconds = figures[by] / figures["items"]
    return f"{number(1e-6 / seconds)} M/s" if items(record) in ("tokens", "words") else f"{number(seconds * 1e6)} µs"


def memory(record: Record, side: str) -> str:
    figures = record["figures"].get(side)
    return f"{figures['peak_memory'] / 1e9:.2f}" if figures else "–"


def line(record: Record) -> str:
    """One record, for the terminal."""
    compared = f"{peer(record) or record['figure'] or 'growth':<18}"
    ratio = f"{number(record['ratio'])} {record['unit']}" if record["ratio"] is not None else ""
    bar = "" if record["reached"] is None else f"bar {record['bar']:g} {'reached' if record['reached'] else 'not reached'}"
    same = {True: "equal", False: "answers differ", None: ""}[record["equal"]]
    times = each(record, OURS) + (f" / {each(record, 'peer')}" if record["peer"] else "")
    columns = (f"{record['row']:<14}", compared, f"{sizes(record):<28}", times, ratio, bar, same, record["note"])
    return "  ".join(filter(None, columns))


def peer(record: Record) -> str:
    return f"{record['peer']} {record['version']}".strip()


def page(every: Sequence[Record], processor: str) -> str:
    if not every:
        return "Nothing has been measured yet; run `make bench`.\n"
    records = [r for r in every if r["processor"] == processor]
    machines, corpora = (", ".join(sorted({r[k] for r in records})) for k in ("machine", "corpus"))
    where = machines if machines.startswith(processor) else f"{processor} ({machines})"
    head = [f"Processor: {where}. Corpus: {corpora}.", ""]
    seconds = ", ".join(f"{r['figure']} {r['ratio']:.1f} s" for r in records if r["row"] not in ROWS)
    compiling = ["### Compile time", "", f"Once, with an empty cache; not included above: {seconds}.", ""] if seconds else []
    return "\n".join([*head, *_bars(every, processor), *_growth(records), *_at_scale(records), *compiling])


def _bars(every: Sequence[Record], processor: str) -> list[str]:
    """A line for each peer or figure; of another processor's only what was compared, in a column of its own."""
    others = sorted({r["processor"] for r in every} - {processor})
    compared: dict[str, dict[str, Record]] = {}
    for r in every:
        if r["row"] in ROWS and (r["peer"] or r["figure"]):
            compared.setdefault(record_file.measurement(r) + r["figure"], {})[r["processor"]] = r
    heads = ["work", "at", "peer", "ours", "peer", "GB, ours", "GB, peer", "figure", *(f"on {o}" for o in others), "bar", ""]
    lines = ["### Bars", "", f"| {' | '.join(heads)} |", f"|---|---|---|{'--:|' * (6 + len(others))}---|"]
    for by_processor in compared.values():
        r = by_processor.get(processor, {})
        first = r or next(iter(by_processor.values()))
        sign = "" if first["bar"] is None else f"{'≤' if first['at_most'] else '≥'} {first['bar']:g}"
        reached = {True: "reached", False: "**not reached**", None: ""}[first["reached"]] if r else "not measured here"
        differing = first["figures"].get("peer", {}).get("words_that_differ")
        same = "equal answers" if first["equal"] else f"{differing:,} words differ" if differing else ""
        remarks = "; ".join(t for t in (reached, same, first["note"]) if t)
        ours = [each(r, OURS), each(r, "peer"), memory(r, OURS), memory(r, "peer"), _ratio(r)] if r else ["–"] * 5
        theirs = [_ratio(by_processor.get(other, {})) for other in others]
        columns = [ROWS[first["row"]].work, sizes(first), peer(first), *ours, *theirs, sign, remarks]
        lines.append(f"| {' | '.join(columns)} |")
    return [*lines, ""]


def _ratio(record: Record) -> str:
    return "–" if record.get("ratio") is None else f"{number(record['ratio'])} {record['unit']}"


def _growth(records: Sequence[Record]) -> list[str]:
    heads = ["work", "size", "CPU s", "wall s", "each", "peak GB", "GB before", "spilled bytes a token", "rows a token"]
    lines = ["### Growth", "", f"| {' | '.join(heads)} |", f"|---|---|{'--:|' * 7}"]
    seen = set()
    for r in records:
        name = (r["row"], sizes(r))
        if r["row"] in ROWS and "steps" not in r["figures"].get(OURS, {"steps": None}) and name not in seen:
            seen.add(name)
            f = r["figures"][OURS]
            written = [number(f[n] / f["items"]) if n in f else "" for n in ("spilled_bytes", "rows")]
            times = [number(f["cpu_seconds"]), number(f["wall_seconds"]), each(r, OURS)]
            columns = [ROWS[r["row"]].work, sizes(r), *times, memory(r, OURS), f"{f['memory_before'] / 1e9:.2f}", *written]
            lines.append(f"| {' | '.join(columns)} |")
    return [*lines, ""]


def _at_scale(records: Sequence[Record]) -> list[str]:
    """CPU seconds of each step of the row `billion` by size, how they grow, and what 300 G tokens would take at that."""
    measured = [r["figures"][OURS] for r in records if r["row"] == "billion" and "steps" in r["figures"].get(OURS, {})]
    if not measured:
        return []
    sizes = ", ".join(f"{short(f['tokens'])}" for f in measured)
    heads = ["step", f"CPU s, {sizes} tokens", "exponent", "M tokens/s", "peak GB", "300 G: core-hours"]
    lines, hours = ["### Growth of each step", "", f"| {' | '.join(heads)} |", "|---|--:|--:|--:|--:|--:|"], 0.0
    for step in (name for name in measured[0]["steps"] if name not in NOT_COUNTED):
        at = [(f["tokens"], f["steps"][step]) for f in measured if step in f["steps"]]
        tokens, seconds = (np.array(x, float) for x in zip(*((n, figures["cpu"]) for n, figures in at), strict=True))
        exponent = float(np.polyfit(np.log(tokens), np.log(seconds), 1)[0]) if len(at) > 1 else 1.0
        hours += (then := seconds[-1] * (3e11 / tokens[-1]) ** max(1.0, exponent) / 3600)
        peak = max(figures["peak"] for _, figures in at) / 1e9
        speed = tokens[-1] / seconds[-1] / 1e6
        every = ", ".join(number(f["steps"].get(step, {}).get("cpu")) for f in measured)
        figures = [every, f"{exponent:.2f}", number(speed), f"{peak:.2f}", number(then)]
        lines.append(f"| {' | '.join([step, *figures])} |")
    kept, spilled = (number(measured[-1][f"{name}_bytes"] / measured[-1]["tokens"]) for name in ("kept", "spilled"))
    return [*lines, "", f"{number(hours)} core-hours for 300 G; {kept} bytes a token are kept, and {spilled} are spilled.", ""]


def render(text: str, every: Sequence[Record], processor: str) -> str:
    """The page with its tables made again. ValueError if its marks are gone."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"the page has lost its marks {BEGIN!r} and {END!r}; put them back where the tables belong")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n\n{page(every, processor)}\n{text[text.index(END) :]}"


def write(path: Path = PAGE, source: Path = record_file.PATH, label: str = "") -> None:
    """Put the tables into the page: of this processor, or of the one that has the most records if this one has none."""
    every = record_file.read(source)
    measured = Counter(r["processor"] for r in every)
    here = label or record_file.processor()
    processor = here if here in measured or not measured else measured.most_common(1)[0][0]
    path.write_text(render(path.read_text(encoding="utf-8"), every, processor), encoding="utf-8")


def is_current(path: Path = PAGE, source: Path = record_file.PATH) -> bool:
    """Whether the page has the tables of the records, for one of their processors."""
    text, every = path.read_text(encoding="utf-8"), record_file.read(source)
    return any(render(text, every, processor) == text for processor in {r["processor"] for r in every} or {""})
