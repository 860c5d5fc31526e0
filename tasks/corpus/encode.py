"""Documents as integers: words for counting, model tokens for the ∞-gram and for training.

Each words part carries its own sorted vocabulary, so that a new shard changes no old part. Ids follow the code point order
of the words, in every part: a map from one vocabulary to another keeps sorted ids sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import TOKENIZER as TOKENIZER_TABLE
from schemas import TOKENS as TOKENS_TABLE
from schemas import VOCABULARY, Study
from schemas import WORDS as WORDS_TABLE
from tasks.dataset import Part
from tasks.files import outside_file
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text.bpe import encode_batch, load_tokenizer, read_tokenizer, train, vocabulary_size, with_token
from tasks.text.split import seeded_hash
from tasks.text.words import analyzer, words_of

DOCUMENTS_AT_ONCE = 512


# -- words ------------------------------------------------------------------------------------------------------------
def plan_words(study: Study, inputs: Inputs) -> list[Job]:
    """One job per documents part."""
    return [Job(part.labels, analyzer(), {"documents": (part,)}) for part in inputs["documents"]]


def run_words(work: Work) -> None:
    """Write ids and vocabulary of one part. Memory: four bytes a word of the part, and its vocabulary."""
    known: dict[str, int] = {}
    pieces: list[np.ndarray] = []
    lengths: list[int] = []
    documents: list[np.ndarray] = []
    for batch in work.batches(work.parts("documents")[0], "document", "text", rows=DOCUMENTS_AT_ONCE):
        for text in batch.column("text").to_pylist():
            ids = [known.setdefault(word, len(known)) for word in words_of(text)]
            pieces.append(np.array(ids, dtype=np.int32))
            lengths.append(len(ids))
        documents.append(batch.column("document").to_numpy())
    vocabulary = sorted(known)
    rank = np.empty(len(known), dtype=np.int32)
    rank[[known[w] for w in vocabulary]] = np.arange(len(known), dtype=np.int32)
    ids_of_part = rank[np.concatenate([np.empty(0, np.int32), *pieces])]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    _write_ids(work, "words", np.concatenate([np.empty(0, np.int64), *documents]), ids_of_part, offsets)
    occurrences = np.bincount(ids_of_part, minlength=len(vocabulary))
    per_document = [np.unique(ids_of_part[a:b]) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    holding = np.bincount(np.concatenate([np.empty(0, np.int32), *per_document]), minlength=len(vocabulary))
    work.write("vocabulary", {"id": list(range(len(vocabulary))), "word": vocabulary, "occurrences": occurrences.tolist(),
                              "documents": holding.tolist()})  # fmt: skip


def _write_ids(work: Work, table: str, documents: np.ndarray, ids: np.ndarray, offsets: np.ndarray) -> None:
    """Write (document, ids) rows in groups."""
    for begin in range(0, len(documents), 65_536):
        end = min(begin + 65_536, len(documents))
        values = pa.array(ids[offsets[begin] : offsets[end]], pa.int32())
        lists = pa.ListArray.from_arrays(pa.array(offsets[begin : end + 1] - offsets[begin], pa.int32()), values)
        rows = pa.table({"document": pa.array(documents[begin:end], pa.int64()),
                         "ids": lists.cast(WORDS_TABLE.schema.field("ids").type)})  # fmt: skip
        work.write(table, rows)


WORDS = Step(
    "words", version=1, about="documents as ids of normalised words", reads=("documents",),
    stages=(Stage(writes=(WORDS_TABLE, VOCABULARY), plan=plan_words, run=run_words),),
)  # fmt: skip


# -- tokenizer --------------------------------------------------------------------------------------------------------
def plan_tokenizer(study: Study, inputs: Inputs) -> list[Job]:
    """One job: a tokenizer.json as it is, or a BPE trained on a seeded sample of all documents."""
    tokenizer = study.tokenizer
    if tokenizer.file:
        file = outside_file(Path(study.data) / tokenizer.file)
        return [Job({"tokenizer": Path(tokenizer.file).stem}, {"end_of_document": tokenizer.end_of_document}, {}, (file,))]
    settings = {**tokenizer.model_dump(exclude={"file"}), "seed": study.seed}
    return [Job({"tokenizer": "trained"}, settings, {"documents": inputs["documents"]}, cost=1e12)]


def run_tokenizer(work: Work) -> None:
    """Write the tokenizer's one row; sums: training_documents, training_bytes."""
    if work.job.files:
        text = read_tokenizer(Path(work.job.files[0].path))
    else:
        text = train(_training_texts(work), work.settings["vocabulary"], work.settings["end_of_document"])
    text, end = with_token(text, work.settings["end_of_document"])
    size = vocabulary_size(load_tokenizer(text))
    work.write("tokenizer", {"name": [work.labels["tokenizer"]], "vocabulary_size": [size], "end_of_document": [end],
                             "json": [text]})  # fmt: skip


