"""Shared by the tests of this group: hand-written examples, and a study with one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas import Study
from tasks.storage.store import Part, Store
from tests.support import write_part


def study_of(stop_words: str = "drop_all_stopword_ngrams", encoder: dict[str, Any] | None = None, **task: Any) -> Study:
    """A study with the task "t"."""
    return Study.model_validate(
        {
            "name": "s",
            "corpus": {"sources": [{"name": "c", "files": ["unused.jsonl"]}]},
            "encoder": encoder or {},
            "counting": {"stop_words": stop_words},
            "tasks": [{"name": "t", "family": "qa"} | task],
        }
    )


def examples_part(root: Path, rows: list[tuple[Any, ...]]) -> Part:
    """Examples of task "t": (input, output), (split, input, output) or (split, input, output, aliases); split is mine."""
    full = [r if len(r) > 2 else ("mine", *r) for r in rows]
    full = sorted(
        ((r[0], f"{i:05d}", r[1], r[2], list(r[3]) if len(r) > 3 else []) for i, r in enumerate(full)), key=lambda r: r[:2]
    )
    n = len(full)
    return write_part(
        root,
        "examples",
        {
            "task": ["t"] * n,
            "split": [r[0] for r in full],
            "example": [r[1] for r in full],
            "row": list(range(1, n + 1)),
            "group": [""] * n,
            "input": [r[2] for r in full],
            "output": [r[3] for r in full],
            "prompt": [r[2] for r in full],
            "separator": [" "] * n,
            "aliases": [r[4] for r in full],
            "options": [[]] * n,
            "answer": [-1] * n,
            "sha256": [""] * n,
        },
        {"task": "t"},
    )


def sums(root: Path, parts: tuple[Part, ...]) -> dict[str, float]:
    """The numbers the one part of a table reports of its making."""
    (part,) = parts
    return Store(str(root)).footer(part)["sums"]
