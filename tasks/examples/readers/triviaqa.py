"""TriviaQA, the official files: qa/wikipedia-dev.json, triviaqa-unfiltered/unfiltered-web-train.json and their kin.

{"Data": [{"Question": "Who painted it?", "QuestionId": "tc_33", "Answer": {"Value": "Rembrandt", "Aliases": ["Rembrandt",
 "Rembrandt van Rijn"], "NormalizedAliases": ["rembrandt", "rembrandt van rijn"], …}, "EntityPages": […]}], "Domain": …}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.examples.readers.json_items import array_items
from tasks.examples.record import Found, Refused, Settings, TaskFile, other_encoding, row_id
from tasks.text.lines import excerpt, has_surrogates, text_of

OTHERS = ("Aliases", "NormalizedAliases", "HumanAnswers")  # what the official evaluation takes for right


def read_triviaqa(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file; rows count the records. Evidence documents are passed over."""
    for row, record in array_items(file.path, "Data", settings["encoding"]):
        found = _example(record, row, file.name, settings) if isinstance(record, dict) else "a record that is no object"
        yield Refused(row, found, _shown(record)) if isinstance(found, str) else found


def _example(record: dict[str, Any], row: int, name: str, settings: Settings) -> Found | str:
    question, problem = text_of(record, "Question")
    answer = record.get("Answer")
    if problem:
        return other_encoding(settings["encoding"]) if "surrogate" in problem else problem
    if not isinstance(answer, dict):
        return "no field 'Answer': the answers of the test set are not given out; take the dev set"
    output, problem = text_of(answer, "Value")
    if problem:
        return other_encoding(settings["encoding"]) if "surrogate" in problem else f"Answer: {problem}"
    others = []
    for field in OTHERS:
        texts = answer.get(field, [])
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            return f"Answer: field {field!r} is not a list of texts"
        others += texts
    if any(map(has_surrogates, others)):
        return other_encoding(settings["encoding"])
    aliases = tuple(dict.fromkeys(t for t in others if t.strip() and t != output))
    identifier = record.get("QuestionId")
    known = isinstance(identifier, str) and identifier.strip()
    return Found(
        row,
        str(identifier) if known else row_id(name, row),
        question,
        output,
        aliases=aliases,
        record={k: record[k] for k in ("QuestionId", "Question", "QuestionSource") if k in record},
    )


def _shown(record: object) -> str:
    question = record.get("Question") if isinstance(record, dict) else record
    return excerpt(question if isinstance(question, str) else "")
