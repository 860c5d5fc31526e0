"""How much of what a model says the corpus has never said (task-grams §10; Merrill et al. 2024).

For each generation, and for each reference beside it: its distinct n-grams, n = 1, 2, …, and how many of them are absent from
the corpus; and the pairs (s_x, s_y′) of the example's input with the model's own output, aligned by the study's encoder above
the lowest γ, and how many of them no document holds.

What is asked is written down first, per generation part, then counted per corpus part with the kernels of `query`: a new model
asks its own questions and rescans for no other model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import (
    GENERATION_COUNTS,
    GENERATION_PAIR_PARTIALS,
    GENERATION_PARTIALS,
    GENERATION_QUERIES,
    Study,
)
from tasks.dataset import Part, digest
from tasks.files import outside_file
from tasks.ngrams.partials import added
from tasks.ngrams.queries import PairQueries, PartCounter, same_analyzer
from tasks.ngrams.query import ngram_rows, places
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text import encoders
from tasks.text.association import Association
from tasks.text.ngrams import Side, kept_ngrams, ngrams
from tasks.text.words import analyzer, words_of

PAIR = ["input_ngram", "output_ngram"]
TEXT = ["model", "checkpoint", "task", "example"]
REFERENCE = "reference"
_learnt: dict[str, Association] = {}
TEXTS_AT_ONCE = 256


# -- what is asked ----------------------------------------------------------------------------------------------------
def plan_queries(study: Study, inputs: Inputs) -> list[Job]:
    """One job per generations part, and one per generated task for its references."""
    asked = [p for p in inputs["generations"]]
    encoder = encoders.encoder_settings(study.encoder, study.data)
    files = tuple(outside_file(path) for path in encoders.encoder_files(encoder))
    jobs = []
    for task in study.tasks:
        parts = {t: tuple(p for p in inputs[t] if p.labels["task"] == task.name) for t in ("examples", "example_ngrams")}
        languages = task.languages if task.family == "translation" and len(task.languages) == 2 else ("en", "en")
        settings = {
            "family": task.family, "whole_answer": task.whole_answer, "orders": sorted(set(task.orders)),
            "novelty_orders": sorted(set(study.counting.novelty_orders)), "stop_words": study.counting.stop_words,
            "language": languages[1], "lowest_gamma": task.lowest_gamma, "encoder": encoder,
            **analyzer(),
        }  # fmt: skip
        own = [p for p in asked if p.labels["task"] == task.name]
        for part in own:
            jobs.append(Job(part.labels, settings, {"generations": (part,), **parts}, files))
        if own:
            jobs.append(Job({"model": REFERENCE, "checkpoint": "-1", "task": task.name}, settings, parts, files))
    return jobs


def run_queries(work: Work) -> None:
    """Write the n-grams and aligned pairs of each text."""
    texts = sorted(_texts(work))
    inputs = _inputs(work)
    encoder = _encoder(work)
    rows: list[tuple[Any, ...]] = []
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        said = [
            (e, words_of(encoders.ngram_text(work.settings["family"], t))) for e, t in texts[begin : begin + TEXTS_AT_ONCE]
        ]
        for example, words in said:
            for order in work.settings["novelty_orders"]:
                rows += [(example, "ngram", order, "", " ".join(g)) for g in sorted(set(ngrams(words, order)))]
        rows += _aligned(work, encoder, [(e, inputs.get(e, {}), words) for e, words in said])
    rows.sort()
    columns = dict(zip(GENERATION_QUERIES.schema.names[3:], zip(*rows, strict=True) if rows else [()] * 5, strict=True))
    labels = {"model": work.labels["model"], "checkpoint": int(work.labels["checkpoint"]), "task": work.labels["task"]}
    same = {name: [value] * len(rows) for name, value in labels.items()}
    work.write("generation_queries", same | {name: list(values) for name, values in columns.items()})


def _encoder(work: Work) -> encoders.Encoder:
    """The task's encoder. One that is learnt here is kept until another task's is: the jobs of a task's models follow each
    other, and learning is most of what each would do."""
    options = {name: work.settings[name] for name in ("encoder", "family", "whole_answer")}
    key = digest([options, [part.key for part in work.parts("examples")]])
    if key not in _learnt:
        examples = work.read("examples", "split", "input", "output", "aliases")
        mine = encoders.mining_pairs(examples, options["family"], options["whole_answer"])
        _learnt.clear()
        fitted = encoders.fit(options["encoder"], mine)
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


def _inputs(work: Work) -> dict[str, dict[int, list[str]]]:
    """The input n-grams of each evaluated example, by order."""
    table = work.frame("example_ngrams", "split", "example", "side", "order", "ngram")
    found: dict[str, dict[int, list[str]]] = {}
    for example, order, ngram in table.filter((pl.col("split") == "evaluate") & (pl.col("side") == "input")).select(
        "example", "order", "ngram").iter_rows():  # fmt: skip
        found.setdefault(example, {}).setdefault(order, []).append(ngram)
    return found


def _aligned(
    work: Work, encoder: encoders.Encoder, said: Sequence[tuple[str, dict[int, list[str]], Sequence[str]]]
) -> Iterator[tuple[str, str, int, str, str]]:
    """(example, "pair", n, s_x, s_y′) with cosine above the lowest γ, neither containing the other: as `align` pairs a mining
    example. said: (example, its input n-grams by order, words of its text); each distinct n-gram is encoded once."""
    asked = [(example, order, inputs.get(order, []), _outputs(work, words, order))
             for example, inputs, words in said for order in work.settings["orders"]]  # fmt: skip
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

    def __init__(self, encoder: encoders.Encoder, side: Side, lists: Sequence[Sequence[str]]) -> None:
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


# -- one corpus part --------------------------------------------------------------------------------------------------
def plan_scan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per words part and part of questions."""
    vocabulary = {tuple(sorted(p.labels.items())): p for p in inputs["vocabulary"]}
    return [
        Job({**words.labels, **asked.labels}, {}, {
            "words": (words,), "vocabulary": (vocabulary[tuple(sorted(words.labels.items()))],), "generation_queries": (asked,),
        }, memory=study.counting.memory_bytes)
        for words in inputs["words"] for asked in inputs["generation_queries"]
    ]  # fmt: skip


