"""Examples from records with fields of any names, as the task's `fields` map them. A dot goes into a field.

fields = {input = "question.stem", options = "question.choices.text", labels = "question.choices.label", answer = "key"}

{"question": {"stem": "2 + 2 = ?", "choices": [{"text": "3", "label": "A"}, {"text": "4", "label": "B"}]}, "key": "B"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.examples.record import HALF_A_CHARACTER, Example, NotAnExample, choice
from tasks.text.lines import has_surrogates


def mapped_example(record: Mapping[str, Any], fields: Mapping[str, str], row: int, identifier: str) -> Example:
    """The example in a record. `output` may be a list: its first text is the output, the others are aliases.

    Raises NotAnExample for fields that are missing, empty, or of another type.
    """
    values = {name: value_at(record, path) for name, path in fields.items()}
    options, labels, aliases, outputs = (_texts(values, name) for name in ("options", "labels", "aliases", "output"))
    right = -1
    if options and "answer" in values:
        right = choice(values["answer"], options, labels)
        outputs = outputs or [options[right]]
        if outputs[0] != options[right]:
            raise NotAnExample("the output is not the text of the right option")
    outputs = [t for t in outputs if t.strip()]
    question = values.get("input")
    if not isinstance(question, str) or not question.strip():
        raise NotAnExample(f"field {fields['input']!r} is no text, or empty")
    if not outputs:
        raise NotAnExample(f"an example without output: field {fields.get('output', fields.get('answer'))!r} is empty")
    if any(map(has_surrogates, (question, *outputs, *aliases, *options))):
        raise NotAnExample(HALF_A_CHARACTER)
    others = tuple(dict.fromkeys(a for a in (*outputs[1:], *aliases) if a.strip() and a != outputs[0]))
    name, group = values.get("id", identifier), values.get("group", "")
    if isinstance(name, (list, Mapping)) or isinstance(group, (list, Mapping)):
        raise NotAnExample("fields 'id' and 'group' are texts or numbers, not lists or objects")
    return Example(row, str(name), question, outputs[0], str(group), others, tuple(options), right, record=record)


def value_at(record: Any, path: str) -> Any:
    """The value at a path; in a list of records, that field of each. NotAnExample if there is none."""
    value = record
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and all(isinstance(v, Mapping) and name in v for v in value):
            value = [v[name] for v in value]
        else:
            has = f"; there are {', '.join(map(str, value))[:120]}" if isinstance(value, Mapping) else ""
            raise NotAnExample(f"no field {path!r}{has}")
    return value


def _texts(values: Mapping[str, Any], name: str) -> list[str]:
    """A text, or a list of texts, as a list. Numbers count as texts: sums have them as options."""
    value = values.get(name, [])
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in listed):
        raise NotAnExample(f"{name}: neither a text nor a list of texts")
    return [str(v) for v in listed]
