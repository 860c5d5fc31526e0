"""Counting given n-grams and pairs in one words part: what the steps query and novelty share.

n-grams are normalised words with one space between, pairs are two n-grams. The part's vocabulary maps them to ids; an n-gram
with a word that the part lacks does not occur in it. Memory depends on the queries, not on the part: if their tries, counts
and kept documents exceed the job's memory, the queries are split into batches and the part is read once per batch, with the
same result. The texts and ids of the n-grams, and about 32 bytes per query, come on top.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas import StudyError
from tasks.ngrams.corpus_parts import id_batches, same_analyzer
from tasks.step import Work
from tasks.storage.store import Part

if TYPE_CHECKING:
    from tasks.ngrams.kernels.pair_kernels import Pairs

NGRAMS_AT_ONCE = 1_000_000
SAMPLE = 250_000  # words read in advance to estimate which n-gram of a pair is rarer
PAIR = ["input_ngram", "output_ngram"]
PAIR_BYTES = 64
KEPT_BYTES = 24
_MALFORMED = (  # what normalised words never contain: ASCII signs, and spaces and line ends of any kind
    r"^$|^ | $|  |[\x00-\x1f\x7f\x{85}\x{a0}\x{2028}\x{2029}]|[A-Z!-&(-+/:-@\[-`{-~-]"
    r"|(?:^|[A-Za-z ])[.,]|[.,](?:$|[A-Za-z ])|(?:^| )'|'(?: |$)"
)


def encode(ngrams: pa.Array, vocabulary: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, offsets, positions in `ngrams`) of the n-grams whose words are all in the vocabulary."""
    ids, lengths, at = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for begin in range(0, len(ngrams), NGRAMS_AT_ONCE):
        some = ngrams.slice(begin, NGRAMS_AT_ONCE)
        wrong = pc.match_substring_regex(some, _MALFORMED)
        if pc.any(wrong).as_py():
            first = some.filter(wrong)[0].as_py()
            raise StudyError(f"the n-gram {first!r} is not normalised words with one space between; normalise it first")
        words = pc.split_pattern(some, " ")
        word_ids = pc.fill_null(pc.index_in(words.flatten(), value_set=vocabulary), -1).to_numpy().astype(np.int32)
        offsets = words.offsets.to_numpy().astype(np.int64)
        offsets -= offsets[0]
        in_vocabulary = np.minimum.reduceat(word_ids, offsets[:-1]) >= 0
        ids.append(word_ids[np.repeat(in_vocabulary, np.diff(offsets))])
        lengths.append(np.diff(offsets)[in_vocabulary])
        at.append(begin + np.flatnonzero(in_vocabulary))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return np.concatenate(ids), offsets, np.concatenate(at)


# -- tables -----------------------------------------------------------------------------------------------------------
def places(ngrams: pl.Series, pairs: pl.DataFrame) -> np.ndarray:
    """int64 [pairs, 2]: the positions of the two n-grams of each pair in the sorted `ngrams`, which contain them all."""
    numbered = pl.DataFrame({"ngram": ngrams}).with_row_index("place")
    sides = (pairs.select(ngram=c).join(numbered, on="ngram", how="left", maintain_order="left") for c in PAIR)
    return np.stack([side["place"].cast(pl.Int64).to_numpy() for side in sides], axis=1)


def ngram_rows(ngrams: pl.Series, counts: "Counts") -> pl.DataFrame:
    """(ngram, length, occurrences, documents) of the n-grams that occur in the part; `ngrams` are the first of the queries."""
    counted = {"occurrences": counts.occurrences[: len(ngrams)], "documents": counts.documents[: len(ngrams)]}
    rows = pl.DataFrame({"ngram": ngrams, "length": ngrams.str.count_matches(" ") + 1, **counted})
    return rows.filter(pl.col("documents") > 0)


# -- counting ---------------------------------------------------------------------------------------------------------
KEPT = {"pair": pl.Int64, "hash": pl.Int64, "document": pl.Int64, "input_word": pl.Int32, "output_word": pl.Int32}


