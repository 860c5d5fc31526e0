"""Novelty of what models write: the share of n-grams and of aligned pairs that the corpus does not hold (docs/method.md §10).

The reference outputs are counted in the same way, as the model `reference`, and held-out text of their lengths, as `held_out`
(n-grams only: it has no input), for comparison. What a generation that was cut off ended with, and held-out documents that the
corpus contains, are left out, and counted.
"""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from tasks.measures import Measure, MetricRows, ModelCheckpoint, checkpoints_of, draw_settings, excluded_examples
from tasks.statistics import Estimate, ratio
from tasks.step import Work
from tasks.text.encoders.ngram_encoders import generated_words

CURVE = ["model", "checkpoint", "kind", "order"]
GENERATED = ["model", "checkpoint", "text", "stopped"]
CUT_OFF = "last word of a generation that max_new_tokens ended"
REPEAT = "held-out document equal to one of the corpus"


def run(work: Work, rows: MetricRows) -> None:
    """Rate and count per model, kind and order; the interval of the rate resamples examples."""
    table = work.frame("generation_counts").filter(task=rows.task).sort(*CURVE, "example")
    excluded = pl.col("example").is_in(excluded_examples(work, rows.task))
    table = table.filter(~excluded)
    models = {m.key: m for m in checkpoints_of(work)}
    for (model, checkpoint, kind, order), curve in table.group_by(CURVE, maintain_order=True):
        of = models.get((model, checkpoint), ModelCheckpoint(str(model), int(checkpoint)))  # type: ignore[call-overload]
        novel, total = (curve[c].to_numpy().astype(np.float64) for c in ("novel", "total"))
        rate = ratio(novel, total, work.settings["draws"], work.settings["seed"])
        if not total.sum():
            rate = Estimate(None, note=f"nothing generated has a {kind} of this order")
        more: dict[str, Any] = {"of": of, "order": int(order), "unit": "example", "detail": str(kind)}  # type: ignore[call-overload]
        more |= {"rows": int(total.sum()), "examples": int((total > 0).sum())}
        rows.add("novelty", "rate", rate, **more)
        rows.add("novelty", "count", Estimate(float(novel.sum())), **more)
    dropped = Counter[tuple[str, int]]()
    generations = work.frame("generations", "example", *GENERATED).filter(~excluded).drop("example")
    for model, checkpoint, text, stopped in generations.iter_rows():
        dropped[model, checkpoint] += generated_words(work.settings["family"], text, stopped)[1]
    for key, number in sorted(dropped.items()):
        rows.exclude("novelty", CUT_OFF, number, "words", of=models.get(key, ModelCheckpoint(*key)))
    held_out, of = work.frame("held_out_documents", "document").height, ModelCheckpoint("held_out")
    repeats = work.frame("held_out_repeats")["number"].n_unique()
    for reason, number in ((REPEAT, repeats), ("kept", held_out - repeats)) if held_out else ():
        rows.exclude("novelty", reason, number, "documents", of=of)
    for key in sorted(set(models) - set(table.select("model", "checkpoint").unique().iter_rows())):
        none = Estimate(None, note="no generations of this model for this task")
        rows.add("novelty", "rate", none, of=models[key], unit="example")


READS = ("models", "generation_counts", "generations", "held_out_documents", "held_out_repeats")
MEASURE = Measure("novelty", READS, lambda study, task: draw_settings(study) | {"family": task.family}, run)
