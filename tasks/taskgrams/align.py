"""Task-grams: the pairs of an input and an output n-gram that belong together (arXiv 2407.14985 §2, Definition 1).

    A_n(T) = ∪_i G_n(x_i) × G_n(y_i)
    H_n(T) = { (s_x, s_y) ∈ A_n(T) : cos(E(s_x), E(s_y)) > γ,  s_x ≠ s_y }          strictly above

A pair counts once, however many examples hold it; how many do is kept beside it. Pairs in which one n-gram contains the
other ("maron" and "maron velk") are dropped and counted: cosine favours them, and P(s_y|s_x) is trivially 1. The pairs are
mined above the lowest γ the study allows; the γ of a measure is applied by the measure, to the similarity stored here.

Input n-grams are taken in blocks of their sorted order, so that a block's pairs are complete, come out in the order of
the key, and memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from schemas import TASK_GRAMS, Study
from tasks.step import Inputs, Job, Stage, Step, Work

Ints = NDArray[np.int64]
PAIRS_AT_ONCE = 2_000_000  # pairs of a block, before those of several examples become one
PRODUCTS_AT_ONCE = 32_768


@dataclass(frozen=True)
class Side:
    """The n-grams of one order on one side: row i of `vectors` is E(ngrams[i]); sorted, so that i orders them too.

    `example` and `ngram` list, sorted by example, which of them each example holds.
    """

    ngrams: list[str]
    words: list[frozenset[str]]
    vectors: NDArray[np.float32]
    example: Ints
    ngram: Ints


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task."""
    jobs = []
    for task in study.tasks:
        parts = {t: tuple(p for p in inputs[t] if p.labels["task"] == task.name) for t in ("example_ngrams", "embeddings")}
        jobs.append(Job({"task": task.name}, {"lowest_gamma": task.lowest_gamma}, parts, cost=10.0))
    return jobs


def run(work: Work) -> None:
    """Write the pairs above the lowest γ.

    Sums: candidates = |∪ A_n|, below_gamma, contained (above γ, yet one inside the other), and per order, for acceptance
    rates, candidates_n2, accepted_n2 …
    """
    for name in ("candidates", "below_gamma", "contained"):
        work.add(name, 0)
    for order in _orders(work):
        sides = _sides(work, order)
        work.add(f"candidates_n{order}", 0)
        work.add(f"accepted_n{order}", 0)
        for codes, examples in distinct_pairs(*sides):
            _write_pairs(work, order, sides, codes, examples)


def distinct_pairs(inputs: Side, outputs: Side, at_once: int = PAIRS_AT_ONCE) -> Iterator[tuple[Ints, Ints]]:
    """A_n in blocks: (codes, examples), a code being input number · |output n-grams| + output number, ascending.

    `examples` says how many examples hold the pair. A block has about `at_once` pairs, or one input n-gram's if more.
    """
    by_ngram = np.lexsort((inputs.example, inputs.ngram))
    ngram, example = inputs.ngram[by_ngram], inputs.example[by_ngram]
    first = np.searchsorted(outputs.example, example, side="left")
    partners = np.searchsorted(outputs.example, example, side="right") - first
    begins = np.searchsorted(ngram, np.arange(len(inputs.ngrams) + 1))  # where each input n-gram's occurrences begin
    before = np.concatenate([[0], np.cumsum(partners)])[begins]  # pairs before each input n-gram
    low = 0
    while low < len(inputs.ngrams):
        high = max(low + 1, int(np.searchsorted(before, before[low] + at_once, side="right")) - 1)
        occurrences = slice(begins[low], begins[high])
        count = partners[occurrences]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        partner = outputs.ngram[np.repeat(first[occurrences], count) + within]
        yield np.unique(np.repeat(ngram[occurrences], count) * len(outputs.ngrams) + partner, return_counts=True)
        low = high


def similarities(inputs: NDArray[np.float32], outputs: NDArray[np.float32], left: Ints, right: Ints) -> NDArray[np.float32]:
    """inputs[left] · outputs[right], row by row: cosines, as vectors have length 1 (or 0: then the cosine is 0)."""
    found = np.empty(len(left), dtype=np.float32)
    for begin in range(0, len(left), PRODUCTS_AT_ONCE):
        piece = slice(begin, begin + PRODUCTS_AT_ONCE)
        np.einsum("ij,ij->i", inputs[left[piece]], outputs[right[piece]], out=found[piece])
    return found


def contains(one: str, other: str) -> bool:
    """Whether one of two n-grams, as word sequences, stands inside the other or equals it."""
    return f" {one} " in f" {other} " or f" {other} " in f" {one} "


