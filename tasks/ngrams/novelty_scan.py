"""Novelty: how many n-grams and pairs of generated text are absent from the corpus (docs/method.md §10; Merrill et al. 2024).

For each generation, each reference, and held-out text cut to the lengths of the references: its distinct n-grams, n = 1, 2, …,
and how many of them are absent from the corpus; and the pairs (s_x, s_y′) of the example's input with the model's output,
aligned by the study's encoder above the lowest γ, and how many of them co-occur in no document.

Held-out documents that equal a document of the corpus are found first, and left out. Then the queries of each generations part
are written. Then each part of the corpus is scanned once for all models and tasks, with the kernels of `query`, because a scan's
time depends on the corpus far more than on the number of queries. A new model adds its queries and causes one more scan, only in
this step.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas import CONTRACTS, Study
from tasks.cost import BENCHMARKS, DEBIAN, OTHER_PAIRS, WORD, Cost, Rate, Sizes, bytes_per_token, interpolated
from tasks.ngrams.corpus_parts import id_batches, same_analyzer, with_same_labels
from tasks.ngrams.index import ABSENT
from tasks.ngrams.query import query as count_pairs
from tasks.ngrams.query.scan import PAIR, PairQueries, PartCounter, places
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.source_files import outside_file
from tasks.storage.store import Part, digest
from tasks.text.encoders import ngram_encoders
from tasks.text.encoders.association import Association
from tasks.text.split import seeded_hash
from tasks.text.words.analyzer import analyzer, words_of
from tasks.text.words.word_ngrams import Side, kept_ngrams, ngrams

TEXT = ["model", "checkpoint", "task", "example"]
REFERENCE, HELD_OUT = "reference", "held_out"
FIRST_WORDS = "^((?:[^ ]+ ){0,7}[^ ]+)"  # of an n-gram of a pair: if they are absent, so is the pair
SCANNED = ("words", "vocabulary", "generation_ngrams", "generation_pairs")
_fitted: dict[str, Association] = {}
TEXTS_AT_ONCE = 256


# -- held-out documents that the corpus contains ---------------------------------------------------------------------
def plan_repeats(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part, where there is held-out text to compare with."""
    held_out = inputs["held_out_documents"]
    words = inputs["words"] if held_out and inputs["generations"] else ()
    return _job_of_each_part(words, inputs, {"held_out_documents": held_out})


def _job_of_each_part(words: Sequence[Part], inputs: Inputs, shared: Inputs, **options: Any) -> list[Job]:
    """One job per words part, with its vocabulary and the tables that they all read."""
    pairs = zip(words, with_same_labels(words, inputs["vocabulary"]), strict=True)
    return [Job(part.labels, analyzer(), {"words": (part,), "vocabulary": (v,), **shared}, **options) for part, v in pairs]


def run_repeats(work: Work) -> None:
    """Write which held-out documents equal one of this part: as many words, and the same ones as far as the text is kept."""
    part = work.parts("words")[0]
    same_analyzer(work, part)
    vocabulary = work.frame("vocabulary", "id", "word")
    number_of = dict(zip(vocabulary["word"], vocabulary["id"], strict=True))
    wanted: dict[int, dict[bytes, list[int]]] = {}  # by the number of words; by the ids of those that are kept
    for number, (length, text) in enumerate(work.frame("held_out_documents", "words", "text").iter_rows()):
        kept_words = [number_of.get(word, -1) for word in words_of(text)]
        if min(kept_words, default=0) >= 0:
            wanted.setdefault(length, {}).setdefault(np.array(kept_words, np.int32).tobytes(), []).append(number)
    kept = {length: {len(ids) for ids in of_length} for length, of_length in wanted.items()}
    present: set[int] = set()
    for ids, offsets, _ in id_batches(work, part, vocabulary.height):
        content, lengths = ids.astype(np.int32).tobytes(), np.diff(offsets)
        for document in np.flatnonzero(np.isin(lengths, list(wanted))):
            length, begin = int(lengths[document]), 4 * int(offsets[document])
            for size in kept[length]:
                present.update(wanted[length].get(content[begin : begin + size], ()))
    work.write("held_out_repeats", {"number": sorted(present)})


