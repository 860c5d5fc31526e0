"""Documents as integers: words for counting, model tokens for the ∞-gram and for training.

Each words part has its own sorted vocabulary, so that a new shard does not change old parts. In every part, ids follow the
code point order of the words, so that a map from one vocabulary to another keeps sorted ids sorted.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import TOKENIZER as TOKENIZER_TABLE
from schemas import TOKENS as TOKENS_TABLE
from schemas import VOCABULARY, Study
from schemas import WORDS as WORDS_TABLE
from tasks.cost import BENCHMARKS, DEBIAN, Cost, Rate, Sizes, on_each_corpus
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus
from tasks.storage.source_files import outside_file
from tasks.storage.store import Part
from tasks.text.bpe.fast_bpe import compile_tokenizer
from tasks.text.bpe.tokenizer import load_tokenizer, read_tokenizer, train, vocabulary_size, with_token
from tasks.text.split import seeded_hash
from tasks.text.words.analyzer import analyzer
from tasks.text.words.word_ids import WordIds

DOCUMENTS_AT_ONCE = 512
DOCUMENTS_WRITTEN_AT_ONCE = 65_536


# -- words ------------------------------------------------------------------------------------------------------------
def plan_words(study: Study, inputs: Inputs) -> list[Job]:
    return [Job(part.labels, analyzer(), {"documents": (part,)}) for part in inputs["documents"]]


def run_words(work: Work) -> None:
    """Write ids and vocabulary of one part. Memory: four bytes per word of the part, and its vocabulary."""
    from tasks.text.words import word_kernels

    word_ids, batches = WordIds(), []
    for batch in work.batches(work.parts("documents")[0], "document", "text", rows=DOCUMENTS_AT_ONCE):
        ids, offsets = word_ids.add(batch.column("text"))
        batches.append(_id_lists(batch.column("document"), ids, offsets))
    vocabulary, rank = word_ids.sorted()
    occurrences, holding = np.zeros((2, len(vocabulary)), dtype=np.int64)
    seen = np.full(len(vocabulary), -1, dtype=np.int64)
    part = pa.Table.from_batches(batches, WORDS_TABLE.schema)
    for begin in range(0, len(part), DOCUMENTS_WRITTEN_AT_ONCE):
        rows = part.slice(begin, DOCUMENTS_WRITTEN_AT_ONCE).combine_chunks()
        lists = rows.column("ids").chunk(0)
        offsets = lists.offsets.to_numpy().astype(np.int64)
        offsets -= offsets[0]
        ids = rank[lists.flatten().to_numpy()]
        word_kernels.count(ids, offsets, begin, occurrences, holding, seen)
        work.write("words", _id_lists(rows.column("document").chunk(0), ids, offsets))
    columns = {"id": np.arange(len(vocabulary)), "word": vocabulary, "occurrences": occurrences, "documents": holding}
    work.write("vocabulary", columns)


def _id_lists(documents: pa.Array, ids: np.ndarray, offsets: np.ndarray, schema: pa.Schema = WORDS_TABLE.schema) -> pa.RecordBatch:
    """Rows of `words` or `tokens`: document d has ids[offsets[d]:offsets[d + 1]]."""
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ids, pa.int32()), schema.field("ids").type)
    return pa.record_batch([documents, lists], schema=schema)


WORDS_RATES = {"words": Rate(14.4e6, "words /s", f"{BENCHMARKS}: word analysis")}


def cost_words(sizes: Sizes) -> Cost:
    c = sizes.corpus
    core, read, written = c.words / WORDS_RATES["words"], c.stored_documents, c.stored_words
    return Cost(c.parts, c.words, "words", read, written, core, memory=0.45e9, guesses=c.guesses, rates=WORDS_RATES)


ABOUT, STAGES = "documents as ids of normalised words", (Stage((WORDS_TABLE, VOCABULARY), for_each_corpus(plan_words), run_words),)
WORDS = Step("words", 1, ABOUT, reads=("documents",), stages=STAGES, variants=True, cost=on_each_corpus(cost_words))


# -- tokenizer --------------------------------------------------------------------------------------------------------
def plan_tokenizer(study: Study, inputs: Inputs) -> list[Job]:
    """One job: the given tokenizer.json, that of a controlled corpus, or a BPE trained on a seeded sample of all documents."""
    tokenizer = study.tokenizer
    if study.corpus.controlled:
        parts = tuple(p for p in inputs["planted_files"] if p.labels["kind"] == "tokenizer")
        return [Job({"tokenizer": "controlled"}, {"end_of_document": tokenizer.end_of_document}, {"planted_files": parts})]
    if tokenizer.file:
        file = outside_file(Path(study.data) / tokenizer.file)
        return [Job({"tokenizer": Path(tokenizer.file).stem}, {"end_of_document": tokenizer.end_of_document}, {}, (file,))]
    settings = {**tokenizer.model_dump(exclude={"file"}), "seed": study.seed}
    return [Job({"tokenizer": "trained"}, settings, {"documents": inputs["documents"]}, cost=1e12)]


def run_tokenizer(work: Work) -> None:
    """Write the tokenizer's one row; sums: training_documents, training_bytes."""
    if work.job.files:
        text = read_tokenizer(Path(work.job.files[0].path))
    elif "planted_files" in work.job.inputs:
        (part,) = work.parts("planted_files")
        text = read_tokenizer(work.folder_of(part) / part.labels["file"])
    else:
        text = train(_training_texts(work), work.settings["vocabulary"], work.settings["end_of_document"])
    text, end = with_token(text, work.settings["end_of_document"])
    row = {"name": work.labels["tokenizer"], "vocabulary_size": vocabulary_size(load_tokenizer(text)), "end_of_document": end}
    work.write("tokenizer", {name: [value] for name, value in (row | {"json": text}).items()})


