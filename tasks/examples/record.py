"""What every reader yields: an example found in a file, or the reason why a record is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def has_stray_bytes(text: str) -> bool:
    """Whether text decoded with `surrogateescape` holds bytes that are not of its encoding, or halves of characters."""
    return any("\ud800" <= c <= "\udfff" for c in text)
