"""MMLU: a CSV file per subject, without header: question, four choices, letter. Cells may hold line breaks.

"Which of these is prime?",4,6,7,9,C
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.examples.record import Found, Refused, Settings
from tasks.text.lines import excerpt, has_surrogates, lines

LETTERS = "ABCD"


def read_mmlu(path: Path, name: str, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file; x is the question without its choices, y the right choice's text, group the subject."""
    stem = re.sub(r"\.csv(\.gz|\.zst)?$", "", Path(name).name)
    subject = re.sub(r"_(dev|val|test)$", "", stem)
    reader = csv.reader(
        (line.decode(settings["encoding"], "surrogateescape") + "\n" for _, line in lines(path)), strict=True
    )
    row = 0
    while True:
        row += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Refused(row, f"not CSV: {error}; double the quotation marks inside a cell", "")
            continue
        yield _example(cells, f"{stem}/{row:05d}", row, subject, settings)


def _example(cells: list[str], identifier: str, row: int, subject: str, settings: Settings) -> Found | Refused:
    whole = ",".join(cells)
    if has_surrogates(whole):
        return Refused(row, f"bytes that are not {settings['encoding']}; set the task's `encoding`", excerpt(whole))
    if len(cells) != 6:
        return Refused(row, f"{len(cells)} cells, not 6: question, four choices, letter", excerpt(whole))
    question, *options, letter = cells
    if letter.strip() not in LETTERS or len(letter.strip()) != 1:
        return Refused(row, f"the right choice is {letter!r:.40}, not one of A, B, C, D", excerpt(whole))
    answer = LETTERS.index(letter.strip())
    if not question.strip() or not options[answer].strip():
        return Refused(row, "a question or a right choice without text", excerpt(whole))
    return Found(row, identifier, question, options[answer], subject, options=tuple(options), answer=answer)
