"""The rows that planted components produce: pairs with known counts, planted sequences, and examples of a task."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TruePair:
    """One row of `truth`; the columns are explained in schemas/tables/documents.py."""

    task: str
    pair: str
    relation: str
    kind: str
    input_ngram: str
    output_ngram: str
    pair_documents: int
    input_documents: int
    output_documents: int
    input_occurrences: int
    output_occurrences: int
    exposures: int
    optimal_log_probability: float | None
    held_out: bool = False


@dataclass(frozen=True)
class PlantedSequence:
    sequence: str
    kind: str
    group: str
    text: str
    copies: int
    entropy_bits: float


@dataclass(frozen=True)
class InsertedText:
    """One row of `insertions`, without its documents."""

    text_id: str
    group: str
    text: str
    copies: int
    bits: list[float]


def example(id: str, split: str, group: str, input: str, output: str, prompt: str) -> dict[str, Any]:
    """One line of a task file, in the general format that the reader `jsonl` reads."""
    record = {"id": id, "split": split, "group": group, "input": input, "output": output, "aliases": []}
    return record | {"options": [], "answer": -1, "prompt": prompt}