class Counts(NamedTuple):
    """Per n-gram, in the order of the queries: occurrences, documents, and the first document with it (-1: none). Per pair:
    `pairs`, documents with both; `windows` [pairs, widths], documents with both within so many words; and the `kept` documents,
    with the first word of s_x and of s_y. `noted`, int64 [rows, 2]: distinct (n-gram, document), by document, of the n-grams that
    `note_from` selects; for equal n-grams the first. A pair of an n-gram with itself co-occurs wherever the n-gram occurs, within
    its own length."""

    occurrences: np.ndarray
    documents: np.ndarray
    first_document: np.ndarray
    pairs: np.ndarray
    windows: np.ndarray
    kept: pl.DataFrame
    noted: np.ndarray
    batches: int


class PairQueries(NamedTuple):
    """Pairs to count. `ends`, int [pairs, 2]: positions in the queried n-grams. `rooms`: number of documents to keep per pair,
    those with the smallest mix(hash of pair ^ mix(hash of document)). `widths`: window widths in words, increasing. `note_from`:
    note all documents of n-grams of at least so many words (≥ 2); 0: none."""

    ends: np.ndarray
    rooms: np.ndarray | None = None
    hashes: np.ndarray | None = None
    document_hashes: np.ndarray | None = None
    widths: tuple[int, ...] = ()
    note_from: int = 0


NO_PAIRS = PairQueries(np.empty((0, 2), np.int64))


