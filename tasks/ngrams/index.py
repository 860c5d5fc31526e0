"""Suffix arrays over words and over tokens, for questions after the study: `taskgram count`, and `tasks.ngrams.lookup`.

Only where the study says `index = true`, for they take 8 bytes a word. One job per part; a part beyond `MOST` ids is cut
into shards, between documents. Each array is a plain .npy file beside the part, memory-mapped when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas import NGRAM_INDEX, TOKEN_INDEX, Study, StudyError
from tasks.ngrams.origins import same_tokenizer
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.parts import by_labels
from tasks.storage.writing import whole_file

if TYPE_CHECKING:
    from tasks.ngrams.kernels.suffix_array_kernels import Suffixes

MOST = 1 << 25  # ids in a shard: 0.75 GB while it is built
ARRAYS = ("text", "suffixes", "starts", "ranks", "firsts")
DOCUMENTS_AT_ONCE = 4_096


def file_of(shard: int, array: str) -> str:
    """Name of the file that holds an array of a shard."""
    return f"{shard:04d}-{array}.npy"


def plan_words(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part; none unless the study asks for an index."""
    vocabulary = by_labels(inputs["vocabulary"])
    return [
        Job(p.labels, {"most": MOST}, {"words": (p,), "vocabulary": (vocabulary[p.label_key],)})
        for p in (inputs["words"] if study.counting.index else ())
    ]


def plan_tokens(study: Study, inputs: Inputs) -> list[Job]:
    """One job per tokens part; none unless the study asks for an index."""
    return [
        Job(p.labels, {"most": MOST}, {"tokens": (p,), "tokenizer": inputs["tokenizer"]})
        for p in (inputs["tokens"] if study.counting.index else ())
    ]


def run_words(work: Work) -> None:
    """Index one words part."""
    from tasks.ngrams.query.scan import same_analyzer

    same_analyzer(work, *work.parts("words"), *work.parts("vocabulary"))
    size = work.store.open(work.parts("vocabulary")[0]).metadata.num_rows
    _run(work, "words", "ngram_index", size)


def run_tokens(work: Work) -> None:
    """Index one tokens part."""
    same_tokenizer(work)
    _run(work, "tokens", "token_index", work.read("tokenizer", "vocabulary_size").column(0)[0].as_py())


def _run(work: Work, unit: str, table: str, size: int) -> None:
    from tasks.ngrams.kernels.suffix_array_kernels import build

    part, first = work.parts(unit)[0], 0
    for shard, (ids, offsets) in enumerate(_shards(work, unit, size)):
        try:
            index = build(ids, offsets)
        except ValueError as error:
            raise StudyError(f"{unit} part {part.key} ({work.job.name}): {error}") from None
        names = [file_of(shard, array) for array in ARRAYS]
        size = sum(_save(work.folder() / name, getattr(index, array)) for name, array in zip(names, ARRAYS, strict=True))
        work.write(
            table,
            {
                "part": [part.key],
                "shard": [shard],
                "first_document": [first],
                "documents": [len(offsets) - 1],
                unit: [len(ids)],
                "vocabulary": [len(index.firsts) - 2],
                "bytes": [size],
                "files": [names],
            },
        )
        first += len(offsets) - 1


def _shards(work: Work, unit: str, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The documents of the part as (ids, offsets), at most `most` ids at a time, or one document; ids are below `size`."""
    from tasks.ngrams.query.scan import pieces  # here, for it imports polars, and questions read this file

    held: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    count, row, part = 0, 0, work.parts(unit)[0]
    for batch in work.batches(part, "document", rows=DOCUMENTS_AT_ONCE):
        if not np.array_equal(batch.column("document").to_numpy(), np.arange(row, row + batch.num_rows)):
            raise StudyError(
                f"{work.store.part_path(part)}: its documents do not follow each other from row {row}; "
                "remove it and run the study again"
            )
        row += batch.num_rows
    for ids, offsets, _ in pieces(work, part, size):
        sizes, begin = np.diff(offsets), 0
        for document in range(len(sizes)):
            so_far = count + offsets[document] - offsets[begin]
            if so_far and so_far + sizes[document] > work.settings["most"]:
                yield _joined([*held, ids[offsets[begin] : offsets[document]]], [*lengths, sizes[begin:document]])
                held, lengths, count, begin = [], [], 0, document
        held.append(ids[offsets[begin] :])
        lengths.append(sizes[begin:])
        count += len(held[-1])
    yield _joined(held, lengths)


def _joined(pieces: list[np.ndarray], lengths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.concatenate([np.empty(0, np.int32), *pieces])
    return ids, np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))


def _save(path: Path, array: np.ndarray) -> int:
    """Write a file whole or not at all; returns its bytes."""
    with whole_file(path) as out:
        np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
        out.write(np.ascontiguousarray(array).view(np.uint8).data)  # np.save does not say why it could not write
    return path.stat().st_size


def load(folder: Path, shard: int) -> Suffixes:
    """A shard as `_run` wrote it, memory-mapped. StudyError where a file is gone or broken."""
    from tasks.ngrams.kernels.suffix_array_kernels import Suffixes

    arrays = []
    for name in (file_of(shard, array) for array in ARRAYS):
        try:
            # An empty array has no bytes to map; a plain view is what numba takes.
            found = np.load(folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StudyError(f"{folder / name}: {error}. Run the study again: it makes what is missing or broken.") from None
        arrays.append(np.asarray(found))
    return Suffixes(*arrays)


INDEX = Step(
    "index",
    version=1,
    about="suffix arrays for questions after the study, where it asks for them",
    reads=("words", "vocabulary", "tokens", "tokenizer"),
    stages=(Stage((NGRAM_INDEX,), plan_words, run_words), Stage((TOKEN_INDEX,), plan_tokens, run_tokens)),
)
