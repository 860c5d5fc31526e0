"""The step `trace`: for each evaluated example, all that the measures rest on, so that a number can be followed down.

    P_n(s_y | s_x) = C(s_x, s_y) / df(s_x)      P_∞, P_LLM and Δ of each s_y      right or wrong, as the score has it

The numbers are made by the code of the measures and not anew (docs/method.md §4-9). Of a model its last checkpoint is shown. A
job is one task; the cross products of n-grams and the rows of models are written some examples at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import TRACE_ANSWERS, TRACE_PAIRS, TRACE_PROBABILITIES, TRACE_SPANS, Study
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.metrics import judging
from tasks.metrics.answers import Asked, models_of
from tasks.metrics.pairs import (
    EXAMPLES_AT_ONCE,
    PAIR,
    Examples,
    evaluated,
    gamma_settings,
    gammas_of,
    mined,
    phi,
    select_rows,
    with_counts,
)
from tasks.metrics.probabilities import Infinigram, Scores, read_infinigram, read_scores, spans_of
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.store import Part

READS = (
    "examples",
    "example_ngrams",
    "task_grams",
    "ngram_stats",
    "pair_counts",
    "infinigram",
    "models",
    "token_scores",
    "generations",
)
NO_TOKEN = "none of its tokens was looked up in the corpus"
NOWHERE = "a token of it stands nowhere in the corpus"
NOT_ANSWERED = "the model gave no answer to this example"
NOT_JUDGED = "the reference holds nothing that the answer could be compared with"


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task, on the last checkpoint of each model."""
    last = {m: max(int(p.labels["checkpoint"]) for p in parts) for m, parts in _by_model(inputs).items()}
    jobs = []
    for task in study.tasks:
        settings = {**gamma_settings(task, task.orders), "family": task.family}
        tables = (*READS, "similarities") if task.has_percentiles else READS
        parts = {
            table: tuple(
                p
                for p in inputs.get(table, ())
                if p.labels.get("task", task.name) == task.name
                and ("checkpoint" not in p.labels or int(p.labels["checkpoint"]) == last[p.labels["model"]])
            )
            for table in tables
        }
        jobs.append(Job({"task": task.name}, settings, parts, cost=3.0))
    return jobs


