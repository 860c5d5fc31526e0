"""Parts of tables and their keys: a key is the hash of everything that determines a part's content."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One part of a table, finished or planned. `labels` name it for users, e.g. {"task": "capitals"}."""

    table: str
    key: str
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def variant(self) -> str:
        """Which of a study's variants it belongs to; empty for the study itself."""
        return self.labels.get("variant", "")

    @property
    def corpus(self) -> str:
        """Which corpus it is made of, if that is not the study's own: "placebo"."""
        return self.labels.get("corpus", "")

    @property
    def label_key(self) -> tuple[tuple[str, str], ...]:
        """The labels as a key; parts of one job, and parts made from them one by one, have the same labels."""
        return tuple(sorted(self.labels.items()))


@dataclass(frozen=True)
class SourceFile:
    """A source file outside of the root, identified by its content."""

    name: str
    path: str
    sha256: str
    bytes: int


def by_labels(parts: Iterable[Part]) -> dict[tuple[tuple[str, str], ...], Part]:
    return {part.label_key: part for part in parts}


def shown(labels: Mapping[str, str]) -> str:
    """Labels for users: "task=capitals model=small"."""
    return " ".join(f"{name}={value}" for name, value in labels.items())


def digest(value: Any) -> str:
    """32 hex digits of the hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def fingerprint(parts: Sequence[Part]) -> str:
    """Identifies a table's state: the hash of its list of part keys."""
    return digest([p.key for p in parts])