# -- queries ---------------------------------------------------------------------------------------------------------
def plan_queries(study: Study, inputs: Inputs) -> list[Job]:
    """One job per generations part; and per task with generations one for its references and one for held-out text."""
    encoder = ngram_encoders.encoder_settings(study.encoder, study.data)
    files = tuple(outside_file(path) for path in ngram_encoders.encoder_files(encoder))
    jobs = []
    for task in study.tasks:
        tables = ("examples", "example_ngrams", "generations")
        parts = {t: tuple(p for p in inputs[t] if p.labels["task"] == task.name) for t in tables}
        generations = parts.pop("generations")
        languages = task.languages if task.family == "translation" and len(task.languages) == 2 else ("en", "en")
        settings = {name: getattr(task, name) for name in ("family", "whole_answer", "lowest_gamma")} | analyzer()
        settings |= {"orders": sorted(set(task.orders)), "novelty_orders": sorted(set(study.counting.novelty_orders))}
        settings |= {"stop_words": study.counting.stop_words, "language": languages[1], "encoder": encoder}
        jobs += [Job(part.labels, settings, {"generations": (part,), **parts}, files) for part in generations]
        labels = {"checkpoint": "-1", "task": task.name}
        if generations:
            jobs.append(Job({"model": REFERENCE, **labels}, settings, parts, files))
        if generations and inputs["held_out_documents"]:
            held_out = {table: inputs[table] for table in ("held_out_documents", "held_out_repeats")}
            without_encoder = {n: v for n, v in settings.items() if n != "encoder"} | {"seed": study.seed}
            jobs.append(Job({"model": HELD_OUT, **labels}, without_encoder, {"examples": parts["examples"], **held_out}))
    return jobs


def run_queries(work: Work) -> None:
    inputs: dict[str, dict[int, list[str]]] = {}
    if work.labels["model"] == HELD_OUT:
        texts, encoder = list(held_out_texts(work)), None
    else:
        texts = sorted(_texts(work))
        inputs, encoder = _inputs(work), _encoder(work)
    rows: list[tuple[Any, ...]] = []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        batch = texts[begin : begin + TEXTS_AT_ONCE]
        for example, words in batch:
            for order in work.settings["novelty_orders"]:
                rows += [(example, "ngram", order, "", " ".join(g)) for g in sorted(set(ngrams(words, order)))]
        if encoder is not None:
            rows += _aligned(work, encoder, [(e, inputs.get(e, {}), words) for e, words in batch])
    rows.sort()
    of_text = (work.labels["model"], int(work.labels["checkpoint"]), work.labels["task"])
    columns = zip(*(of_text + row for row in rows), strict=True) if rows else [()] * 8
    work.write("generation_queries", dict(zip(CONTRACTS["generation_queries"].schema.names, columns, strict=True)))


def _encoder(work: Work) -> ngram_encoders.NgramEncoder:
    """The task's encoder. The last association encoder is cached, for the jobs of a task's models follow each other."""
    options = {name: work.settings[name] for name in ("encoder", "family", "whole_answer")}
    key = digest([options, [part.key for part in work.parts("examples")]])
    if key not in _fitted:
        examples = work.read("examples", "split", "input", "output", "aliases")
        pairs = ngram_encoders.mining_pairs(examples, options["family"], options["whole_answer"])
        _fitted.clear()
        encoder = ngram_encoders.fit(options["encoder"], pairs)
        if not isinstance(encoder, Association):
            return encoder  # a language model is too large to keep in memory during other jobs
        _fitted[key] = encoder
    return _fitted[key]


