"""Parallel text as JSON lines with one field per language; `languages` of the task names input and output.

{"page": "raid.html", "line": 3, "en": "Disks fail.", "de": "Platten gehen kaputt."}
{"en": ["A game", "Of ancient warfare."], "de": ["Ein Spiel", "Antike Kriege."]}
"""

from typing import Any

from tasks.examples.record import Example, Items, ReadSettings, TaskFile, examples_of, json_lines, language_pair, row_id, text


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file: x is the text in the first language, y in the second."""
    source, target = language_pair(file, settings)

    def example(row: int, record: dict[str, Any]) -> Example:
        x, y = text(record, source, paragraphs=True), text(record, target, paragraphs=True)
        return Example(row, row_id(file.name, row), x, y, f"{source}-{target}", record=record)

    return examples_of(json_lines(file, settings), example)
