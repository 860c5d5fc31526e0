"""GSM8K, JSON lines. The calculator's annotations <<…>> are removed; the last line keeps the number that is checked.

{"question": "Two boxes hold 3 pears each. How many pears?", "answer": "There are 2*3=<<2*3=6>>6 pears.\\n#### 6"}
"""

import re
from typing import Any

from tasks.examples.record import Example, NotAnExample, ReadSettings, TaskFile, each_json_line, row_id, text


@each_json_line
def read(file: TaskFile, settings: ReadSettings, row: int, record: dict[str, Any]) -> Example:
    """Examples of one file: y is the rationale and, after ####, the number; `checked` removes the annotations."""
    question, answer = text(record, "question"), text(record, "answer")
    if not re.search(r"####\s*\S", answer):
        raise NotAnExample("the answer has no final number after ####")
    return Example(row, row_id(file.name, row), question, answer, record=record)
