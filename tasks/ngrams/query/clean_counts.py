"""Counts without contaminated documents (docs/method.md §6c): part of the step `query`.

A document is contaminated for a task if it contains an n-gram of an evaluated example's input or output, where n is the
smallest of the study's `contamination_orders`. The pass that counts the task-grams notes these documents; only they are read
again, once per task, and their counts are subtracted.

    clean C(s_x, s_y) = C(s_x, s_y) - contaminated documents with both          clean df(s) = df(s) - contaminated documents with s
"""

import numpy as np
import polars as pl

from tasks.ngrams.query.partial_counts import summed
from tasks.ngrams.query.scan import PAIR, Counts, PairQueries, PartCounter, ngram_rows, places
from tasks.step import Work

Frame = pl.DataFrame


# -- one part ---------------------------------------------------------------------------------------------------------
def contaminated(texts: Frame, of_texts: Frame, queries: pl.Series, counts: Counts, least: int) -> dict[str, np.ndarray]:
    """The contaminated documents of the part by task, increasing. texts (text, task, …) and of_texts (text, order, ngram) are the
    long n-grams; `queries` the n-grams that `counts` is for."""
    tests = of_texts.filter(order=least).join(texts.select("text", "task"), on="text").select("task", "ngram").unique()
    noted = pl.DataFrame({"ngram": queries[counts.noted[:, 0]], "document": counts.noted[:, 1]})
    documents = noted.join(tests, on="ngram").select("task", "document").unique().sort("task", "document")
    return {str(task): rows["document"].to_numpy() for (task,), rows in documents.group_by("task", maintain_order=True)}


def write_contaminated(work: Work, pairs: Frame, documents: dict[str, np.ndarray]) -> None:
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
def write_clean(work: Work, stats: Frame, counts: Frame) -> None:
    """Write the counts without contaminated documents. stats, counts: rows of ngram_stats and of pair_counts."""
    grams = summed(work, "contaminated_ngram_partials", ["task", "ngram"], "occurrences", "documents")
    differences = ((pl.col(f"{c}_of_all") - pl.col(c)).alias(c) for c in ("documents", "occurrences"))
    clean = grams.join(stats, on="ngram", suffix="_of_all").sort("task", "ngram").select("task", "ngram", "length", *differences)
    work.write("clean_ngram_stats", clean.to_arrow())
    pairs = summed(work, "contaminated_pair_partials", ["task", *PAIR], "documents")
    difference = pl.col("documents_of_all") - pl.col("documents")
    clean = pairs.join(counts, on=PAIR, suffix="_of_all").sort("task", *PAIR).select("task", *PAIR, documents=difference)
    work.write("clean_pair_counts", clean.to_arrow())
