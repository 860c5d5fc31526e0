"""How much of what a model says the corpus has never said (docs/method.md §10; Merrill et al. 2024).

For each generation, for each reference beside it, and for held-out text cut to the references' lengths: its distinct n-grams,
n = 1, 2, …, and how many of them are absent from the corpus; and the pairs (s_x, s_y′) of the example's input with the model's
own output, aligned by the study's encoder above the lowest γ, and how many of them no document holds.

What is asked is written down first, per generation part. Then all models and tasks together ask each part of the corpus once,
with the kernels of `query`: a scan waits for the corpus far more than for what is asked of it. A new model adds its questions
and scans once more, and no step before this one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import (
    GENERATION_COUNTS,
    GENERATION_NGRAMS,
    GENERATION_PAIR_PARTIALS,
    GENERATION_PAIRS,
    GENERATION_PARTIALS,
    GENERATION_QUERIES,
    Study,
)
from tasks.ngrams.query.scan import PAIR, PairQueries, PartCounter, places, same_analyzer
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.parts import by_labels
from tasks.storage.source_files import outside_file
from tasks.storage.store import digest
from tasks.text.encoders import ngram_encoders
from tasks.text.encoders.association import Association
from tasks.text.split import seeded_hash
from tasks.text.words.analyzer import analyzer, words_of
from tasks.text.words.word_ngrams import Side, kept_ngrams, ngrams

TEXT = ["model", "checkpoint", "task", "example"]
REFERENCE, HELD_OUT = "reference", "held_out"
ASKED_BYTES = 100  # of an n-gram while it is asked, its text and ids
_learnt: dict[str, Association] = {}
TEXTS_AT_ONCE = 256


# -- what is asked ----------------------------------------------------------------------------------------------------
def plan_queries(study: Study, inputs: Inputs) -> list[Job]:
    """One job per generations part; and for each generated task one for its references, one for held-out text."""
    asked = [p for p in inputs["generations"]]
    encoder = ngram_encoders.encoder_settings(study.encoder, study.data)
    files = tuple(outside_file(path) for path in ngram_encoders.encoder_files(encoder))
    jobs = []
    for task in study.tasks:
        parts = {t: tuple(p for p in inputs[t] if p.labels["task"] == task.name) for t in ("examples", "example_ngrams")}
        languages = task.languages if task.family == "translation" and len(task.languages) == 2 else ("en", "en")
        settings = {
            "family": task.family,
            "whole_answer": task.whole_answer,
            "orders": sorted(set(task.orders)),
            "novelty_orders": sorted(set(study.counting.novelty_orders)),
            "stop_words": study.counting.stop_words,
            "language": languages[1],
            "lowest_gamma": task.lowest_gamma,
            "encoder": encoder,
            **analyzer(),
        }
        own = [p for p in asked if p.labels["task"] == task.name]
        for part in own:
            jobs.append(Job(part.labels, settings, {"generations": (part,), **parts}, files))
        if own:
            jobs.append(Job({"model": REFERENCE, "checkpoint": "-1", "task": task.name}, settings, parts, files))
        if own and inputs["held_out_documents"]:
            held_out = {"examples": parts["examples"], "held_out_documents": inputs["held_out_documents"]}
            jobs.append(
                Job(
                    {"model": HELD_OUT, "checkpoint": "-1", "task": task.name},
                    {n: v for n, v in settings.items() if n != "encoder"} | {"seed": study.seed},
                    held_out,
                )
            )
    return jobs


def run_queries(work: Work) -> None:
    """Write the n-grams and aligned pairs of each text."""
    if work.labels["model"] == HELD_OUT:
        texts = list(held_out_texts(work))
        inputs: dict[str, dict[int, list[str]]] = {}
        encoder = None
    else:
        texts = [(e, words_of(ngram_encoders.ngram_text(work.settings["family"], t))) for e, t in sorted(_texts(work))]
        inputs, encoder = _inputs(work), _encoder(work)
    rows: list[tuple[Any, ...]] = []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        said = texts[begin : begin + TEXTS_AT_ONCE]
        for example, words in said:
            for order in work.settings["novelty_orders"]:
                rows += [(example, "ngram", order, "", " ".join(g)) for g in sorted(set(ngrams(words, order)))]
        if encoder is not None:
            rows += _aligned(work, encoder, [(e, inputs.get(e, {}), words) for e, words in said])
    rows.sort()
    columns = dict(zip(GENERATION_QUERIES.schema.names[3:], zip(*rows, strict=True) if rows else [()] * 5, strict=True))
    labels = {"model": work.labels["model"], "checkpoint": int(work.labels["checkpoint"]), "task": work.labels["task"]}
    same = {name: [value] * len(rows) for name, value in labels.items()}
    work.write("generation_queries", same | {name: list(values) for name, values in columns.items()})


def _encoder(work: Work) -> ngram_encoders.Encoder:
    """The task's encoder. One that is learnt here is kept until another task's is: the jobs of a task's models follow each
    other, and learning is most of what each would do."""
    options = {name: work.settings[name] for name in ("encoder", "family", "whole_answer")}
    key = digest([options, [part.key for part in work.parts("examples")]])
    if key not in _learnt:
        examples = work.read("examples", "split", "input", "output", "aliases")
        mine = ngram_encoders.mining_pairs(examples, options["family"], options["whole_answer"])
        _learnt.clear()
        fitted = ngram_encoders.fit(options["encoder"], mine)
        if not isinstance(fitted, Association):
            return fitted  # a language model is too large to be kept beside other jobs
        _learnt[key] = fitted
    return _learnt[key]


def _texts(work: Work) -> Iterator[tuple[str, str]]:
    """(example, text) of every generation of the part, or of every evaluated reference."""
    if work.labels["model"] != REFERENCE:
        for row in work.read("generations", "example", "text").to_pylist():
            yield row["example"], row["text"]
        return
    for row in work.read("examples", "split", "example", "output").to_pylist():
        if row["split"] == "evaluate":
            yield row["example"], row["output"]


def held_out_texts(work: Work) -> Iterator[tuple[str, list[str]]]:
    """(example, words): for each evaluated reference a stretch of held-out text of its length, in its language if there is some.

    Document and place are seeded, by the example's name. Sums: references longer than any held-out document, which have none.
    """
    table = work.frame("held_out_documents", "language", "text")
    spoken = table.filter(pl.col("language") == work.settings["language"])
    documents = [words_of(text) for text in (spoken if spoken.height else table)["text"]]
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
    """The input n-grams of each evaluated example, by order."""
    table = work.frame("example_ngrams", "split", "example", "side", "order", "ngram")
    found: dict[str, dict[int, list[str]]] = {}
    for example, order, ngram in (
        table.filter((pl.col("split") == "evaluate") & (pl.col("side") == "input"))
        .select("example", "order", "ngram")
        .iter_rows()
    ):
        found.setdefault(example, {}).setdefault(order, []).append(ngram)
    return found


def _aligned(
    work: Work, encoder: ngram_encoders.Encoder, said: Sequence[tuple[str, dict[int, list[str]], Sequence[str]]]
) -> Iterator[tuple[str, str, int, str, str]]:
    """(example, "pair", n, s_x, s_y′) with cosine above the lowest γ, neither containing the other: as `align` pairs a mining
    example. said: (example, its input n-grams by order, words of its text); each distinct n-gram is encoded once."""
    asked = [
        (example, order, inputs.get(order, []), _outputs(work, words, order))
        for example, inputs, words in said
        for order in work.settings["orders"]
    ]
    asked = [a for a in asked if a[2] and a[3]]
    of_input, of_output = (
        _Encoded(encoder, "input", [a[2] for a in asked]),
        _Encoded(encoder, "output", [a[3] for a in asked]),
    )
    for example, order, sources, targets in asked:
        cosines = of_input.rows(sources) @ of_output.rows(targets).T
        for i, j in np.argwhere(cosines > work.settings["lowest_gamma"]):
            x, y = sources[i], targets[j]
            if f" {x} " not in f" {y} " and f" {y} " not in f" {x} ":
                yield example, "pair", order, x, y


class _Encoded:
    """The vectors of the distinct n-grams of some lists."""

    def __init__(self, encoder: ngram_encoders.Encoder, side: Side, lists: Sequence[Sequence[str]]) -> None:
        ngrams = sorted({ngram for one in lists for ngram in one})
        self._number = {ngram: i for i, ngram in enumerate(ngrams)}
        self._vectors = encoder.encode(side, ngrams)

    def rows(self, ngrams: Sequence[str]) -> NDArray[np.float32]:
        return self._vectors[[self._number[ngram] for ngram in ngrams]]


def _outputs(work: Work, words: Sequence[str], order: int) -> list[str]:
    """The output n-grams: the whole text where the study takes whole answers, else those the stop-word policy keeps."""
    if work.settings["whole_answer"]:
        return [" ".join(words)] if words else []
    return [" ".join(g) for g in sorted(kept_ngrams(words, order, work.settings["stop_words"], work.settings["language"]))]


# -- all questions ------------------------------------------------------------------------------------------------------
def plan_asked(study: Study, inputs: Inputs) -> list[Job]:
    """One job: what different texts ask alike is asked once."""
    given = {"generation_queries": inputs["generation_queries"]}
    return [Job({"study": "all"}, {}, given, cost=10.0)] if inputs["generation_queries"] else []


def run_asked(work: Work) -> None:
    """Write the distinct n-grams and pairs, sorted."""
    same_analyzer(work, *work.parts("generation_queries"))
    empty = pl.DataFrame(schema=dict.fromkeys(PAIR, pl.String))
    grams, pairs = empty.select(ngram="output_ngram"), empty
    for part in work.parts("generation_queries"):
        asked = work.frame_part(part, "kind", *PAIR)
        grams = pl.concat([grams, asked.filter(kind="ngram").select(ngram="output_ngram")]).unique()
        pairs = pl.concat([pairs, asked.filter(kind="pair").select(PAIR)]).unique()
    work.write("generation_ngrams", grams.sort("ngram").to_arrow())
    work.write("generation_pairs", pairs.sort(PAIR).to_arrow())


# -- one corpus part --------------------------------------------------------------------------------------------------
def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part."""
    vocabulary = by_labels(inputs["vocabulary"])
    asked = {t: inputs[t] for t in ("generation_ngrams", "generation_pairs")}
    return [
        Job(
            words.labels,
            analyzer(),
            {"words": (words,), "vocabulary": (vocabulary[words.label_key],), **asked},
            memory=study.counting.memory_bytes,
        )
        for words in inputs["words"]
        if asked["generation_ngrams"]
    ]