class PartCounter:
    def __init__(
        self, work: Work, words: Part, vocabulary: Part, ngrams: Sequence[str] | pl.Series, only: np.ndarray | None = None
    ) -> None:
        """`ngrams` may contain duplicates. `only`: the documents to count in, increasing; None: all. Raises StudyError for an
        n-gram that is empty or not normalised words with single spaces."""
        self.work, self.words, self.only = work, words, only
        same_analyzer(work, words, vocabulary)
        texts = ngrams.to_arrow() if isinstance(ngrams, pl.Series) else pa.array(ngrams, pa.large_string())
        vocabulary_words = work.read(vocabulary, "word").column("word").combine_chunks().cast(pa.large_string())
        self.size, self.vocabulary = len(texts), len(vocabulary_words)
        self._ids, self._offsets, self._at = encode(texts.cast(pa.large_string()), vocabulary_words)
        self._lengths = np.diff(self._offsets)

    def count(self, queries: PairQueries = NO_PAIRS) -> Counts:
        """One pass over the part per batch of queries that fits in the job's memory; usually one."""
        position = np.full(self.size, -1, np.int64)
        position[self._at] = np.arange(len(self._at))
        ends = position[queries.ends].reshape(-1, 2)
        possible = np.flatnonzero((ends >= 0).all(axis=1))
        names = ("occurrences", "documents", "first_document")
        counts = {name: np.full(self.size, -1 if name == "first_document" else 0, np.int64) for name in names}
        pairs, windows = np.zeros(len(queries.ends), np.int64), np.zeros((len(queries.ends), len(queries.widths)), np.int64)
        kept = [pl.DataFrame(schema=KEPT)]
        notes = [np.empty((0, 2), np.int64)]
        batches = self._batches(ends[possible], queries)
        self.work.passes = max(self.work.passes, len(batches))
        for grams, some in batches:
            numbers = possible[some]
            records, state, noted = self._scan(grams, np.searchsorted(grams, ends[numbers]), numbers, queries)
            notes.append(noted)
            for name in names:
                counts[name][self._at[grams]] = records[name]
            ordered = numbers[state.order]
            pairs[ordered], windows[ordered] = state.entries["documents"], state.windows
            kept.append(_kept(state, ordered))
        noted = np.unique(np.concatenate(notes)[:, ::-1], axis=0)[:, ::-1]
        return Counts(**counts, pairs=pairs, windows=windows, kept=pl.concat(kept), noted=noted, batches=len(batches))

    def _batches(self, pairs: np.ndarray, queries: PairQueries) -> list[tuple[np.ndarray, np.ndarray]]:
        """(sorted n-grams, pairs) of each batch: pairs are halved until each half fits in memory with its n-grams."""
        from tasks.ngrams.kernels.ngram_kernels import bytes_of_trie

        memory = self.work.job.memory
        kept = int(queries.rooms.max()) if queries.rooms is not None and len(queries.rooms) else 0
        each = PAIR_BYTES + KEPT_BYTES * kept + 8 * len(queries.widths)
        every = np.arange(len(self._lengths))
        if bytes_of_trie(len(every), len(self._ids)) + each * len(pairs) <= memory:
            return [(every, np.arange(len(pairs)))] if len(every) else []
        done, unpaired, waiting = [], np.ones(len(every), bool), [np.arange(len(pairs))] if len(pairs) else []
        while waiting:
            some = waiting.pop()
            grams = np.unique(pairs[some])
            if len(some) > 1 and bytes_of_trie(len(grams), int(self._lengths[grams].sum())) + each * len(some) > memory:
                waiting += [some[len(some) // 2 :], some[: len(some) // 2]]
            else:
                done.append((grams, some))
                unpaired[grams] = False
        rest = every[unpaired]
        weights = np.cumsum(bytes_of_trie(1, 1) * self._lengths[rest]) // memory
        return done + [(some, np.empty(0, np.int64)) for some in np.split(rest, np.flatnonzero(np.diff(weights)) + 1) if len(some)]

    def _scan(
        self, grams: np.ndarray, ends: np.ndarray, numbers: np.ndarray, queries: PairQueries
    ) -> tuple[np.ndarray, "Pairs", np.ndarray]:
        """Records of these n-grams and state of these pairs after all documents, and the noted (n-gram, document)."""
        from tasks.ngrams.kernels import ngram_kernels, pair_kernels, scan_kernels

        lengths = self._lengths[grams]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = self._ids[np.repeat(self._offsets[grams] - offsets[:-1], lengths) + np.arange(offsets[-1])]
        trie, same = ngram_kernels.build_trie(ids, offsets)
        records, ends = scan_kernels.empty_records(len(grams)), same[ends].reshape(-1, 2)
        rooms = None if queries.rooms is None or not queries.rooms[numbers].any() else queries.rooms[numbers]
        hashes = None if rooms is None or queries.hashes is None else queries.hashes[numbers]
        frequency = self._frequencies(trie, lengths) if len(ends) else np.zeros(len(grams))
        state = pair_kernels.prepare(ends, frequency, lengths, records, rooms, hashes, queries.widths)
        notes = [np.empty((0, 2), np.int64)]
        for words, document_offsets, base in id_batches(self.work, self.words, self.vocabulary, self.only):
            of = queries.document_hashes
            here = np.zeros(0, np.uint64) if rooms is None or of is None else of[base : base + len(document_offsets) - 1]
            some = scan_kernels.scan_pairs(words, document_offsets, base, trie, records, state, here, queries.note_from)
            notes.append(np.stack(some, axis=1).astype(np.int64))
        noted = np.concatenate(notes)
        noted[:, 0] = self._at[grams[noted[:, 0]]]
        return records[same], state, noted

    def _frequencies(self, trie: object, lengths: np.ndarray) -> np.ndarray:
        """Estimated document frequency of each n-gram, from the part's first documents; longer n-grams break ties as rarer."""
        from tasks.ngrams.kernels import scan_kernels

        records = scan_kernels.empty_records(len(lengths))
        for ids, offsets, _ in id_batches(self.work, self.words, self.vocabulary, self.only):
            last = max(1, int(np.searchsorted(offsets, SAMPLE)))
            cut = offsets[: last + 1]
            scan_kernels.scan_ngrams(ids[: cut[-1]], cut, 0, trie, records)  # type: ignore[arg-type]
            break
        return records["documents"] + 1 / (1.0 + lengths)


def _kept(state: "Pairs", numbers: np.ndarray) -> pl.DataFrame:
    """The kept documents; numbers [pairs] in the order of the state."""
    kept = state.kept
    of = np.repeat(np.arange(len(kept.used)), kept.used)
    within = np.arange(len(of)) - np.repeat(np.cumsum(kept.used) - kept.used, kept.used)
    at = kept.offsets[of] + within
    columns = numbers[of], kept.hashes[at], kept.documents[at], kept.inputs[at], kept.outputs[at]
    return pl.DataFrame(dict(zip(KEPT, columns, strict=True)), schema=KEPT)
