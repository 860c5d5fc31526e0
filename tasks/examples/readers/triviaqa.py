"""TriviaQA, the official files: qa/wikipedia-dev.json, triviaqa-unfiltered/unfiltered-web-train.json and others like them.

{"Data": [{"Question": "Who painted it?", "QuestionId": "tc_33", "Answer": {"Value": "Rembrandt", "Aliases": ["Rembrandt",
 "Rembrandt van Rijn"], "NormalizedAliases": ["rembrandt", …], …}, "EntityPages": […]}], "Domain": …}
"""

from typing import Any

from tasks.examples.json_array import array_items
from tasks.examples.record import Example, Items, NotAnExample, ReadSettings, Reject, TaskFile, other_encoding, row_id, text, texts
from tasks.text.lines import excerpt, has_surrogates

ALIASES = ("Aliases", "NormalizedAliases", "HumanAnswers")  # the official evaluation accepts all of them
KEPT = ("QuestionId", "Question", "QuestionSource")


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file; rows count the records. Evidence documents are ignored."""
    for row, record in array_items(file.path, "Data", settings["encoding"]):
        try:
            item: Example | Reject = _example(record, row, file.name)
        except NotAnExample as problem:
            reason = other_encoding(settings["encoding"]) if "surrogate" in str(problem) else str(problem)
            question = record.get("Question") if isinstance(record, dict) else record
            item = Reject(row, reason, excerpt(question if isinstance(question, str) else ""))
        yield item


def _example(record: Any, row: int, name: str) -> Example:
    if not isinstance(record, dict):
        raise NotAnExample("a record that is no object")
    question, answer = text(record, "Question"), record.get("Answer")
    if not isinstance(answer, dict):
        raise NotAnExample("no field 'Answer': the answers of the test set are not published; use the dev set")
    try:
        output = text(answer, "Value")
        accepted = [t for field in ALIASES for t in texts(answer, field)]
    except NotAnExample as problem:
        raise NotAnExample(f"Answer: {problem}") from None
    if any(map(has_surrogates, accepted)):
        raise NotAnExample("a surrogate among the aliases")
    aliases = tuple(dict.fromkeys(t for t in accepted if t.strip() and t != output))
    identifier = record.get("QuestionId")
    if not isinstance(identifier, str) or not identifier.strip():
        identifier = row_id(name, row)
    kept = {k: record[k] for k in KEPT if k in record}
    return Example(row, identifier, question, output, aliases=aliases, record=kept)
