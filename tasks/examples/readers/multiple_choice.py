"""Multiple choice.

MMLU, a CSV file per subject, without header: question, four choices, letter. Cells may hold line breaks.

    "Which of these is prime?",4,6,7,9,C

ARC, JSON lines: three to five choices, with letters or numbers for labels.

    {"id": "M_7", "question": {"stem": "Which is a gas?", "choices": [{"text": "air", "label": "1"}, …]}, "answerKey": "1"}
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.examples import fields
from tasks.examples.readers.mmlu_subjects import subject_of
from tasks.examples.record import LETTERS, Found, Refused, Settings, TaskFile, other_encoding, row_id
from tasks.text.lines import decoded, excerpt, has_surrogates, json_records, lines

ARC_FIELDS = {
    "input": "question.stem",
    "options": "question.choices.text",
    "labels": "question.choices.label",
    "answer": "answerKey",
}


def read_arc(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file; x is the question's stem, y the right choice's text."""
    for row, line, record in json_records(file.path, settings["encoding"]):
        if isinstance(record, str):
            found: Found | str = record
        else:
            named = ARC_FIELDS | ({"id": "id"} if "id" in record else {})
            found = fields.example(record, named, row, row_id(file.name, row))
        yield Refused(row, found, excerpt(line)) if isinstance(found, str) else found


def read_mmlu(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file; x is the question without its choices, y the right choice's text, group the subject."""
    stem = re.sub(r"\.csv(\.gz|\.zst)?$", "", Path(file.name).name)
    subject = subject_of(file.name)
    reader = csv.reader((decoded(line, settings["encoding"]) + "\n" for _, line in lines(file.path)), strict=True)
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
        return Refused(row, other_encoding(settings["encoding"]), excerpt(whole))
    if len(cells) != 6:
        return Refused(row, f"{len(cells)} cells, not 6: question, four choices, letter", excerpt(whole))
    question, *options, letter = cells
    if letter.strip() not in LETTERS[:4] or len(letter.strip()) != 1:
        return Refused(row, f"the right choice is {letter!r:.40}, not one of A, B, C, D", excerpt(whole))
    answer = LETTERS.index(letter.strip())
    if not question.strip() or not options[answer].strip():
        return Refused(row, "a question or a right choice without text", excerpt(whole))
    return Found(row, identifier, question, options[answer], subject, options=tuple(options), answer=answer)
