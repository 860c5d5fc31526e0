"""Queries to a finished corpus: how often n-grams occur in it, where, and together with which others.

    words = Index.of_words(store, ngram_index_parts, vocabulary_parts)
    words.ask(["velm", "torin"], limit=5)                 # the count of each, and the first five documents with both
    tokens = Index.of_tokens(store, token_index_parts, vocabulary_size)
    tokens.infinigrams([[510, 8281, 273, 657]])           # ∞-gram counts of 657 after the others, as in the table infinigram

An n-gram is normalised words with one space between, or a sequence of token ids. `Index` reads suffix arrays, `Scan` the words
themselves, with the same results. Counts of parts and shards are added, as every document is in exactly one.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from schemas import CONTRACTS, VOCABULARY, StudyError
from tasks.ngrams.corpus_parts import DOCUMENTS_AT_ONCE, flat
from tasks.ngrams.index import load
from tasks.storage.store import Part, Store
from tasks.text.words.analyzer import normalise

if TYPE_CHECKING:
    from tasks.ngrams.kernels.suffix_kernels import Followed, Suffixes

Ngram = str | Sequence[int]
Occurrences = tuple[np.ndarray, np.ndarray]  # per occurrence, in corpus order: its document, and its position in words

ABSENT = np.int32(2**31 - 1)  # the id of words that are not in a part's vocabulary


@dataclass(frozen=True)
class NgramCount:
    """C(s) and df(s) of an n-gram."""

    occurrences: int
    documents: int


@dataclass(frozen=True)
class DocumentMatch:
    """A document that contains all n-grams: the number of its part, its position there, the first word of each n-gram."""

    part: int
    document: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class LookupResult:
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


@dataclass(frozen=True)
class Shard:
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
