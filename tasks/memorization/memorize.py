"""Step `memorize`: every definition of memorization for every window, as one row of numbers that measures and users read.

The definitions are in the files of their measures; here they are applied to a few thousand windows at a time.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from schemas.tables.sequences import SEQUENCE_MEASURES, SEQUENCES
from tasks.cost import Cost, Rate, Sizes
from tasks.memorization import canary_exposure
from tasks.memorization.extraction import extracted_from, longest_run, strength
from tasks.memorization.membership_inference import lowest_mean, standardised
from tasks.memorization.prior_aware import log_mean
from tasks.memorization.scored_windows import as_array, number_of_piece
from tasks.memorization.taxonomy import kinds
from tasks.step import Inputs, Job, Stage, Step, Work, asks_for_memorization
from tasks.text.bpe.tokenizer import load_tokenizer

WINDOWS_AT_ONCE = 4096
COLUMNS = ("sequence", "log_probabilities", "hits", "means", "variances", "sampled", "unrelated")


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model and checkpoint."""
    pieces: dict[tuple[str, str], list[Any]] = {}
    for part in inputs["sequence_scores"]:
        pieces.setdefault((part.labels["model"], part.labels["checkpoint"]), []).append(part)
    shared = {name: inputs[name] for name in ("sequences", "tokenizer")}
    names = ("model", "checkpoint")
    return [Job(dict(zip(names, of, strict=True)), {}, {"sequence_scores": tuple(parts), **shared}) for of, parts in pieces.items()]


def run(work: Work) -> None:
    """Apply the definitions to the windows of a checkpoint, a few thousand at a time."""
    tokenizer = load_tokenizer(work.read("tokenizer", "json").column("json")[0].as_py())
    labels = {"model": pl.lit(work.labels["model"]), "checkpoint": pl.lit(int(work.labels["checkpoint"]))}
    exposures = _exposures(work)
    for rows in _scored(work, *COLUMNS):
        table = pl.DataFrame({"sequence": rows["sequence"], **_measures(rows, tokenizer)}).with_columns(**labels)
        table = table.join(exposures, on="sequence", how="left", maintain_order="left").select(SEQUENCE_MEASURES.schema.names)
        work.write("sequence_measures", table.to_arrow().cast(SEQUENCE_MEASURES.schema))


def _scored(work: Work, *columns: str) -> Iterator[pl.DataFrame]:
    """Windows next to these columns of their scores: pieces of `sequence_scores` are of windows in the order of `sequences`."""
    (windows,), first = work.parts("sequences"), 0
    read = work.in_order(windows, *SEQUENCES.schema.names)
    for part in sorted(work.parts("sequence_scores"), key=number_of_piece):
        for batch in work.batches(part, *columns, rows=WINDOWS_AT_ONCE):
            rows, scores = pl.DataFrame(read(range(first, first + len(batch)))), pl.DataFrame(batch)
            assert rows["sequence"].equals(scores["sequence"]), "internal error: scores of other windows"
            first += len(batch)
            yield rows.with_columns(scores.drop("sequence"))


def _exposures(work: Work) -> pl.DataFrame:
    """sequence, exposure and exposure_extrapolated of planted windows, which are ranked among all of them."""
    planted = [pl.DataFrame(schema={"sequence": pl.String, "sample": pl.String, "group": pl.String, "log_p": pl.Float64})]
    for rows in _scored(work, "sequence", "log_probabilities"):
        if len(rows := rows.filter(pl.col("sample").str.starts_with(canary_exposure.PLANTED))):
            log_p = as_array(rows["log_probabilities"]).astype(np.float64)[:, int(rows["prefix"][0]) :].sum(axis=1)
            planted.append(rows.select("sequence", "sample", "group", log_p=log_p))
    table = pl.concat(planted)
    return table.select("sequence").with_columns(**canary_exposure.exposures(table, table["log_p"].to_numpy()))


def _measures(rows: pl.DataFrame, tokenizer: Any) -> Mapping[str, Any]:
    """The columns of `sequence_measures`, but for exposures."""
    prefix = int(rows["prefix"][0])
    hits, ids = as_array(rows["hits"]), as_array(rows["ids"])
    log_p, means, variances = (as_array(rows[name]).astype(np.float64) for name in ("log_probabilities", "means", "variances"))
    sampled = as_array(rows["sampled"])[:, :, prefix:].astype(np.float64).sum(axis=2).tolist()
    texts = tokenizer.decode_batch(ids.tolist(), skip_special_tokens=False)
    sizes = np.array([len(zlib.compress(text.encode("utf-8", "surrogatepass"))) for text in texts])
    starts = extracted_from(hits, prefix)
    columns: dict[str, Any] = {"extracted": starts[:, -1], "extracted_from": pl.Series(starts).cast(pl.List(pl.Boolean))}
    columns |= {"longest_run": longest_run(hits).astype(np.int32), "strength": strength(hits), "accuracy": hits.mean(axis=1)}
    columns["suffix_log_p"] = log_p[:, prefix:].sum(axis=1)
    columns["unrelated_log_p"] = pl.Series(log_mean(rows["unrelated"].to_list()), dtype=pl.Float64)
    columns["sampled_log_p"] = pl.Series(sampled, dtype=pl.List(pl.Float64))
    columns |= {"loss": log_p.mean(axis=1), "zlib": log_p.sum(axis=1) / sizes, "min_k": lowest_mean(log_p)}
    columns["min_k_plus_plus"] = lowest_mean(standardised(log_p, means, variances))
    return columns | {"kind": kinds(ids, texts, rows["occurrences"].to_numpy())}


RATES = {"memorize": Rate(4_000, "windows /s", "a core among others at work, windows of 64 tokens", guess=True)}


def cost(sizes: Sizes) -> Cost:
    """A few numbers for each window and checkpoint."""
    memorization = sizes.study.memorization
    if memorization is None:
        return Cost(unit="windows")
    windows = sizes.study.expected_windows * sizes.checkpoints
    core, guesses = windows * memorization.window / 64 / RATES["memorize"], RATES["memorize"].as_guess()
    read, written = windows * memorization.window * 40, windows * 150
    return Cost(sizes.checkpoints, windows, "windows", read, written, core, memory=1e9, guesses=guesses, rates=RATES)


ABOUT = "a row for each window and checkpoint, with a number for each definition of memorization"
READS, STAGES = ("sequences", "sequence_scores", "tokenizer"), (Stage(writes=(SEQUENCE_MEASURES,), plan=plan, run=run),)
MEMORIZE = Step("memorize", version=1, about=ABOUT, reads=READS, stages=STAGES, cost=cost, applies=asks_for_memorization)