def _training_texts(work: Work) -> Iterator[str]:
    """Documents with the smallest hash(seed, source, id), up to `training_bytes`, in corpus order."""
    limit = _largest_hash(work)
    for part in work.parts("documents"):
        for batch in work.batches(part, "source", "id", "text", rows=DOCUMENTS_AT_ONCE):
            for row in batch.to_pylist():
                if seeded_hash(work.settings["seed"], "tokenizer", row["source"], row["id"]) <= limit:
                    work.add("training_documents")
                    work.add("training_bytes", len(row["text"].encode()))
                    yield row["text"]


def _largest_hash(work: Work) -> int:
    """The largest hash that is still taken; the document that crosses the limit is."""
    hashes, sizes = [], []
    for part in work.parts("documents"):
        for batch in work.batches(part, "source", "id", "text", rows=DOCUMENTS_AT_ONCE):
            for row in batch.to_pylist():
                hashes.append(seeded_hash(work.settings["seed"], "tokenizer", row["source"], row["id"]))
                sizes.append(len(row["text"].encode()))
    order = np.argsort(np.array(hashes, dtype=np.int64), kind="stable")
    enough = int(np.searchsorted(np.cumsum(np.array(sizes, dtype=np.int64)[order]), work.settings["training_bytes"]))
    return hashes[order[min(enough, len(order) - 1)]] if hashes else -1


TOKENIZER = Step(
    "tokenizer", version=1, about="the tokenizer of the study's models, trained here or given", reads=("documents",),
    stages=(Stage(writes=(TOKENIZER_TABLE,), plan=plan_tokenizer, run=run_tokenizer),),
)  # fmt: skip


# -- tokens -----------------------------------------------------------------------------------------------------------
def plan_tokens(study: Study, inputs: Inputs) -> list[Job]:
    """One job per documents part."""
    tokenizer: tuple[Part, ...] = inputs["tokenizer"]
    return [Job(part.labels, {}, {"documents": (part,), "tokenizer": tokenizer}) for part in inputs["documents"]]


def run_tokens(work: Work) -> None:
    """Write the token ids of one part, batch by batch; sums: tokens, bytes."""
    tokenizer: Any = load_tokenizer(work.read("tokenizer", "json").column("json")[0].as_py())
    for batch in work.batches(work.parts("documents")[0], "document", "text", rows=DOCUMENTS_AT_ONCE):
        texts = batch.column("text").to_pylist()
        ids = encode_batch(tokenizer, texts)
        work.add("tokens", sum(map(len, ids)))
        work.add("bytes", sum(len(t.encode()) for t in texts))
        work.write("tokens", {"document": batch.column("document").to_pylist(), "ids": ids})


TOKENS = Step(
    "tokens", version=1, about="documents as ids of model tokens", reads=("documents", "tokenizer"),
    stages=(Stage(writes=(TOKENS_TABLE,), plan=plan_tokens, run=run_tokens),),
)  # fmt: skip