def _texts(work: Work) -> Iterator[tuple[str, list[str]]]:
    """(example, words) of every generation of the part, or of every evaluated reference."""
    family = work.settings["family"]
    if work.labels["model"] != REFERENCE:
        for row in work.read("generations", "example", "text", "stopped").to_pylist():
            words, dropped = ngram_encoders.generated_words(family, row["text"], row["stopped"])
            work.add("last words dropped", dropped)
            yield row["example"], words
        return
    for row in work.read("examples", "split", "example", "output").to_pylist():
        if row["split"] == "evaluate":
            yield row["example"], words_of(ngram_encoders.ngram_text(family, row["output"]))


def held_out_texts(work: Work) -> Iterator[tuple[str, list[str]]]:
    """(example, words): for each evaluated reference a passage of held-out text of its length, in its language if there is any.
    Document and position are drawn by a hash of the example's name. Sums: references longer than any held-out document, for which
    there is no passage. Documents that equal one of the corpus are no held-out text."""
    table = work.frame("held_out_documents", "language", "text").with_row_index("number")
    table = table.filter(~pl.col("number").is_in(work.frame("held_out_repeats")["number"].implode()))
    in_language = table.filter(pl.col("language") == work.settings["language"])
    documents = [words_of(text) for text in (in_language if in_language.height else table)["text"]]
    examples = work.frame("examples", "task", "split", "example", "output").filter(split="evaluate").sort("example")
    for task, example, output in examples.select("task", "example", "output").iter_rows():
        length = len(words_of(ngram_encoders.ngram_text(work.settings["family"], output)))
        enough = [words for words in documents if len(words) >= length]
        if not enough:
            work.add("references longer than any held-out document")
            continue
        drawn = seeded_hash(work.settings["seed"], "held out", task, example)
        words = enough[drawn % len(enough)]
        first = drawn // len(enough) % (len(words) - length + 1)
        yield example, list(words[first : first + length])


def _inputs(work: Work) -> dict[str, dict[int, list[str]]]:
    table = work.frame("example_ngrams", "split", "example", "side", "order", "ngram").filter(split="evaluate", side="input")
    inputs: dict[str, dict[int, list[str]]] = {}
    for example, order, ngram in table.select("example", "order", "ngram").iter_rows():
        inputs.setdefault(example, {}).setdefault(order, []).append(ngram)
    return inputs


def _aligned(
    work: Work, encoder: ngram_encoders.NgramEncoder, texts: Sequence[tuple[str, dict[int, list[str]], Sequence[str]]]
) -> Iterator[tuple[str, str, int, str, str]]:
    """(example, "pair", n, s_x, s_y′) with cosine above the lowest γ, neither containing the other, as in `align`. texts: (example,
    its input n-grams by order, words of its text). Each distinct n-gram is encoded once."""
    every = ((e, n, inputs.get(n, []), _outputs(work, words, n)) for e, inputs, words in texts for n in work.settings["orders"])
    candidates = [c for c in every if c[2] and c[3]]
    of_input = _vectors(encoder, "input", [c[2] for c in candidates])
    of_output = _vectors(encoder, "output", [c[3] for c in candidates])
    for example, order, sources, targets in candidates:
        cosines = np.stack([of_input[x] for x in sources]) @ np.stack([of_output[y] for y in targets]).T
        for i, j in np.argwhere(cosines > work.settings["lowest_gamma"]):
            x, y = sources[i], targets[j]
            if f" {x} " not in f" {y} " and f" {y} " not in f" {x} ":
                yield example, "pair", order, x, y


def _vectors(encoder: ngram_encoders.NgramEncoder, side: Side, lists: Sequence[Sequence[str]]) -> dict[str, NDArray[np.float32]]:
    ngrams = sorted({ngram for one in lists for ngram in one})
    return dict(zip(ngrams, encoder.encode(side, ngrams), strict=True))


def _outputs(work: Work, words: Sequence[str], order: int) -> list[str]:
    """The output n-grams: the whole text if the task takes whole answers, else those that the stop-word policy keeps."""
    if work.settings["whole_answer"]:
        return [" ".join(words)] if words else []
    return [" ".join(g) for g in sorted(kept_ngrams(words, order, work.settings["stop_words"], work.settings["language"]))]


