"""Counts of the task-grams in the corpus: one pass per part counts everything that a study needs of its words.

    C(s_x, s_y)  documents that contain both n-grams, anywhere and in any order      (never min(C(s_x), C(s_y)), docs/method.md §3)
    C(s), df(s)  occurrences, and documents that contain s
    within w     documents with both within w words, counted from the first word of the n-gram that begins first to the last
                 word of the one that ends last; an n-gram paired with itself is one occurrence

In addition: for the pairs of evaluated examples, the k documents with the smallest hash(seed, pair, document), so that the
samples of parts merge into the sample of the corpus; the long n-grams that evaluated examples share with the corpus
(docs/method.md §13). A second stage sums over parts.

A document is contaminated for a task if it contains an n-gram of an evaluated example's input or output, where n is the smallest of
the study's `contamination_orders` (docs/method.md §6c). The pass that counts the task-grams notes these documents; only they are
read again, once per task, and their counts are subtracted, those of pairs and those of n-grams.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import CONTAMINATION, CONTRACTS, PAIR_DOCUMENT_PARTIALS, PAIR_DOCUMENTS, Study
from tasks.cost import BENCHMARKS, DEBIAN, OTHER_PAIRS, Cost, Rate, Sizes, interpolated, on_each_corpus
from tasks.ngrams.corpus_parts import same_analyzer, with_same_labels
from tasks.ngrams.query.partial_counts import by_key, summed
from tasks.ngrams.query.scan import PAIR, Counts, PairQueries, PartCounter, ngram_rows, places
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus, labelled
from tasks.storage.parts import Part
from tasks.text.display import excerpt_around
from tasks.text.words.analyzer import analyzer, segment, words_of

Frame = pl.DataFrame
QUERY_TABLES = ("task_grams", "example_ngrams", "examples", "truth")
EXAMPLE = ["task", "example", "order"]
PRODUCTS_AT_ONCE, ROWS_AT_ONCE = 4_000_000, 20_000
NEAR = 160  # code points between two n-grams that share one piece of an excerpt, at most
VARIANTS = "all"  # all variants share one scan, apart from the study's, so that a new variant leaves the study's parts as they are
PAIRS_ONLY = {"contamination_orders": [], "documents_per_pair": 0, "windows": []}  # for variants only pairs are counted
_PARTIALS = ("ngram", "pair", "pair_window", "pair_document", "contamination", "contaminated_ngram", "contaminated_pair")
PARTIALS = tuple(f"{name}_partials" for name in _PARTIALS)
TOTALS = ("ngram_stats", "pair_counts", "pair_windows", "pair_documents", "contamination", "clean_ngram_stats", "clean_pair_counts")


# -- queries ---------------------------------------------------------------------------------------------------------
def queried_pairs(work: Work) -> pl.DataFrame:
    """Distinct (input_ngram, output_ngram) of all task-grams and planted pairs, sorted; `kept`: of an evaluated example."""
    columns = [work.frame(table, *PAIR) for table in ("task_grams", "truth")]
    pairs = pl.concat(columns).unique().sort(PAIR)
    return pairs.with_columns(pl.Series("kept", _of_evaluated_examples(work, pairs), pl.Boolean))


def _of_evaluated_examples(work: Work, pairs: pl.DataFrame) -> np.ndarray:
    """bool [pairs]: whether the two n-grams are in one evaluated example, under one order. `pairs` are sorted. Each example's
    inputs × outputs are looked up, some examples at a time. A join from pairs to examples would grow with their product, because a
    template's n-gram is in every example and in a pair with every answer."""
    names = pl.concat([pairs[c].alias("ngram") for c in PAIR]).unique().sort().to_frame().with_row_index("id")
    x, y = (names["ngram"].search_sorted(pairs[c]).to_numpy().astype(np.int64) for c in PAIR)
    codes, kept = x * names.height + y, np.zeros(pairs.height, bool)
    for part in work.parts("example_ngrams"):
        table = work.frame(part, "split", *EXAMPLE, "side", "ngram").filter(pl.col("split") == "evaluate")
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
    of_study, of_variants = _by_variant(inputs)
    words, jobs = of_study["words"], []
    matching = (with_same_labels(words, of_study[table]) for table in ("vocabulary", "documents"))
    for part, vocabulary, documents in zip(words, *matching, strict=True):
        given = {"words": (part,), "vocabulary": (vocabulary,), "documents": (documents,), **{t: of_study[t] for t in QUERY_TABLES}}
        jobs += _jobs(study, part.labels, given, {"task_grams": of_variants["task_grams"]})
    return jobs


