"""Questions to a finished corpus: how often n-grams stand in it, where, with which others, and what follows them.

    words = Index.of_words(store, ngram_index_parts, vocabulary_parts)
    words.count("the river of velm")                      # Counted(occurrences=3, documents=3)
    words.together(["velm", "torin"], limit=5)            # documents that hold both, and the first five
    tokens = Index.of_tokens(store, token_index_parts, vocabulary_size)
    tokens.infinigram([510, 8281, 273], 657)              # ∞-gram counts, as the table infinigram has them

An n-gram is normalised words with one space between, or a sequence of token ids. `Index` reads suffix arrays, `Scan` the words
themselves; both give the same answers to what both answer. Parts and shards add up, for no document lies in two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas import NGRAM_INDEX, TOKEN_INDEX, VOCABULARY, Contract, StudyError
from tasks.ngrams.index import load
from tasks.storage.store import Part, Store
from tasks.text.words.analyzer import normalise

if TYPE_CHECKING:
    from tasks.ngrams.kernels.suffix_array_kernels import Suffixes
    from tasks.ngrams.kernels.suffix_kernels import Followed

Ngram = str | Sequence[int]
Found = tuple[np.ndarray, np.ndarray]  # of each occurrence, in the order of the text: its document, and the words before it

ABSENT = np.int32(2**31 - 1)  # the id of a word that a part does not have
DOCUMENTS_AT_ONCE = 4_096


@dataclass(frozen=True)
class Counted:
    """C(s) and df(s) of an n-gram."""

    occurrences: int
    documents: int


@dataclass(frozen=True)
class Place:
    """A document that holds all n-grams: the number of its part, its position there, the first word of each n-gram."""

    part: int
    document: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """Counts of each n-gram, the number of documents that hold them all, and the first of these in corpus order."""

    counted: tuple[Counted, ...]
    together: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The sorted words of one part."""

    store: Store
    part: Part

    @cached_property
    def words(self) -> Any:
        """All of them, as one Arrow array; a word's place is its id."""
        return self.store.read([self.part], VOCABULARY.schema, ["word"]).column("word").combine_chunks()

    def ids(self, ngram: Ngram) -> np.ndarray:
        """The words of an n-gram as ids; `ABSENT` for a word that is not there."""
        return np.array([self._id(word) for word in words_of(ngram)], np.int32)

    def _id(self, word: str) -> int:
        at = bisect_left(self.words, word, key=lambda w: w.as_py())
        return at if at < len(self.words) and self.words[at].as_py() == word else int(ABSENT)

    def symbols(self, ids: np.ndarray) -> list[str]:
        """The words of ids."""
        return self.words.take(ids).to_pylist()


@dataclass(frozen=True)
class TokenIds:
    """Token ids, which mean the same in every part."""

    size: int

    def ids(self, ngram: Ngram) -> np.ndarray:
        """The ids as they are. StudyError for one that the tokenizer does not have."""
        for token in ngram:
            if isinstance(token, str) or not 0 <= token < self.size:
                raise StudyError(f"{token!r} is no token id from 0 to {self.size - 1}; use the study's own tokenizer")
        return np.array(ngram, np.int32)

    def symbols(self, ids: np.ndarray) -> list[int]:
        """The ids."""
        return ids.tolist()


@dataclass(frozen=True)
class Shard:
    """A suffix array, which part it belongs to, and where in it its documents begin."""

    arrays: Suffixes
    part: int
    first_document: int
    alphabet: Vocabulary | TokenIds


def words_of(ngram: Ngram) -> list[str]:
    """The words of an n-gram. StudyError unless there is one space between them."""
    if not isinstance(ngram, str):
        raise StudyError(f"{ngram!r}: an n-gram of words is a text, with one space between its words")
    words = ngram.split(" ") if ngram else []
    if words != ngram.split() or (ngram.isascii() and normalise(ngram) != ngram):
        raise StudyError(
            f"{ngram!r}: not normalised words with one space between and none around; give {normalise(ngram)!r}"
        )
    return words


