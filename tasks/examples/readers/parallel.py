"""Parallel text as JSON lines with one field per language; `languages` of the task names input and output.

{"page": "raid.html", "line": 3, "en": "Disks fail.", "de": "Platten gehen kaputt."}
{"en": ["A game", "Of ancient warfare."], "de": ["Ein Spiel", "Antike Kriege."]}
"""

from typing import Any

from tasks.examples.record import Example, ReadSettings, TaskFile, each_json_line, row_id, text
from tasks.examples.sentence_pairs import language_pair


@each_json_line
def read(file: TaskFile, settings: ReadSettings, row: int, record: dict[str, Any]) -> Example:
    """Examples of one file: x is the text in the first language, y in the second."""
    source, target = language_pair(file, settings)
    x, y = text(record, source, paragraphs=True), text(record, target, paragraphs=True)
    return Example(row, row_id(file.name, row), x, y, f"{source}-{target}", record=record)
