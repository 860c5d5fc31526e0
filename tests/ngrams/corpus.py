"""A small corpus in parts, and brute-force counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from schemas import Study
from tasks.storage.store import Part

Document = list[str]


def make_study(**settings: object) -> Study:
    """A study of one source; `settings` are those of the study."""
    return Study.model_validate({"name": "t", "corpus": {"sources": [{"name": "s", "files": ["f.jsonl"]}]}, **settings})


def split(documents: Sequence[Document], parts: int) -> list[list[Document]]:
    """The documents in that many runs, one after the other; some may be empty."""
    return [list(documents[len(documents) * i // parts : len(documents) * (i + 1) // parts]) for i in range(parts)]


def write_corpus(root: Path, documents: Sequence[Document], parts: int = 1) -> dict[str, tuple[Part, ...]]:
    """documents, words and vocabulary; document i has the id "d<i>", however the corpus is cut."""
    from tests.support import write_part

    tables: dict[str, list[Part]] = {"documents": [], "words": [], "vocabulary": []}
    number = 0
    for index, piece in enumerate(split(documents, parts)):
        labels = {"source": "s", "file": f"{index}-of-{parts}"}
        names = [f"d{number + i}" for i in range(len(piece))]
        number += len(piece)
        tables["documents"].append(
            write_part(
                root,
                "documents",
                {
                    "document": list(range(len(piece))),
                    "id": names,
                    "source": ["s"] * len(piece),
                    "language": [""] * len(piece),
                    "text": [" ".join(d) or "-" for d in piece],
                    "row": list(range(1, len(piece) + 1)),
                },
                labels,
            )
        )
        words = sorted({w for d in piece for w in d})
        tables["words"].append(
            write_part(
                root, "words", {"document": list(range(len(piece))), "ids": [[words.index(w) for w in d] for d in piece]}, labels
            )
        )
        tables["vocabulary"].append(
            write_part(
                root,
                "vocabulary",
                {
                    "id": list(range(len(words))),
                    "word": words,
                    "occurrences": [sum(d.count(w) for d in piece) for w in words],
                    "documents": [sum(w in d for d in piece) for w in words],
                },
                labels,
            )
        )
    return {name: tuple(found) for name, found in tables.items()}


def places(ngram: Sequence, document: Sequence) -> list[int]:
    """Where an n-gram begins in a document: by comparing at every position."""
    n = len(ngram)
    return [i for i in range(len(document) - n + 1) if list(document[i : i + n]) == list(ngram)]


def occurrences(ngram: Sequence, documents: Sequence[Sequence]) -> int:
    """C(s)."""
    return sum(len(places(ngram, d)) for d in documents)


def documents_with(documents: Sequence[Sequence], *ngrams: Sequence) -> list[int]:
    """The documents that contain all of these n-grams."""
    return [i for i, d in enumerate(documents) if all(places(g, d) for g in ngrams)]


def flat(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """As kernels read them: ids and offsets."""
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in texts])]).astype(np.int64)
    return np.array([i for t in texts for i in t], np.int32), offsets