def run_scan(work: Work) -> None:
    """Write which of the n-grams and pairs stand in one words part; as many at a time as the memory holds."""
    (grams,), (pairs,) = work.parts("generation_ngrams"), work.parts("generation_pairs")
    sizes = [work.store.open(part).metadata.num_rows for part in (grams, pairs)]
    slices = max(1, -(-sum(sizes) * ASKED_BYTES // work.job.memory))
    passes = 0
    cuts = [np.linspace(0, size, slices + 1).astype(np.int64) for size in sizes]
    asked_grams, asked_pairs = work.frame_part(grams), work.frame_part(pairs)
    for number in range(slices):
        (low, high), (first, last) = ((int(cut[number]), int(cut[number + 1])) for cut in cuts)
        own, both = asked_grams["ngram"].slice(low, high - low), asked_pairs.slice(first, last - first)
        every = pl.concat([own, *(both[c].alias("ngram") for c in PAIR)]).unique().sort()
        counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], every)
        counts = counter.count(PairQueries(places(every, both)))
        there = every.search_sorted(own).to_numpy().astype(np.int64)
        work.write("generation_partials", {"number": low + np.flatnonzero(counts.documents[there])})
        work.write("generation_pair_partials", {"number": first + np.flatnonzero(counts.pairs)})
        passes += max(1, counts.batches)
    work.passes = passes


