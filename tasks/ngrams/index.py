"""Suffix arrays over words and over tokens, for queries after the study: `taskgram count`, and `tasks.ngrams.lookup`.

Only made if the study sets `index = true`, as they take 8 bytes per word. One job per part; a part with more than `LARGEST`
ids is split into shards, between documents. Each array is a plain .npy file next to the part, memory-mapped when queried.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas import NGRAM_INDEX, TOKEN_INDEX, Study, StudyError
from tasks.cost import Cost, Rate, Sizes
from tasks.ngrams.corpus_parts import DOCUMENTS_AT_ONCE, concatenated, id_batches, same_analyzer, same_tokenizer, with_same_labels
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.writing import whole_file

if TYPE_CHECKING:
    from tasks.ngrams.kernels.suffix_kernels import Suffixes

LARGEST = 1 << 25  # ids in a shard: 0.75 GB while it is built
ARRAYS = ("text", "suffixes", "starts", "ranks", "firsts")


def file_of(shard: int, array: str) -> str:
    return f"{shard:04d}-{array}.npy"


def plan_words(study: Study, inputs: Inputs) -> list[Job]:
    words = inputs["words"] if study.counting.index else ()
    vocabularies = with_same_labels(words, inputs["vocabulary"])
    return [Job(w.labels, {"most": LARGEST}, {"words": (w,), "vocabulary": (v,)}) for w, v in zip(words, vocabularies, strict=True)]


def plan_tokens(study: Study, inputs: Inputs) -> list[Job]:
    tokens, tokenizer = inputs["tokens"] if study.counting.index else (), inputs["tokenizer"]
    return [Job(p.labels, {"most": LARGEST}, {"tokens": (p,), "tokenizer": tokenizer}) for p in tokens]


def run(work: Work) -> None:
    from tasks.ngrams.kernels.suffix_kernels import build

    unit = "words" if "words" in work.job.inputs else "tokens"
    if unit == "words":
        same_analyzer(work, *work.parts("words"), *work.parts("vocabulary"))
        size = work.store.open(work.parts("vocabulary")[0]).metadata.num_rows
    else:
        same_tokenizer(work)
        size = work.read("tokenizer", "vocabulary_size").column(0)[0].as_py()
    part, first = work.parts(unit)[0], 0
    for shard, (ids, offsets) in enumerate(_shards(work, unit, size)):
        try:
            index = build(ids, offsets)
        except ValueError as error:
            raise StudyError(f"{unit} part {part.key} ({work.job.name}): {error}") from None
        names, documents = [file_of(shard, array) for array in ARRAYS], len(offsets) - 1
        written = sum(_save(work.folder() / name, getattr(index, array)) for name, array in zip(names, ARRAYS, strict=True))
        row = {"part": part.key, "shard": shard, "first_document": first, "documents": documents, unit: len(ids)}
        row |= {"vocabulary": len(index.firsts) - 2, "bytes": written, "files": names}
        work.write(work.stage.writes[0].name, {name: [value] for name, value in row.items()})
        first += documents


def _shards(work: Work, unit: str, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The documents of the part as (ids, offsets), at most `most` ids at a time, or one document; ids are below `size`."""
    pending: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    count, row, part = 0, 0, work.parts(unit)[0]
    for batch in work.batches(part, "document", rows=DOCUMENTS_AT_ONCE):
        if not np.array_equal(batch.column("document").to_numpy(), np.arange(row, row + batch.num_rows)):
            problem = f"its documents are not consecutive from row {row}; remove it and run the study again"
            raise StudyError(f"{work.store.part_path(part)}: {problem}")
        row += batch.num_rows
    for ids, offsets, _ in id_batches(work, part, size):
        sizes, begin = np.diff(offsets), 0
        for document in range(len(sizes)):
            so_far = count + offsets[document] - offsets[begin]
            if so_far and so_far + sizes[document] > work.settings["most"]:
                yield concatenated([*pending, ids[offsets[begin] : offsets[document]]], [*lengths, sizes[begin:document]])
                pending, lengths, count, begin = [], [], 0, document
        pending.append(ids[offsets[begin] :])
        lengths.append(sizes[begin:])
        count += len(pending[-1])
    yield concatenated(pending, lengths)


def _save(path: Path, array: np.ndarray) -> int:
    """Write a file atomically; returns its size in bytes."""
    with whole_file(path) as out:
        np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
        out.write(np.ascontiguousarray(array).view(np.uint8).data)  # np.save hides why a write failed
    return path.stat().st_size


def load(folder: Path, shard: int) -> "Suffixes":
    """A shard as `run` wrote it, memory-mapped. Raises StudyError if a file is missing or damaged."""
    from tasks.ngrams.kernels.suffix_kernels import Suffixes

    arrays = []
    for name in (file_of(shard, array) for array in ARRAYS):
        try:
            array = np.load(folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StudyError(f"{folder / name}: {error}. Run the study again: it rebuilds missing or damaged files.") from None
        arrays.append(np.asarray(array))  # numba needs a plain array, not np.memmap
    return Suffixes(*arrays)


RATES = {"index": Rate(1e6, "tokens /s", "building a suffix array", guess=True)}
RATES["bytes of an index"] = Rate(8.0, "bytes for a word, and for a token", "docs/benchmarks.md")


def cost(sizes: Sizes) -> Cost:
    c = sizes.corpus
    if not sizes.study.counting.index:
        return Cost(unit="tokens", memory=1.5e9, rates=RATES)
    work, guesses = c.words + c.tokens, RATES["index"].as_guess()
    written, core = work * RATES["bytes of an index"], work / RATES["index"]
    return Cost(2 * c.parts, work, "tokens", written=written, core=core, memory=1.5e9, guesses=guesses, rates=RATES)


ABOUT, READS = "suffix arrays for queries after the study, if it has an index", ("words", "vocabulary", "tokens", "tokenizer")
STAGES = (Stage((NGRAM_INDEX,), plan_words, run), Stage((TOKEN_INDEX,), plan_tokens, run))
INDEX = Step("index", version=1, about=ABOUT, reads=READS, stages=STAGES, cost=cost)
