"""Reading the words and tokens parts of a corpus: documents as ids, and checks that parts belong together.

id_batches(work, part, size)  ->  (ids [5, 0, 2, 7], offsets [0, 3, 4], 0), …        document d: ids[offsets[d]:offsets[d + 1]]
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from schemas import StudyError
from tasks.step import Work
from tasks.storage.parts import by_labels
from tasks.storage.store import Part
from tasks.text.words.analyzer import analyzer

DOCUMENTS_AT_ONCE = 4_096


def with_same_labels(parts: Sequence[Part], others: Sequence[Part]) -> list[Part]:
    """For each part the one of `others` with the same labels: the vocabulary or the documents of each words part."""
    of_labels = by_labels(others)
    return [of_labels[part.label_key] for part in parts]


def same_analyzer(work: Work, *parts: Part) -> None:
    """StudyError if one of these parts was made by another analyzer: its words are defined differently."""
    current = analyzer()
    for part in parts:
        settings = work.store.footer(part).get("settings", {})
        other = {name: settings[name] for name in current if settings.get(name, current[name]) != current[name]}
        if other:
            problem = f"analysed with {other}, but this version counts with {current}. Run the study again with one version"
            raise StudyError(f"{work.store.part_path(part)}: {problem}: it analyses again what another version has analysed.")


def same_tokenizer(work: Work) -> None:
    """StudyError if a tokens part of the job was made with another tokenizer: its ids mean other tokens."""
    current = [part.key for part in work.job.inputs.get("tokenizer", ())]
    for part in work.job.inputs.get("tokens", ()):
        used = work.store.footer(part).get("inputs", {}).get("tokenizer", current)
        if used != current:
            problem = f"made with the tokenizer {', '.join(used)}, but the study's is {', '.join(current)}"
            raise StudyError(f"{work.store.part_path(part)}: {problem}. Run the study again from tokens.")


def id_batches(work: Work, part: Part, size: int, only: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(ids, offsets, number of the first document) of each batch of a words or tokens part, documents in order. StudyError for an
    id not below `size`, that of the vocabulary. `only`: the documents to read, increasing, then numbered from 0."""
    base, seen = 0, 0
    for batch in work.batches(part, "ids", rows=DOCUMENTS_AT_ONCE):
        lists = batch.column("ids")
        if only is not None:
            low, high = np.searchsorted(only, (seen, seen + batch.num_rows))
            lists, seen = lists.take(pa.array(only[low:high] - seen)), seen + batch.num_rows
        ids, offsets = flat(lists)
        if len(ids) and (ids.min() < 0 or ids.max() >= size):
            at = int(np.flatnonzero((ids < 0) | (ids >= size))[0])
            row = base + int(np.searchsorted(offsets, at, side="right")) - 1
            problem = f"row {row}: id {ids[at]} is not in the vocabulary of {size}. The part does not belong to this vocabulary"
            raise StudyError(f"{work.store.part_path(part)}: {problem}; remove both and run the study again.")
        yield ids, offsets, base
        base += len(lists)


def flat(lists: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """(ids, offsets, int64) of a column of lists."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return lists.flatten().to_numpy(), offsets - offsets[0]


def concatenated(ids: Sequence[np.ndarray], lengths: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
    return np.concatenate([np.empty(0, np.int32), *ids]), offsets
