"""Exact counts of every n-gram of the orders a study names (docs/method.md §3). No measure needs them; the report shows them.

Out of core, in three passes. Each part of the corpus writes its suffixes — every position with the ids that follow it, up to
the longest order — into buckets by their first two words. One job joins the vocabularies. Then each bucket is counted
by itself: all suffixes of all parts that begin with the same two words are in it, so that no count needs another bucket.
A part keeps its own ids, so that a new shard changes no old part. The suffixes are the bytes that are spilled.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas import NGRAM_COUNTS, NGRAM_SUFFIXES, NGRAM_VOCABULARY, Study
from tasks.ngrams.count.bucket import Bucket
from tasks.ngrams.count.ordered_output import Ordered
from tasks.ngrams.origins import same_tokenizer
from tasks.ngrams.query.scan import pieces, same_analyzer
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.parts import Part, by_labels
from tasks.text.bpe.tokenizer import load_tokenizer

IDS_AT_ONCE = 1 << 24  # of all suffixes of a block together, so that a block is as large whatever the longest order


# -- suffixes, part by part --------------------------------------------------------------------------------------------
def plan_suffixes(study: Study, inputs: Inputs) -> list[Job]:
    """One job per part of the corpus; none if the study names no order."""
    orders, unit = sorted(set(study.counting.all_orders)), study.counting.unit
    settings = {"unit": unit, "longest": max([2, *orders]), "buckets": study.counting.buckets}
    beside = by_labels(inputs["vocabulary"])
    jobs = []
    for part in inputs[unit] if orders else ():
        other = {"vocabulary": (beside[part.label_key],)} if unit == "words" else {"tokenizer": inputs["tokenizer"]}
        jobs.append(Job(part.labels, settings, {unit: (part,), **other}))
    return jobs


def run_suffixes(work: Work) -> None:
    """Write the suffixes of one part, block by block. sums: of_tokens, if it is tokens that are counted."""
    from tasks.ngrams.kernels import spill_kernels as kernels

    unit, longest, buckets = work.settings["unit"], work.settings["longest"], work.settings["buckets"]
    same_analyzer(work, *(p for t in ("words", "vocabulary") if unit == "words" for p in work.parts(t)))
    same_tokenizer(work)
    hashes = _hashes_of_part(work)
    per = kernels.ids_per_number(len(hashes))
    if unit == "tokens":
        work.add("of_tokens")
    first_document, rows_at_once = 0, max(1, IDS_AT_ONCE // longest)
    for block, (ids, offsets) in enumerate(_blocks(work, work.parts(unit)[0], rows_at_once, len(hashes))):
        starts, positions, documents = kernels.scatter(ids, offsets, hashes, buckets)
        following = kernels.roll(ids, offsets, per)
        for bucket in range(buckets):
            rows = slice(starts[bucket], starts[bucket + 1])
            packed = kernels.pack(following, offsets, positions[rows], documents[rows], longest, per)
            work.write(
                "ngram_suffixes",
                {
                    "block": [block],
                    "bucket": [bucket],
                    "suffixes": [packed.shape[1]],
                    "last_document": [first_document + len(offsets) - 2],
                    "ids_per_number": [per],
                    "numbers": [len(packed)],
                    "documents": _one_value(documents[rows] + np.int32(first_document)),
                    "packed": _one_value(packed),
                },
            )
        first_document += len(offsets) - 1


def _one_value(numbers: np.ndarray) -> pa.Array:
    """The bytes of an array as the one value of a binary column, without a copy."""
    offsets = np.array([0, numbers.nbytes], np.int32)
    return pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(numbers)])


def _hashes_of_part(work: Work) -> np.ndarray:
    """uint32 per id, the same in every part: CRC-32 of a word, or of a token's number."""
    if work.settings["unit"] == "words":
        words = work.read_part(work.parts("vocabulary")[0], "word").column("word").to_pylist()
        return np.array([zlib.crc32(w.encode()) for w in words], np.uint32)
    size = work.read("tokenizer", "vocabulary_size").column("vocabulary_size")[0].as_py()
    return np.array([zlib.crc32(i.to_bytes(4, "big")) for i in range(size)], np.uint32)


def _blocks(work: Work, part: Part, most: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The part's documents in runs of about `most` ids: ids (int32), offsets (int64)."""
    ids: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for some, offsets, _ in pieces(work, part, size):
        ids.append(some)
        lengths.append(np.diff(offsets))
        if sum(map(len, ids)) >= most:
            yield _joined(ids, lengths)
            ids, lengths = [], []
    if ids:
        yield _joined(ids, lengths)


def _joined(ids: list[np.ndarray], lengths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(ids), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)


# -- one vocabulary ----------------------------------------------------------------------------------------------------
def plan_vocabulary(study: Study, inputs: Inputs) -> list[Job]:
    """One job."""
    unit = study.counting.unit
    tables = ("vocabulary",) if unit == "words" else ("tokens", "tokenizer")
    return [Job({"study": "all"}, {"unit": unit}, {t: inputs[t] for t in tables})] if inputs["ngram_suffixes"] else []


def run_vocabulary(work: Work) -> None:
    """Add up the words of all parts; for tokens, count them."""
    if work.settings["unit"] == "tokens":
        work.write("ngram_vocabulary", _count_tokens(work))
        return
    total = pl.DataFrame(schema={"word": pl.String, "occurrences": pl.Int64, "documents": pl.Int64})
    for part in work.parts("vocabulary"):
        piece = work.frame_part(part, "word", "occurrences", "documents")
        total = pl.concat([total, piece]).group_by("word").agg(pl.col("occurrences", "documents").sum())
    total = total.sort("word").with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias("id"))
    work.write("ngram_vocabulary", total.select(NGRAM_VOCABULARY.schema.names).to_arrow())


