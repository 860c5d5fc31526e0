"""NaturalQuestions-open, JSON lines. The first answer is the output, the others are aliases.

{"question": "who painted the night watch", "answer": ["Rembrandt", "Rembrandt van Rijn"]}
"""

from typing import Any

from tasks.examples.record import Example, NotAnExample, ReadSettings, TaskFile, each_json_line, row_id, text, texts


@each_json_line
def read(file: TaskFile, settings: ReadSettings, row: int, record: dict[str, Any]) -> Example:
    question, answers = text(record, "question"), [a for a in texts(record, "answer") if a.strip()]
    if not answers:
        raise NotAnExample("an example without output: field 'answer' is empty")
    return Example(row, row_id(file.name, row), question, answers[0], aliases=tuple(answers[1:]), record=record)
