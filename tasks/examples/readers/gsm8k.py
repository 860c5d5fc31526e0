"""GSM8K, JSON lines. The calculator's annotations <<…>> are taken out; the last line keeps the number that is checked.

{"question": "Two boxes hold 3 pears each. How many pears?", "answer": "There are 2*3=<<2*3=6>>6 pears.\\n#### 6"}
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.examples.record import Found, Refused, Settings, TaskFile, row_id
from tasks.text.lines import excerpt, json_records, text_of


def read_gsm8k(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file: y is the rationale and, behind ####, the number."""
    for row, line, record in json_records(file.path, settings["encoding"]):
        if isinstance(record, str):
            yield Refused(row, record, excerpt(line))
            continue
        (question, no_question), (answer, no_answer) = text_of(record, "question"), text_of(record, "answer")
        problem = no_question or no_answer
        if not problem and not re.search(r"####\s*\S", answer):
            problem = "the answer has no final number behind ####"
        if problem:
            yield Refused(row, problem, excerpt(line))
        else:
            yield Found(row, row_id(file.name, row), question, re.sub(r"<<.*?>>", "", answer), record=record)