def run_scan(work: Work) -> None:
    """Count what one model's answers to one task ask, in one words part."""
    same_analyzer(work, "generation_queries")
    asked = work.frame("generation_queries", "kind", *PAIR)
    grams = pl.concat([asked[c].alias("ngram") for c in PAIR]).unique().sort()
    grams = grams.filter(grams != "")
    pairs = asked.filter(pl.col("kind") == "pair").select(PAIR).unique().sort(PAIR)
    counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], grams)
    counts = counter.count(PairQueries(places(grams, pairs)))
    work.write("generation_partials", ngram_rows(grams, counts).to_arrow())
    counted = pairs.with_columns(pl.Series("documents", counts.pairs, pl.Int64)).filter(pl.col("documents") > 0)
    work.write("generation_pair_partials", counted.to_arrow())


# -- all corpus parts -------------------------------------------------------------------------------------------------
def plan_sum(study: Study, inputs: Inputs) -> list[Job]:
    """One job per part of questions."""

    def of(table: str, asked: Part) -> tuple[Part, ...]:
        return tuple(p for p in inputs[table] if all(p.labels[k] == v for k, v in asked.labels.items()))

    return [
        Job(asked.labels, {}, {"generation_queries": (asked,), "generation_partials": of("generation_partials", asked),
                               "generation_pair_partials": of("generation_pair_partials", asked)},
            memory=study.counting.memory_bytes)
        for asked in inputs["generation_queries"]
    ]  # fmt: skip


def run_sum(work: Work) -> None:
    """For each text: how many n-grams and pairs of each order, and how many of them no part holds."""
    asked = work.frame("generation_queries")
    grams = added(work, "generation_partials", ["ngram"]).rename({"ngram": "output_ngram"})
    pairs = added(work, "generation_pair_partials", PAIR)
    key = [*TEXT, "kind", "order"]
    old = pl.concat([
        asked.filter(pl.col("kind") == "ngram").join(grams, on="output_ngram", how="semi"),
        asked.filter(pl.col("kind") == "pair").join(pairs, on=PAIR, how="semi"),
    ]).group_by(key).agg(pl.len().cast(pl.Int64).alias("old"))  # fmt: skip
    total = asked.group_by(key).agg(pl.len().cast(pl.Int64).alias("total"))
    counted = total.join(old, on=key, how="left").with_columns((pl.col("total") - pl.col("old").fill_null(0)).alias("novel"))
    work.write("generation_counts", counted.select(*key, "total", "novel").sort(key).to_arrow())


NOVELTY = Step(
    "novelty", version=1, about="how much of each generation, and of each reference, is absent from the corpus",
    reads=("words", "vocabulary", "generations", "examples", "example_ngrams"),
    stages=(
        Stage((GENERATION_QUERIES,), plan_queries, run_queries),
        Stage((GENERATION_PARTIALS, GENERATION_PAIR_PARTIALS), plan_scan, run_scan),
        Stage((GENERATION_COUNTS,), plan_sum, run_sum),
    ),
)  # fmt: skip
