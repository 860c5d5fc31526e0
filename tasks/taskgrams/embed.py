"""One vector per distinct n-gram of the mining examples, never per pair: E of arXiv 2407.14985 §2, Def. 1.

Input and output n-grams are encoded separately, as encoders may treat them differently (E5: "query: ", "passage: ").
"""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import EMBEDDINGS, Study
from schemas.settings.variant_views import View, views
from tasks.cost import DEBIAN, Cost, ModelSize, Rate, Sizes, forward_flops
from tasks.step import GPU, Inputs, Job, Stage, Step, Work, labelled, parts_of
from tasks.storage.source_files import outside_file
from tasks.text.encoders.ngram_encoders import encoder_files, encoder_settings, fit, mining_pairs

NGRAMS_AT_ONCE = 16_384


def plan(study: Study, inputs: Inputs) -> list[Job]:
    return [job for view in views(study) for job in _jobs(view, parts_of(inputs, example_ngrams=view.ngrams))]


def _jobs(view: View, inputs: Inputs) -> list[Job]:
    """One job per task. Only an encoder that is trained on the examples depends on them."""
    study = view.study
    encoder = encoder_settings(study.encoder, study.data)
    files = tuple(outside_file(path) for path in encoder_files(encoder))
    jobs, resources = [], {GPU: 1} if encoder.get("device") == "cuda" else {}
    for task in study.tasks:
        parts = {t: tuple(p for p in inputs[t] if p.labels["task"] == task.name) for t in ("example_ngrams", "examples")}
        settings: dict[str, Any] = {"encoder": encoder}
        if study.encoder.kind == "association":
            settings |= {"family": task.family, "whole_answer": task.whole_answer}
        else:
            parts["examples"] = ()
        jobs.append(Job(labelled({"task": task.name}, view.label), settings, parts, files, cost=10.0, resources=resources))
    return jobs


def run(work: Work) -> None:
    """Fit the encoder and write the vectors of all n-grams of the mining examples, sorted."""
    pairs = []
    if work.parts("examples"):
        examples = work.read("examples", "split", "input", "output", "aliases")
        pairs = mining_pairs(examples, work.settings["family"], work.settings["whole_answer"])
    encoder = fit(work.settings["encoder"], pairs)
    for side in ("input", "output"):
        ngrams = _distinct(work, side)
        work.add(f"{side}_ngrams", len(ngrams))
        for begin in range(0, len(ngrams), NGRAMS_AT_ONCE):
            batch = ngrams[begin : begin + NGRAMS_AT_ONCE]
            vectors = encoder.encode(side, batch)
            work.add("unknown_ngrams", int((~vectors.any(axis=1)).sum()))
            offsets = pa.array(np.arange(len(batch) + 1, dtype=np.int32) * vectors.shape[1], pa.int32())
            kind, values = EMBEDDINGS.schema.field("vector").type, pa.array(vectors.ravel(), pa.float32())
            columns = {"task": [work.labels["task"]] * len(batch), "side": [side] * len(batch), "ngram": batch}
            work.write("embeddings", pa.table(columns | {"vector": pa.ListArray.from_arrays(offsets, values, type=kind)}))


def _distinct(work: Work, side: str) -> list[str]:
    """The n-grams of this side of the mining examples, of all orders, each once and sorted."""
    distinct = pl.Series("ngram", [], dtype=pl.String)
    for part in work.parts("example_ngrams"):
        for batch in work.batches(part, "split", "side", "ngram", rows=262_144):
            rows = pl.DataFrame(pa.Table.from_batches([batch]))
            rows = rows.filter((pl.col("split") == "mine") & (pl.col("side") == side))
            distinct = pl.concat([distinct, rows["ngram"].unique()]).unique()
    return distinct.sort().to_list()


RATES = {
    "embed": Rate(21.7e3, "n-grams /s", f"{DEBIAN}, encoder `association`"),
    "encoder": Rate(100e6, "parameters of a sentence encoder, 8 tokens an n-gram", "the base size of E5 and LaBSE", guess=True),
    "bytes of an embedding": Rate(2.5, "bytes for a distinct n-gram and dimension", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    """Vectors of the distinct n-grams, about half of all: learnt links, or forward passes of a sentence encoder."""
    encoders = [view.study.encoder for view in views(sizes.study)]
    passes = [e.kind != "association" for e in encoders]
    speed, guesses = sizes.machine.speed([ModelSize("encoder", RATES["encoder"])])
    by_model = forward_flops(RATES["encoder"], 8) / speed
    each = [by_model if model else 1 / RATES["embed"] for model in passes]
    on_gpu = sum(by_model for model in passes if model and sizes.machine.gpu)
    distinct, longest = (f([0.0, *(t.ngrams / 2 for t in sizes.tasks)]) for f in (sum, max))
    parts, work = len(sizes.tasks) * len(encoders), distinct * len(encoders)
    written = distinct * sum(e.dimensions for e in encoders) * RATES["bytes of an embedding"]
    core, gpu, longest = distinct * (sum(each) - on_gpu), distinct * on_gpu, longest * max(each)
    memory, guesses = 1e9 + 4 * RATES["encoder"] * any(passes), (*guesses, *RATES["encoder"].as_guess()) if any(passes) else ()
    return Cost(parts, work, "distinct n-grams", 0.0, written, core, gpu, longest, memory, guesses, RATES)


ABOUT, READS = "a vector per distinct n-gram of the mining examples", ("example_ngrams", "examples")
EMBED = Step("embed", 2, ABOUT, reads=READS, stages=(Stage((EMBEDDINGS,), plan, run),), variants=True, cost=cost)