def _by_model(inputs: Inputs) -> Mapping[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for table in ("token_scores", "generations"):
        for part in inputs.get(table, ()):
            if "checkpoint" in part.labels:
                found.setdefault(part.labels["model"], []).append(part)
    return found


def run(work: Work) -> None:
    """Write the four tables of one task."""
    task = work.labels["task"]
    examples, pairs = evaluated(work, task), mined(work, task, gammas_of(work, task))
    models, spans = _last(models_of(work)), spans_of(examples, pairs)
    _write_spans(work, task, examples, read_infinigram(work, task, examples, spans))
    _write_pairs(work, task, examples, pairs)
    _write_probabilities(work, examples, read_scores(work, task, examples, spans), models)
    _write_answers(work, task, models)


def _last(models: list[Asked]) -> list[Asked]:
    """The last checkpoint of each model; they come in order."""
    return list({m.model: m for m in models}.values())


# -- the corpus ------------------------------------------------------------------------------------------------------
def _write_spans(work: Work, task: str, examples: Examples, infinigram: Infinigram) -> None:
    """Every n-gram of the evaluated examples, with df(s), C(s) and, for outputs, P_∞."""
    columns = ("task", "split", "example", "side", "order", "ngram", "starts", "ends")
    ngrams = work.frame("example_ngrams", *columns).filter(task=task, split="evaluate").drop("split")
    stats = select_rows(work, "ngram_stats", ngrams.select("ngram").unique(), ["ngram"])
    infinity = infinigram.backoff
    note = np.where(np.isnan(infinity), NO_TOKEN, np.where(np.isneginf(infinity), NOWHERE, ""))
    known = examples.spans.select(
        pl.Series("example", examples.names, pl.String).gather(examples.spans["example"]),
        pl.lit("output").alias("side"),
        pl.col("order").cast(pl.Int16),
        pl.col("output_ngram").alias("ngram"),
        pl.Series("log_infinity", np.where(np.isfinite(infinity), infinity, np.nan)).fill_nan(None),
        pl.Series("note", note, pl.String),
    )
    rows = ngrams.join(stats.select("ngram", "occurrences", "documents"), on="ngram", how="left")
    rows = rows.join(known, on=["example", "side", "order", "ngram"], how="left").with_columns(pl.col("note").fill_null(""))
    work.write("trace_spans", _table(rows, TRACE_SPANS.schema, TRACE_SPANS.key))


def _write_pairs(work: Work, task: str, examples: Examples, pairs: pl.DataFrame) -> None:
    """Φ with C(s_x, s_y) and log P_n. A pair is counted once, however many examples hold it."""
    counted = with_counts(work, pairs)
    seen = (pl.col("count") > 0) & (pl.col("input_documents") > 0)
    counted = counted.with_columns(log_probability=pl.when(seen).then((pl.col("count") / pl.col("input_documents")).log()))
    orders = sorted(pairs["order"].unique().to_list())
    for first in range(0, len(examples.names), EXAMPLES_AT_ONCE):
        some = _some(examples, first)
        names = pl.Series("example", some.names, pl.String)
        rows = [phi(some, pairs, n).rows.with_columns(order=pl.lit(n, pl.Int64)) for n in orders]
        if rows:
            found = pl.concat(rows).join(counted, on=["order", *PAIR], how="left").rename({"count": "documents"})
            found = found.with_columns(task=pl.lit(task), example=names.gather(found["example"]))
            work.write("trace_pairs", _table(found, TRACE_PAIRS.schema, TRACE_PAIRS.key))


def _some(examples: Examples, first: int) -> Examples:
    """Some of the examples, numbered from 0; spans keep their numbers."""
    inside = pl.col("example").is_between(first, first + EXAMPLES_AT_ONCE, closed="left")
    here = slice(first, first + EXAMPLES_AT_ONCE)
    inputs, spans = (t.filter(inside).with_columns(pl.col("example") - first) for t in (examples.inputs, examples.spans))
    return Examples(examples.names[here], examples.outputs[here], inputs, spans)


# -- the models ------------------------------------------------------------------------------------------------------
def _write_probabilities(
    work: Work, examples: Examples, scores: Mapping[tuple[str, int], Scores], models: list[Asked]
) -> None:
    """log P_LLM and Δ of every output n-gram by every model that scored it."""
    for first in range(0, len(examples.names), EXAMPLES_AT_ONCE):
        spans = examples.spans.filter(pl.col("example").is_between(first, first + EXAMPLES_AT_ONCE, closed="left"))
        names = pl.Series("example", examples.names, pl.String).gather(spans["example"])
        named = spans.select("span", "order", pl.col("output_ngram").alias("ngram")).with_columns(
            names, task=pl.lit(work.labels["task"])
        )
        rows = [
            _probabilities(named, scores[m.model, m.checkpoint]).with_columns(
                model=pl.lit(m.model), checkpoint=pl.lit(m.checkpoint, pl.Int64)
            )
            for m in models
            if (m.model, m.checkpoint) in scores
        ]
        if rows:
            found = pl.concat(rows)
            work.add("unscored", len(spans) * len(models) - len(found))
            work.write("trace_probabilities", _table(found, TRACE_PROBABILITIES.schema, TRACE_PROBABILITIES.key))


def _probabilities(spans: pl.DataFrame, scores: Scores) -> pl.DataFrame:
    at = spans["span"].to_numpy()
    return spans.with_columns(
        pl.Series("log_probability", scores.own[at]),
        pl.Series("delta", scores.delta[at]).fill_nan(None),
        pl.Series("other_inputs", scores.other_count[at]),
    ).filter(pl.col("log_probability").is_finite())


def _write_answers(work: Work, task: str, models: list[Asked]) -> None:
    """What each model said, and whether that is right, as the score judges it."""
    family = work.settings["family"]
    asked, statistic = judging.asks(work, task), judging.example_statistic(family)
    values = judging.per_example(work, task, family, asked)
    choice = family == "multiple_choice"
    texts = _likeliest(work, task, asked) if choice else judging.read_generations(work, task)
    nothing = judging.NO_OPTIONS if choice else judging.NO_GENERATIONS
    rows = []
    for i, name in enumerate(asked.names):
        for m in models:
            key = (m.model, m.checkpoint)
            text = texts.get(key, {}).get(name)
            value = float(values[key][i]) if key in values else float("nan")
            missing = nothing if key not in texts else NOT_ANSWERED if text is None else NOT_JUDGED
            note = missing if np.isnan(value) else "several options tie" if choice and 0 < value < 1 else ""
            rows.append((task, name, *key, text, statistic, None if np.isnan(value) else value, note))
    columns = [list(c) for c in zip(*rows, strict=True)] if rows else [[] for _ in TRACE_ANSWERS.columns]
    work.write("trace_answers", pa.table(columns, schema=TRACE_ANSWERS.schema))


def _likeliest(work: Work, task: str, asked: judging.Asks) -> dict[judging.Key, dict[str, str]]:
    """The option each model finds likeliest, where all of an example's were scored; of several, the first."""
    found: dict[judging.Key, dict[str, str]] = {}
    for key, given in judging.read_options(work, task).items():
        for name, options in zip(asked.names, asked.options, strict=True):
            scored: Mapping[int, Any] = given.own.get(name, {})
            if options and all(o in scored for o in range(len(options))):
                best = max(range(len(options)), key=lambda o: (scored[o].total, -o))
                found.setdefault(key, {})[name] = options[best]
    return found


def _table(rows: pl.DataFrame, schema: pa.Schema, key: tuple[str, ...]) -> pa.Table:
    return rows.select(schema.names).sort(key).to_arrow().cast(schema)


RATES = {
    "trace": Rate(1.4e-3, "s for each example and model", DEBIAN),
    "bytes of a trace": Rate(820.0, "bytes for each example and model", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    """Every example of a task, with what the last checkpoint of each model says."""
    rows, parts = sizes.answers, len(sizes.tasks)
    written, core = rows * RATES["bytes of a trace"], rows * RATES["trace"]
    return Cost(parts, rows, "examples × models", written=written, core=core, memory=0.5e9, rates=RATES)


TRACE = Step(
    "trace",
    version=1,
    about="what each example's numbers rest on: its n-grams, its pairs, and what each model says",
    reads=(*READS, "similarities"),
    stages=(Stage(writes=(TRACE_SPANS, TRACE_PAIRS, TRACE_PROBABILITIES, TRACE_ANSWERS), plan=plan, run=run),),
    cost=cost,
)
