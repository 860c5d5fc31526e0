"""Counts without the documents that hold test text (docs/method.md §6c): part of the step `query`.

A document is contaminated for a task if it holds an n-gram of an evaluated example's input or output, n being the smallest of
the study's `contamination_orders`. The pass that counts the task-grams notes these documents; they alone are read again, once
for each task that has some, and what they hold is taken off the counts.

    clean C(s_x, s_y) = C(s_x, s_y) - contaminated documents with both          clean df(s) = df(s) - contaminated documents with s
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tasks.ngrams.query.partial_counts import added
from tasks.ngrams.query.scan import PAIR, Counts, PairQueries, PartCounter, ngram_rows, places
from tasks.step import Work


# -- one part ---------------------------------------------------------------------------------------------------------
def contaminated(
    texts: pl.DataFrame, of_texts: pl.DataFrame, asked: pl.Series, counts: Counts, least: int
) -> dict[str, np.ndarray]:
    """By task, its contaminated documents of the part, increasing.

    texts (text, task, …) and of_texts (text, order, ngram) are the long n-grams; `asked` what was counted, in its order.
    """
    tests = (
        of_texts.filter(pl.col("order") == least)
        .join(texts.select("text", "task"), on="text")
        .select("task", "ngram")
        .unique()
    )
    noted = pl.DataFrame({"ngram": asked[counts.noted[:, 0]], "document": counts.noted[:, 1]})
    found = noted.join(tests, on="ngram").select("task", "document").unique().sort("task", "document")
    return {str(task): rows["document"].to_numpy() for (task,), rows in found.group_by("task", maintain_order=True)}


def write_contaminated(work: Work, pairs: pl.DataFrame, documents: dict[str, np.ndarray]) -> None:
    """What the contaminated documents of each task hold of its pairs; sums: their number. `pairs`: asked, and whether `kept`."""
    of_evaluated = pairs.filter(pl.col("kept")).select(PAIR)
    for task, numbers in documents.items():
        work.add(f"contaminated documents: {task}", len(numbers))
        mined = work.frame("task_grams", "task", *PAIR).filter(task=task).select(PAIR).unique()
        own = mined.join(of_evaluated, on=PAIR, how="semi").sort(PAIR)
        grams = pl.concat([own[c].alias("ngram") for c in PAIR]).unique().sort()
        counter = PartCounter(work, work.parts("words")[0], work.parts("vocabulary")[0], grams, numbers)
        counts = counter.count(PairQueries(places(grams, own)))
        of_task = pl.lit(task).alias("task")
        work.write("contaminated_ngram_partials", ngram_rows(grams, counts).with_columns(of_task).to_arrow())
        found = own.with_columns(of_task, pl.Series("documents", counts.pairs, pl.Int64)).filter(pl.col("documents") > 0)
        work.write("contaminated_pair_partials", found.to_arrow())


# -- all parts --------------------------------------------------------------------------------------------------------
def write_clean(work: Work, stats: pl.DataFrame, counts: pl.DataFrame) -> None:
    """Counts less what the contaminated documents of all parts hold. stats, counts: rows of ngram_stats, of pair_counts."""
    grams = added(work, "contaminated_ngram_partials", ["task", "ngram"], "occurrences", "documents")
    left = ((pl.col(f"{c}_of_all") - pl.col(c)).alias(c) for c in ("documents", "occurrences"))
    fewer = grams.join(stats, on="ngram", suffix="_of_all").sort("task", "ngram").select("task", "ngram", "length", *left)
    work.write("clean_ngram_stats", fewer.to_arrow())
    pairs = added(work, "contaminated_pair_partials", ["task", *PAIR], "documents")
    less = (
        pairs.join(counts, on=PAIR, suffix="_of_all")
        .sort("task", *PAIR)
        .select("task", *PAIR, documents=pl.col("documents_of_all") - pl.col("documents"))
    )
    work.write("clean_pair_counts", less.to_arrow())
