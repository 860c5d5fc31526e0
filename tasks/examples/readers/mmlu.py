"""MMLU, a CSV file per subject, without header: question, four choices, letter. Cells may contain line breaks.

"Which of these is prime?",4,6,7,9,C
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.examples.mmlu_subjects import subject_of
from tasks.examples.record import LETTERS, Example, NotAnExample, ReadSettings, Reject, TaskFile, other_encoding
from tasks.text.lines import decoded, excerpt, has_surrogates, lines

SETTINGS = ("subjects",)
GROUPS_SHARE_SHOTS = True


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one file; x is the question without its choices, y the right choice's text, group the subject."""
    stem = re.sub(r"\.csv(\.gz|\.zst)?$", "", Path(file.name).name)
    reader = csv.reader((decoded(line, settings["encoding"]) + "\n" for _, line in lines(file.path)), strict=True)
    row = 0
    while True:
        row += 1
        cells: list[str] = []
        try:
            cells = next(reader)
            item: Example | Reject = _example(cells, f"{stem}/{row:05d}", row, subject_of(file.name), settings["encoding"])
        except StopIteration:
            return
        except csv.Error as error:
            item = Reject(row, f"not CSV: {error}; double the quotation marks inside a cell", "")
        except NotAnExample as reason:
            item = Reject(row, str(reason), excerpt(",".join(cells)))
        yield item


def _example(cells: list[str], identifier: str, row: int, subject: str, encoding: str) -> Example:
    if any(map(has_surrogates, cells)):
        raise NotAnExample(other_encoding(encoding))
    if len(cells) != 6:
        raise NotAnExample(f"{len(cells)} cells, not 6: question, four choices, letter")
    question, *options, letter = cells
    if letter.strip() not in tuple(LETTERS[:4]):
        raise NotAnExample(f"the right choice is {letter!r:.40}, not one of A, B, C, D")
    answer = LETTERS.index(letter.strip())
    if not question.strip() or not options[answer].strip():
        raise NotAnExample("a question or a right choice without text")
    return Example(row, identifier, question, options[answer], subject, options=tuple(options), answer=answer)
