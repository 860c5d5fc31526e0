"""Examples from records with fields of any names, as the task's `fields` map them. A dot goes into a field.

fields = {input = "question.stem", options = "question.choices.text", labels = "question.choices.label", answer = "key"}

{"question": {"stem": "2 + 2 = ?", "choices": [{"text": "3", "label": "A"}, {"text": "4", "label": "B"}]}, "key": "B"}
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from schemas import StudyError
from schemas.settings.reader_versions import FIELDS
from tasks.examples.record import HALF_A_CHARACTER, Example, IndexTooLarge, Items, NotAnExample, choice, examples_of, row_id
from tasks.text.display import brief
from tasks.text.lines import has_surrogates, text_of, value_at

Fields = Mapping[str, Any]  # a path, or for options, labels and aliases one for each of their texts
OWN: Fields = {name: name for name in FIELDS}
SPLITS = ("", "mine", "evaluate")
OPTIONAL = ("aliases", "labels", "id", "group")  # a record may lack them, all records of a file may not
_TRIVIAQA = ["answer.aliases", "answer.normalized_aliases"]
LAYOUTS: tuple[Fields, ...] = (  # of the data sets on the hub that have a reader of their own, and HellaSwag
    {"input": "question", "options": "choices.text", "labels": "choices.label", "answer": "answerKey", "id": "id"},
    {"input": "question", "options": "choices", "answer": "answer", "group": "subject"},
    {"input": "question", "output": "answer.value", "aliases": _TRIVIAQA, "id": "question_id"},
    {"input": "ctx", "options": "endings", "answer": "label"},
    {"input": "question", "output": "answer"},
    {"input": "input", "options": "options", "answer": "answer"},
    {"input": "input", "output": "output"},
)


def layout_of(record: Mapping[str, Any]) -> Fields | None:
    """The fields of a record whose layout is known; for taskgram's own format all that it may have."""
    for fields in LAYOUTS:
        paths = [p for path in fields.values() for p in ([path] if isinstance(path, str) else path)]
        if all(_has(record, path) for path in paths) and (len(paths) > 2 or set(record) == set(paths) or "input" in paths):
            return OWN if "input" in paths else fields
    return None


def mapped_examples(records: Iterable[tuple[int, bytes | None, Any]], fields: Fields, name: str, file: str) -> Items:
    """The examples of a file's records; `name` begins the ids of those without one. Raises StudyError for an optional field that no
    record has, and for answers that count the options from 1."""
    lacking, made = {f for f in OPTIONAL if f in fields} if fields is not OWN else set(), False
    answers: set[int | None] = set()  # that are an index; None: one is the number of options

    def example(row: int, record: dict[str, Any]) -> Example:
        lacking.difference_update([f for f in lacking if _value(record, f, fields[f]) is not None])
        try:
            mapped = mapped_example(record, fields, row, row_id(name, row))
        except IndexTooLarge:
            answers.add(None)
            raise
        answers.add(mapped.answer)
        return mapped

    for item in examples_of(records, example):
        made = made or isinstance(item, Example)
        yield item
    if None in answers and 0 not in answers and answers - {None, -1}:
        problem = "its answers count the options from 1, an index counts from 0"
        raise StudyError(f"{file}: {problem}; add a field of `labels`: [1, 2, …]")
    if lacking and made:
        raise StudyError(f"{file}: no record has a field {fields[min(lacking)]!r}; correct `{min(lacking)}` in `fields`")


def mapped_example(record: Mapping[str, Any], fields: Fields, row: int, identifier: str) -> Example:
    """The example in a record. `output` may be a list: its first text is the output, the others are aliases. Raises NotAnExample
    for fields that are missing, empty, or of another type."""
    values = {name: _value(record, name, path) for name, path in fields.items()}
    question, problem = text_of(record, fields["input"])
    if problem:
        raise NotAnExample(HALF_A_CHARACTER if "surrogate" in problem else problem)
    options = _listed(values.get("options"), "options")
    labels = _listed(values.get("labels"), "labels") if options else []
    outputs, aliases = (_texts(values.get(name), name) for name in ("output", "aliases"))
    outputs, answer, right = [t for t in outputs if t.strip()], values.get("answer"), -1
    if fields is OWN and answer == -1:
        answer = None
    if answer is not None and (options or fields is OWN):
        right = choice(answer, options, labels)
        if outputs and outputs[0] != options[right]:
            raise NotAnExample("the output is not the text of the right option")
        outputs = outputs or [options[right]]
    elif outputs and options.count(outputs[0]) == 1:
        right = options.index(outputs[0])
    if not outputs:
        choosing = fields is not OWN and "answer" in fields
        path = fields["output" if not choosing else "answer" if options or "options" not in fields else "options"]
        problem = text_of(record, path)[1] if isinstance(path, str) else f"fields {', '.join(path)} are empty"
        problem = problem or f"field {path!r} names an option, and there are no options"
        raise NotAnExample(f"an example without output: {problem}")
    if any(map(has_surrogates, (question, *outputs, *aliases, *options))):
        raise NotAnExample(HALF_A_CHARACTER)
    name, group = (values.get(f) for f in ("id", "group"))
    if isinstance(name, (list, Mapping)) or isinstance(group, (list, Mapping)):
        raise NotAnExample("fields 'id' and 'group' are texts or numbers, not lists or objects")
    name, group = identifier if name is None else str(name), "" if group is None else str(group)
    example = Example(row, name, question, outputs[0], group, (*outputs[1:], *aliases), tuple(options), right, record=record)
    if fields is not OWN:
        return example
    prompt, split = record.get("prompt") or "", record.get("split") or ""
    if not isinstance(prompt, str):
        raise NotAnExample("field 'prompt' is not a text")
    if split not in SPLITS:
        raise NotAnExample(f"split {brief(split)} is neither 'mine' nor 'evaluate'")
    return replace(example, prompt=prompt, split=split)


def _value(record: Mapping[str, Any], name: str, path: str | list[str]) -> Any:
    """What `fields` names for a part of an example: None where there is nothing."""
    if isinstance(path, str):
        return _given(record, path)
    values = [_given(record, p) for p in path]
    while values and values[-1] is None:  # a question with fewer options than the table has columns
        values.pop()
    if name == "options":
        return ["" if v is None else v for v in values]
    return [v for value in values for v in (value if isinstance(value, list) else [value]) if v is not None] or None


def _has(record: Any, path: str) -> bool:
    with suppress(KeyError):
        value_at(record, path)
        return True
    return False


def _given(record: Any, path: str) -> Any:
    """The value at a path; None if it is missing, null or blank: a cell of a table has no other way to be empty."""
    value = value_at(record, path) if _has(record, path) else None
    return None if isinstance(value, str) and not value.strip() else value


def _listed(value: Any, name: str) -> list[Any]:
    """The texts of options, or labels: a list, also one that is written as JSON in a cell of a table."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if value is not None and not isinstance(value, list):
        raise NotAnExample(f'{name}: not a list of texts; fields in several columns are named one by one: {name} = ["A", "B"]')
    return list(value or []) if name == "labels" else _texts(value, name)


def _texts(value: Any, name: str) -> list[str]:
    """A text, or a list of texts, as a list. Numbers count as texts: sums have them as options."""
    listed = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in listed):
        raise NotAnExample(f"{name}: neither a text nor a list of texts")
    return [str(v) for v in listed]