def _count_tokens(work: Work) -> pa.Table:
    from tasks.ngrams.kernels import count_kernels as kernels

    row = work.read("tokenizer", "vocabulary_size", "json").to_pylist()[0]
    tokenizer, size = load_tokenizer(row["json"]), row["vocabulary_size"]
    occurrences, documents, last = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
    base = 0
    for part in work.parts("tokens"):
        for ids, offsets in _blocks(work, part, 1 << 20, size):
            kernels.count_ids(ids, offsets, occurrences, documents, last, base)
            base += len(offsets) - 1
    names = [tokenizer.id_to_token(i) or "" for i in range(size)]
    return pa.table(
        {"id": pa.array(np.arange(size, dtype=np.int32)), "word": names, "occurrences": occurrences, "documents": documents}
    )


# -- counts, bucket by bucket ------------------------------------------------------------------------------------------
def plan_counts(study: Study, inputs: Inputs) -> list[Job]:
    """One job per bucket."""
    if not inputs["ngram_suffixes"]:
        return []
    counting = study.counting
    settings = {
        "unit": counting.unit,
        "orders": sorted(set(counting.all_orders)),
        "min_count": counting.min_count,
        "buckets": counting.buckets,
    }
    tables = {t: inputs[t] for t in ("ngram_suffixes", "ngram_vocabulary")}
    tables |= {"vocabulary": inputs["vocabulary"]} if counting.unit == "words" else {}
    width = len(str(counting.buckets - 1))
    return [
        Job({"bucket": f"{b:0{width}}"}, {**settings, "bucket": b}, tables, memory=counting.memory_bytes)
        for b in range(counting.buckets)
    ]


def run_counts(work: Work) -> None:
    """Count one bucket, order by order; single ids are in the first.

    sums: ngrams_below_min_count; occurrences_below_min_count, in all and for each order n as ..._n; of_tokens, if it is tokens.
    """
    bucket, orders, least = work.settings["bucket"], work.settings["orders"], work.settings["min_count"]
    vocabulary = work.frame("ngram_vocabulary")
    if work.settings["unit"] == "tokens":
        work.add("of_tokens")
    for name in ("ngrams_below_min_count", "occurrences_below_min_count"):
        work.add(name, 0)
    if 1 in orders and bucket == 0:
        _write_single_ids(work, vocabulary)
    wanted = [n for n in orders if n > 1]
    if not wanted:
        return
    occurrences = vocabulary["occurrences"].to_numpy()
    found = Bucket(work, bucket, _renumberings(work, vocabulary["word"].to_arrow()), occurrences, wanted, least)
    for counted in found.count():
        _write(work, counted)
    for order, (grams, times) in sorted(found.rare.items()):
        _report_rare(work, order, grams, times)


def _write_single_ids(work: Work, vocabulary: pl.DataFrame) -> None:
    """Order 1: the vocabulary, which is counted already."""
    kept = vocabulary.filter(pl.col("occurrences") >= work.settings["min_count"])
    rare = vocabulary.filter((pl.col("occurrences") < work.settings["min_count"]) & (pl.col("occurrences") > 0))
    _report_rare(work, 1, rare.height, int(rare["occurrences"].sum()))
    grams = np.ascontiguousarray(kept["id"].to_numpy().astype(">i4")).view(np.uint8).reshape(-1, 4)
    _write(work, Ordered(1, grams, kept["occurrences"].to_numpy(), kept["documents"].to_numpy()))


def _report_rare(work: Work, order: int, grams: int, occurrences: int) -> None:
    work.add("ngrams_below_min_count", grams)
    work.add("occurrences_below_min_count", occurrences)
    work.add(f"occurrences_below_min_count_{order}", occurrences)


def _write(work: Work, counted: Ordered) -> None:
    work.write(
        "ngram_counts",
        pa.table(
            {
                "order": pa.array(np.full(len(counted.grams), counted.order, np.int16)),
                "ngram": binary(counted.grams),
                "occurrences": pa.array(counted.occurrences, pa.int64()),
                "documents": pa.array(counted.documents, pa.int64()),
            }
        ),
    )


def _renumberings(work: Work, words: pa.Array) -> list[np.ndarray]:
    """For each part of suffixes: int32 by the part's id + 1, the corpus' id + 1; 0 stays 0."""
    if work.settings["unit"] == "tokens":
        return [np.arange(len(words) + 1, dtype=np.int32)] * len(work.parts("ngram_suffixes"))
    beside = by_labels(work.parts("vocabulary"))
    found = []
    for part in work.parts("ngram_suffixes"):
        own = work.read_part(beside[part.label_key], "word").column("word").combine_chunks()
        at = pc.index_in(own.cast(words.type), value_set=words).to_numpy(zero_copy_only=False)
        found.append(np.concatenate([[0], at + 1]).astype(np.int32))
    return found


def binary(grams: np.ndarray) -> pa.Array:
    """n-grams (uint8 [rows, 4n], big-endian ids) as a binary column, without a copy."""
    rows, width = grams.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(grams))])


COUNT = Step(
    "count",
    version=3,
    about="all n-grams of the corpus, for the orders the study names",
    reads=("words", "vocabulary", "tokens", "tokenizer"),
    stages=(
        Stage((NGRAM_SUFFIXES,), plan_suffixes, run_suffixes),
        Stage((NGRAM_VOCABULARY,), plan_vocabulary, run_vocabulary),
        Stage((NGRAM_COUNTS,), plan_counts, run_counts),
    ),
)
