"""What every reader yields: an example found in a file, or the reason why a record is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.text.lines import has_surrogates

Settings = Mapping[str, Any]


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


Reader = Callable[[Path, str, Settings], Iterator[Found | Refused]]


def row_id(name: str, row: int) -> str:
    """The id of a record that has none: the file's name keeps rows of several files apart."""
    return f"{Path(name).name}/{row:07d}"


def checked(item: Found | Refused, family: str) -> Found | Refused:
    """The example, or why it cannot be stored or put to a model."""
    if isinstance(item, Refused):
        return item
    texts = (item.id, item.group, item.input, item.output, item.prompt, *item.aliases, *item.options)
    if any(map(has_surrogates, texts)):
        return Refused(item.row, "half of a surrogate pair, which is no character", ascii(item.input)[:200])
    if not item.output.strip():
        return Refused(item.row, "an example without output", item.input[:200])
    if family == "multiple_choice" and item.answer < 0:
        return Refused(item.row, "no right option: multiple choice needs options and answer", item.input[:200])
    return item
