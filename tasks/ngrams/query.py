"""How often the task-grams stand in the corpus: one pass per part answers every question a study asks of its words.

    C(s_x, s_y)  documents that hold both n-grams, anywhere and in any order      (never min(C(s_x), C(s_y)), task-grams §3)
    C(s), df(s)  occurrences, and documents that hold s

Besides, for the pairs of evaluated examples, the k documents with the smallest hash(seed, pair, document), so that samples of
parts merge into the sample of the whole; and the long n-grams that evaluated examples share with the corpus (§13). What parts
count adds up in a second stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import (
    CONTAMINATION,
    CONTAMINATION_PARTIALS,
    NGRAM_PARTIALS,
    NGRAM_STATS,
    PAIR_COUNTS,
    PAIR_DOCUMENT_PARTIALS,
    PAIR_DOCUMENTS,
    PAIR_PARTIALS,
    Study,
)
from tasks.dataset import Part
from tasks.ngrams.excerpts import read_excerpts
from tasks.ngrams.queries import PartCounter
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text.ngrams import ngrams
from tasks.text.words import analyzer, segment

ASKED = ("task_grams", "example_ngrams", "examples", "truth")
PAIR = ["input_ngram", "output_ngram"]
EXAMPLE = ["task", "example", "order"]
PRODUCTS_AT_ONCE = 4_000_000


# -- what is asked ----------------------------------------------------------------------------------------------------
def asked_pairs(work: Work) -> pl.DataFrame:
    """Distinct (input_ngram, output_ngram) of all task-grams and planted pairs, sorted; `kept`: of an evaluated example."""
    columns = [work.frame(table, *PAIR) for table in ("task_grams", "truth")]
    pairs = pl.concat(columns).unique().sort(PAIR)
    return pairs.with_columns(pl.Series("kept", _of_evaluated_examples(work, pairs), pl.Boolean))


def _of_evaluated_examples(work: Work, pairs: pl.DataFrame) -> np.ndarray:
    """bool [pairs]: whether the two n-grams stand in one evaluated example, under one order. `pairs` are sorted.

    Each example's inputs × outputs are looked up, some examples at a time: a template's n-gram is in every example and in a
    pair with every answer, so that the way from the pairs to the examples would grow with the product of the two.
    """
    names = pl.concat([pairs[c].alias("ngram") for c in PAIR]).unique().sort().to_frame().with_row_index("id")
    x, y = (names["ngram"].search_sorted(pairs[c]).to_numpy().astype(np.int64) for c in PAIR)
    known, kept = x * names.height + y, np.zeros(pairs.height, bool)
    for part in work.parts("example_ngrams"):
        table = work.frame_part(part, "split", *EXAMPLE, "side", "ngram").filter(pl.col("split") == "evaluate")
        here = table.join(names, on="ngram").with_columns(pl.col("id").cast(pl.Int64))
        inputs, outputs = (here.filter(pl.col("side") == side).select(*EXAMPLE, "id") for side in ("input", "output"))
        sizes = inputs.group_by(EXAMPLE).len("inputs").join(outputs.group_by(EXAMPLE).len("outputs"), on=EXAMPLE)
        products = (pl.col("inputs").cast(pl.Int64) * pl.col("outputs")).cum_sum()
        for some in sizes.with_columns((products // PRODUCTS_AT_ONCE).alias("piece")).partition_by("piece"):
            both = some.select(EXAMPLE).join(inputs, on=EXAMPLE).join(outputs, on=EXAMPLE, suffix="_output")
            asked = (both["id"] * names.height + both["id_output"]).unique().to_numpy()
            at = np.searchsorted(known, asked)
            there = at < len(known)
            kept[at[there][known[at[there]] == asked[there]]] = True
    return kept


def asked_ngrams(work: Work, pairs: pl.DataFrame) -> list[str]:
    """Distinct n-grams: those of the pairs, and every n-gram of an evaluated example; sorted."""
    table = work.frame("example_ngrams", "split", "ngram")
    columns = [pairs["input_ngram"], pairs["output_ngram"], table.filter(pl.col("split") == "evaluate")["ngram"]]
    return pl.concat([c.alias("ngram") for c in columns]).unique().sort().to_list()


@dataclass(frozen=True)
class LongNgrams:
    """The distinct n-grams of one order on one side of an evaluated example, in the order of their places."""

    task: str
    example: str
    order: int
    side: str
    ngrams: tuple[str, ...]


def long_ngrams(work: Work) -> Iterator[LongNgrams]:
    """What contamination asks, by (task, example, order, side); texts shorter than n words ask nothing."""
    table = work.read("examples", "task", "split", "example", "input", "output")
    rows = sorted((r for r in table.to_pylist() if r["split"] == "evaluate"), key=lambda r: (r["task"], r["example"]))
    for row in rows:
        words = {side: segment(row[side])[0] for side in ("input", "output")}
        for order in work.settings["contamination_orders"]:
            for side in ("input", "output"):
                grams = tuple(dict.fromkeys(" ".join(g) for g in ngrams(words[side], order)))
                if grams:
                    yield LongNgrams(row["task"], row["example"], order, side, grams)


# -- one part ---------------------------------------------------------------------------------------------------------
def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part."""
    settings = _settings(study)
    by_labels = {t: {tuple(sorted(p.labels.items())): p for p in inputs[t]} for t in ("vocabulary", "documents")}
    jobs = []
    for part in inputs["words"]:
        beside = {t: (by_labels[t][tuple(sorted(part.labels.items()))],) for t in by_labels}
        jobs.append(Job(part.labels, settings, {"words": (part,), **beside, **{t: inputs[t] for t in ASKED}}))
    return jobs


