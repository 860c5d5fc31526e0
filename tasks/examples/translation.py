"""Parallel text: JSON lines with one field per language, plain or packed. `languages` of the task names the two.

{"page": "raid.html", "line": 3, "en": "Disks fail.", "de": "Platten gehen kaputt."}
{"en": ["A game", "Of ancient warfare."], "de": ["Ein Spiel", "Antike Kriege."]}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from schemas import StudyError
from tasks.examples.record import Found, Refused, Settings, row_id
from tasks.text.lines import excerpt, json_records, text_of


def read(path: Path, name: str, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file: x is the text in the first language, y in the second."""
    if len(settings["languages"]) != 2:
        raise StudyError(f'task for {name}: reader "parallel" needs languages, e.g. ["en", "de"]: input and output')
    source, target = settings["languages"]
    for row, line, record in json_records(path, settings["encoding"]):
        if isinstance(record, str):
            yield Refused(row, record, excerpt(line))
            continue
        (x, no_x), (y, no_y) = text_of(record, source, paragraphs=True), text_of(record, target, paragraphs=True)
        if no_x or no_y:
            yield Refused(row, no_x or no_y, excerpt(line))
        else:
            yield Found(row, row_id(name, row), x, y, f"{source}-{target}", record=record)