def _by_variant(inputs: Inputs) -> tuple[dict[str, tuple[Part, ...]], dict[str, tuple[Part, ...]]]:
    of_study = {table: tuple(p for p in parts if not p.variant) for table, parts in inputs.items()}
    return of_study, {table: tuple(p for p in parts if p.variant) for table, parts in inputs.items()}


def _jobs(study: Study, labels: Mapping[str, str], given: Inputs, of_variants: Inputs) -> list[Job]:
    """The job of the study, and that of its variants, which read their own parts and none of the other tables of queries."""
    counting = study.counting
    orders, windows = sorted(set(counting.contamination_orders)), sorted(set(counting.windows))
    settings = {"contamination_orders": orders, "windows": windows, "documents_per_pair": counting.documents_per_pair}
    settings |= {"seed": study.seed, **analyzer()}
    jobs = [Job(labels, settings, given, memory=counting.memory_bytes)]
    if of_variants["task_grams"]:
        given = {**given, **{t: () for t in QUERY_TABLES}, **of_variants}
        jobs.append(Job(labelled(labels, VARIANTS), settings | PAIRS_ONLY, given, memory=counting.memory_bytes))
    return jobs


def run_scan(work: Work) -> None:
    from tasks.ngrams.kernels.ngram_kernels import fold

    same_analyzer(work, *work.parts("task_grams"), *work.parts("example_ngrams"))
    pairs = queried_pairs(work)
    plain = queried_ngrams(work, pairs)
    texts, of_texts = long_ngrams(work)
    long = of_texts["ngram"].unique(maintain_order=True)
    every = pl.concat([plain, long.filter(~long.is_in(plain.implode()))])
    sources = work.frame("documents", "source", "id")
    ends, widths = places(plain, pairs), tuple(work.settings["windows"])
    rooms = np.where(pairs["kept"].to_numpy(), work.settings["documents_per_pair"], 0).astype(np.int64)
    texts_of_pairs, seeds = _hashes(plain)[ends], np.full(len(ends), work.settings["seed"], np.uint64)
    # Of source and id, so that documents' hashes do not depend on the division into parts.
    hashes = fold(fold(seeds, texts_of_pairs[:, 0]), texts_of_pairs[:, 1]), fold(_hashes(sources["source"]), _hashes(sources["id"]))
    counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], every)
    least = min(work.settings["contamination_orders"], default=0)
    counts = counter.count(PairQueries(ends, rooms, *hashes, widths, least))
    work.write("ngram_partials", ngram_rows(plain, counts).to_arrow())
    table = pl.DataFrame({"ngram": every, "documents": counts.documents, "first": counts.first_document})
    here = table.filter(pl.col("documents") > 0).join(long.to_frame("ngram"), on="ngram", how="semi").sort("ngram")
    work.write("contamination_partials", here.select("ngram", "documents").hstack(sources[here["first"]]).to_arrow())
    together = pairs.select(PAIR).with_columns(pl.Series("documents", counts.pairs, pl.Int64))
    work.write("pair_partials", together.filter(pl.col("documents") > 0).to_arrow())
    at, width = np.nonzero(counts.windows)
    near = pl.DataFrame({"window": np.array(widths, np.int32)[width], "documents": counts.windows[at, width]})
    work.write("pair_window_partials", pairs.select(PAIR)[at].hstack(near).to_arrow())
    kept = pairs.select(PAIR)[counts.kept["pair"]].hstack(counts.kept.drop("pair"))
    kept = kept.with_columns(part=pl.lit(work.parts("documents")[0].key)).sort(*PAIR, "hash", "document")
    work.write("pair_document_partials", kept.to_arrow())
    _write_contaminated(work, pairs, _contaminated(texts, of_texts, every, counts, least))


def _hashes(texts: pl.Series) -> np.ndarray:
    from tasks.ngrams.kernels.ngram_kernels import hash_texts

    column = pa.array(texts.to_arrow()).cast(pa.large_string())
    if not len(column):
        return np.empty(0, np.uint64)
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return hash_texts(np.frombuffer(data or b"", np.uint8), bounds.astype(np.int64))


def _contaminated(texts: Frame, of_texts: Frame, queries: pl.Series, counts: Counts, least: int) -> dict[str, np.ndarray]:
    """The contaminated documents of the part by task, increasing. texts (text, task, …) and of_texts (text, order, ngram) are the
    long n-grams; `queries` the n-grams that `counts` is for."""
    tests = of_texts.filter(order=least).join(texts.select("text", "task"), on="text").select("task", "ngram").unique()
    noted = pl.DataFrame({"ngram": queries[counts.noted[:, 0]], "document": counts.noted[:, 1]})
    documents = noted.join(tests, on="ngram").select("task", "document").unique().sort("task", "document")
    return {str(task): rows["document"].to_numpy() for (task,), rows in documents.group_by("task", maintain_order=True)}


