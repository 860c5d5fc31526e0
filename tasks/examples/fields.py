"""A record with fields of any names becomes an example, by the task's `fields`. A dot goes into a field.

fields = {input = "question.stem", options = "question.choices.text", labels = "question.choices.label", answer = "key"}

{"question": {"stem": "2 + 2 = ?", "choices": [{"text": "3", "label": "A"}, {"text": "4", "label": "B"}]}, "key": "B"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.examples.record import Found, choice
from tasks.text.lines import has_surrogates


def example(record: Mapping[str, Any], fields: Mapping[str, str], row: int, identifier: str) -> Found | str:
    """The example, or in words why there is none. `output` may be a list: its first text, and the others are aliases."""
    found: dict[str, Any] = {}
    for name, path in fields.items():
        value, missing = at(record, path)
        if missing:
            return missing
        found[name] = value
    options, problem = _texts(found.get("options", []), "options")
    labels, no_labels = _texts(found.get("labels", []), "labels")
    aliases, no_aliases = _texts(found.get("aliases", []), "aliases")
    outputs, no_outputs = _texts(found.get("output", []), "output")
    if problem := problem or no_labels or no_aliases or no_outputs:
        return problem
    right = -1
    if options and "answer" in found:
        index = choice(found["answer"], options, labels)
        if isinstance(index, str):
            return index
        right, outputs = index, outputs or [options[index]]
        if outputs[0] != options[index]:
            return "the output is not the text of the right option"
    outputs = [t for t in outputs if t.strip()]
    if not isinstance(found.get("input"), str) or not found["input"].strip():
        return f"field {fields['input']!r} is no text, or empty"
    if not outputs:
        return f"an example without output: field {fields.get('output', fields.get('answer'))!r} is empty"
    texts = (found["input"], *outputs, *aliases, *options)
    if any(map(has_surrogates, texts)):
        return "half of a surrogate pair, which is no character"
    others = tuple(dict.fromkeys(a for a in (*outputs[1:], *aliases) if a.strip() and a != outputs[0]))
    named, group = found.get("id", identifier), found.get("group", "")
    if isinstance(named, (list, Mapping)) or isinstance(group, (list, Mapping)):
        return "fields 'id' and 'group' are texts or numbers, not lists or objects"
    return Found(row, str(named), found["input"], outputs[0], str(group), others, tuple(options), right, record=record)


def at(record: Any, path: str) -> tuple[Any, str]:
    """(value, "") or (None, why there is none). In a list of records a name takes that field of each."""
    value = record
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and all(isinstance(v, Mapping) and name in v for v in value):
            value = [v[name] for v in value]
        else:
            has = f"; there are {', '.join(map(str, value))[:120]}" if isinstance(value, Mapping) else ""
            return None, f"no field {path!r}{has}"
    return value, ""


def _texts(value: Any, name: str) -> tuple[list[str], str]:
    """A text or a list of texts as a list, or why it is neither. Numbers count as texts: sums have them as options."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in values):
        return [], f"{name}: neither a text nor a list of texts"
    return [str(v) for v in values], ""
