"""NaturalQuestions-open, JSON lines. The first answer is the output, the others are aliases.

{"question": "who painted the night watch", "answer": ["Rembrandt", "Rembrandt van Rijn"]}
"""

from collections.abc import Iterator
from typing import Any

from tasks.examples.record import Example, NotAnExample, ReadSettings, Reject, TaskFile, json_examples, row_id, text, texts


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    def example(row: int, record: dict[str, Any]) -> Example:
        question, answers = text(record, "question"), [a for a in texts(record, "answer") if a.strip()]
        if not answers:
            raise NotAnExample("an example without output: field 'answer' is empty")
        return Example(row, row_id(file.name, row), question, answers[0], aliases=tuple(answers[1:]), record=record)

    return json_examples(file, settings, example)