def _settings(study: Study) -> dict[str, object]:
    return {"contamination_orders": sorted(set(study.counting.contamination_orders)), "seed": study.seed,
            "documents_per_pair": study.counting.documents_per_pair, **analyzer()}  # fmt: skip


def run_scan(work: Work) -> None:
    """Count all that is asked in one words part."""
    pairs = asked_pairs(work)
    plain = asked_ngrams(work, pairs)
    long = sorted({gram for item in long_ngrams(work) for gram in item.ngrams} - set(plain))
    every = plain + long
    counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], every)
    counts = counter.count()
    sources = work.read("documents", "source", "id")
    _write_ngrams(work, plain, counts.occurrences, counts.documents)
    asked = {g for item in long_ngrams(work) for g in item.ngrams}
    _write_long(work, [i for i, g in enumerate(every) if g in asked and counts.documents[i]], every, counts, sources)
    place = {gram: i for i, gram in enumerate(plain)}
    ends = np.array([[place[x], place[y]] for x, y in pairs.select(PAIR).iter_rows()], np.int64).reshape(-1, 2)
    rooms = np.where(pairs["kept"].to_numpy(), work.settings["documents_per_pair"], 0).astype(np.int64)
    found, kept = counter.count_pairs(ends, rooms, _pair_hashes(work, pairs), _document_hashes(work, sources))
    stands = found > 0
    table = pairs.select(PAIR).with_columns(pl.Series("documents", found, pl.Int64)).filter(pl.Series(stands))
    work.write("pair_partials", table.to_arrow())
    names = pairs.select(PAIR)[kept.pair]
    work.write("pair_document_partials", names.with_columns(
        pl.Series("hash", kept.hash, pl.Int64), pl.lit(work.parts("documents")[0].key).alias("part"),
        pl.Series("document", kept.document, pl.Int64), pl.Series("input_word", kept.input_word, pl.Int32),
        pl.Series("output_word", kept.output_word, pl.Int32),
    ).sort(*PAIR, "hash", "document").to_arrow())  # fmt: skip


def _write_ngrams(work: Work, grams: list[str], occurrences: np.ndarray, documents: np.ndarray) -> None:
    here = [i for i in range(len(grams)) if documents[i]]
    work.write("ngram_partials", {
        "ngram": [grams[i] for i in here], "length": [grams[i].count(" ") + 1 for i in here],
        "occurrences": occurrences[here].tolist(), "documents": documents[here].tolist(),
    })  # fmt: skip


def _write_long(work: Work, here: list[int], grams: list[str], counts: object, sources: pa.Table) -> None:
    here = sorted(here, key=lambda i: grams[i])
    first = pa.array([int(counts.first_document[i]) for i in here], pa.int64())  # type: ignore[attr-defined]
    work.write("contamination_partials", {
        "ngram": [grams[i] for i in here], "documents": [int(counts.documents[i]) for i in here],  # type: ignore[attr-defined]
        "source": sources["source"].take(first).to_pylist(), "id": sources["id"].take(first).to_pylist(),
    })  # fmt: skip


def _pair_hashes(work: Work, pairs: pl.DataFrame) -> np.ndarray:
    """64 bits per pair; only those whose documents are kept need them."""
    seed = str(work.settings["seed"])
    return np.array([_hash(seed, x, y) if kept else 0 for x, y, kept in pairs.iter_rows()], np.uint64)


