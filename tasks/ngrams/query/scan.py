"""Counting given n-grams and pairs in one words part: what the steps query and novelty share.

n-grams are normalised words with one space between, pairs two such texts. The part's own vocabulary turns them into ids; an
n-gram with a word the part does not have stands nowhere in it. Words are read in batches; memory follows from the queries,
and where their tries, counts and kept documents are more than the job may hold, the part is read once for each batch of them,
with the same result. What was asked and what is answered lie beside that: the n-grams' texts and ids, and some 32 bytes a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas import StudyError
from tasks.step import Work
from tasks.storage.store import Part
from tasks.text.words.analyzer import analyzer

if TYPE_CHECKING:
    from tasks.ngrams.kernels.pair_kernels import Pairs

DOCUMENTS_AT_ONCE = 4_096
NGRAMS_AT_ONCE = 1_000_000
SAMPLE = 250_000  # words read beforehand, to guess which n-gram of a pair is the rarer one
PAIR = ["input_ngram", "output_ngram"]
PAIR_BYTES = 64
KEPT_BYTES = 24
_MALFORMED = (  # what no normalised word has: as far as ASCII goes, and the spaces and line ends that text brings along
    r"^$|^ | $|  |[\x00-\x1f\x7f\x{85}\x{a0}\x{2028}\x{2029}]|[A-Z!-&(-+/:-@\[-`{-~-]"
    r"|(?:^|[A-Za-z ])[.,]|[.,](?:$|[A-Za-z ])|(?:^| )'|'(?: |$)"
)


# -- what is read -----------------------------------------------------------------------------------------------------
def same_analyzer(work: Work, *parts: Part) -> None:
    """StudyError where one of these parts says that another analyzer made it: its words are other words."""
    here = analyzer()
    for part in parts:
        made = work.store.footer(part).get("settings", {})
        other = {name: made[name] for name in here if made.get(name, here[name]) != here[name]}
        if other:
            raise StudyError(
                f"{work.store.part_path(part)}: analysed with {other}, this program counts with {here}. "
                "Run the study again under one version: it analyses anew what is of another."
            )


def pieces(
    work: Work, part: Part, size: int, only: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(ids, offsets, number of the first document) of each piece of a words or tokens part, documents in order.

    StudyError for an id that is not below `size`, the number of entries of its vocabulary. `only`: the documents to give,
    increasing; what is given is numbered anew.
    """
    base, seen = 0, 0
    for batch in work.batches(part, "ids", rows=DOCUMENTS_AT_ONCE):
        lists: pa.ListArray = batch.column("ids")
        if only is not None:
            low, high = np.searchsorted(only, (seen, seen + batch.num_rows))
            lists, seen = lists.take(pa.array(only[low:high] - seen)), seen + batch.num_rows
        offsets = lists.offsets.to_numpy().astype(np.int64)
        ids, offsets = lists.flatten().to_numpy(), offsets - offsets[0]
        if len(ids) and (ids.min() < 0 or ids.max() >= size):
            at = int(np.flatnonzero((ids < 0) | (ids >= size))[0])
            row = base + int(np.searchsorted(offsets, at, side="right")) - 1
            raise StudyError(
                f"{work.store.part_path(part)}: row {row}: id {ids[at]} is not one of the vocabulary's {size}. "
                "Part and vocabulary do not belong together; remove both and run the study again."
            )
        yield ids, offsets, base
        base += len(lists)


