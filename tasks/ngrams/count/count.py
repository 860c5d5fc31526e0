"""Exact counts of every n-gram of the orders that a study names (docs/method.md §3). The report shows them; no measure reads them.

Out of core, in three passes. Each part of the corpus writes its suffixes, which are every position with the ids that follow
it up to the longest order, into buckets by their first two words. One job merges the vocabularies. Then each bucket is
counted on its own, as it has all suffixes of all parts with the same first two words. A part keeps its own ids, so that a new
shard does not change old parts.
"""

import zlib
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas import NGRAM_COUNTS, NGRAM_SUFFIXES, NGRAM_VOCABULARY, Study
from tasks.cost import BENCHMARKS, DEBIAN, Cost, Rate, Sizes
from tasks.ngrams.corpus_parts import concatenated, id_batches, same_analyzer, same_tokenizer, with_same_labels
from tasks.ngrams.count.bucket import Bucket, NgramCounts, binary
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.parts import Part
from tasks.text.bpe.tokenizer import load_tokenizer

IDS_AT_ONCE = 1 << 24  # of all suffixes of a block, so that its size does not depend on the longest order


# -- suffixes, part by part --------------------------------------------------------------------------------------------
def plan_suffixes(study: Study, inputs: Inputs) -> list[Job]:
    """One job per part of the corpus; none if the study names no order."""
    orders, unit = sorted(set(study.counting.all_orders)), study.counting.unit
    settings = {"unit": unit, "longest": max([2, *orders]), "buckets": study.counting.buckets}
    parts = inputs[unit] if orders else ()
    if unit == "tokens":
        return [Job(p.labels, settings, {"tokens": (p,), "tokenizer": inputs["tokenizer"]}) for p in parts]
    vocabularies = with_same_labels(parts, inputs["vocabulary"])
    return [Job(p.labels, settings, {"words": (p,), "vocabulary": (v,)}) for p, v in zip(parts, vocabularies, strict=True)]


def run_suffixes(work: Work) -> None:
    """Write the suffixes of one part, block by block. Sums: of_tokens, if tokens are counted."""
    from tasks.ngrams.kernels import count_kernels as kernels

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
            numbers = {"block": block, "bucket": bucket, "suffixes": packed.shape[1], "ids_per_number": per, "numbers": len(packed)}
            numbers["last_document"] = first_document + len(offsets) - 2
            arrays = {"documents": documents[rows] + np.int32(first_document), "packed": packed}
            values = {name: binary(array.view(np.uint8).reshape(1, -1)) for name, array in arrays.items()}  # one value each
            work.write("ngram_suffixes", {name: [number] for name, number in numbers.items()} | values)
        first_document += len(offsets) - 1


def _hashes_of_part(work: Work) -> np.ndarray:
    """uint32 per id, the same in every part: CRC-32 of a word, or of a token's number."""
    if work.settings["unit"] == "words":
        words = work.read(work.parts("vocabulary")[0], "word").column("word").to_pylist()
        return np.array([zlib.crc32(w.encode()) for w in words], np.uint32)
    size = work.read("tokenizer", "vocabulary_size").column("vocabulary_size")[0].as_py()
    return np.array([zlib.crc32(i.to_bytes(4, "big")) for i in range(size)], np.uint32)


def _blocks(work: Work, part: Part, block: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The part's documents in blocks of about `block` ids: ids (int32), offsets (int64)."""
    ids: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for some, offsets, _ in id_batches(work, part, size):
        ids.append(some)
        lengths.append(np.diff(offsets))
        if sum(map(len, ids)) >= block:
            yield concatenated(ids, lengths)
            ids, lengths = [], []
    if ids:
        yield concatenated(ids, lengths)


# -- one vocabulary ----------------------------------------------------------------------------------------------------
def plan_vocabulary(study: Study, inputs: Inputs) -> list[Job]:
    unit = study.counting.unit
    tables = ("vocabulary",) if unit == "words" else ("tokens", "tokenizer")
    return [Job({"study": "all"}, {"unit": unit}, {t: inputs[t] for t in tables})] if inputs["ngram_suffixes"] else []


def run_vocabulary(work: Work) -> None:
    if work.settings["unit"] == "tokens":
        work.write("ngram_vocabulary", _count_tokens(work))
        return
    total = pl.DataFrame(schema={"word": pl.String, "occurrences": pl.Int64, "documents": pl.Int64})
    for part in work.parts("vocabulary"):
        piece = work.frame(part, "word", "occurrences", "documents")
        total = pl.concat([total, piece]).group_by("word").agg(pl.col("occurrences", "documents").sum())
    total = total.sort("word").with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias("id"))
    work.write("ngram_vocabulary", total.select(NGRAM_VOCABULARY.schema.names).to_arrow())


def _count_tokens(work: Work) -> pa.Table:
    from tasks.text.words import word_kernels as kernels

    row = work.read("tokenizer", "vocabulary_size", "json").to_pylist()[0]
    tokenizer, size = load_tokenizer(row["json"]), row["vocabulary_size"]
    occurrences, documents, last = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
    base = 0
    for part in work.parts("tokens"):
        for ids, offsets in _blocks(work, part, 1 << 20, size):
            kernels.count(ids, offsets, base, occurrences, documents, last)
            base += len(offsets) - 1
    names = [tokenizer.id_to_token(i) or "" for i in range(size)]
    return pa.table({"id": np.arange(size, dtype=np.int32), "word": names, "occurrences": occurrences, "documents": documents})


