"""A forecast as a person reads it: what is missing, a table of steps, totals, and what of it is a guess."""

from __future__ import annotations

import os
import sys
from typing import Any

from flows.cost.estimate import forward_flops
from flows.cost.forecast import Forecast, Row
from flows.cost.hardware import cores_of
from flows.terminal import size
from tasks.text.display import printable

MOST_MISSING = 12
WIDE = 124  # columns the whole table needs; a narrower terminal gets it without two of them


def show(found: Forecast) -> None:
    """Print it; colours and width are the terminal's."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # into a file or a pipe the whole table is written; on a terminal what fits
    console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
    console.print(Text(found.study.name, style="bold"), Text(printable(found.study.title)))
    for line in _heading(found):
        console.print(line, markup=False, soft_wrap=True)
    _missing(found, console)
    _models(found, console)
    guesses = _numbered(found)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("step", footer="left to do", no_wrap=True)
    wide = console.width >= WIDE
    table.add_column("parts", justify="right", no_wrap=True)
    table.add_column("there", justify="right", no_wrap=True)
    if wide:
        table.add_column("goes through", justify="right", no_wrap=True)
        table.add_column("reads", justify="right", footer=size(found.total("read")), no_wrap=True)
    table.add_column("writes", justify="right", footer=size(found.total("written")), no_wrap=True)
    table.add_column("core time", justify="right", footer=duration(found.total("core")), no_wrap=True)
    if found.machine.gpu:
        table.add_column("GPU time", justify="right", footer=duration(found.total("gpu")), no_wrap=True)
    table.add_column("time", justify="right", footer=duration(found.total("wall")), no_wrap=True)
    table.add_column("guess", no_wrap=True)
    for row in found.rows:
        if row.parts:
            table.add_row(*_cells(row, found, guesses, wide), style="dim" if row.left == 0 else None)
    console.print(table)
    _totals(found, console)
    if guesses:
        console.print("\nGuesses", style="bold")
        for text, number in guesses.items():
            console.print(f"  {number:>2}  {text}", markup=False, soft_wrap=True)
    if any(r.there is None for r in found.rows):
        reasons = dict.fromkeys(r.why for r in found.rows if r.why and not r.why.startswith("waits for"))
        why = ["some files or models are not here yet"] if found.missing else list(reasons)
        console.print(f"\n? What is there of a step cannot be said: {'; '.join(why)}.", markup=False, soft_wrap=True)
    if found.notes:
        console.print("\nNotes", style="bold")
        for note in found.notes:
            console.print(f"  - {note}", markup=False, soft_wrap=True)


def _heading(found: Forecast) -> list[str]:
    corpus, machine = found.sizes.corpus, found.machine
    examples = sum(t.evaluated for t in found.sizes.tasks)
    pairs = sum(t.pairs for t in found.sizes.tasks)
    checkpoints = sum(m.checkpoints for m in found.sizes.models)
    download = sum(m.download for m in found.sizes.models)
    named = f"{machine.gpus} × {found.study.hardware.gpu}, " if machine.gpu else ""
    return [
        f"corpus    {count(corpus.tokens)} tokens, {count(corpus.words)} words, {count(corpus.documents)} documents",
        f"tasks     {len(found.sizes.tasks)}, {count(examples)} evaluated examples, about {count(pairs)} mined pairs",
        f"models    {len(found.sizes.models)}, {checkpoints} checkpoints"
        + (f", {size(download)} to download" if download else ""),
        f"machine   {named}{machine.processes} of {cores_of(found.study)} cores, {size(found.memory)} memory"
        + (f", {size(found.disk)} free" if found.disk else ""),
    ]


def _missing(found: Forecast, console: Any) -> None:
    if not found.missing:
        return
    console.print("\nNot here yet", style="bold")
    for m in found.missing[:MOST_MISSING]:
        console.print(f"  {m.what}: {m.where}", markup=False, soft_wrap=True)
    if len(found.missing) > MOST_MISSING:
        console.print(f"  and {len(found.missing) - MOST_MISSING} more (--json lists them)", markup=False)
    console.print("  Paths are looked up in the study's `data` folder; TASKGRAM_DATA names another.", markup=False)


def _models(found: Forecast, console: Any) -> None:
    """Models that come from the hub: what they weigh there, and in memory. Revisions of one size share a line."""
    from rich import box
    from rich.table import Table

    hub: dict[float, list[str]] = {}
    for model in found.sizes.models:
        if model.download:
            hub.setdefault(model.parameters, []).append(model.name)
    if not hub:
        return
    downloads = {m.parameters: m.download for m in found.sizes.models}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    for name in ("parameters", "revisions", "download", f"as {found.study.scoring.dtype}", "FLOPs a token"):
        table.add_column(name, justify="right", no_wrap=True)
    for parameters in sorted(hub):
        names = hub[parameters]
        table.add_row(
            names[0],
            count(parameters),
            str(len(names)),
            size(downloads[parameters] * len(names)),
            size(parameters * found.machine.weight_bytes),
            count(forward_flops(parameters, 1)),
        )
    console.print(table)


def _numbered(found: Forecast) -> dict[str, int]:
    texts = dict.fromkeys(g for r in found.rows if r.parts and r.left for g in r.line.guesses)
    return {text: number for number, text in enumerate(texts, 1)}


def _cells(row: Row, found: Forecast, guesses: dict[str, int], wide: bool) -> list[str]:
    line, sign = row.line, "~" if row.line.guesses else ""
    core = line.core * row.left
    numbers = sorted({guesses[g] for g in line.guesses if g in guesses})
    return [
        line.step,
        f"{row.parts:,}",
        "?" if row.there is None else f"{row.there:,}",
        *([f"{count(line.work)} {line.unit}" if line.work else "", size(line.read) if line.read else ""] if wide else []),
        size(line.written),
        sign + duration(core) if core else "",
        *([sign + duration(line.gpu * row.left) if line.gpu * row.left else ""] if found.machine.gpu else []),
        "done" if row.left == 0 else sign + duration(row.wall),
        " ".join(map(str, numbers)),
    ]


def _totals(found: Forecast, console: Any) -> None:
    busy = max(found.total("core") / found.machine.processes, found.total("gpu") / found.machine.gpus)
    left = found.total("wall")
    if not left:
        console.print("Nothing is left to do.")
        return
    peak = max((r.line.memory for r in found.rows if r.left and r.parts), default=0.0)
    console.print(
        f"About {duration(left)} if steps follow each other, {duration(busy)} if nothing ever waits; "
        f"{size(found.total('written'))} are written, a worker holds up to {size(peak)}.\nWhere rates were measured, within a "
        "factor of two; ~ rests on a guess and may be far off.",
        markup=False,
        soft_wrap=True,
    )


def count(number: float) -> str:
    """A number for people: 12, 3,450, 21.8 M, 300 G."""
    for unit in ("", " k", " M", " G", " T", " P"):
        if abs(number) < (10_000 if not unit else 999.5):
            return f"{number:,.0f}" if not unit else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} E"


def duration(seconds: float) -> str:
    """Seconds for people: "40 s", "5.2 min", "3.1 h", "12 days"."""
    if seconds < 1:
        return "< 1 s"
    for limit, unit, width in ((90, "s", 1), (90 * 60, "min", 60), (72 * 3600, "h", 3600), (1e12, "days", 86400)):
        if seconds < limit:
            value = seconds / width
            return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"
    return "longer than anyone waits"
