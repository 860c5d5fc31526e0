"""JSON lines in taskgram's own format; planted tasks are written in it. `input` and `output` are all that must be there.

{"id": "q-7", "input": "Who wrote Faust?", "output": "Goethe", "aliases": ["J. W. Goethe"], "group": "literature"}
{"id": "m-2", "input": "2 + 2 = ?", "output": "4", "options": ["3", "4"], "answer": 1, "split": "evaluate"}

With `fields` in the task, JSON lines of any other format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.examples import fields
from tasks.examples.record import Found, Refused, Settings, TaskFile, row_id
from tasks.text.display import brief
from tasks.text.lines import excerpt, json_records, text_of

SPLITS = ("", "mine", "evaluate")


def read(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file."""
    mapped = settings.get("fields")
    for row, line, record in json_records(file.path, settings["encoding"]):
        if isinstance(record, str):
            found: Found | str = record
        elif mapped:
            found = fields.example(record, mapped, row, row_id(file.name, row))
        else:
            found = _example(record, row, file.name)
        yield Refused(row, found, excerpt(line)) if isinstance(found, str) else found


def _example(record: dict[str, Any], row: int, name: str) -> Found | str:
    texts = {}
    for field in ("input", "output"):
        texts[field], problem = text_of(record, field)
        if problem:
            return problem
    lists = {}
    for field in ("aliases", "options"):
        value = record.get(field, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            return f"field {field!r} is not a list of texts"
        lists[field] = tuple(value)
    answer, split = record.get("answer", -1), record.get("split", "")
    if type(answer) is not int or not -1 <= answer < len(lists["options"]):
        return f"answer {brief(answer)} is not the index of one of {len(lists['options'])} options"
    if answer >= 0 and lists["options"][answer] != texts["output"]:
        return "the output is not the text of the right option"
    if split not in SPLITS:
        return f"split {brief(split)} is neither 'mine' nor 'evaluate'"
    identifier = record.get("id", row_id(name, row))
    if not isinstance(identifier, (str, int)) or not str(identifier).strip():
        return "field 'id' is not a text"
    group, prompt = record.get("group", ""), record.get("prompt", "")
    if not isinstance(group, str) or not isinstance(prompt, str):
        return "fields 'group' and 'prompt' are texts"
    return Found(
        row,
        str(identifier),
        texts["input"],
        texts["output"],
        group,
        lists["aliases"],
        lists["options"],
        answer,
        prompt,
        split,
        record,
    )