def _write_pairs(work: Work, order: int, sides: tuple[Side, Side], codes: Ints, examples: Ints) -> None:
    """Keep what Definition 1 keeps of a block, and count what it does not."""
    inputs, outputs = sides
    left, right = np.divmod(codes, max(len(outputs.ngrams), 1))
    similarity = similarities(inputs.vectors, outputs.vectors, left, right)
    above = np.flatnonzero(similarity.astype(np.float64) > work.settings["lowest_gamma"])
    shares = np.array([not inputs.words[i].isdisjoint(outputs.words[j])
                       for i, j in zip(left[above], right[above], strict=True)], dtype=bool)  # fmt: skip
    inside = np.array([s and contains(inputs.ngrams[left[k]], outputs.ngrams[right[k]])
                       for k, s in zip(above, shares, strict=True)], dtype=bool)  # fmt: skip
    kept = above[~inside]
    for name, number in (("candidates", len(codes)), ("below_gamma", len(codes) - len(above)), ("contained", inside.sum()),
                         (f"candidates_n{order}", len(codes)), (f"accepted_n{order}", len(kept))):  # fmt: skip
        work.add(name, int(number))
    work.write("task_grams", {
        "task": [work.labels["task"]] * len(kept), "order": np.full(len(kept), order, dtype=np.int16),
        "input_ngram": [inputs.ngrams[i] for i in left[kept]], "output_ngram": [outputs.ngrams[j] for j in right[kept]],
        "similarity": similarity[kept], "shares_word": shares[~inside], "examples": examples[kept],
    })  # fmt: skip


def _orders(work: Work) -> list[int]:
    """The orders there are n-grams of."""
    return sorted({n for p in work.parts("example_ngrams") for b in work.batches(p, "order", rows=262_144)
                   for n in b.column(0).unique().to_pylist()})  # fmt: skip


def _sides(work: Work, order: int) -> tuple[Side, Side]:
    """The mining examples' n-grams of this order, with their vectors."""
    empty = pl.DataFrame(schema={"example": pl.String, "side": pl.String, "ngram": pl.String})
    frames = [empty]
    for part in work.parts("example_ngrams"):
        for batch in work.batches(part, "split", "example", "side", "order", "ngram", rows=262_144):
            rows = pl.DataFrame(pa.Table.from_batches([batch]))
            rows = rows.filter((pl.col("split") == "mine") & (pl.col("order") == order))
            frames.append(rows.select(empty.columns))
    rows = pl.concat(frames)
    examples = pl.Enum(rows["example"].unique().sort())
    return _side(work, rows, "input", examples), _side(work, rows, "output", examples)


def _side(work: Work, rows: pl.DataFrame, side: str, examples: pl.Enum) -> Side:
    """One side; raises AssertionError if an n-gram has no embedding."""
    rows = rows.filter(pl.col("side") == side)
    names = rows["ngram"].unique().sort()
    rows = rows.select(pl.col("example").cast(examples).to_physical().cast(pl.Int64),
                       pl.col("ngram").cast(pl.Enum(names)).to_physical().cast(pl.Int64))  # fmt: skip
    rows = rows.sort("example", "ngram")
    return Side(names.to_list(), [frozenset(g.split(" ")) for g in names], _vectors(work, side, names),
                rows["example"].to_numpy(), rows["ngram"].to_numpy())  # fmt: skip


def _vectors(work: Work, side: str, names: pl.Series) -> NDArray[np.float32]:
    """float32 [len(names), d]: the embeddings of these n-grams, read in pieces."""
    vectors: NDArray[np.float32] | None = None
    wanted = pl.DataFrame({"ngram": names}).with_row_index("number")
    found = 0
    for part in work.parts("embeddings"):
        for batch in work.batches(part, "side", "ngram", "vector", rows=16_384):
            rows = pl.DataFrame(pa.Table.from_batches([batch.select(["side", "ngram"])])).with_row_index("row")
            rows = rows.filter(pl.col("side") == side).join(wanted, on="ngram")
            flat = batch.column(2).flatten().to_numpy().reshape(batch.num_rows, -1)
            vectors = np.zeros((len(names), flat.shape[1]), dtype=np.float32) if vectors is None else vectors
            vectors[rows["number"].to_numpy()] = flat[rows["row"].to_numpy()]
            found += len(rows)
    assert found == len(names), f"{side}: {len(names) - found} n-grams have no embedding"
    return np.zeros((0, 1), dtype=np.float32) if vectors is None else vectors


ALIGN = Step(
    "align", version=1, about="pairs of n-grams above the lowest γ", reads=("example_ngrams", "embeddings"),
    stages=(Stage(writes=(TASK_GRAMS,), plan=plan, run=run),),
)  # fmt: skip