class Corpus(ABC):
    """What an index and a scan share: occurrences, documents, co-occurrence."""

    @abstractmethod
    def found(self, ngrams: Sequence[Ngram]) -> Iterator[tuple[int, int, list[Found]]]:
        """For each piece of the corpus: its part, the position of its first document there, the occurrences of each n-gram."""

    def ask(self, ngrams: Sequence[Ngram], limit: int = 0) -> Answer:
        """All about some n-grams at once; `limit`: most documents that are named. StudyError for an n-gram without a word."""
        for number, ngram in enumerate(ngrams, 1):
            if not len(ngram):
                raise StudyError(f"n-gram {number} is empty: it has at least one word")
        occurrences, documents = np.zeros(len(ngrams), np.int64), np.zeros(len(ngrams), np.int64)
        together = 0
        places: list[Place] = []
        for part, first, pieces in self.found(ngrams):
            firsts = [np.unique(document, return_index=True) for document, _ in pieces]
            occurrences += [len(document) for document, _ in pieces]
            documents += [len(held) for held, _ in firsts]
            held_all = reduce(np.intersect1d, [held for held, _ in firsts])
            together += len(held_all)
            for document in held_all[: max(0, limit - len(places))]:
                words = (
                    int(before[at[np.searchsorted(held, document)]])
                    for (held, at), (_, before) in zip(firsts, pieces, strict=True)
                )
                places.append(Place(part, first + int(document), tuple(words)))
        counted = tuple(Counted(int(c), int(d)) for c, d in zip(occurrences, documents, strict=True))
        return Answer(counted, together, tuple(places))

    def count(self, ngram: Ngram) -> Counted:
        """Occurrences and documents of an n-gram."""
        return self.ask([ngram]).counted[0]

    def documents(self, ngram: Ngram, limit: int) -> tuple[Place, ...]:
        """The first documents that hold an n-gram, in corpus order."""
        return self.ask([ngram], limit).places

    def together(self, ngrams: Sequence[Ngram], limit: int = 0) -> tuple[int, tuple[Place, ...]]:
        """The number of documents that hold all n-grams, anywhere and in any order; and the first of them."""
        if not ngrams:
            raise StudyError("no n-gram was asked about")
        answer = self.ask(ngrams, limit)
        return answer.together, answer.places


class Scan(Corpus):
    """Reads all words for every question."""

    def __init__(self, store: Store, words: Sequence[Part], vocabularies: Sequence[Part]) -> None:
        self.store = store
        self.parts = [(w, Vocabulary(store, v)) for w, v in zip(words, vocabularies, strict=True)]

    def found(self, ngrams: Sequence[Ngram]) -> Iterator[tuple[int, int, list[Found]]]:
        """One piece per batch of documents."""
        for number, (part, vocabulary) in enumerate(self.parts):
            asked, first = [vocabulary.ids(ngram) for ngram in ngrams], 0
            if all(ABSENT in ids for ids in asked):
                continue
            for batch in self.store.open(part).iter_batches(batch_size=DOCUMENTS_AT_ONCE, columns=["ids"]):
                lists = batch.column("ids")
                offsets = lists.offsets.to_numpy().astype(np.int64)
                ids = lists.flatten().to_numpy()
                yield number, first, [_where(ids, offsets - offsets[0], ngram) for ngram in asked]
                first += batch.num_rows


def _where(ids: np.ndarray, offsets: np.ndarray, ngram: np.ndarray) -> Found:
    """Every occurrence of an n-gram, by comparing each of its words at every position."""
    at = np.flatnonzero(ids[: max(0, len(ids) - len(ngram) + 1)] == ngram[0])
    for shift in range(1, len(ngram)):
        at = at[ids[at + shift] == ngram[shift]]
    document = np.searchsorted(offsets, at, side="right") - 1
    inside = at + len(ngram) <= offsets[document + 1]
    return document[inside], (at - offsets[document])[inside]