# -- counts, bucket by bucket ------------------------------------------------------------------------------------------
def plan_counts(study: Study, inputs: Inputs) -> list[Job]:
    if not inputs["ngram_suffixes"]:
        return []
    counting = study.counting
    settings = {name: getattr(counting, name) for name in ("unit", "min_count", "buckets")}
    settings["orders"] = sorted(set(counting.all_orders))
    tables = {t: inputs[t] for t in ("ngram_suffixes", "ngram_vocabulary", *["vocabulary"] * (counting.unit == "words"))}
    labels, memory = [str(b).zfill(len(str(counting.buckets - 1))) for b in range(counting.buckets)], counting.memory_bytes
    return [Job({"bucket": label}, settings | {"bucket": b}, tables, memory=memory) for b, label in enumerate(labels)]


def run_counts(work: Work) -> None:
    """Count one bucket, order by order; the first bucket also has the unigrams. Sums: ngrams_below_min_count;
    occurrences_below_min_count, in total and for each order n as …_n; of_tokens, if tokens are counted."""
    orders = work.settings["orders"]
    vocabulary = work.frame("ngram_vocabulary")
    if work.settings["unit"] == "tokens":
        work.add("of_tokens")
    for name in ("ngrams_below_min_count", "occurrences_below_min_count"):
        work.add(name, 0)
    if 1 in orders and work.settings["bucket"] == 0:
        _write_unigrams(work, vocabulary)
    if max(orders) == 1:
        return
    suffixes = Bucket(work, _renumberings(work, vocabulary["word"].to_arrow()), vocabulary["occurrences"].to_numpy())
    for counts in suffixes.count():
        _write(work, counts)
    for order, rare in sorted(suffixes.rare.items()):
        _report_rare(work, order, *rare.tolist())


def _write_unigrams(work: Work, vocabulary: pl.DataFrame) -> None:
    kept = vocabulary.filter(pl.col("occurrences") >= work.settings["min_count"])
    rare = vocabulary.filter((pl.col("occurrences") < work.settings["min_count"]) & (pl.col("occurrences") > 0))
    _report_rare(work, 1, rare.height, int(rare["occurrences"].sum()))
    grams = kept["id"].to_numpy().astype(">u4")[:, None].view(np.uint8)
    _write(work, NgramCounts(1, grams, kept["occurrences"].to_numpy(), kept["documents"].to_numpy()))


def _report_rare(work: Work, order: int, grams: int, occurrences: int) -> None:
    work.add("ngrams_below_min_count", grams)
    work.add("occurrences_below_min_count", occurrences)
    work.add(f"occurrences_below_min_count_{order}", occurrences)


def _write(work: Work, counts: NgramCounts) -> None:
    grams = {"order": np.full(len(counts.grams), counts.order, np.int16), "ngram": binary(counts.grams)}
    work.write("ngram_counts", grams | {"occurrences": counts.occurrences, "documents": counts.documents})


def _renumberings(work: Work, words: pa.Array) -> list[np.ndarray]:
    """For each suffixes part, an int32 array that maps the part's id + 1 to the corpus' id + 1; 0 stays 0."""
    if work.settings["unit"] == "tokens":
        return [np.arange(len(words) + 1, dtype=np.int32)] * len(work.parts("ngram_suffixes"))
    renumberings = []
    for vocabulary in with_same_labels(work.parts("ngram_suffixes"), work.parts("vocabulary")):
        part_words = work.read(vocabulary, "word").column("word").combine_chunks().cast(words.type)
        at = pc.index_in(part_words, value_set=words).to_numpy(zero_copy_only=False)
        renumberings.append(np.concatenate([[0], at + 1]).astype(np.int32))
    return renumberings


RATES = {
    "count": Rate(2.13e6 * 8, "words × orders /s", f"{BENCHMARKS}: all orders 1..8"),
    "bytes of suffixes": Rate(4.0, "bytes spilled for a word, times the longest order and 2", f"{BENCHMARKS}: 39.7 at n = 8"),
    "bytes of counts": Rate(0.4, "bytes stored for a word and order", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    c, orders = sizes.corpus, set(sizes.study.counting.all_orders)
    unit = "words × orders"
    if not orders:
        return Cost(unit=unit, rates=RATES)
    parts, work = c.parts + sizes.study.counting.buckets + 1, c.words * len(orders)
    written = work * RATES["bytes of counts"] + c.words * RATES["bytes of suffixes"] * (max(orders) + 2)
    return Cost(parts, work, unit, c.stored_words, written, work / RATES["count"], memory=0.6e9, guesses=c.guesses, rates=RATES)


ABOUT, READS = "all n-grams of the corpus, for the orders the study names", ("words", "vocabulary", "tokens", "tokenizer")
STAGES = (
    Stage((NGRAM_SUFFIXES,), plan_suffixes, run_suffixes),
    Stage((NGRAM_VOCABULARY,), plan_vocabulary, run_vocabulary),
    Stage((NGRAM_COUNTS,), plan_counts, run_counts),
)
COUNT = Step("count", version=3, about=ABOUT, reads=READS, stages=STAGES, cost=cost)
