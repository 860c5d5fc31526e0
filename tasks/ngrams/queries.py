"""Counting given n-grams and pairs in one words part: what the steps query and novelty share.

n-grams are normalised words with one space between, pairs two such texts. The part's own vocabulary turns them into ids; an
n-gram with a word the part does not have stands nowhere in it. Words are read in batches; memory follows from the queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.dataset import Part
from tasks.step import Work

DOCUMENTS_AT_ONCE = 4_096


@dataclass(frozen=True)
class NgramCounts:
    """Of each asked n-gram, in the order asked: occurrences, documents, and the first document that holds it (-1: none)."""

    occurrences: np.ndarray
    documents: np.ndarray
    first_document: np.ndarray


@dataclass(frozen=True)
class PairDocuments:
    """The kept documents of pairs: rows of (pair, hash, document, first word of s_x, first word of s_y), sorted so."""

    pair: np.ndarray
    hash: np.ndarray
    document: np.ndarray
    input_word: np.ndarray
    output_word: np.ndarray


class PartCounter:
    """Counts in one words part, against its vocabulary part."""

    def __init__(self, work: Work, words: Part, vocabulary: Part, ngrams: Sequence[str]) -> None:
        """`ngrams` are distinct and not empty."""
        self.work, self.words = work, words
        table = work.read_part(vocabulary, "word")
        asked = {word for ngram in ngrams for word in ngram.split(" ")}
        ids = {word: i for i, word in enumerate(table.column("word").to_pylist()) if word in asked}
        self.size = len(ngrams)
        self.at: list[int] = []  # which asked n-grams the part could hold
        pieces: list[list[int]] = []
        for index, ngram in enumerate(ngrams):
            piece = [ids.get(word, -1) for word in ngram.split(" ")]
            if min(piece) >= 0:
                self.at.append(index)
                pieces.append(piece)
        self._ids = np.array([i for piece in pieces for i in piece], np.int32)
        self._offsets = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """(ids, offsets, number of the first document) of each piece of the part."""
        base = 0
        for batch in self.work.batches(self.words, "ids", rows=DOCUMENTS_AT_ONCE):
            lists: pa.ListArray = batch.column("ids")
            offsets = lists.offsets.to_numpy().astype(np.int64)
            yield lists.flatten().to_numpy(), offsets - offsets[0], base
            base += batch.num_rows

    def count(self) -> NgramCounts:
        """One scan of the part."""
        from tasks.ngrams import kernels

        found = len(self.at)
        occurrences, documents = np.zeros(found, np.int64), np.zeros(found, np.int64)
        first, last = np.full(found, -1, np.int64), np.full(found, -1, np.int64)
        self.trie, self.terminal = kernels.build_trie(self._ids, self._offsets)
        if found:
            for ids, offsets, base in self.batches():
                kernels.scan_ngrams(ids, offsets, base, self.trie, self.terminal, occurrences, documents, first, last)
        self._documents = documents
        return NgramCounts(self._spread(occurrences, 0), self._spread(documents, 0), self._spread(first, -1))

    def _spread(self, values: np.ndarray, absent: int) -> np.ndarray:
        """Values of the n-grams the part could hold, at the places of all that were asked."""
        whole = np.full(self.size, absent, np.int64)
        whole[self.at] = values
        return whole

    def count_pairs(
        self, pairs: np.ndarray, rooms: np.ndarray, pair_hashes: np.ndarray, document_hashes: np.ndarray
    ) -> tuple[np.ndarray, PairDocuments]:
        """A second scan, after `count`: documents that hold both n-grams of each pair (int64 [pairs]).

        pairs: int [pairs, 2], places in the asked n-grams. rooms: how many documents to keep per pair. The document of a pair
        with the smallest mix(pair hash ^ mix(document hash)) come first.
        """
        from tasks.ngrams import kernels

        place = np.full(self.size, -1, np.int64)
        place[self.at] = np.arange(len(self.at))
        local = place[pairs] if len(pairs) else np.empty((0, 2), np.int64)
        stands = np.zeros(self.size + 1, bool)
        stands[self.at] = self._documents > 0
        kept_pairs = np.flatnonzero(stands[pairs].all(axis=1)) if len(pairs) else np.empty(0, np.int64)
        counts = np.zeros(len(kept_pairs), np.int64)
        local = local[kept_pairs].astype(np.int32)
        kept = kernels.keep(rooms[kept_pairs])
        if len(kept_pairs):
            seen = np.full(len(self.at), -1, np.int64)
            adjacency = kernels.owners(local, self._documents)
            for ids, offsets, base in self.batches():
                hashes = document_hashes[base : base + len(offsets) - 1]
                kernels.scan_pairs(ids, offsets, base, self.trie, self.terminal, seen, adjacency, counts, local,
                                   pair_hashes[kept_pairs], hashes, kept)  # fmt: skip
        whole = np.zeros(len(pairs), np.int64)
        whole[kept_pairs] = counts
        used = np.repeat(np.arange(len(kept_pairs)), kept.used)
        at = kept.offsets[used] + _within(kept.used)
        return whole, PairDocuments(kept_pairs[used], kept.hashes[at], kept.documents[at], kept.inputs[at], kept.outputs[at])


def _within(lengths: np.ndarray) -> np.ndarray:
    """0, 1, … within each run of these lengths."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
