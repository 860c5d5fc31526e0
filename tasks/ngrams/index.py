"""Suffix arrays over words and over tokens, and queries after the study: how often n-grams occur in a finished corpus, where, and
together with which others (`taskgram count`).

    words = Index.of_words(store, ngram_index_parts, vocabulary_parts)
    words.ask(["velm", "torin"], limit=5)                 # the count of each, and the first five documents with both
    tokens = Index.of_tokens(store, token_index_parts, vocabulary_size)
    tokens.infinigrams([[510, 8281, 273, 657]])           # ∞-gram counts of 657 after the others, as in the table infinigram

Only made if the study sets `index = true`, as they take 8 bytes per word. One job per part; a part with more than `LARGEST` ids is
split into shards, between documents. Each array is a plain .npy file next to the part, memory-mapped when queried. `Scan` reads the
words themselves, with the same results. An n-gram is normalised words with one space between, or a sequence of token ids.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from schemas import CONTRACTS, NGRAM_INDEX, TOKEN_INDEX, VOCABULARY, Study, StudyError
from tasks.cost import Cost, Rate, Sizes
from tasks.ngrams.corpus_parts import (
    DOCUMENTS_AT_ONCE,
    concatenated,
    flat,
    id_batches,
    same_analyzer,
    same_tokenizer,
    with_same_labels,
)
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.store import Part, Store
from tasks.storage.writing import whole_file
from tasks.text.words.analyzer import normalise

if TYPE_CHECKING:
    from tasks.ngrams.kernels.suffix_kernels import Followed, Suffixes

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


Ngram = str | Sequence[int]
Occurrences = tuple[np.ndarray, np.ndarray]  # per occurrence, in corpus order: its document, and its position in words

ABSENT = np.int32(2**31 - 1)  # the id of words that are not in a part's vocabulary


class NgramCount(NamedTuple):
    """C(s) and df(s) of an n-gram."""

    occurrences: int
    documents: int


class DocumentMatch(NamedTuple):
    """A document that contains all n-grams: the number of its part, its position there, the first word of each n-gram."""

    part: int
    document: int
    words: tuple[int, ...]


class LookupResult(NamedTuple):
    """Counts of each n-gram, the number of documents that contain them all, and the first of these in corpus order."""

    counted: tuple[NgramCount, ...]
    together: int
    places: tuple[DocumentMatch, ...]


@dataclass(frozen=True)
class Vocabulary:
    store: Store
    part: Part

    @cached_property
    def words(self) -> Any:
        """The words as one Arrow array; a word's index is its id."""
        return self.store.read([self.part], VOCABULARY.schema, ["word"]).column("word").combine_chunks()

    def ids(self, ngram: Ngram) -> np.ndarray:
        """The words of an n-gram as ids; `ABSENT` for unknown words."""
        return np.array([self._id(word) for word in words_of(ngram)], np.int32)

    def _id(self, word: str) -> int:
        at = bisect_left(self.words, word, key=lambda w: w.as_py())
        return at if at < len(self.words) and self.words[at].as_py() == word else int(ABSENT)


@dataclass(frozen=True)
class TokenIds:
    size: int

    def ids(self, ngram: Ngram) -> np.ndarray:
        for token in ngram:
            if isinstance(token, str) or not 0 <= token < self.size:
                raise StudyError(f"{token!r} is not a token id from 0 to {self.size - 1}; use the study's tokenizer")
        return np.array(ngram, np.int32)


class Shard(NamedTuple):
    """A suffix array, the number of its part, and the position of its first document there."""

    arrays: "Suffixes"
    part: int
    first_document: int
    alphabet: Vocabulary | TokenIds


def words_of(ngram: Ngram) -> list[str]:
    """The words of an n-gram. Raises StudyError unless they are separated by one space each."""
    if not isinstance(ngram, str):
        raise StudyError(f"{ngram!r}: an n-gram of words must be a text with one space between words")
    words = ngram.split(" ") if ngram else []
    if words != ngram.split() or (ngram.isascii() and normalise(ngram) != ngram):
        raise StudyError(f"{ngram!r}: not normalised words with one space between; write {normalise(ngram)!r}")
    return words


