"""What a reader takes, a task file, and what it yields: examples, and rejects with their reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.text.display import brief
from tasks.text.lines import excerpt, has_surrogates, json_records, text_of
from tasks.text.words.analyzer import words_of

ReadSettings = Mapping[str, Any]  # of one job of step `read`
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
HALF_A_CHARACTER = "half of a surrogate pair, which is no character"


@dataclass(frozen=True)
class TaskFile:
    """A file of a task. `reference` is the one with the outputs, where a format keeps inputs and outputs in two files."""

    name: str
    path: Path
    reference: Path | None = None


@dataclass(frozen=True)
class Example:
    """One example. `split` is set where the file itself names it; `record` is what a [splits.NAME] takes its key from."""

    row: int
    id: str
    input: str
    output: str
    group: str = ""
    aliases: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    answer: int = -1
    prompt: str = ""
    split: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """One malformed record, and why it is no example."""

    row: int
    reason: str
    excerpt: str


class NotAnExample(Exception):
    """Why a record is no example; becomes the reason of a Reject."""


def json_examples(
    file: TaskFile, settings: ReadSettings, example: Callable[[int, dict[str, Any]], Example]
) -> Iterator[Example | Reject]:
    """example(row, record) of each line of a JSON lines file; a Reject where the line or the record is malformed."""
    for row, line, record in json_records(file.path, settings["encoding"]):
        try:
            if isinstance(record, str):
                raise NotAnExample(record)
            item: Example | Reject = example(row, record)
        except NotAnExample as reason:
            item = Reject(row, str(reason), excerpt(line))
        yield item


def text(record: dict[str, Any], name: str, *, paragraphs: bool = False) -> str:
    """The text in a field; with `paragraphs` a list of texts is joined by line breaks. NotAnExample if there is none."""
    value, problem = text_of(record, name, paragraphs=paragraphs)
    if problem:
        raise NotAnExample(problem)
    return value


def texts(record: Mapping[str, Any], name: str) -> list[str]:
    """The list of texts in a field, empty if there is no such field. NotAnExample if it holds anything else."""
    value = record.get(name, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise NotAnExample(f"field {name!r} is not a list of texts")
    return value


def row_id(name: str, row: int) -> str:
    """The id of a record without one. The file's name keeps rows of several files apart."""
    return f"{Path(name).name}/{row:07d}"


def other_encoding(encoding: str) -> str:
    """The reason for bytes that are not of the task's encoding."""
    return f"bytes that are not {encoding}; set the task's `encoding`"


def choice(answer: Any, options: Sequence[str], labels: Sequence[str] = ()) -> int:
    """The index of the right option. NotAnExample if the answer names none.

    An answer is one of the labels ("C", "3"), the index itself, a letter, or the option's text, in this order. Labels come
    first because ARC numbers some of its choices from 1.
    """
    if isinstance(answer, str) and answer.strip() in labels:
        return list(labels).index(answer.strip())
    if type(answer) is int and 0 <= answer < len(options):
        return answer
    if isinstance(answer, str) and not labels:
        letter = LETTERS.find(answer.strip()) if len(answer.strip()) == 1 else -1
        if 0 <= letter < len(options) and answer not in options:
            return letter
        if options.count(answer) == 1:
            return list(options).index(answer)
    listed = f", {', '.join(labels)}" if labels else ""
    raise NotAnExample(f"answer {brief(answer, 40)} names none of {len(options)} options{listed}")


def checked(item: Example | Reject, family: str) -> Example | Reject:
    """The example, or a Reject if it cannot be stored, put to a model, or counted."""
    if isinstance(item, Reject):  # its reason may quote the file: an id of stray bytes, say
        return replace(item, reason=item.reason.encode("utf-8", "replace").decode("utf-8"), excerpt=excerpt(item.excerpt))
    everything = (item.id, item.group, item.input, item.output, item.prompt, *item.aliases, *item.options)
    if any(map(has_surrogates, everything)):
        return Reject(item.row, HALF_A_CHARACTER, ascii(item.input)[:200])
    options = [o.strip() for o in item.options]
    problem = ""
    if not item.output.strip():
        problem = "an example without output"
    elif not words_of(item.output):
        problem = f"an output without words: nothing of {item.output!r:.40} can be found in a corpus"
    elif family == "multiple_choice" and item.answer < 0:
        problem = "no right option: multiple choice needs options and answer"
    elif family == "multiple_choice" and options.count(item.output.strip()) > 1:  # two equal wrong ones do no harm (MMLU has some)
        problem = f"the right option is equal to another: {item.output!r:.80}; no model can tell them apart"
    elif family == "multiple_choice" and "" in options:
        problem = "an option without text"
    return Reject(item.row, problem, item.input[:200]) if problem else item
