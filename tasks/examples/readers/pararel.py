"""ParaRel and LAMA facts, a file per relation (P36.jsonl). The question is a cloze: the template up to [Y], [X] filled in.

{"sub_label": "Flanders", "obj_label": "Brussels", "uuid": "1529bc81-d7bb-4d75-8546-ee866d93ee5d"}

The capital of [X] is [Y].    ->    "The capital of Flanders is"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from schemas import StudyError
from tasks.examples.record import Found, Refused, Settings, TaskFile, row_id
from tasks.text.lines import excerpt, json_records, text_of

TEMPLATES = {  # of ParaRel's patterns for a relation, the first that ends with [Y]: a model sees what stands before it
    "P19": "[X] was born in [Y].",
    "P30": "[X] is located in [Y].",
    "P36": "The capital of [X] is [Y].",
    "P103": "The native language of [X] is [Y].",
}


def relation_of(name: str) -> str:
    """The relation of a file: "pararel/P36.jsonl" is of P36."""
    return Path(name).name.split(".")[0]


def cloze(relation: str, templates: Mapping[str, str], task: str) -> str:
    """The prompt of a relation, with {input} for [X]. StudyError for a relation without template, or one that is no cloze."""
    template = templates.get(relation) or TEMPLATES.get(relation)
    if not template:
        raise StudyError(
            f"task {task!r}: relation {relation!r}, which is the file's name, has no template; write "
            f'templates = {{{relation} = "… [X] … [Y]."}} in the task'
        )
    found = re.fullmatch(r"([^\[]*\[X\][^\[]*)\[Y\]\W*", template)
    if not found:
        raise StudyError(
            f"task {task!r}: template {template!r} of relation {relation}: [X] must stand in it once, and [Y] once, "
            "at its end: a model sees only what stands before the answer"
        )
    return found[1].replace("[X]", "{input}")


def read_pararel(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file: x is the subject, y the object, group the relation."""
    relation = relation_of(file.name)
    prompt = settings["templates"].get(relation, "")
    for row, line, record in json_records(file.path, settings["encoding"]):
        if isinstance(record, str):
            yield Refused(row, record, excerpt(line))
            continue
        (x, no_x), (y, no_y) = text_of(record, "sub_label"), text_of(record, "obj_label")
        if no_x or no_y:
            yield Refused(row, no_x or no_y, excerpt(line))
        else:
            uuid = record.get("uuid")
            name = uuid if isinstance(uuid, str) and uuid.strip() else row_id(file.name, row)
            yield Found(row, name, x, y, relation, prompt=prompt, record=record)
