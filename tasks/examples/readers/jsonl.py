"""JSON lines in taskgram's own format. `input` and `output` are all that a record needs.

    {"id": "q-7", "input": "Who wrote Faust?", "output": "Goethe", "aliases": ["J. W. Goethe"], "group": "literature"}
    {"id": "m-2", "input": "2 + 2 = ?", "output": "4", "options": ["3", "4"], "answer": 1, "split": "evaluate"}

With `fields` in the task, JSON lines of any other format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.examples.fields import mapped_example
from tasks.examples.record import Example, NotAnExample, ReadSettings, Reject, TaskFile, json_examples, row_id, text, texts
from tasks.text.display import brief

SETTINGS = ("fields",)
SPLITS = ("", "mine", "evaluate")


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one file, in taskgram's format or in that of the task's `fields`."""
    fields = settings.get("fields")
    if not fields:
        return read_own_format(file, settings)
    return json_examples(file, settings, lambda row, record: mapped_example(record, fields, row, row_id(file.name, row)))


def read_own_format(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one file in taskgram's own format."""

    def example(row: int, record: dict[str, Any]) -> Example:
        question, output = text(record, "input"), text(record, "output")
        aliases, options = tuple(texts(record, "aliases")), tuple(texts(record, "options"))
        answer, split = record.get("answer", -1), record.get("split", "")
        if type(answer) is not int or not -1 <= answer < len(options):
            raise NotAnExample(f"answer {brief(answer)} is not the index of one of {len(options)} options")
        if answer >= 0 and options[answer] != output:
            raise NotAnExample("the output is not the text of the right option")
        if split not in SPLITS:
            raise NotAnExample(f"split {brief(split)} is neither 'mine' nor 'evaluate'")
        name = record.get("id", row_id(file.name, row))
        if not isinstance(name, (str, int)) or not str(name).strip():
            raise NotAnExample("field 'id' is not a text")
        group, prompt = record.get("group", ""), record.get("prompt", "")
        if not isinstance(group, str) or not isinstance(prompt, str):
            raise NotAnExample("fields 'group' and 'prompt' are texts")
        return Example(row, str(name), question, output, group, aliases, options, answer, prompt, split, record)

    return json_examples(file, settings, example)