def _hashed_texts(work: Work) -> Iterator[tuple[int, str]]:
    """hash(seed, source, id) and text of every document, in corpus order."""
    for part in work.parts("documents"):
        for batch in work.batches(part, "source", "id", "text", rows=DOCUMENTS_AT_ONCE):
            for row in batch.to_pylist():
                yield seeded_hash(work.settings["seed"], "tokenizer", row["source"], row["id"]), row["text"]


def _training_texts(work: Work) -> Iterator[str]:
    """The texts with the smallest hashes, in corpus order, up to the one that crosses `training_bytes`."""
    sizes = ((number, len(text.encode())) for number, text in _hashed_texts(work))
    hashed = np.fromiter(sizes, np.dtype((np.int64, 2)))
    order = np.argsort(hashed[:, 0], kind="stable")
    enough = int(np.searchsorted(np.cumsum(hashed[order, 1]), work.settings["training_bytes"]))
    largest = hashed[order[min(enough, len(order) - 1)], 0] if len(order) else -1
    for number, text in _hashed_texts(work):
        if number <= largest:
            work.add("training_documents")
            work.add("training_bytes", len(text.encode()))
            yield text


TOKENIZER_RATES = {"train a tokenizer": Rate(2.4e6, "bytes of text /s", DEBIAN)}


def cost_tokenizer(sizes: Sizes) -> Cost:
    tokenizer = sizes.study.tokenizer
    trained = 0.0 if tokenizer.file or sizes.study.corpus.controlled else min(tokenizer.training_bytes, sizes.corpus.text)
    core = trained / TOKENIZER_RATES["train a tokenizer"]
    return Cost(1, trained, "bytes", trained, 1e5, core, memory=1e9, rates=TOKENIZER_RATES)


ABOUT = "the tokenizer of the study's models, trained on the corpus or given"
STAGES = (Stage((TOKENIZER_TABLE,), plan_tokenizer, run_tokenizer),)
TOKENIZER = Step("tokenizer", 1, ABOUT, reads=("documents", "planted_files"), stages=STAGES, cost=cost_tokenizer)


# -- tokens -----------------------------------------------------------------------------------------------------------
def plan_tokens(study: Study, inputs: Inputs) -> list[Job]:
    tokenizer: tuple[Part, ...] = inputs["tokenizer"]
    return [Job(part.labels, {}, {"documents": (part,), "tokenizer": tokenizer}) for part in inputs["documents"]]


def run_tokens(work: Work) -> None:
    """Write the token ids of one part, batch by batch; sums: tokens, bytes, and parts_by_library if `fastokens` does not apply."""
    tokeniser = compile_tokenizer(work.read("tokenizer", "json").column("json")[0].as_py())
    if not tokeniser.fast:
        work.note(f"tokens are made by `tokenizers`, several times slower than `fastokens` would: {tokeniser.why}")
        work.add("parts_by_library")
    for batch in work.batches(work.parts("documents")[0], "document", "text", rows=DOCUMENTS_AT_ONCE):
        ids, offsets = tokeniser.encode(batch.column("text"))
        work.add("tokens", len(ids))
        work.add("bytes", int(pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0))
        work.write("tokens", _id_lists(batch.column("document"), ids, offsets, TOKENS_TABLE.schema))


TOKENS_RATES = {"tokens": Rate(22.9e6, "tokens /s", f"{BENCHMARKS}: tokenising, byte-level BPE; byte fallback 3.55e6")}


def cost_tokens(sizes: Sizes) -> Cost:
    c = sizes.corpus
    core, read, written = c.tokens / TOKENS_RATES["tokens"], c.stored_documents, c.stored_tokens
    return Cost(c.parts, c.tokens, "tokens", read, written, core, memory=0.65e9, guesses=c.guesses, rates=TOKENS_RATES)


ABOUT, STAGES = "documents as ids of model tokens", (Stage((TOKENS_TABLE,), plan_tokens, run_tokens),)
TOKENS = Step("tokens", version=1, about=ABOUT, reads=("documents", "tokenizer"), stages=STAGES, cost=cost_tokens)