def encode(ngrams: pa.Array, vocabulary: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, offsets, and which n-grams they are (int64): those whose words the vocabulary has, all of them."""
    ids, lengths, at = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for begin in range(0, len(ngrams), NGRAMS_AT_ONCE):
        some = ngrams.slice(begin, NGRAMS_AT_ONCE)
        wrong = pc.match_substring_regex(some, _MALFORMED)
        if pc.any(wrong).as_py():
            first = some.filter(wrong)[0].as_py()
            raise StudyError(f"the n-gram {first!r} is not written as words with one space between; normalise it first")
        words = pc.split_pattern(some, " ")
        found = pc.fill_null(pc.index_in(words.flatten(), value_set=vocabulary), -1).to_numpy().astype(np.int32)
        offsets = words.offsets.to_numpy().astype(np.int64)
        offsets -= offsets[0]
        known = np.minimum.reduceat(found, offsets[:-1]) >= 0
        ids.append(found[np.repeat(known, np.diff(offsets))])
        lengths.append(np.diff(offsets)[known])
        at.append(begin + np.flatnonzero(known))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return np.concatenate(ids), offsets, np.concatenate(at)


# -- tables -----------------------------------------------------------------------------------------------------------
def places(ngrams: pl.Series, pairs: pl.DataFrame) -> np.ndarray:
    """int64 [pairs, 2]: where the two n-grams of each pair stand among the sorted `ngrams`, which have them all."""
    numbered = pl.DataFrame({"ngram": ngrams}).with_row_index("place")
    columns = [
        pairs.select(pl.col(c).alias("ngram")).join(numbered, on="ngram", how="left", maintain_order="left")["place"]
        for c in PAIR
    ]
    return np.stack([c.cast(pl.Int64).to_numpy() for c in columns], axis=1)


def ngram_rows(ngrams: pl.Series, counts: Counts) -> pl.DataFrame:
    """(ngram, length, occurrences, documents) of the n-grams that stand in the part; `ngrams` are the first that were asked."""
    return pl.DataFrame(
        {
            "ngram": ngrams,
            "length": ngrams.str.count_matches(" ") + 1,
            "occurrences": counts.occurrences[: len(ngrams)],
            "documents": counts.documents[: len(ngrams)],
        }
    ).filter(pl.col("documents") > 0)


# -- what is found ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PairDocuments:
    """The kept documents of pairs: rows of (pair, hash, document, first word of s_x, first word of s_y)."""

    pair: np.ndarray
    hash: np.ndarray
    document: np.ndarray
    input_word: np.ndarray
    output_word: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Of each asked n-gram, in the order asked: occurrences, documents, and the first document that holds it (-1: none).

    Of each asked pair: documents with both; [pairs, widths] documents with both within so many words; and kept documents.
    noted: int64 [rows, 2], distinct (n-gram, document) of the n-grams whose documents are noted, by document; of equal n-grams
    the first.
    A pair of one n-gram with itself is in every document that holds the n-gram, within as many words as that has.
    """

    occurrences: np.ndarray
    documents: np.ndarray
    first_document: np.ndarray
    pairs: np.ndarray
    windows: np.ndarray
    kept: PairDocuments
    noted: np.ndarray
    batches: int


@dataclass(frozen=True)
class PairQueries:
    """ends: int [pairs, 2], places in the asked n-grams. rooms: how many documents to keep of each pair; the first are those
    with the smallest mix(hash of pair ^ mix(hash of document)). widths: words of the windows, increasing. note_from: n-grams of
    so many words or more (at least two) have their documents noted, all of them; 0: none."""

    ends: np.ndarray
    rooms: np.ndarray | None = None
    hashes: np.ndarray | None = None
    document_hashes: np.ndarray | None = None
    widths: tuple[int, ...] = ()
    note_from: int = 0


NO_PAIRS = PairQueries(np.empty((0, 2), np.int64))


class PartCounter:
    """Counts in one words part, against its vocabulary part."""

    def __init__(
        self, work: Work, words: Part, vocabulary: Part, ngrams: Sequence[str] | pl.Series, only: np.ndarray | None = None
    ) -> None:
        """`ngrams` may repeat themselves; StudyError for one that is empty or has anything but words and single spaces.
        only: the documents to count in, increasing; all, if none are given."""
        self.work, self.words, self.only = work, words, only
        same_analyzer(work, words, vocabulary)
        texts = ngrams.to_arrow() if isinstance(ngrams, pl.Series) else pa.array(ngrams, pa.large_string())
        known = work.read_part(vocabulary, "word").column("word").combine_chunks().cast(pa.large_string())
        self.size, self.vocabulary = len(texts), len(known)
        self._ids, self._offsets, self._at = encode(texts.cast(pa.large_string()), known)
        self._lengths = np.diff(self._offsets)

    def count(self, asked: PairQueries = NO_PAIRS) -> Counts:
        """One pass over the part for each batch of queries that the job's memory holds; ordinarily one."""
        place = np.full(self.size, -1, np.int64)
        place[self._at] = np.arange(len(self._at))
        local = place[asked.ends].reshape(-1, 2)
        possible = np.flatnonzero((local >= 0).all(axis=1))
        names = ("occurrences", "documents", "first_document")
        found = {name: np.full(self.size, -1 if name == "first_document" else 0, np.int64) for name in names}
        pairs, windows = np.zeros(len(asked.ends), np.int64), np.zeros((len(asked.ends), len(asked.widths)), np.int64)
        kept: list[list[np.ndarray]] = []
        notes = [np.empty((0, 2), np.int64)]
        batches = self._batches(local[possible], asked)
        self.work.passes = max(self.work.passes, len(batches))
        for grams, some in batches:
            numbers = possible[some]
            records, state, noted = self._scan(grams, np.searchsorted(grams, local[numbers]), numbers, asked)
            notes.append(noted)
            for name in names:
                found[name][self._at[grams]] = records[name]
            ordered = numbers[state.order]
            pairs[ordered], windows[ordered] = state.entries["documents"], state.windows
            kept.append(_kept(state, ordered))
        columns = [np.concatenate([k[c] for k in kept] or [np.empty(0, np.int64)]) for c in range(5)]
        return Counts(
            **found,
            pairs=pairs,
            windows=windows,
            kept=PairDocuments(*columns),
            noted=np.unique(np.concatenate(notes)[:, ::-1], axis=0)[:, ::-1],
            batches=len(batches),
        )

    def _batches(self, pairs: np.ndarray, asked: PairQueries) -> list[tuple[np.ndarray, np.ndarray]]:
        """(n-grams, sorted; pairs) of each batch: pairs are halved until each half fits with its n-grams."""
        from tasks.ngrams.kernels.ngram_kernels import bytes_of_trie

        memory, kept = self.work.job.memory, int(asked.rooms.max()) if asked.rooms is not None and len(asked.rooms) else 0
        each = PAIR_BYTES + KEPT_BYTES * kept + 8 * len(asked.widths)
        every = np.arange(len(self._lengths))
        if bytes_of_trie(len(every), len(self._ids)) + each * len(pairs) <= memory:
            return [(every, np.arange(len(pairs)))] if len(every) else []
        done, alone, waiting = [], np.ones(len(every), bool), [np.arange(len(pairs))] if len(pairs) else []
        while waiting:
            some = waiting.pop()
            grams = np.unique(pairs[some])
            if len(some) > 1 and bytes_of_trie(len(grams), int(self._lengths[grams].sum())) + each * len(some) > memory:
                waiting += [some[len(some) // 2 :], some[: len(some) // 2]]
            else:
                done.append((grams, some))
                alone[grams] = False
        rest = every[alone]
        weights = np.cumsum(bytes_of_trie(1, 1) * self._lengths[rest]) // memory
        return done + [
            (some, np.empty(0, np.int64)) for some in np.split(rest, np.flatnonzero(np.diff(weights)) + 1) if len(some)
        ]

    def _scan(
        self, grams: np.ndarray, ends: np.ndarray, numbers: np.ndarray, asked: PairQueries
    ) -> tuple[np.ndarray, Pairs, np.ndarray]:
        """Records of these n-grams, the state of these pairs after the whole part, and the noted (n-gram, document)."""
        from tasks.ngrams.kernels import ngram_kernels, pair_kernels, scan_kernels

        lengths = self._lengths[grams]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = self._ids[np.repeat(self._offsets[grams] - offsets[:-1], lengths) + np.arange(offsets[-1])]
        trie, same = ngram_kernels.build_trie(ids, offsets)
        records, ends = scan_kernels.empty_records(len(grams)), same[ends].reshape(-1, 2)
        rooms = None if asked.rooms is None or not asked.rooms[numbers].any() else asked.rooms[numbers]
        hashes = None if rooms is None or asked.hashes is None else asked.hashes[numbers]
        frequency = self._frequencies(trie, lengths) if len(ends) else np.zeros(len(grams))
        state = pair_kernels.prepare(ends, frequency, lengths, records, rooms, hashes, asked.widths)
        notes = [np.empty((0, 2), np.int64)]
        for words, document_offsets, base in pieces(self.work, self.words, self.vocabulary, self.only):
            of = asked.document_hashes
            here = np.zeros(0, np.uint64) if rooms is None or of is None else of[base : base + len(document_offsets) - 1]
            some = scan_kernels.scan_pairs(words, document_offsets, base, trie, records, state, here, asked.note_from)
            notes.append(np.stack(some, axis=1).astype(np.int64))
        noted = np.concatenate(notes)
        noted[:, 0] = self._at[grams[noted[:, 0]]]
        return records[same], state, noted

    def _frequencies(self, trie: object, lengths: np.ndarray) -> np.ndarray:
        """Documents of each n-gram among the first of the part; of two that are not met there, the longer is the rarer."""
        from tasks.ngrams.kernels import scan_kernels

        records = scan_kernels.empty_records(len(lengths))
        for ids, offsets, _ in pieces(self.work, self.words, self.vocabulary, self.only):
            last = max(1, int(np.searchsorted(offsets, SAMPLE)))
            cut = offsets[: last + 1]
            scan_kernels.scan_ngrams(ids[: cut[-1]], cut, 0, trie, records)  # type: ignore[arg-type]
            break
        return records["documents"] + 1 / (1.0 + lengths)


def _kept(state: Pairs, numbers: np.ndarray) -> list[np.ndarray]:
    """The columns of PairDocuments; numbers [pairs] in the order of the state."""
    kept = state.kept
    of = np.repeat(np.arange(len(kept.used)), kept.used)
    within = np.arange(len(of)) - np.repeat(np.cumsum(kept.used) - kept.used, kept.used)
    at = kept.offsets[of] + within
    return [numbers[of], kept.hashes[at], kept.documents[at], kept.inputs[at], kept.outputs[at]]