def _write_contaminated(work: Work, pairs: Frame, documents: dict[str, np.ndarray]) -> None:
    """Write the counts of each task's pairs in its contaminated documents. `pairs`: queried pairs, and whether they are `kept`.
    Sums: the number of contaminated documents per task."""
    of_evaluated = pairs.filter(pl.col("kept")).select(PAIR)
    for task, numbers in documents.items():
        work.add(f"contaminated documents: {task}", len(numbers))
        mined = work.frame("task_grams", "task", *PAIR).filter(task=task).select(PAIR).unique()
        task_pairs = mined.join(of_evaluated, on=PAIR, how="semi").sort(PAIR)
        grams = pl.concat([task_pairs[c].alias("ngram") for c in PAIR]).unique().sort()
        counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], grams, numbers)
        counts = counter.count(PairQueries(places(grams, task_pairs)))
        of_task = pl.lit(task).alias("task")
        work.write("contaminated_ngram_partials", ngram_rows(grams, counts).with_columns(of_task).to_arrow())
        together = task_pairs.with_columns(of_task, pl.Series("documents", counts.pairs, pl.Int64))
        work.write("contaminated_pair_partials", together.filter(pl.col("documents") > 0).to_arrow())


# -- all parts --------------------------------------------------------------------------------------------------------
def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    of_study, of_variants = _by_variant(inputs)
    given = {table: of_study[table] for table in (*PARTIALS, "documents", *QUERY_TABLES)}
    of_variants = {table: of_variants[table] for table in (*PARTIALS, "task_grams")} | {"documents": ()}
    return _jobs(study, {"study": "all"}, given, of_variants) if inputs["words"] else []


def run_sum(work: Work) -> None:
    """Sum over parts; n-grams and pairs that do not occur get rows with count 0."""
    pairs = queried_pairs(work)
    grams = queried_ngrams(work, pairs).to_frame("ngram")
    totals = summed(work, "ngram_partials", ["ngram"], "occurrences", "documents")
    stats = grams.join(totals, on="ngram", how="left").sort("ngram").with_columns(length=pl.col("ngram").str.count_matches(" ") + 1)
    stats = stats.with_columns(pl.col("occurrences", "documents").fill_null(0))
    work.write("ngram_stats", stats.to_arrow())
    together = summed(work, "pair_partials", PAIR, "documents")
    counts = pairs.select(PAIR).join(together, on=PAIR, how="left").sort(PAIR).with_columns(pl.col("documents").fill_null(0))
    work.write("pair_counts", counts.to_arrow())
    within = summed(work, "pair_window_partials", [*PAIR, "window"], "documents").sort(*PAIR, "window")
    work.write("pair_windows", within.to_arrow())
    _write_excerpts(work, _smallest_hashes(work))
    _write_contamination(work)
    _write_clean(work, stats, counts)


def _smallest_hashes(work: Work) -> pl.DataFrame:
    """The k documents of each pair with the smallest hashes, over all parts, with their rank."""
    order = {part.key: i for i, part in enumerate(work.parts("documents"))}
    columns = ("hash", "part", "document", "input_word", "output_word")
    chosen = [pl.DataFrame(PAIR_DOCUMENT_PARTIALS.schema.empty_table()).with_columns(pl.lit(0, pl.Int32).alias("rank"))]
    for rows in by_key(work, "pair_document_partials", PAIR, *columns):
        placed = rows.with_columns(place=pl.col("part").replace_strict(order, return_dtype=pl.Int64))
        placed = placed.sort(*PAIR, "hash", "place", "document")
        ranked = placed.with_columns(rank=pl.int_range(pl.len(), dtype=pl.Int32).over(PAIR))
        chosen.append(ranked.filter(pl.col("rank") < work.settings["documents_per_pair"]).select(chosen[0].columns))
    return pl.concat(chosen)


def _write_excerpts(work: Work, chosen: pl.DataFrame) -> None:
    """Write pair_documents for `chosen`: pair, rank, part, document, and the position of each n-gram's first word."""
    pieces = [pl.DataFrame(PAIR_DOCUMENTS.schema.empty_table())]
    for part in work.parts("documents"):
        pieces += [pl.DataFrame(rows) for rows in _excerpts_of_part(work, part, chosen.filter(pl.col("part") == part.key))]
    for excerpts in pl.concat(pieces).sort(*PAIR, "rank").iter_slices(ROWS_AT_ONCE):
        work.write("pair_documents", excerpts.to_arrow())


