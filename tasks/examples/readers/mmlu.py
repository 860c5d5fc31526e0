"""MMLU, a CSV file per subject, without header: question, four choices, letter. Cells may contain line breaks.

"Which of these is prime?",4,6,7,9,C
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tasks.examples.csv_rows import csv_rows
from tasks.examples.mmlu_subjects import subject_of
from tasks.examples.record import LETTERS, Example, NotAnExample, ReadSettings, Reject, TaskFile
from tasks.text.lines import excerpt

SETTINGS = ("subjects",)
GROUPS_SHARE_SHOTS = True


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one file; x is the question without its choices, y the right choice's text, group the subject."""
    stem = re.sub(r"\.csv(\.gz|\.zst)?$", "", Path(file.name).name)
    for row, cells, problem in csv_rows(file.path, settings["encoding"]):
        try:
            if problem:
                raise NotAnExample(problem)
            item: Example | Reject = _example(cells, f"{stem}/{row:05d}", row, subject_of(file.name))
        except NotAnExample as reason:
            item = Reject(row, str(reason), excerpt(",".join(cells)))
        yield item


def _example(cells: list[str], identifier: str, row: int, subject: str) -> Example:
    if len(cells) != 6:
        raise NotAnExample(f"{len(cells)} cells, not 6: question, four choices, letter")
    question, *options, letter = cells
    if letter.strip().upper() not in tuple(LETTERS[:4]):
        raise NotAnExample(f"the right choice is {letter!r:.40}, not one of A, B, C, D")
    answer = LETTERS.index(letter.strip().upper())
    if not question.strip() or not options[answer].strip():
        raise NotAnExample("a question or a right choice without text")
    return Example(row, identifier, question, options[answer], subject, options=tuple(options), answer=answer)
