"""Φ: the pairs of n-grams of a task that stand in its evaluated examples, with their counts (docs/method.md §2, §3, §6).

Example: the question "What is the capital of Poseldi?" with the answer "Mirath" gives for n = 2 the rows
(capital of, mirath), (of poseldi, mirath) …; those above γ stay, each with C(s_x, s_y), df(s_x), C(s_x) and df(s_y).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from schemas.settings.study_file import Study, Task
from tasks.metrics.contaminated import contaminated
from tasks.step import Work
from tasks.text.gamma import resolved

# The tables behind pairs with their counts, and what models say of them.
SCORED = ("examples", "example_ngrams", "task_grams", "ngram_stats", "pair_counts", "models", "token_scores")
EXAMPLES_AT_ONCE = 256
PAIR = ["input_ngram", "output_ngram"]


@dataclass(frozen=True)
class Examples:
    """The evaluated examples of a task and their n-grams."""

    names: list[str]
    outputs: list[str]
    inputs: pl.DataFrame
    """example (code), order, input_ngram"""
    spans: pl.DataFrame
    """span (row number), example (code), order, output_ngram, length, start, end: first occurrence of s_y in the output"""
    groups: list[str] = field(default_factory=list)
    """subject, relation or language pair of each example"""

    @property
    def code(self) -> dict[str, int]:
        """Number of each example."""
        return {name: i for i, name in enumerate(self.names)}


def evaluated(work: Work, task: str) -> Examples:
    """Read the evaluated examples of a task, but for those that the study leaves out as contaminated."""
    table = work.frame("examples", "task", "split", "example", "group", "output")
    table = table.filter(task=task, split="evaluate").sort("example")
    table = table.filter(~pl.col("example").is_in(sorted(contaminated(work, task))))
    codes = table.select("example", code=pl.int_range(pl.len(), dtype=pl.Int64))
    ngrams = work.frame("example_ngrams", "task", "split", "example", "side", "order", "ngram", "length", "starts", "ends")
    ngrams = (
        ngrams.filter(task=task, split="evaluate")
        .join(codes, on="example")
        .with_columns(
            example="code",
            order=pl.col("order").cast(pl.Int64),
            start=pl.col("starts").list.first(),
            end=pl.col("ends").list.first(),
        )
    )
    inputs = (
        ngrams.filter(side="input").select("example", "order", input_ngram="ngram").sort("example", "order", "input_ngram")
    )
    spans = ngrams.filter(side="output").select("example", "order", "length", "start", "end", output_ngram="ngram")
    spans = spans.sort("example", "order", "output_ngram").with_row_index("span").with_columns(pl.col("span").cast(pl.Int64))
    return Examples(table["example"].to_list(), table["output"].to_list(), inputs, spans, table["group"].to_list())


def gamma_settings(task: Task, orders: Sequence[int]) -> dict[str, Any]:
    """γ per n, as the study says it, for a measure's settings; a percentile may not come out below the lowest γ."""
    gammas = {str(n): task.gamma_at(n) for n in orders}
    lowest = {"lowest_gamma": task.lowest_gamma} if any(isinstance(g, str) for g in gammas.values()) else {}
    return {"gamma": gammas} | lowest


def drawn_settings(study: Study, task: Task, orders: Sequence[int]) -> dict[str, Any]:
    """What most measures hang on: γ per n, and the draws of their intervals."""
    return {**gamma_settings(task, orders), "draws": study.measures.bootstrap, "seed": study.seed}


def gammas_of(work: Work, task: str) -> dict[str, float]:
    """γ per n as numbers. Raises StudyError for a percentile below the lowest γ."""
    lowest = work.settings.get("lowest_gamma")
    spread = None if lowest is None else work.frame("similarities", "task", "order", "at_most", "candidates")
    return resolved(work.settings["gamma"], spread, lowest if lowest is not None else -1.0, task)


def mined(work: Work, task: str, gammas: dict[str, float]) -> pl.DataFrame:
    """H_n for all orders: pairs with similarity > γ_n (strict; γ is rounded to float32 as the similarity was).

    Columns order, input_ngram, output_ngram, similarity.
    """
    table = work.frame("task_grams", "task", "order", "input_ngram", "output_ngram", "similarity").filter(task=task)
    floor = pl.DataFrame(
        {"order": [int(n) for n in gammas], "gamma": [float(np.float32(g)) for g in gammas.values()]},
        schema={"order": pl.Int64, "gamma": pl.Float64},
    )
    above = table.with_columns(pl.col("order").cast(pl.Int64), pl.col("similarity").cast(pl.Float64)).join(floor, on="order")
    return above.filter(pl.col("similarity") > pl.col("gamma")).select("order", *PAIR, "similarity").sort("order", *PAIR)