class CorpusLookup(ABC):
    """Occurrences, documents and co-occurrences of n-grams, from an index or by a scan."""

    def __init__(self, store: Store, parts: Sequence[Part], alphabets: Sequence[Vocabulary | TokenIds]) -> None:
        self.store, self.parts = store, list(zip(parts, alphabets, strict=True))

    @classmethod
    def of_words(cls, store: Store, parts: Sequence[Part], vocabularies: Sequence[Part]) -> Self:
        """Parts of words, or of their index, each with its vocabulary."""
        return cls(store, parts, [Vocabulary(store, part) for part in vocabularies])

    @classmethod
    def of_tokens(cls, store: Store, parts: Sequence[Part], vocabulary_size: int) -> Self:
        return cls(store, parts, [TokenIds(vocabulary_size)] * len(parts))

    @abstractmethod
    def occurrences(self, ngrams: Sequence[Ngram]) -> Iterator[tuple[int, int, list[Occurrences]]]:
        """Per piece of the corpus: the number of its part, the position of its first document there, occurrences per n-gram."""

    def ask(self, ngrams: Sequence[Ngram], limit: int = 0) -> LookupResult:
        """All counts of some n-grams, and at most `limit` documents that contain them all, anywhere and in any order. Raises
        StudyError for no n-gram, and for an empty one."""
        if not ngrams:
            raise StudyError("give at least one n-gram")
        for number, ngram in enumerate(ngrams, 1):
            if not len(ngram):
                raise StudyError(f"n-gram {number} is empty; give at least one word")
        occurrences, documents = np.zeros((2, len(ngrams)), np.int64)
        together, places = 0, list[DocumentMatch]()
        for part, first, pieces in self.occurrences(ngrams):
            firsts = [np.unique(document, return_index=True) for document, _ in pieces]
            occurrences += [len(document) for document, _ in pieces]
            documents += [len(containing) for containing, _ in firsts]
            with_all = reduce(np.intersect1d, [containing for containing, _ in firsts])
            together += len(with_all)
            for document in with_all[: max(0, limit - len(places))]:
                at = (first_at[np.searchsorted(containing, document)] for containing, first_at in firsts)
                words = tuple(int(position[i]) for i, (_, position) in zip(at, pieces, strict=True))
                places.append(DocumentMatch(part, first + int(document), words))
        counted = tuple(NgramCount(int(c), int(d)) for c, d in zip(occurrences, documents, strict=True))
        return LookupResult(counted, together, tuple(places))


class Scan(CorpusLookup):
    """Reads all words, or tokens, for every query."""

    def occurrences(self, ngrams: Sequence[Ngram]) -> Iterator[tuple[int, int, list[Occurrences]]]:
        for number, (part, alphabet) in enumerate(self.parts):
            queries, first = [alphabet.ids(ngram) for ngram in ngrams], 0
            if all(ABSENT in ids for ids in queries):
                continue
            for batch in self.store.open(part).iter_batches(batch_size=DOCUMENTS_AT_ONCE, columns=["ids"]):
                ids, offsets = flat(batch.column("ids"))
                yield number, first, [_where(ids, offsets, ngram) for ngram in queries]
                first += batch.num_rows


def _where(ids: np.ndarray, offsets: np.ndarray, ngram: np.ndarray) -> Occurrences:
    """Every occurrence of an n-gram, by comparing its words with every position."""
    at = np.flatnonzero(ids[: max(0, len(ids) - len(ngram) + 1)] == ngram[0])
    for shift in range(1, len(ngram)):
        at = at[ids[at + shift] == ngram[shift]]
    document = np.searchsorted(offsets, at, side="right") - 1
    inside = at + len(ngram) <= offsets[document + 1]
    return document[inside], (at - offsets[document])[inside]


class Index(CorpusLookup):
    """Suffix arrays of all shards, memory-mapped."""

    def __init__(self, store: Store, parts: Sequence[Part], alphabets: Sequence[Vocabulary | TokenIds]) -> None:
        super().__init__(store, parts, alphabets)
        self.shards = [
            Shard(load(store.fetched(part), row["shard"]), number, row["first_document"], alphabet)
            for number, (part, alphabet) in enumerate(self.parts)
            for row in store.read([part], CONTRACTS[part.table].schema).to_pylist()
        ]

    def occurrences(self, ngrams: Sequence[Ngram]) -> Iterator[tuple[int, int, list[Occurrences]]]:
        from tasks.ngrams.kernels.suffix_kernels import places

        for shard in self.shards:
            yield shard.part, shard.first_document, [places(shard.arrays, shard.alphabet.ids(n)) for n in ngrams]

    def counts(self, ngrams: Sequence[Ngram]) -> np.ndarray:
        """Occurrences (int64) of many n-grams. StudyError for an empty one."""
        from tasks.ngrams.kernels.suffix_kernels import counts

        return counts([shard.arrays for shard in self.shards], *self._ids_by_shard(ngrams))

    def infinigrams(self, texts: Sequence[Ngram], longest: int = 64) -> "Followed":
        """∞-gram counts of the last word or token of each text after those before it. P = backoff_numerator / backoff_denominator
        with full back-off, the default of the measures (arXiv 2407.14985 §2, Eq. 5-6)."""
        from tasks.ngrams.kernels.suffix_kernels import infinigram

        return infinigram([shard.arrays for shard in self.shards], *self._ids_by_shard(texts), longest)

    def _ids_by_shard(self, ngrams: Sequence[Ngram]) -> tuple[list[np.ndarray], np.ndarray]:
        """(ids of all n-grams in each shard, offsets of the n-grams in them)."""
        ids: list[np.ndarray] = []
        translated: dict[int, np.ndarray] = {}  # shards of one part share its vocabulary
        offsets = np.zeros(len(ngrams) + 1, np.int64)
        for shard in self.shards:
            if id(shard.alphabet) not in translated:
                pieces = [shard.alphabet.ids(ngram) for ngram in ngrams]
                translated[id(shard.alphabet)] = np.concatenate([np.empty(0, np.int32), *pieces])
                offsets[1:] = np.cumsum([len(piece) for piece in pieces])
            ids.append(translated[id(shard.alphabet)])
        for number in np.flatnonzero(np.diff(offsets) == 0) if self.shards else ():
            raise StudyError(f"n-gram {number + 1} is empty; give at least one word")
        return ids, offsets
