"""A forecast as `taskgram plan` prints it: what is missing, a table of steps, totals, and what of it is a guess."""

import os
import sys
from collections.abc import Iterator
from typing import Any

from flows.cost.forecast import Forecast, StepForecast
from flows.terminal import count, duration, size
from tasks.cost import forward_flops
from tasks.text.display import printable

MOST_MISSING = 12
WIDE = 124  # columns the whole table needs; a narrower terminal gets it without two of them


def show(f: Forecast) -> None:
    """Print it; colours and width are the terminal's."""
    from rich.console import Console
    from rich.text import Text

    # into a file or a pipe the whole table is written; on a terminal what fits
    console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)

    def section(title: str, lines: list[str]) -> None:
        if title and lines:
            console.print(f"\n{title}", style="bold")
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)

    console.print(Text(f.sizes.study.name, style="bold"), Text(printable(f.sizes.study.title)))
    section("", _heading(f))
    missing = [f"  {m.what}: {m.where}" for m in f.sizes.missing[:MOST_MISSING]]
    missing += [f"  and {more} more (--json lists them)"] if (more := len(f.sizes.missing) - MOST_MISSING) > 0 else []
    missing += ["  Paths are looked up in the study's `data` folder; TASKGRAM_DATA names another."] if missing else []
    section("Not here yet", missing)
    section("A run would stop", [f"  {problem}" for problem in f.problems])
    if any(m.download for m in f.sizes.models):
        console.print(_models(f))
    texts = dict.fromkeys(g for s in f.steps if s.parts and s.left for g in s.cost.guesses)
    guesses = {text: number for number, text in enumerate(texts, 1)}
    console.print(_steps(f, guesses, console.width >= WIDE))
    section("", _totals(f))
    section("Guesses", [f"  {number:>2}  {text}" for text, number in guesses.items()])
    if any(s.there is None for s in f.steps):
        reasons = dict.fromkeys(s.reason for s in f.steps if s.reason and not s.reason.startswith("waits for"))
        why = "some files or models are not here yet" if f.sizes.missing or f.problems else "; ".join(reasons)
        section("", [f"\n? Which parts are finished is not known: {why}."])
    section("Notes", [f"  - {note}" for note in f.notes])


def _heading(f: Forecast) -> list[str]:
    corpus, machine, sizes = f.sizes.corpus, f.sizes.machine, f.sizes
    examples, pairs = sum(t.evaluated for t in sizes.tasks), sum(t.pairs for t in sizes.tasks)
    download = sum(m.download for m in sizes.models)
    gpus = f"{machine.gpus} × {f.sizes.study.hardware.gpu}, " if machine.gpu else ""
    ends = [(m.ends, m.name) for m in sizes.models if m.ends and any(t.new_tokens for t in sizes.tasks)]
    models = {text: ", ".join(n for e, n in ends if e == text) for text in dict(ends)}  # those that agree share a line
    more, free = f", {size(download)} to download" if download else "", f", {size(machine.disk)} free" if machine.disk else ""
    asks = bool(sizes.tasks or sizes.models or sizes.study.membership is None)
    return [
        *_trainings(f),
        f"corpus    {count(corpus.tokens)} tokens, {count(corpus.words)} words, {count(corpus.documents)} documents",
        *([f"tasks     {len(sizes.tasks)}, {count(examples)} evaluated examples, about {count(pairs)} mined pairs"] * asks),
        *([f"models    {len(sizes.models)}, {sizes.checkpoints} checkpoints{more}"] * asks),
        *(f"answers   end at {printable(text)}: {of}" for text, of in models.items()),
        f"machine   {gpus}{machine.processes} of {machine.cores} cores, {size(machine.ram)} memory{free}",
    ]


