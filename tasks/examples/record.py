"""What every reader takes, a task file, and yields: an example found in it, or the reason why a record is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.text.display import brief
from tasks.text.lines import excerpt, has_surrogates
from tasks.text.words.analyzer import words_of

Settings = Mapping[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class TaskFile:
    """A file of a task. `reference` is the one with the outputs, where a format has inputs and outputs in two."""

    name: str
    path: Path
    reference: Path | None = None


@dataclass(frozen=True)
class Found:
    """One example. `split` is set where the file itself says it; `record` is what a [splits.NAME] takes its key from."""

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
class Refused:
    """One record that is no example, and why."""

    row: int
    reason: str
    excerpt: str


Reader = Callable[[TaskFile, Settings], Iterator[Found | Refused]]


def row_id(name: str, row: int) -> str:
    """The id of a record that has none: the file's name keeps rows of several files apart."""
    return f"{Path(name).name}/{row:07d}"


def other_encoding(encoding: str) -> str:
    """The reason for bytes that the task's encoding cannot read."""
    return f"bytes that are not {encoding}; set the task's `encoding`"


def choice(answer: Any, options: Sequence[str], labels: Sequence[str] = ()) -> int | str:
    """The index of the right option, or in words why there is none.

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
    return f"answer {brief(answer, 40)} names none of {len(options)} options" + (f", {', '.join(labels)}" if labels else "")


def checked(item: Found | Refused, family: str) -> Found | Refused:
    """The example, or why it cannot be stored, put to a model, or counted."""
    if isinstance(item, Refused):  # its reason may name what stands in the file: an id of stray bytes, say
        return replace(item, reason=item.reason.encode("utf-8", "replace").decode("utf-8"), excerpt=excerpt(item.excerpt))
    texts = (item.id, item.group, item.input, item.output, item.prompt, *item.aliases, *item.options)
    problem = ""
    if any(map(has_surrogates, texts)):
        return Refused(item.row, "half of a surrogate pair, which is no character", ascii(item.input)[:200])
    if not item.output.strip():
        problem = "an example without output"
    elif not words_of(item.output):
        problem = f"an output without words: nothing of {item.output!r:.40} can be found in a corpus"
    elif family == "multiple_choice" and item.answer < 0:
        problem = "no right option: multiple choice needs options and answer"
    elif family == "multiple_choice":
        options = [o.strip() for o in item.options]
        if (
            options.count(item.output.strip()) > 1
        ):  # two wrong ones may be equal, as in MMLU: that takes nothing from the right one
            problem = f"the right option is equal to another: {item.output!r:.80}; no model can tell them apart"
        elif "" in options:
            problem = "an option without text"
    return Refused(item.row, problem, item.input[:200]) if problem else item
