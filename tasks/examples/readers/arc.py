"""ARC, JSON lines: three to five choices, with letters or numbers for labels.

{"id": "M_7", "question": {"stem": "Which is a gas?", "choices": [{"text": "air", "label": "1"}, …]}, "answerKey": "1"}
"""

from collections.abc import Iterator
from typing import Any

from tasks.examples.fields import mapped_example
from tasks.examples.record import Example, ReadSettings, Reject, TaskFile, json_examples, row_id

_CHOICES = "question.choices"
FIELDS = {"input": "question.stem", "options": f"{_CHOICES}.text", "labels": f"{_CHOICES}.label", "answer": "answerKey", "id": "id"}


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one file; x is the question's stem, y the right choice's text."""

    def example(row: int, record: dict[str, Any]) -> Example:
        return mapped_example(record, FIELDS, row, row_id(file.name, row))

    return json_examples(file, settings, example)