def _trainings(f: Forecast) -> list[str]:
    """Of a study that compares runs: how many it trains, on how many tokens, and how long that takes one core or GPU."""
    membership, costs = f.sizes.study.membership, {s.step: s.cost for s in f.steps if s.parts}
    if membership is None:
        return []
    models, grid = len(membership.models), costs.get("capacity")
    runs = {"ensemble": f"{membership.runs} of {f'each of {models} models' if models > 1 else 'a model'}"}
    runs |= {"redraw": f"{membership.redrawn} on redrawn targets", "capacity": f"{grid.parts:,.0f} of a grid" if grid else ""}
    trained = [costs[name] for name in runs if name in costs]
    words, tokens = ", ".join(text for name, text in runs.items() if name in costs), sum(c.work for c in trained)
    time = f"training takes {duration(sum(c.core + c.gpu for c in trained))} of one {'GPU' if f.sizes.machine.gpu else 'core'}"
    return [f"runs      {words}; {count(tokens)} tokens, {time}"]


def _models(f: Forecast) -> Any:
    """Models that come from the hub: what they weigh there, and in memory. Revisions of one size share a line."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    for name in ("parameters", "revisions", "download", f"as {f.sizes.study.scoring.dtype}", "FLOPs a token"):
        table.add_column(name, justify="right", no_wrap=True)
    for parameters in sorted({m.parameters for m in f.sizes.models if m.download}):
        models = [m for m in f.sizes.models if m.download and m.parameters == parameters]
        bytes_down, in_memory = models[-1].download * len(models), parameters * f.sizes.machine.weight_bytes
        flops = count(forward_flops(parameters, 1))
        table.add_row(models[0].name, count(parameters), str(len(models)), size(bytes_down), size(in_memory), flops)
    return table


COLUMNS = ("step", "parts", "there", "goes through", "reads", "writes", "core time", "GPU time", "time", "guess")


def _steps(f: Forecast, guesses: dict[str, int], wide: bool) -> Any:
    """A row for each step that has parts, without the columns `goes through` and `reads` where the terminal is narrow."""
    from rich import box
    from rich.table import Table

    footers = {"step": "left to do", "reads": size(f.total("read")), "writes": size(f.total("written"))}
    footers |= {f"{name} time".strip(): duration(f.total(what)) for name, what in (("core", "core"), ("GPU", "gpu"), ("", "wall"))}
    left_out = (set() if wide else {"goes through", "reads"}) | (set() if f.sizes.machine.gpu else {"GPU time"})
    shown = [name for name in COLUMNS if name not in left_out]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    for name in shown:
        side: Any = "left" if name in ("step", "guess") else "right"
        table.add_column(name, footer=footers.get(name, ""), justify=side, no_wrap=True)
    for s in (s for s in f.steps if s.parts):
        cells = dict(zip(COLUMNS, _cells(s, guesses), strict=True))
        table.add_row(*(cells[name] for name in shown), style="dim" if s.left == 0 else None)
    return table


def _cells(s: StepForecast, guesses: dict[str, int]) -> Iterator[str]:
    cost, sign = s.cost, "~" if s.cost.guesses else ""
    yield from (s.step, f"{s.parts:,}", "?" if s.there is None else f"{s.there:,}")
    yield f"{count(cost.work)} {cost.unit}" if cost.work else ""
    yield from (size(cost.read) if cost.read else "", size(cost.written))
    yield from (sign + duration(seconds * s.left) if seconds * s.left else "" for seconds in (cost.core, cost.gpu))
    yield "done" if s.left == 0 else sign + duration(s.wall)
    yield " ".join(map(str, sorted({guesses[g] for g in cost.guesses if g in guesses})))


def _totals(f: Forecast) -> list[str]:
    left, (low, high) = f.total("wall"), f.wall_range
    if not left:
        return ["Nothing is left to do."]
    peak = max((s.cost.memory for s in f.steps if s.left and s.parts), default=0.0)
    times = f"{duration(left)} if steps follow each other, {duration(2 * low)} if nothing ever waits"
    sums = f"{size(f.total('written'))} are written, a worker holds up to {size(peak)}"
    rates = "Rates that were measured are right within a factor of two on such a machine; ~ rests on a guess."
    return [f"Between {duration(low)} and {duration(high)}: {times}; {sums}.", rates]