@dataclass(frozen=True)
class Phi:
    """The rows of one order, before zero counts are left out, and how many (example, s_x, s_y) there were before γ."""

    rows: pl.DataFrame
    candidates: int


def phi(examples: Examples, pairs: pl.DataFrame, order: int) -> Phi:
    """Distinct (example, s_x, s_y) whose pair was mined: columns example, span, input_ngram, output_ngram.

    A whole answer is s_y under every n. The cross product is taken a few examples at a time.
    """
    above = pairs.filter(order=order).select(PAIR)
    inputs, spans = examples.inputs.filter(order=order), examples.spans.filter(order=order)
    found, candidates = [], 0
    for begin in range(0, len(examples.names), EXAMPLES_AT_ONCE):
        here = pl.col("example").is_between(begin, begin + EXAMPLES_AT_ONCE, closed="left")
        product = (
            inputs.filter(here)
            .select("example", "input_ngram")
            .join(spans.filter(here).select("example", "span", "output_ngram"), on="example")
        )
        candidates += len(product)
        found.append(product.join(above, on=PAIR).select("example", "span", *PAIR))
    empty = pl.DataFrame(schema={"example": pl.Int64, "span": pl.Int64, "input_ngram": pl.String, "output_ngram": pl.String})
    return Phi(pl.concat([empty, *found]).sort("example", *PAIR), candidates)


def with_counts(work: Work, rows: pl.DataFrame, corpus: str = "") -> pl.DataFrame:
    """Add count = C(s_x, s_y), input_documents = df(s_x), input_occurrences = C(s_x), output_documents = df(s_y).

    What the corpus was not asked for is null; what it was asked for and does not hold is 0. The order of rows is kept.
    corpus: the label of the parts to read; empty for the study's own corpus.
    """
    pairs = select_rows(work, "pair_counts", rows.select(PAIR).unique(), PAIR, corpus).rename({"documents": "count"})
    names = pl.concat([rows.select(ngram="input_ngram"), rows.select(ngram="output_ngram")]).unique()
    stats = select_rows(work, "ngram_stats", names, ["ngram"], corpus).select("ngram", "documents", "occurrences")
    inputs = stats.rename({"ngram": "input_ngram", "documents": "input_documents", "occurrences": "input_occurrences"})
    outputs = stats.select(output_ngram="ngram", output_documents="documents")
    return (
        rows.join(pairs, on=PAIR, how="left", maintain_order="left")
        .join(inputs, on="input_ngram", how="left", maintain_order="left")
        .join(outputs, on="output_ngram", how="left", maintain_order="left")
    )


def select_rows(work: Work, table: str, wanted: pl.DataFrame, on: list[str], corpus: str = "") -> pl.DataFrame:
    """The rows of a corpus-sized table that are asked for, read in pieces."""
    import pyarrow as pa

    schema = work.contracts[table].schema
    empty = pl.from_arrow(pa.Table.from_batches([], schema=schema))
    assert isinstance(empty, pl.DataFrame)
    found = [empty]
    for part in (p for p in work.parts(table) if p.corpus == corpus):
        for batch in work.batches(part, rows=262_144):
            piece = pl.from_arrow(batch)
            assert isinstance(piece, pl.DataFrame)
            found.append(piece.join(wanted, on=on, how="semi"))
    return pl.concat(found)


def candidates_of(ngrams: pl.DataFrame, order: int) -> int:
    """|A_n|: distinct (s_x, s_y) over all examples of a table of n-grams. Counted in slices of s_x, to bound memory."""
    table = ngrams.filter(pl.col("order") == order)
    inputs = table.filter(side="input").select("example", input=pl.col("ngram").rank("dense").cast(pl.Int64))
    outputs = table.filter(side="output").select("example", output=pl.col("ngram").rank("dense").cast(pl.Int64))
    return sum(_distinct(piece, outputs) for piece in _slices(inputs, outputs))


def _slices(inputs: pl.DataFrame, outputs: pl.DataFrame, most: int = 5_000_000) -> Iterator[pl.DataFrame]:
    """Cut inputs by s_x so that each slice's cross product with outputs has about `most` rows."""
    sizes = inputs.join(outputs.group_by("example").len("outputs"), on="example")
    slices = int(sizes["outputs"].sum() or 0) // most + 1
    for i in range(slices):
        yield inputs.filter(pl.col("input") % slices == i)


def _distinct(inputs: pl.DataFrame, outputs: pl.DataFrame) -> int:
    product = inputs.join(outputs, on="example").select(code=pl.col("input") * 2**31 + pl.col("output"))
    return product["code"].n_unique() if len(product) else 0