def _excerpts_of_part(work: Work, part: Part, chosen: pl.DataFrame) -> Iterator[pa.Table]:
    """Rows of pair_documents in the order of the documents; each document is segmented once, however many pairs it contains."""
    wanted: dict[int, list[dict[str, Any]]] = {}
    for row in chosen.to_dicts():
        wanted.setdefault(row["document"], []).append(row)
    for batch in work.batches(part, "document", "source", "id", "text") if wanted else ():
        documents = (document for document in batch.to_pylist() if document["document"] in wanted)
        rows = [row for document in documents for row in _rows(wanted[document["document"]], document)]
        yield pa.Table.from_pylist(rows, schema=PAIR_DOCUMENTS.schema)


def _rows(chosen: list[dict[str, Any]], document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    _, starts, ends = segment(document["text"])
    for row in chosen:
        spans = []
        for side in ("input", "output"):
            at, length = row[f"{side}_word"], row[f"{side}_ngram"].count(" ") + 1
            spans.append((starts[at], ends[at + length - 1]))
        excerpt, (x, y) = excerpt_around(document["text"], spans, NEAR)
        of_pair = {column: row[column] for column in (*PAIR, "rank")}
        spans_in_it = {"input_start": x[0], "input_end": x[1], "output_start": y[0], "output_end": y[1]}
        yield of_pair | {"source": document["source"], "id": document["id"], "excerpt": excerpt} | spans_in_it


def _write_contamination(work: Work) -> None:
    """For each example, order and side with a shared n-gram: how many, and the first of them with its first document."""
    partials = work.frame("contamination_partials").group_by("ngram", maintain_order=True)
    in_corpus = partials.agg(pl.col("documents").sum(), pl.col("source", "id").first())
    texts, of_texts = long_ngrams(work)
    shared = of_texts.join(in_corpus, on="ngram", maintain_order="left").group_by("text", "order", maintain_order=True)
    first = pl.col("ngram", "documents", "source", "id").first()
    rows = shared.agg(first, shared=pl.col("ngram").n_unique().cast(pl.Int64)).join(texts, on="text").sort(*EXAMPLE, "side")
    work.write("contamination", rows.select(CONTAMINATION.schema.names).to_arrow())


def _write_clean(work: Work, stats: Frame, counts: Frame) -> None:
    """Write the counts without contaminated documents. stats, counts: rows of ngram_stats and of pair_counts."""
    grams = summed(work, "contaminated_ngram_partials", ["task", "ngram"], "occurrences", "documents")
    differences = ((pl.col(f"{c}_of_all") - pl.col(c)).alias(c) for c in ("documents", "occurrences"))
    clean = grams.join(stats, on="ngram", suffix="_of_all").sort("task", "ngram").select("task", "ngram", "length", *differences)
    work.write("clean_ngram_stats", clean.to_arrow())
    pairs = summed(work, "contaminated_pair_partials", ["task", *PAIR], "documents")
    difference = pl.col("documents_of_all") - pl.col("documents")
    clean = pairs.join(counts, on=PAIR, suffix="_of_all").sort("task", *PAIR).select("task", *PAIR, documents=difference)
    work.write("clean_pair_counts", clean.to_arrow())


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
    total, times = sum(scans) * (RATES["sum pairs"] + c.parts * 0.2e-6), len(scans)
    parts, work, read = times * (c.parts + 1) if c.parts else 0, times * c.words, times * c.stored_words
    written = sum(scans) * (RATES["bytes of a pair count"] + c.parts * RATES["bytes of a partial count"])
    longest, memory = max(total, scan / max(1, c.parts)) / times, 0.3e9 + 200 * max(scans)
    guesses = (*c.guesses, OTHER_PAIRS, *c.many_parts)
    return Cost(parts, work, "words", read, written, scan + total, 0.0, longest, memory, guesses, RATES)


ABOUT = "exact counts of documents that contain each n-gram, and both n-grams of each pair, in one pass per part"
READS = ("words", "vocabulary", "documents", *QUERY_TABLES)
STAGES = tuple(
    Stage(tuple(CONTRACTS[table] for table in tables), for_each_corpus(plan, shared=QUERY_TABLES), run)
    for tables, plan, run in ((PARTIALS, plan_scan, run_scan), (TOTALS, plan_sum, run_sum))
)
QUERY = Step("query", 3, ABOUT, READS, STAGES, variants=True, cost=on_each_corpus(cost))