# -- distinct queries ---------------------------------------------------------------------------------------------------
def plan_distinct(study: Study, inputs: Inputs) -> list[Job]:
    given = {"generation_queries": inputs["generation_queries"]}
    return [Job({"study": "all"}, {}, given, cost=10.0)] if inputs["generation_queries"] else []


def run_distinct(work: Work) -> None:
    """Write the distinct n-grams, with their beginnings and words, and the distinct pairs; sorted."""
    same_analyzer(work, *work.parts("generation_queries"))
    empty = pl.DataFrame(schema=dict.fromkeys(PAIR, pl.String))
    grams, pairs = empty.select(ngram="output_ngram"), empty
    for part in work.parts("generation_queries"):
        queries = work.frame(part, "kind", *PAIR)
        grams = pl.concat([grams, queries.filter(kind="ngram").select(ngram="output_ngram")]).unique()
        pairs = pl.concat([pairs, queries.filter(kind="pair").select(PAIR)]).unique().sort(PAIR)
    begins = [pairs.select(ngram=pl.col(c).str.extract(FIRST_WORDS)) for c in PAIR]
    grams = with_beginnings(pl.concat([grams, *begins]).unique())
    work.write("generation_ngrams", grams.to_arrow())
    rows = {c.replace("ngram", "row"): grams["ngram"].search_sorted(b["ngram"]) for c, b in zip(PAIR, begins, strict=True)}
    work.write("generation_pairs", pairs.with_columns(**rows).to_arrow())


def with_beginnings(ngrams: pl.DataFrame) -> pl.DataFrame:
    """(ngram, length, last) of distinct n-grams, their beginnings and their words, sorted: a trie in preorder ("a", "a b", "a b c",
    "a d", …). length: words; last: the number of the last word among the rows of one word."""
    ngram, every, missing = pl.col("ngram"), ngrams, ngrams
    while missing.height:
        longer = missing.filter(ngram.str.contains(" ", literal=True))
        shorter = pl.concat(longer.select(ngram.str.extract(pattern)) for pattern in ("^(.*) ", "([^ ]+)$"))
        missing = shorter.unique().join(every, on="ngram", how="anti")
        every = pl.concat([every, missing])
    every = every.sort("ngram").with_columns(length=ngram.str.count_matches(" ", literal=True) + 1)
    words = every.filter(length=1)["ngram"].to_arrow()
    last = pc.index_in(every["ngram"].str.extract("([^ ]+)$").to_arrow(), value_set=words)
    return every.with_columns(last=pl.Series(last, dtype=pl.Int32))


# -- one corpus part --------------------------------------------------------------------------------------------------
def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    queries = {t: inputs[t] for t in ("generation_ngrams", "generation_pairs")}
    words = inputs["words"] if queries["generation_ngrams"] else ()
    return _job_of_each_part(words, inputs, queries, memory=study.counting.memory_bytes)


def run_scan(work: Work) -> None:
    """Write which of the n-grams and pairs occur in one words part. First n-grams, as many at a time as fit in memory; then those
    pairs whose n-grams may be in one document."""
    (words,), (vocabulary,), (grams,), (pairs,) = (work.parts(table) for table in SCANNED)
    present, passes = _present_rows(work, words, vocabulary, work.frame(grams))
    work.write("generation_partials", {"number": np.flatnonzero(present)})
    rows = work.frame(pairs, "input_row", "output_row").to_numpy()
    possible = np.flatnonzero(present[rows].all(axis=1))
    some = work.frame(pairs, *PAIR)[possible]
    every = pl.concat([some[c].alias("ngram") for c in PAIR]).unique().sort()
    counts = PartCounter(work, words, vocabulary, every).count(PairQueries(places(every, some)))
    work.write("generation_pair_partials", {"number": possible[np.flatnonzero(counts.pairs)]})
    work.passes = max(passes, counts.batches)


