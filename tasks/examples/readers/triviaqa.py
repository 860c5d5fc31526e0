"""TriviaQA, the official files: qa/wikipedia-dev.json, triviaqa-unfiltered/unfiltered-web-train.json and others like them.

{"Data": [{"Question": "Who painted it?", "QuestionId": "tc_33", "Answer": {"Value": "Rembrandt", "Aliases": ["Rembrandt",
 "Rembrandt van Rijn"], "NormalizedAliases": ["rembrandt", …], …}, "EntityPages": […]}], "Domain": …}
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from schemas import StudyError
from tasks.examples.record import Example, Items, NotAnExample, ReadSettings, Reject, TaskFile, other_encoding, row_id, text, texts
from tasks.text.lines import excerpt, has_surrogates, open_bytes, unreadable

ALIASES = ("Aliases", "NormalizedAliases", "HumanAnswers")  # the official evaluation accepts all of them
CHUNK = 1 << 20
LONGEST = 1 << 28  # characters of one item: a longer one means that the file is broken
TRUNCATED = "the file ends too early"
_SPACE = re.compile(r"[ \t\r\n]*")
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


# -- the items of an array in a file of hundreds of megabytes -----------------------------------------------------------
# Not ijson: its errors name no line, and it stops at the first byte that is not UTF-8, where one record should be rejected.
def array_items(path: Path, field: str, encoding: str = "utf-8") -> Iterator[tuple[int, Any]]:
    """(number, item), numbers from 1, of the array in this field. Bytes of another encoding become surrogates. Holds one item at a
    time. Raises StudyError, naming the line, where the file is no such object or breaks off."""
    try:
        with open_bytes(path) as source:
            yield from _items(_JsonText(path, source, encoding), field)
    except Exception as error:
        raise unreadable(path, error) from None


def _items(text: "_JsonText", field: str) -> Iterator[tuple[int, Any]]:
    text.mark("{")
    while text.value() != field:
        text.mark(":")
        text.value()
        if text.mark(",}") == "}":
            raise text.problem(f"no field {field!r} in the object")
    text.mark(":")
    text.mark("[")
    if text.next() == "]":
        return
    number = 0
    while True:
        number += 1
        yield number, text.value()
        if text.mark(",]") == "]":
            return


class _JsonText:
    """The text of a file, read block by block; `at` is the place in the block that is parsed next."""

    def __init__(self, path: Path, source: BinaryIO, encoding: str) -> None:
        self.path, self.source = path, source
        self.decode = codecs.getincrementaldecoder(encoding)("surrogateescape").decode
        self.parse = json.JSONDecoder().raw_decode
        self.text, self.at, self.row, self.ended = "", 0, 1, False
        self.more()
        self.text = self.text.removeprefix("\ufeff")

    def more(self) -> None:
        """Read another block, at least as long as the rest of this one, so that a long item is parsed a few times only."""
        self.row += self.text.count("\n", 0, self.at)
        block = self.source.read(max(CHUNK, len(self.text) - self.at))
        self.ended = not block
        try:
            self.text, self.at = self.text[self.at :] + self.decode(block, final=not block), 0
        except UnicodeError as error:
            raise self.problem(f"{error}; or set its `encoding`") from None

    def next(self) -> str:
        """The next character that is no white space, without taking it; "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def mark(self, allowed: str) -> str:
        character = self.next()
        if not character:
            raise self.problem(TRUNCATED)
        if character not in allowed:
            raise self.problem(f"{character!r} where {' or '.join(allowed)} is expected")
        self.at += 1
        return character

    def value(self) -> Any:
        self.next()
        while True:
            try:
                value, end = self.parse(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if self.ended or len(self.text) - self.at > LONGEST:
                    place = getattr(error, "pos", self.at)
                    cut = self.ended and (place >= len(self.text.rstrip()) or str(error).startswith("Unterminated"))
                    raise self.problem(TRUNCATED if cut else str(error), place) from None
            else:
                if end + 2 < len(self.text) or self.ended:  # else a number may go on: 1 | e+5
                    self.at = end
                    return value
            self.more()

    def problem(self, what: str, place: int | None = None) -> StudyError:
        row = self.row + self.text.count("\n", 0, self.at if place is None else place)
        remedy = f"{'Get the file again' if what == TRUNCATED else 'Correct it there'}, or set the task's `reader`"
        return StudyError(f"{self.path}: row {row}: not the JSON that this reader expects: {what}. {remedy}")
