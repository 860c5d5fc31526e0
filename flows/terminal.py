"""What a user sees while a study runs: one line per step, with a bar while it works."""

import sys
import threading
from typing import Any, TextIO

from flows.engine import Outcome
from flows.manifests import read_again
from tasks.text.display import printable

WIDTH = 17  # of the longest name of a step
HEADER = f"  {'step':<{WIDTH}} {'parts':<24} {'rows':>10} {'size':>9} {'worker seconds':>14}"


class Terminal:
    """Bars on a terminal, plain lines anywhere else, from any thread. `worker seconds`: what a step's parts took, added up."""

    def __init__(self, stream: TextIO | None = None, *, show_skipped: bool = True) -> None:
        self.stream, self.show_skipped = stream or sys.stderr, show_skipped
        self._has_header = False
        self._lock = threading.Lock()
        self._progress: Any = None
        self._bars: dict[str, Any] = {}
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            step, parts, bar = TextColumn(f"  {{task.description:<{WIDTH}}}"), TextColumn("parts"), BarColumn(bar_width=28)
            columns = (step, bar, MofNCompleteColumn(), parts, TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(file=self.stream), transient=True)
            self._progress.start()

    def line(self, text: str) -> None:
        text = printable(text)
        with self._lock:
            if self._progress:
                self._progress.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self.stream, flush=True)

    def progress(self, step: str, done: int, total: int) -> None:
        if not self._progress or not total:
            return
        with self._lock:
            if step not in self._bars:
                self._bars[step] = self._progress.add_task(step, total=total)
            self._progress.update(self._bars[step], completed=done, total=total)

    def finished(self, outcome: Outcome) -> None:
        """Replace a step's bar by its line; a step that this study has no part of has none."""
        skipped = outcome.state == "skipped"
        if not outcome.parts or skipped and not self.show_skipped:
            return
        with self._lock:
            if self._progress and outcome.step in self._bars:
                self._progress.remove_task(self._bars.pop(outcome.step))
            first, self._has_header = not self._has_header, True
        if first:
            self.line(HEADER)
        done = "up to date" if skipped else f"{outcome.computed} of {outcome.parts} parts computed"
        seconds = "" if skipped else f"{outcome.part_seconds:.1f}"
        self.line(f"  {outcome.step:<{WIDTH}} {done:<24} {outcome.rows:>10,} {size(outcome.bytes):>9} {seconds:>14}".rstrip())
        if again := read_again(outcome.manifests):
            self.line(f"  {outcome.step:<{WIDTH}} {again}")
        for table in outcome.changed:
            what = f"{table} has different bytes than before under the same key; every step after it is computed again"
            self.line(f"  {outcome.step:<{WIDTH}} NOT DETERMINISTIC: {what}")

    def close(self) -> None:
        if self._progress:
            self._progress.stop()


def size(bytes: float) -> str:
    """A number of bytes for a reader: "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes < 1000:
            return f"{bytes:.0f} {unit}" if unit == "B" else f"{bytes:.1f} {unit}"
        bytes /= 1000
    return f"{bytes:.1f} TB"


def count(number: float) -> str:
    """A readable number: 12, 3,450, 21.8 M, 300 G."""
    for unit in ("", " k", " M", " G", " T", " P"):
        if abs(number) < (10_000 if not unit else 999.5):
            return f"{number:,.0f}" if not unit else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} E"


def duration(seconds: float) -> str:
    """A readable time: "40 s", "5.2 min", "3.1 h", "12 days"."""
    if seconds < 1:
        return "< 1 s"
    for limit, unit, width in ((90, "s", 1), (90 * 60, "min", 60), (72 * 3600, "h", 3600), (1e12, "days", 86400)):
        if seconds < limit:
            value = seconds / width
            return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"
    return "longer than anyone waits"
