"""Exact counts of every n-gram of the orders a study names (task-grams §3). No measure needs them; the report shows them.

Each words part is counted by itself, with its own ids. Both its vocabulary and the corpus' are sorted, so that the map from
one to the other keeps sorted n-grams sorted, and a new shard changes no old part; one job adds the parts up.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import NGRAM_COUNT_PARTIALS, NGRAM_COUNTS, NGRAM_VOCABULARY, Study
from tasks.step import Inputs, Job, Stage, Step, Work

ROWS_AT_ONCE = 1_000_000


def plan_parts(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part; none if the study names no order."""
    orders = sorted(set(study.counting.all_orders))
    return [Job(part.labels, {"orders": orders}, {"words": (part,)}) for part in inputs["words"]] if orders else []


def run_part(work: Work) -> None:
    """Count the n-grams of one part, order by order: the numbering of the n-grams is the start for the (n+1)-grams."""
    from tasks.ngrams import kernels

    lists = work.read("words", "ids").column("ids").combine_chunks()
    ids, offsets = lists.flatten().to_numpy(), lists.offsets.to_numpy().astype(np.int64)
    offsets = offsets - offsets[0]
    prefix = np.zeros(len(ids), np.int32)
    for order in range(1, max(work.settings["orders"]) + 1):
        first, occurrences, documents = kernels.count_all(prefix, ids, offsets, order)
        if order not in work.settings["orders"]:
            continue
        for begin in range(0, len(first), ROWS_AT_ONCE):
            piece = slice(begin, begin + ROWS_AT_ONCE)
            grams = ids[first[piece][:, None] + np.arange(order)]
            work.write("ngram_count_partials", pa.table({
                "order": pa.array(np.full(len(grams), order), pa.int16()), "ngram": to_binary(grams),
                "occurrences": pa.array(occurrences[piece], pa.int64()), "documents": pa.array(documents[piece], pa.int64()),
            }))  # fmt: skip


def plan_merge(study: Study, inputs: Inputs) -> list[Job]:
    """One job over all parts."""
    settings = {"orders": sorted(set(study.counting.all_orders)), "min_count": study.counting.min_count}
    tables = {t: inputs[t] for t in ("ngram_count_partials", "vocabulary")}
    return [Job({"study": "all"}, settings, tables)] if inputs["ngram_count_partials"] else []


def run_merge(work: Work) -> None:
    """Add up the parts, order by order; sums: ngrams_below_min_count, occurrences_below_min_count."""
    vocabularies = [work.read_part(p, "word").column("word").to_pylist() for p in work.parts("vocabulary")]
    words = sorted(set().union(*vocabularies))
    rank = {word: i for i, word in enumerate(words)}
    maps = [np.array([rank[w] for w in vocabulary], np.int32) for vocabulary in vocabularies]
    for order in work.settings["orders"]:
        counted = _merge_order(work, order, maps)
        rare = counted.filter(pl.col("occurrences") < work.settings["min_count"])
        work.add("ngrams_below_min_count", rare.height)
        work.add("occurrences_below_min_count", int(rare["occurrences"].sum()))
        kept = counted.filter(pl.col("occurrences") >= work.settings["min_count"]).sort("ngram")
        work.write("ngram_counts", kept.with_columns(pl.lit(order, pl.Int16).alias("order")).to_arrow())
    work.write("ngram_vocabulary", {"id": list(range(len(words))), "word": words})


def _merge_order(work: Work, order: int, maps: list[np.ndarray]) -> pl.DataFrame:
    """One row (ngram, occurrences, documents) per n-gram of one order, unsorted."""
    pieces = []
    for part, ids in zip(work.parts("ngram_count_partials"), maps, strict=True):
        for batch in work.batches(part, "order", "ngram", "occurrences", "documents", rows=ROWS_AT_ONCE):
            rows = pa.Table.from_batches([batch])
            rows = rows.filter(pa.compute.equal(rows["order"], order)).combine_chunks()
            if rows.num_rows:
                grams = ids[from_binary(rows["ngram"].chunk(0), order)]
                pieces.append(pl.DataFrame(pa.table({"ngram": to_binary(grams), "occurrences": rows["occurrences"],
                                                      "documents": rows["documents"]})))  # fmt: skip
    if not pieces:
        return pl.DataFrame(schema={"ngram": pl.Binary, "occurrences": pl.Int64, "documents": pl.Int64})
    return pl.concat(pieces).group_by("ngram").agg(pl.col("occurrences", "documents").sum())


def to_binary(grams: np.ndarray) -> pa.BinaryArray:
    """n-grams (int [rows, n]) as big-endian bytes, so that byte order is id order."""
    rows, order = grams.shape
    data = np.ascontiguousarray(grams.astype(">i4"))
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(4 * order)
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def from_binary(array: pa.BinaryArray, order: int) -> np.ndarray:
    """What `to_binary` wrote: int32 [rows, n]."""
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(array.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return data.view(">i4").astype(np.int32).reshape(-1, order)


COUNT = Step(
    "count", version=1, about="all n-grams of the corpus, for the orders the study names", reads=("words", "vocabulary"),
    stages=(Stage((NGRAM_COUNT_PARTIALS,), plan_parts, run_part), Stage((NGRAM_COUNTS, NGRAM_VOCABULARY), plan_merge, run_merge)),
)  # fmt: skip
