"""Counts of the task-grams in the corpus: one pass per part counts everything that a study needs of its words.

    C(s_x, s_y)  documents that contain both n-grams, anywhere and in any order      (never min(C(s_x), C(s_y)), docs/method.md §3)
    C(s), df(s)  occurrences, and documents that contain s
    within w     documents with both within w words, counted from the first word of the n-gram that begins first to the last
                 word of the one that ends last; an n-gram paired with itself is one occurrence

In addition: for the pairs of evaluated examples, the k documents with the smallest hash(seed, pair, document), so that the
samples of parts merge into the sample of the corpus; the long n-grams that evaluated examples share with the corpus
(docs/method.md §13); and the counts in the documents with these (`clean_counts.py`). A second stage sums over parts.
"""

from itertools import chain

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import (
    CLEAN_NGRAM_STATS,
    CLEAN_PAIR_COUNTS,
    CONTAMINATED_NGRAM_PARTIALS,
    CONTAMINATED_PAIR_PARTIALS,
    CONTAMINATION,
    CONTAMINATION_PARTIALS,
    NGRAM_PARTIALS,
    NGRAM_STATS,
    PAIR_COUNTS,
    PAIR_DOCUMENT_PARTIALS,
    PAIR_DOCUMENTS,
    PAIR_PARTIALS,
    PAIR_WINDOW_PARTIALS,
    PAIR_WINDOWS,
    Study,
)
from tasks.cost import BENCHMARKS, DEBIAN, OTHER_PAIRS, Cost, Rate, Sizes, interpolated, on_each_corpus
from tasks.ngrams.corpus_parts import same_analyzer, with_same_labels
from tasks.ngrams.query.clean_counts import contaminated, write_clean, write_contaminated
from tasks.ngrams.query.pair_excerpts import read_excerpts
from tasks.ngrams.query.partial_counts import by_key, summed
from tasks.ngrams.query.scan import PAIR, Counts, PairQueries, PartCounter, ngram_rows, places
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus, labelled
from tasks.storage.parts import Part
from tasks.text.words.analyzer import analyzer, words_of

QUERY_TABLES = ("task_grams", "example_ngrams", "examples", "truth")
EXAMPLE = ["task", "example", "order"]
PRODUCTS_AT_ONCE = 4_000_000
VARIANTS = "all"  # all variants share one scan, apart from the study's, so that a new variant leaves the study's parts as they are
PAIRS_ONLY = {"contamination_orders": [], "documents_per_pair": 0, "windows": []}  # for variants only pairs are counted
PARTIALS = (
    NGRAM_PARTIALS,
    PAIR_PARTIALS,
    PAIR_WINDOW_PARTIALS,
    PAIR_DOCUMENT_PARTIALS,
    CONTAMINATION_PARTIALS,
    CONTAMINATED_NGRAM_PARTIALS,
    CONTAMINATED_PAIR_PARTIALS,
)


# -- queries ---------------------------------------------------------------------------------------------------------
def queried_pairs(work: Work) -> pl.DataFrame:
    """Distinct (input_ngram, output_ngram) of all task-grams and planted pairs, sorted; `kept`: of an evaluated example."""
    columns = [work.frame(table, *PAIR) for table in ("task_grams", "truth")]
    pairs = pl.concat(columns).unique().sort(PAIR)
    return pairs.with_columns(pl.Series("kept", _of_evaluated_examples(work, pairs), pl.Boolean))