def _present_rows(work: Work, words: Part, vocabulary: Part, ngrams: pl.DataFrame) -> tuple[np.ndarray, int]:
    """(whether each row of `with_beginnings` occurs in the part, how often the part was read). An n-gram is absent if its beginning
    is. N-grams with the same first word are looked up together, with as many others as fit in the job's memory."""
    from tasks.ngrams.kernels.scan_kernels import BYTES, mark_present, trie_in_preorder

    same_analyzer(work, words, vocabulary)
    lengths, last = (ngrams[name].to_numpy(writable=True) for name in ("length", "last"))
    begins = np.flatnonzero(lengths == 1)
    first_words = ngrams["ngram"].gather(begins).to_arrow()
    numbers = pc.index_in(work.read(vocabulary, "word")["word"].cast(first_words.type), value_set=first_words)
    number_of = pc.fill_null(numbers, ABSENT).to_numpy()
    present, slices = np.zeros(len(lengths), bool), begins * BYTES // work.job.memory
    cuts = [*begins[np.flatnonzero(np.diff(slices, prepend=-1))].tolist(), len(lengths)]
    for low, high in zip(cuts, cuts[1:], strict=False):
        trie = trie_in_preorder(lengths[low:high], last[low:high], len(begins))
        for ids, offsets, _ in id_batches(work, words, len(number_of)):
            renumbered = number_of[ids]
            renumbered.flags.writeable = False  # as ids of parts are: a kernel is compiled for one kind only
            mark_present(renumbered, offsets, trie, present[low:high])
    return present, max(1, len(cuts) - 1)


# -- all corpus parts -------------------------------------------------------------------------------------------------
def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    """One job: n-grams and pairs that are in no part are novel."""
    tables = ("queries", "ngrams", "pairs", "partials", "pair_partials")
    given = {f"generation_{table}": inputs[f"generation_{table}"] for table in tables}
    return [Job({"study": "all"}, {}, given, cost=10.0)] if inputs["generation_queries"] else []


def run_sum(work: Work) -> None:
    """For each text: how many n-grams and pairs of each order there are, and how many of them are in no part."""
    grams = _present(work, "generation_ngrams", "generation_partials").rename({"ngram": "output_ngram"})
    pairs = _present(work, "generation_pairs", "generation_pair_partials")
    key, rows = [*TEXT, "kind", "order"], []
    for part in work.parts("generation_queries"):
        queries = work.frame(part)
        of_texts, of_pairs = (queries.filter(kind=kind) for kind in ("ngram", "pair"))
        present = grams.join(of_texts.select("output_ngram").unique(), on="output_ngram", how="semi")
        old = pl.concat([of_texts.join(present, on="output_ngram", how="semi"), of_pairs.join(pairs, on=PAIR, how="semi")])
        total = queries.group_by(key).agg(pl.len().cast(pl.Int64).alias("total"))
        counts = total.join(old.group_by(key).agg(pl.len().cast(pl.Int64).alias("old")), on=key, how="left")
        rows.append(counts.select(*key, "total", novel=pl.col("total") - pl.col("old").fill_null(0)))
    work.write("generation_counts", pl.concat(rows).sort(key).to_arrow())


def _present(work: Work, queries: str, partials: str) -> pl.DataFrame:
    table = work.frame(queries)
    present = np.zeros(table.height, bool)
    for part in work.parts(partials):
        present[work.read(part, "number").column("number").to_numpy()] = True
    return table.filter(pl.Series(present))


