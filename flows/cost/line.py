"""One line of a forecast: what a step works on, reads, writes and costs; and rates that fall with what is asked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flows.cost.hardware import Machine
from flows.cost.rates import RATES


@dataclass(frozen=True)
class Line:
    """One step. `work` in `unit`s; read and written in bytes; seconds of cores, of GPUs, and of its longest part."""

    step: str
    parts: int
    work: float = 0.0
    unit: str = ""
    read: float = 0.0
    written: float = 0.0
    core: float = 0.0
    gpu: float = 0.0
    longest: float = 0.0
    memory: float = 0.0
    guesses: tuple[str, ...] = ()

    def wall(self, machine: Machine) -> float:
        """Seconds it takes, its parts spread over processes or GPUs."""
        return max(self.longest, self.core / max(1, machine.processes), self.gpu / machine.gpus) if self.parts else 0.0


def line_of(step: str, parts: float, rates: Iterable[str] = (), guesses: Iterable[str] = (), **numbers: object) -> Line:
    """A line with its overhead added, and what of it is a guess."""
    told = [f"{RATES[r].source} ({RATES[r].value:g} {RATES[r].unit})" for r in rates if RATES[r].guess]
    line = Line(step, int(parts), guesses=(*guesses, *told), **numbers)  # type: ignore[arg-type]
    overhead = RATES["part"].value
    core = line.core + line.parts * overhead
    longest = line.longest or (line.core / line.parts if line.parts else 0.0)
    return replace(line, core=core, longest=longest + overhead if line.parts else 0.0)


def query_rate(pairs: float) -> float:
    """Words a second of the scan that counts so many pairs: between the measured ones a straight line of logarithms."""
    return _between(pairs, ((3.0, "query, 1k pairs"), (5.0, "query, 100k pairs"), (6.0, "query, 1M pairs")))


def novelty_rate(ngrams: float) -> float:
    """Words a second of the scan that looks for so many n-grams."""
    return _between(ngrams, ((3.0, "novelty, 1k n-grams"), (5.0, "novelty, 100k n-grams"), (6.477, "novelty, 3M n-grams")))


def _between(number: float, rates: Sequence[tuple[float, str]]) -> float:
    known = [(x, RATES[name]) for x, name in rates]
    at = math.log10(max(number, 1_000.0))
    for (x, low), (y, high) in zip(known, known[1:], strict=False):
        if at <= y or (y, high) == known[-1]:  # beyond the last the line goes on
            slope = (math.log(high.value) - math.log(low.value)) / (y - x)
            return math.exp(math.log(low.value) + slope * (at - x))
    raise AssertionError("the last line covers all")
