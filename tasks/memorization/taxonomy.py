"""Recite, reconstruct or recollect: what the extraction of a window is, by its copies and its text (arXiv 2406.17746 §3).

    recite        it occurs more than five times in the corpus
    reconstruct   otherwise, if its tokens repeat with a period of at most half of it, or its numbers count up or down
    recollect     neither: nothing but the memory of a few copies gives it

Numbers count if there are six or more, at least 5 % of the characters are their digits, and those at every q-th place form
arithmetic progressions, not all of them constant, for some q: "1. a 2. b 3. c …". A number that the window may cut is left out.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.measures import MetricRows
from tasks.memorization.scored_windows import of_windows, read_windows
from tasks.statistics import Ints
from tasks.step import Work

RECITED_FROM, FEWEST_NUMBERS, LEAST_DIGITS = 6, 6, 0.05
KINDS = ("recite", "reconstruct", "recollect")
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def repeats(ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """bool [windows]: whether the tokens repeat with a period of at most half the window."""
    periodic = np.zeros(len(ids), np.bool_)
    for period in range(1, ids.shape[1] // 2 + 1):
        periodic |= (ids[:, period:] == ids[:, :-period]).all(axis=1)
    return periodic


def counts(text: str) -> bool:
    """Whether the numbers of a text count up or down.

    >>> counts("a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 and"), counts("born 1820, 1785, 1901, 1755, 1820, 1822 or 7, in")
    (True, False)
    """
    matches = [m for m in NUMBER.finditer(text) if m.start() > 0 and m.end() < len(text)]
    if len(matches) < FEWEST_NUMBERS or sum(c.isdigit() for c in text) < LEAST_DIGITS * len(text):
        return False
    numbers = [Decimal(m.group()) for m in matches]
    for period in range(1, len(numbers) // 3 + 1):
        steps = [b - a for a, b in zip(numbers, numbers[period:], strict=False)]
        if any(steps) and all(step == steps[i % period] for i, step in enumerate(steps)):
            return True
    return False


def kinds(ids: NDArray[np.integer[Any]], texts: Sequence[str], occurrences: Ints) -> list[str]:
    """The kind of each window. ids: [windows, tokens]."""
    template = repeats(ids) | np.array([counts(text) for text in texts], np.bool_)
    return np.where(occurrences >= RECITED_FROM, KINDS[0], np.where(template, KINDS[1], KINDS[2])).tolist()


def run(work: Work, rows: MetricRows) -> None:
    """For each sample and kind: its share of extracted windows, and its extracted share next to that of windows not trained on."""
    for windows in read_windows(work, rows, "taxonomy", "extracted", "kind"):
        exact, kind = windows.values["extracted"], windows.values["kind"]
        for sample in windows.samples():
            for name in KINDS:
                sample.where(exact, detail=name).add("share", sample.where(exact).share(kind == name))
                here = sample.where(kind == name, detail=name)
                if len(here.at):
                    here.add_rate(exact)


MEASURE = of_windows("taxonomy", run, settings=lambda study: {})