RATES = {
    "novelty, 1k n-grams": Rate(180e6, "words /s", f"{BENCHMARKS}: novelty"),
    "novelty, 100k n-grams": Rate(55e6, "words /s", f"{BENCHMARKS}: novelty"),
    "novelty, 3M n-grams": Rate(17e6, "words /s", f"{BENCHMARKS}: novelty"),
    "novelty, 40M n-grams": Rate(5e6, "words /s", f"{BENCHMARKS}: novelty"),
    "prepare n-grams": Rate(0.35e-6, "s for each n-gram and part", f"{BENCHMARKS}: novelty"),
    "novelty texts": Rate(0.7, "s for each model and task", DEBIAN),
    "sum novelty": Rate(2.5e-6, "s for each n-gram asked, before and after the scan", DEBIAN),
    "distinct n-grams": Rate(0.5, "of the n-grams and pairs of texts are distinct", DEBIAN),
    "possible pairs": Rate(0.1, "of the pairs have n-grams that are both in a part", "a tenth", guess=True),
    "bytes of a question": Rate(9.0, "bytes for an n-gram asked", DEBIAN),
    "bytes of novelty": Rate(0.5, "bytes for a distinct n-gram and part", DEBIAN),
    "memory of an n-gram": Rate(60.0, "bytes of memory for a distinct n-gram", "docs/how-to.md: what asks more than fits"),
}
SPEEDS = tuple((number, RATES[f"novelty, {n} n-grams"]) for number, n in ((1e3, "1k"), (1e5, "100k"), (3e6, "3M"), (4e7, "40M")))


def cost(sizes: Sizes) -> Cost:
    """The texts of all models, references and held-out text ask each part of the corpus together; then their possible pairs do."""
    c, counting = sizes.corpus, sizes.study.counting
    generated = [t for t in sizes.tasks if t.new_tokens] if sizes.checkpoints and c.parts else []
    if not generated:
        return Cost(unit="words", rates=RATES)
    others = 2 if c.planted or c.held_out else 1  # references, and held-out text
    new_words = sizes.checkpoints * bytes_per_token(sizes.study) / WORD
    words = sum(t.evaluated * (t.new_tokens * new_words + others * t.output_bytes / WORD) for t in generated)
    ngrams = words * len(set(counting.novelty_orders))
    distinct = ngrams * RATES["distinct n-grams"]
    pairs = sum(t.evaluated * t.pairs / max(1, t.mined) for t in generated) * (sizes.checkpoints + 1) * RATES["distinct n-grams"]
    memory = distinct * RATES["memory of an n-gram"]
    passes, possible = max(1, math.ceil(memory / counting.memory_bytes)), pairs * RATES["possible pairs"]
    texts = len(generated) * (sizes.checkpoints + others)
    scan = passes * c.words / interpolated(distinct / passes, SPEEDS) + c.words / interpolated(possible, count_pairs.SPEEDS)
    scan += c.parts * (distinct * RATES["prepare n-grams"] + possible * count_pairs.RATES["prepare pairs"])
    total, often = ngrams * RATES["sum novelty"], passes + 1
    written = ngrams * RATES["bytes of a question"] + c.parts * distinct * RATES["bytes of novelty"]
    far = ("n-grams beyond the forty million that were measured",) if distinct / passes > 4e7 else ()
    guesses = (*c.guesses, OTHER_PAIRS, *RATES["possible pairs"].as_guess(), *far)
    parts = texts + others * c.parts + 2  # with held-out text its repeats are looked for in each part, too
    core, longest = scan + texts * RATES["novelty texts"] + total, max(total, scan / c.parts)
    memory = 0.4e9 + min(memory, counting.memory_bytes) + 100 * distinct
    work, read = often * c.words, often * c.stored_words
    return Cost(parts, work, "words", read, written, core, 0.0, longest, memory, guesses, RATES)


ABOUT = "how much of each generation, of each reference and of held-out text is absent from the corpus"
READS = ("words", "vocabulary", "generations", "examples", "example_ngrams", "held_out_documents")
STAGES = (
    Stage((CONTRACTS["held_out_repeats"],), plan_repeats, run_repeats),
    Stage((CONTRACTS["generation_queries"],), plan_queries, run_queries),
    Stage((CONTRACTS["generation_ngrams"], CONTRACTS["generation_pairs"]), plan_distinct, run_distinct),
    Stage((CONTRACTS["generation_partials"], CONTRACTS["generation_pair_partials"]), plan_scan, run_scan),
    Stage((CONTRACTS["generation_counts"],), plan_sum, run_sum),
)
NOVELTY = Step("novelty", version=4, about=ABOUT, reads=READS, stages=STAGES, cost=cost)
