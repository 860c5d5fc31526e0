"""ParaRel and LAMA facts, a file per relation (P36.jsonl). The question is a cloze: the template up to [Y], [X] filled in.

{"sub_label": "Flanders", "obj_label": "Brussels", "uuid": "1529bc81-d7bb-4d75-8546-ee866d93ee5d"}

The capital of [X] is [Y].    ->    "The capital of Flanders is"
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas import StudyError
from tasks.examples.record import Example, ReadSettings, TaskFile, each_json_line, row_id, text

SETTINGS = ("templates",)
GROUPS_SHARE_SHOTS = True
TEMPLATES = {  # of ParaRel's patterns for a relation, the first that ends with [Y]: a model sees what comes before it
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
        remedy = f'write templates = {{{relation} = "… [X] … [Y]."}} in the task'
        raise StudyError(f"task {task!r}: relation {relation!r}, which is the file's name, has no template; {remedy}")
    parts = re.fullmatch(r"([^\[]*\[X\][^\[]*)\[Y\]\W*", template)
    if not parts:
        why = "a model sees only what comes before the answer"
        of = f"template {template!r} of relation {relation} must contain [X] once, and [Y] once at its end"
        raise StudyError(f"task {task!r}: {of}: {why}")
    return parts[1].replace("[X]", "{input}")


@each_json_line
def read(file: TaskFile, settings: ReadSettings, row: int, record: dict[str, Any]) -> Example:
    """Examples of one file: x is the subject, y the object, group the relation."""
    relation = relation_of(file.name)
    prompt = settings["templates"].get(relation, "")
    x, y, uuid = text(record, "sub_label"), text(record, "obj_label"), record.get("uuid")
    name = uuid if isinstance(uuid, str) and uuid.strip() else row_id(file.name, row)
    return Example(row, name, x, y, relation, prompt=prompt, record=record)