# -- all corpus parts -------------------------------------------------------------------------------------------------
def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    """One job: what no part holds is novel, in whichever text."""
    tables = (
        "generation_queries",
        "generation_ngrams",
        "generation_pairs",
        "generation_partials",
        "generation_pair_partials",
    )
    given = {table: inputs[table] for table in tables}
    return [Job({"study": "all"}, {}, given, cost=10.0)] if inputs["generation_queries"] else []


def run_sum(work: Work) -> None:
    """For each text: how many n-grams and pairs of each order, and how many of them no part holds."""
    grams = _held(work, "generation_ngrams", "generation_partials").rename({"ngram": "output_ngram"})
    pairs = _held(work, "generation_pairs", "generation_pair_partials")
    key, rows = [*TEXT, "kind", "order"], []
    for part in work.parts("generation_queries"):
        asked = work.frame_part(part)
        of_texts, of_pairs = (asked.filter(kind=kind) for kind in ("ngram", "pair"))
        known = grams.join(of_texts.select("output_ngram").unique(), on="output_ngram", how="semi")
        old = pl.concat([of_texts.join(known, on="output_ngram", how="semi"), of_pairs.join(pairs, on=PAIR, how="semi")])
        total = asked.group_by(key).agg(pl.len().cast(pl.Int64).alias("total"))
        counted = total.join(old.group_by(key).agg(pl.len().cast(pl.Int64).alias("old")), on=key, how="left")
        rows.append(counted.select(*key, "total", novel=pl.col("total") - pl.col("old").fill_null(0)))
    work.write("generation_counts", pl.concat(rows).sort(key).to_arrow())


def _held(work: Work, asked: str, partials: str) -> pl.DataFrame:
    """The rows of what was asked that some part holds."""
    table = work.frame(asked)
    held = np.zeros(table.height, bool)
    for part in work.parts(partials):
        held[work.read_part(part, "number").column("number").to_numpy()] = True
    return table.filter(pl.Series(held))


NOVELTY = Step(
    "novelty",
    version=2,
    about="how much of each generation, of each reference and of held-out text is absent from the corpus",
    reads=("words", "vocabulary", "generations", "examples", "example_ngrams", "held_out_documents"),
    stages=(
        Stage((GENERATION_QUERIES,), plan_queries, run_queries),
        Stage((GENERATION_NGRAMS, GENERATION_PAIRS), plan_asked, run_asked),
        Stage((GENERATION_PARTIALS, GENERATION_PAIR_PARTIALS), plan_scan, run_scan),
        Stage((GENERATION_COUNTS,), plan_sum, run_sum),
    ),
)