def _of_evaluated_examples(work: Work, pairs: pl.DataFrame) -> np.ndarray:
    """bool [pairs]: whether the two n-grams are in one evaluated example, under one order. `pairs` are sorted.

    Each example's inputs × outputs are looked up, some examples at a time. A join from pairs to examples would grow with their
    product, because a template's n-gram is in every example and in a pair with every answer.
    """
    names = pl.concat([pairs[c].alias("ngram") for c in PAIR]).unique().sort().to_frame().with_row_index("id")
    x, y = (names["ngram"].search_sorted(pairs[c]).to_numpy().astype(np.int64) for c in PAIR)
    codes, kept = x * names.height + y, np.zeros(pairs.height, bool)
    for part in work.parts("example_ngrams"):
        table = work.frame_part(part, "split", *EXAMPLE, "side", "ngram").filter(pl.col("split") == "evaluate")
        here = table.join(names, on="ngram").with_columns(pl.col("id").cast(pl.Int64))
        inputs, outputs = (here.filter(pl.col("side") == side).select(*EXAMPLE, "id") for side in ("input", "output"))
        sizes = inputs.group_by(EXAMPLE).len("inputs").join(outputs.group_by(EXAMPLE).len("outputs"), on=EXAMPLE)
        products = (pl.col("inputs").cast(pl.Int64) * pl.col("outputs")).cum_sum()
        for some in sizes.with_columns((products // PRODUCTS_AT_ONCE).alias("piece")).partition_by("piece"):
            both = some.select(EXAMPLE).join(inputs, on=EXAMPLE).join(outputs, on=EXAMPLE, suffix="_output")
            wanted = (both["id"] * names.height + both["id_output"]).unique().to_numpy()
            at = np.searchsorted(codes, wanted)
            inside = at < len(codes)
            kept[at[inside][codes[at[inside]] == wanted[inside]]] = True
    return kept


def queried_ngrams(work: Work, pairs: pl.DataFrame) -> pl.Series:
    """Distinct n-grams: those of the pairs, and every n-gram of an evaluated example; sorted."""
    table = work.frame("example_ngrams", "split", "ngram")
    columns = [pairs["input_ngram"], pairs["output_ngram"], table.filter(pl.col("split") == "evaluate")["ngram"]]
    return pl.concat([c.alias("ngram") for c in columns]).unique().sort()


def long_ngrams(work: Work) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The n-grams to check for contamination: the sides of evaluated examples as sorted (text, task, example, side), and their
    n-grams as (text, order, ngram) in the order of their positions; texts of fewer than n words have none."""
    examples = work.frame("examples", "task", "split", "example", "input", "output").filter(pl.col("split") == "evaluate")
    sides = examples.unpivot(["input", "output"], index=["task", "example"], variable_name="side", value_name="words")
    texts = sides.sort("task", "example", "side").with_row_index("text")
    words = [words_of(text) for text in texts["words"]]
    numbers = pl.Series(np.repeat(np.arange(len(words)), [len(w) for w in words]), dtype=pl.UInt32)
    every = pl.DataFrame({"text": numbers, "word": pl.Series(list(chain.from_iterable(words)), dtype=pl.String)})
    frames = [pl.DataFrame(schema={"text": pl.UInt32, "order": pl.Int32, "ngram": pl.String})]
    for order in work.settings["contamination_orders"]:
        gram = pl.concat_str([pl.col("word").shift(-i) for i in range(order)], separator=" ")
        inside = pl.col("text") == pl.col("text").shift(1 - order)
        frames.append(every.select("text", pl.lit(order, pl.Int32).alias("order"), gram.alias("ngram")).filter(inside))
    return texts.drop("words"), pl.concat(frames)


# -- one part ---------------------------------------------------------------------------------------------------------
def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part, and another one if the study has variants."""
    of_variants, inputs = _of_variants(inputs["task_grams"]), _without_variants(inputs)
    settings, words = _settings(study), inputs["words"]
    matching = (with_same_labels(words, inputs[table]) for table in ("vocabulary", "documents"))
    jobs = []
    for part, vocabulary, documents in zip(words, *matching, strict=True):
        given = {"words": (part,), "vocabulary": (vocabulary,), "documents": (documents,), **{t: inputs[t] for t in QUERY_TABLES}}
        jobs.append(Job(part.labels, settings, given, memory=study.counting.memory_bytes))
        if of_variants:
            given = given | {t: () for t in QUERY_TABLES} | {"task_grams": of_variants}
            labels = labelled(part.labels, VARIANTS)
            jobs.append(Job(labels, settings | PAIRS_ONLY, given, memory=study.counting.memory_bytes))
    return jobs


def _of_variants(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(p for p in parts if p.variant)


def _without_variants(inputs: Inputs) -> dict[str, tuple[Part, ...]]:
    return {table: tuple(p for p in parts if not p.variant) for table, parts in inputs.items()}


def _settings(study: Study) -> dict[str, object]:
    return {
        "contamination_orders": sorted(set(study.counting.contamination_orders)),
        "seed": study.seed,
        "documents_per_pair": study.counting.documents_per_pair,
        "windows": sorted(set(study.counting.windows)),
        **analyzer(),
    }


def run_scan(work: Work) -> None:
    """Count everything in one words part, in one pass."""
    same_analyzer(work, *work.parts("task_grams"), *work.parts("example_ngrams"))
    pairs = queried_pairs(work)
    plain = queried_ngrams(work, pairs)
    texts, of_texts = long_ngrams(work)
    long = of_texts["ngram"].unique(maintain_order=True)
    every = pl.concat([plain, long.filter(~long.is_in(plain.implode()))])
    sources = work.frame("documents", "source", "id")
    ends, widths = places(plain, pairs), tuple(work.settings["windows"])
    rooms = np.where(pairs["kept"].to_numpy(), work.settings["documents_per_pair"], 0).astype(np.int64)
    hashes = _pair_hashes(work.settings["seed"], plain, ends), _document_hashes(sources)
    counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], every)
    least = min(work.settings["contamination_orders"], default=0)
    counts = counter.count(PairQueries(ends, rooms, *hashes, widths, least))
    work.write("ngram_partials", ngram_rows(plain, counts).to_arrow())
    _write_long(work, every, long, counts, sources)
    together = pairs.select(PAIR).with_columns(pl.Series("documents", counts.pairs, pl.Int64))
    work.write("pair_partials", together.filter(pl.col("documents") > 0).to_arrow())
    work.write("pair_window_partials", _window_rows(pairs, widths, counts.windows).to_arrow())
    kept = counts.kept
    work.write(
        "pair_document_partials",
        pairs.select(PAIR)[kept.pair]
        .with_columns(
            pl.Series("hash", kept.hash, pl.Int64),
            pl.lit(work.parts("documents")[0].key).alias("part"),
            pl.Series("document", kept.document, pl.Int64),
            pl.Series("input_word", kept.input_word, pl.Int32),
            pl.Series("output_word", kept.output_word, pl.Int32),
        )
        .sort(*PAIR, "hash", "document")
        .to_arrow(),
    )
    write_contaminated(work, pairs, contaminated(texts, of_texts, every, counts, least))


def _window_rows(pairs: pl.DataFrame, widths: tuple[int, ...], windows: np.ndarray) -> pl.DataFrame:
    """(input_ngram, output_ngram, window, documents) where documents > 0, sorted."""
    at, width = np.nonzero(windows)
    return pairs.select(PAIR)[at].with_columns(
        pl.Series("window", np.array(widths, np.int32)[width], pl.Int32), pl.Series("documents", windows[at, width], pl.Int64)
    )


def _write_long(work: Work, every: pl.Series, long: pl.Series, counts: Counts, sources: pl.DataFrame) -> None:
    """Write the long n-grams that occur in the part, with the first document that contains them."""
    table = pl.DataFrame({"ngram": every, "documents": counts.documents, "first": counts.first_document})
    here = table.filter(pl.col("documents") > 0).join(long.to_frame("ngram"), on="ngram", how="semi").sort("ngram")
    work.write(
        "contamination_partials",
        pl.concat([here.select("ngram", "documents"), sources[here["first"]]], how="horizontal").to_arrow(),
    )


def _hashes(texts: pl.Series) -> np.ndarray:
    """64 bits of each text's UTF-8."""
    from tasks.ngrams.kernels.ngram_kernels import hash_texts

    column = pa.array(texts.to_arrow()).cast(pa.large_string())
    if not len(column):
        return np.empty(0, np.uint64)
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return hash_texts(np.frombuffer(data or b"", np.uint8), bounds.astype(np.int64))


def _pair_hashes(seed: int, ngrams: pl.Series, ends: np.ndarray) -> np.ndarray:
    """64 bits of (seed, s_x, s_y) for each pair."""
    from tasks.ngrams.kernels.ngram_kernels import fold

    texts = _hashes(ngrams)
    return fold(fold(np.full(len(ends), seed, np.uint64), texts[ends[:, 0]]), texts[ends[:, 1]])


def _document_hashes(sources: pl.DataFrame) -> np.ndarray:
    """64 bits per document, from its source and id, so that they do not depend on the division into parts."""
    from tasks.ngrams.kernels.ngram_kernels import fold

    return fold(_hashes(sources["source"]), _hashes(sources["id"]))


# -- all parts --------------------------------------------------------------------------------------------------------
def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    """One job over the counts of all parts."""
    tables = (*(contract.name for contract in PARTIALS), "documents", *QUERY_TABLES)
    settings, of_variants, of_study = _settings(study), _of_variants(inputs["task_grams"]), _without_variants(inputs)
    given = {t: of_study[t] for t in tables}
    jobs = [Job({"study": "all"}, settings, given, memory=study.counting.memory_bytes)]
    if of_variants:
        partials = {t: _of_variants(inputs[t]) for t in tables if t.endswith("partials")}
        given = {t: () for t in tables} | partials | {"task_grams": of_variants}
        labels = labelled({"study": "all"}, VARIANTS)
        jobs.append(Job(labels, settings | PAIRS_ONLY, given, memory=study.counting.memory_bytes))
    return jobs if inputs["words"] else []


def run_sum(work: Work) -> None:
    """Sum over parts; n-grams and pairs that do not occur get rows with count 0."""
    pairs = queried_pairs(work)
    grams = queried_ngrams(work, pairs).to_frame("ngram")
    totals = summed(work, "ngram_partials", ["ngram"], "occurrences", "documents")
    stats = (
        grams.join(totals, on="ngram", how="left")
        .sort("ngram")
        .with_columns(pl.col("occurrences", "documents").fill_null(0), (pl.col("ngram").str.count_matches(" ") + 1).alias("length"))
    )
    work.write("ngram_stats", stats.to_arrow())
    together = summed(work, "pair_partials", PAIR, "documents")
    counts = pairs.select(PAIR).join(together, on=PAIR, how="left").sort(PAIR).with_columns(pl.col("documents").fill_null(0))
    work.write("pair_counts", counts.to_arrow())
    within = summed(work, "pair_window_partials", [*PAIR, "window"], "documents").sort(*PAIR, "window")
    work.write("pair_windows", within.to_arrow())
    for rows in read_excerpts(work, _smallest_hashes(work)):
        work.write("pair_documents", rows)
    _write_contamination(work)
    write_clean(work, stats, counts)


def _smallest_hashes(work: Work) -> pl.DataFrame:
    """The k documents of each pair with the smallest hashes, over all parts, with their rank."""
    order = {part.key: i for i, part in enumerate(work.parts("documents"))}
    columns = ("hash", "part", "document", "input_word", "output_word")
    chosen = [pl.DataFrame(PAIR_DOCUMENT_PARTIALS.schema.empty_table()).with_columns(pl.lit(0, pl.Int32).alias("rank"))]
    for rows in by_key(work, "pair_document_partials", PAIR, *columns):
        placed = rows.with_columns(pl.col("part").replace_strict(order, return_dtype=pl.Int64).alias("place"))
        ranked = placed.sort(*PAIR, "hash", "place", "document").with_columns(
            pl.int_range(pl.len(), dtype=pl.Int32).over(PAIR).alias("rank")
        )
        chosen.append(ranked.filter(pl.col("rank") < work.settings["documents_per_pair"]).select(chosen[0].columns))
    return pl.concat(chosen)


def _write_contamination(work: Work) -> None:
    """For each example, order and side with a shared n-gram: how many, and the first of them with its first document."""
    in_corpus = (
        work.frame("contamination_partials")
        .group_by("ngram", maintain_order=True)
        .agg(pl.col("documents").sum(), pl.col("source", "id").first())
    )
    texts, of_texts = long_ngrams(work)
    shared = (
        of_texts.join(in_corpus, on="ngram", maintain_order="left")
        .group_by("text", "order", maintain_order=True)
        .agg(pl.col("ngram").n_unique().cast(pl.Int64).alias("shared"), pl.col("ngram", "documents", "source", "id").first())
        .join(texts, on="text")
        .sort(*EXAMPLE, "side")
    )
    work.write("contamination", shared.select(CONTAMINATION.schema.names).to_arrow())


RATES = {
    "query, 1k pairs": Rate(50.5e6, "words /s", f"{BENCHMARKS}: exact document pairs"),
    "query, 100k pairs": Rate(14.4e6, "words /s", f"{BENCHMARKS}: exact document pairs"),
    "query, 1M pairs": Rate(5.89e6, "words /s", f"{BENCHMARKS}: exact document pairs"),
    "prepare pairs": Rate(3.3e-6, "s for each pair and part", DEBIAN),
    "sum pairs": Rate(8.2e-6, "s for each pair", DEBIAN),
    "bytes of a partial count": Rate(0.63, "bytes for a pair and part", DEBIAN),
    "bytes of a pair count": Rate(19.0, "bytes for a pair, its n-grams and documents", DEBIAN),
}
SPEEDS = tuple(zip((1e3, 1e5, 1e6), (RATES[f"query, {pairs} pairs"] for pairs in ("1k", "100k", "1M")), strict=True))


def cost(sizes: Sizes) -> Cost:
    """A scan of every part for the study's pairs, another for those of all its variants together, and the sum of each."""
    c, pairs, variants = sizes.corpus, sum(t.pairs for t in sizes.tasks), len(sizes.study.variants)
    scans = [pairs, pairs * variants] if variants else [pairs]
    scan = sum(c.words / interpolated(n, SPEEDS) + c.parts * n * RATES["prepare pairs"] for n in scans)
    total = sum(scans) * (RATES["sum pairs"] + c.parts * 0.2e-6)
    return Cost(
        parts=len(scans) * (c.parts + 1) if c.parts else 0,
        work=len(scans) * c.words,
        unit="words",
        read=len(scans) * c.stored_words,
        written=sum(scans) * (RATES["bytes of a pair count"] + c.parts * RATES["bytes of a partial count"]),
        core=scan + total,
        longest=max(total, scan / max(1, c.parts)) / len(scans),
        memory=0.3e9 + 200 * max(scans),
        guesses=(*c.guesses, OTHER_PAIRS, *c.many_parts),
        rates=RATES,
    )


QUERY = Step(
    "query",
    version=3,
    about="exact counts of documents that contain each n-gram, and both n-grams of each pair, in one pass per part",
    reads=("words", "vocabulary", "documents", *QUERY_TABLES),
    stages=(
        Stage(PARTIALS, for_each_corpus(plan_scan, shared=QUERY_TABLES), run_scan),
        Stage(
            (NGRAM_STATS, PAIR_COUNTS, PAIR_WINDOWS, PAIR_DOCUMENTS, CONTAMINATION, CLEAN_NGRAM_STATS, CLEAN_PAIR_COUNTS),
            for_each_corpus(plan_sum, shared=QUERY_TABLES),
            run_sum,
        ),
    ),
    variants=True,
    cost=on_each_corpus(cost),
)
