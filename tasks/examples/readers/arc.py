"""ARC, JSON lines: three to five choices, with letters or numbers for labels.

{"id": "M_7", "question": {"stem": "Which is a gas?", "choices": [{"text": "air", "label": "1"}, …]}, "answerKey": "1"}
"""

from typing import Any

from tasks.examples.fields import mapped_example
from tasks.examples.record import Example, ReadSettings, TaskFile, each_json_line, row_id

_CHOICES = "question.choices"
FIELDS = {"input": "question.stem", "options": f"{_CHOICES}.text", "labels": f"{_CHOICES}.label", "answer": "answerKey", "id": "id"}


@each_json_line
def read(file: TaskFile, settings: ReadSettings, row: int, record: dict[str, Any]) -> Example:
    """Examples of one file; x is the question's stem, y the right choice's text."""
    return mapped_example(record, FIELDS, row, row_id(file.name, row))