def _document_hashes(work: Work, sources: pa.Table) -> np.ndarray:
    """64 bits per document, from its source and id, so that they do not depend on how the corpus is cut into parts."""
    if not work.settings["documents_per_pair"]:
        return np.zeros(sources.num_rows, np.uint64)
    rows = zip(sources["source"].to_pylist(), sources["id"].to_pylist(), strict=True)
    return np.array([_hash(source, name) for source, name in rows], np.uint64)


def _hash(*texts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\x00".join(texts).encode(), digest_size=8).digest(), "big")


# -- all parts --------------------------------------------------------------------------------------------------------
def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    """One job over the counts of all parts."""
    tables = ("ngram_partials", "pair_partials", "pair_document_partials", "contamination_partials", "documents", *ASKED)
    return [Job({"study": "all"}, _settings(study), {t: inputs[t] for t in tables})] if inputs["words"] else []


def run_sum(work: Work) -> None:
    """Add up; what stands nowhere has count 0 and is there all the same."""
    pairs = asked_pairs(work)
    grams = pl.DataFrame({"ngram": asked_ngrams(work, pairs)}, schema={"ngram": pl.String})
    counted = _total(work, "ngram_partials", ["ngram"], "occurrences", "documents")
    stats = grams.join(counted, on="ngram", how="left").sort("ngram").with_columns(
        pl.col("occurrences", "documents").fill_null(0), (pl.col("ngram").str.count_matches(" ") + 1).alias("length"))  # fmt: skip
    work.write("ngram_stats", stats.to_arrow())
    found = _total(work, "pair_partials", PAIR, "documents")
    counts = pairs.select(PAIR).join(found, on=PAIR, how="left").sort(PAIR).with_columns(pl.col("documents").fill_null(0))
    work.write("pair_counts", counts.to_arrow())
    for rows in read_excerpts(work, _smallest_hashes(work)):
        work.write("pair_documents", rows)
    _write_contamination(work)


def _total(work: Work, table: str, key: list[str], *counts: str) -> pl.DataFrame:
    partials = pl.concat([work.frame_part(p, *key, *counts) for p in work.parts(table)])
    return partials.group_by(key).agg(pl.col(*counts).sum())


def _smallest_hashes(work: Work) -> pl.DataFrame:
    """The k documents of each pair with the smallest hashes, over all parts, with their rank."""
    order = {part.key: i for i, part in enumerate(work.parts("documents"))}
    partials = pl.concat([work.frame_part(p) for p in work.parts("pair_document_partials")])
    placed = partials.with_columns(pl.col("part").replace_strict(order, return_dtype=pl.Int64).alias("place"))
    ranked = placed.sort(*PAIR, "hash", "place", "document").with_columns(
        pl.int_range(pl.len(), dtype=pl.Int32).over(PAIR).alias("rank"))  # fmt: skip
    return ranked.filter(pl.col("rank") < work.settings["documents_per_pair"])


def _write_contamination(work: Work) -> None:
    """For each example, order and side with a shared n-gram: how many, and the first of them with its first document."""
    known: dict[str, tuple[int, str, str]] = {}
    parts: list[Part] = list(work.parts("contamination_partials"))
    for part in parts:
        for row in work.read_part(part).to_pylist():
            before = known.get(row["ngram"])
            known[row["ngram"]] = (row["documents"] + before[0], *before[1:]) if before else (
                row["documents"], row["source"], row["id"])  # fmt: skip
    rows = []
    for item in long_ngrams(work):
        shared = [gram for gram in item.ngrams if gram in known]
        if shared:
            documents, source, name = known[shared[0]]
            rows.append({"task": item.task, "example": item.example, "order": item.order, "side": item.side, "ngram": shared[0],
                         "shared": len(shared), "documents": documents, "source": source, "id": name})  # fmt: skip
    work.write("contamination", {n: [r[n] for r in rows] for n in CONTAMINATION.schema.names})


QUERY = Step(
    "query", version=1, about="documents that hold both n-grams of each pair, and each n-gram; exact, in one pass per part",
    reads=("words", "vocabulary", "documents", *ASKED),
    stages=(
        Stage((NGRAM_PARTIALS, PAIR_PARTIALS, PAIR_DOCUMENT_PARTIALS, CONTAMINATION_PARTIALS), plan_scan, run_scan),
        Stage((NGRAM_STATS, PAIR_COUNTS, PAIR_DOCUMENTS, CONTAMINATION), plan_sum, run_sum),
    ),
)  # fmt: skip
