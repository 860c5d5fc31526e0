"""GSM8K, JSON lines. The calculator's annotations <<…>> are removed; the last line keeps the number that is checked.

{"question": "Two boxes hold 3 pears each. How many pears?", "answer": "There are 2*3=<<2*3=6>>6 pears.\\n#### 6"}
"""

import re
from collections.abc import Iterator
from typing import Any

from tasks.examples.record import Example, NotAnExample, ReadSettings, Reject, TaskFile, json_examples, row_id, text


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one file: y is the rationale and, after ####, the number; `checked` removes the annotations."""

    def example(row: int, record: dict[str, Any]) -> Example:
        question, answer = text(record, "question"), text(record, "answer")
        if not re.search(r"####\s*\S", answer):
            raise NotAnExample("the answer has no final number after ####")
        return Example(row, row_id(file.name, row), question, answer, record=record)

    return json_examples(file, settings, example)