class Index(Corpus):
    """Suffix arrays of all shards, memory-mapped."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = tuple(shards)

    @classmethod
    def of_words(cls, store: Store, parts: Sequence[Part], vocabularies: Sequence[Part]) -> Index:
        """The parts of ngram_index, each with the vocabulary of the words part it was made from."""
        alphabets: list[Vocabulary | TokenIds] = [Vocabulary(store, part) for part in vocabularies]
        return cls(_open(store, NGRAM_INDEX, parts, alphabets))

    @classmethod
    def of_tokens(cls, store: Store, parts: Sequence[Part], vocabulary_size: int) -> Index:
        """The parts of token_index."""
        return cls(_open(store, TOKEN_INDEX, parts, [TokenIds(vocabulary_size)] * len(parts)))

    def found(self, ngrams: Sequence[Ngram]) -> Iterator[tuple[int, int, list[Found]]]:
        """One piece per shard."""
        from tasks.ngrams.kernels import suffix_kernels as kernels

        for shard in self.shards:
            yield shard.part, shard.first_document, [kernels.places(shard.arrays, shard.alphabet.ids(n)) for n in ngrams]

    def counts(self, ngrams: Sequence[Ngram]) -> np.ndarray:
        """Occurrences (int64) of many n-grams. StudyError for an empty one."""
        from tasks.ngrams.kernels import suffix_kernels as kernels

        ids, offsets = self._laid_out(ngrams)
        return kernels.counts(self._arrays, ids, offsets)

    def document_counts(self, ngrams: Sequence[Ngram]) -> np.ndarray:
        """Documents (int64) that hold each of many n-grams; takes time for each occurrence."""
        from tasks.ngrams.kernels import suffix_kernels as kernels

        ids, offsets = self._laid_out(ngrams)
        return kernels.document_counts(self._arrays, ids, offsets)

    def continuations(self, context: Ngram) -> list[tuple[str | int, int]]:
        """What follows a context inside a document, and how often; most frequent first. All words, for an empty context."""
        from tasks.ngrams.kernels import suffix_kernels as kernels

        total: dict[str | int, int] = {}
        for shard in self.shards:
            ids, times = kernels.continuations(shard.arrays, shard.alphabet.ids(context))
            symbols: Sequence[str | int] = shard.alphabet.symbols(ids)
            for symbol, count in zip(symbols, times.tolist(), strict=True):
                total[symbol] = total.get(symbol, 0) + count
        return sorted(total.items(), key=lambda item: (-item[1], item[0]))

    def infinigram(self, context: Ngram, following: str | int, longest: int = 64) -> Followed:
        """∞-gram counts of one word or token behind a context, each a single int; see `infinigrams`."""
        from tasks.ngrams.kernels.suffix_kernels import Followed

        text: Any = f"{context} {following}" if context else following
        if not isinstance(following, str):
            text = [*context, following]
        return Followed(*(int(values[0]) for values in self.infinigrams([text], longest)))  # type: ignore[arg-type]

    def infinigrams(self, texts: Sequence[Ngram], longest: int = 64) -> Followed:
        """∞-gram counts of the last word or token of each text behind those before it; P = backoff_numerator /
        backoff_denominator with full back-off, the default of the measures (arXiv 2407.14985 §2, Eq. 5-6)."""
        from tasks.ngrams.kernels import suffix_kernels as kernels

        ids, offsets = self._laid_out(texts)
        return kernels.infinigram(self._arrays, ids, offsets, longest)

    @property
    def _arrays(self) -> list[Suffixes]:
        return [shard.arrays for shard in self.shards]

    def _laid_out(self, ngrams: Sequence[Ngram]) -> tuple[list[np.ndarray], np.ndarray]:
        """The n-grams' ids in each shard, one after the other, and where each begins."""
        ids: list[np.ndarray] = []
        known: dict[int, np.ndarray] = {}  # shards of one part share its vocabulary
        offsets = np.zeros(len(ngrams) + 1, np.int64)
        for shard in self.shards:
            if id(shard.alphabet) not in known:
                pieces = [shard.alphabet.ids(ngram) for ngram in ngrams]
                known[id(shard.alphabet)] = np.concatenate([np.empty(0, np.int32), *pieces])
                offsets[1:] = np.cumsum([len(piece) for piece in pieces])
            ids.append(known[id(shard.alphabet)])
        for number in np.flatnonzero(np.diff(offsets) == 0) if self.shards else ():
            raise StudyError(f"n-gram {number + 1} is empty: it has at least one word")
        return ids, offsets


def _open(
    store: Store, contract: Contract, parts: Sequence[Part], alphabets: Sequence[Vocabulary | TokenIds]
) -> list[Shard]:
    """All shards of all parts, in corpus order."""
    return [
        Shard(load(store.fetched(part), row["shard"]), number, row["first_document"], alphabet)
        for number, (part, alphabet) in enumerate(zip(parts, alphabets, strict=True))
        for row in store.read([part], contract.schema).to_pylist()
    ]
