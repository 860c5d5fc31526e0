"""Task-grams: the pairs of an input and an output n-gram that belong together (arXiv 2407.14985 §2, Definition 1).

    A_n(T) = ∪_i G_n(x_i) × G_n(y_i)
    H_n(T) = { (s_x, s_y) ∈ A_n(T) : cos(E(s_x), E(s_y)) > γ,  s_x ≠ s_y }          strictly above

A pair counts once, however many examples contain it; their number is stored with it. Pairs in which one n-gram contains the
other ("maron" and "maron velk") are dropped and counted: cosine favours them, and P(s_y|s_x) is trivially 1. The pairs are
mined above the lowest γ that the study allows; each measure applies its γ to the similarity stored here. The distribution of
the similarities of all candidates is stored, too, for γ given as a percentile.

Pairs are produced in complete blocks, in the order of their input n-grams, so that memory does not grow with their number. If
the vectors exceed the job's memory, both sides are processed in slabs, each input slab with all output slabs; the result is
the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from schemas import SIMILARITIES, TASK_GRAMS, Study
from schemas.settings.variant_views import views
from tasks.cost import DEBIAN, OTHER_PAIRS, Cost, Rate, Sizes
from tasks.step import Inputs, Job, Stage, Step, Work, labelled, parts_of
from tasks.storage.parts import Part
from tasks.storage.writing import ROWS_PER_GROUP, in_row_groups
from tasks.text.gamma import STEPS, at_most

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]
Range = tuple[int, int]  # first n-gram, last n-gram + 1
PAIRS_AT_ONCE = 16_000_000  # pairs of a block, counted once per example that contains them


class AlignedPairs(NamedTuple):
    """Pairs strictly above the lowest γ, ascending by (input, output), the numbers of their n-grams."""

    input: Ints
    output: Ints
    examples: Ints  # number of examples with the pair
    similarity: Floats

    def taken(self, which: Ints) -> "AlignedPairs":
        return AlignedPairs(self.input[which], self.output[which], self.examples[which], self.similarity[which])


def plan(study: Study, inputs: Inputs) -> list[Job]:
    jobs = []
    for view, task in ((v, t) for v in views(study) for t in v.study.tasks):
        seen = parts_of(inputs, example_ngrams=view.ngrams, embeddings=view.label)
        parts = {t: tuple(p for p in seen[t] if p.labels["task"] == task.name) for t in ("example_ngrams", "embeddings")}
        jobs.append(Job(labelled({"task": task.name}, view.label), {"lowest_gamma": task.lowest_gamma}, parts, cost=10.0))
    return jobs


def run(work: Work) -> None:
    """Write the pairs above the lowest γ, and the distribution of the similarities of all candidates. Sums: candidates = |∪ A_n|,
    below_gamma, contained (above γ, but one contains the other), and per order candidates_n2, accepted_n2 …"""
    for name in ("candidates", "below_gamma", "contained"):
        work.add(name, 0)
    for order in orders(work):
        for name in ("candidates", "accepted"):
            work.add(f"{name}_n{order}", 0)
        both = sides(work, order)
        vectors = Vectors(work, "input", both[0].ngrams), Vectors(work, "output", both[1].ngrams)
        spread = np.zeros(2 * STEPS + 1, dtype=np.int64)
        blocks = aligned(*both, *vectors, work.settings["lowest_gamma"], spread, memory=work.job.memory // 2)
        for rows in in_row_groups(_kept(work, order, *both, pairs) for pairs in blocks):
            work.write("task_grams", rows)
        for name in ("candidates", f"candidates_n{order}", "below_gamma"):
            work.add(name, int(spread.sum()))  # `_kept` has subtracted those above γ from below_gamma
        steps = np.flatnonzero(spread)
        of_order = {"task": [work.labels["task"]] * len(steps), "order": [order] * len(steps)}
        work.write("similarities", of_order | {"at_most": at_most(steps), "candidates": spread[steps]})


def aligned(
    inputs: "SideNgrams", outputs: "SideNgrams", x: Any, y: Any, lowest: float, spread: Ints, *, memory: int
) -> Iterator[AlignedPairs]:
    """The pairs of A_n with a cosine strictly above `lowest`, in order. spread [2·STEPS + 1]: a histogram of similarities, to which
    each pair of A_n adds one. x, y: their vectors, as `Vectors`; `memory`: bytes for these."""
    at_once = max(1, memory // (8 * max(x.length, y.length)))
    slabs = [(low, min(low + at_once, len(outputs))) for low in range(0, len(outputs), at_once)]
    only = y.load(*slabs[0]) if len(slabs) == 1 else None
    for low in range(0, len(inputs), at_once):
        high = min(low + at_once, len(inputs))
        vectors = x.load(low, high)
        if only is not None:
            yield from _slab(inputs, outputs, (low, high), slabs[0], vectors, only, lowest, spread)
            continue
        some = (_slab(inputs, outputs, (low, high), slab, vectors, y.load(*slab), lowest, spread) for slab in slabs)
        if parts := list(chain.from_iterable(some)):
            together = AlignedPairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            yield together.taken(np.lexsort((together.output, together.input)))


def _slab(
    inputs: "SideNgrams", outputs: "SideNgrams", of_x: Range, of_y: Range, x: Floats, y: Floats, lowest: float, spread: Ints
) -> Iterator[AlignedPairs]:
    """The pairs of a range of input n-grams and a range of output n-grams, in blocks."""
    from tasks.taskgrams.align_kernels import pairs_above

    example, ngram = inputs.between(*of_x)
    by_ngram = np.argsort(ngram, kind="stable")  # examples of one n-gram stay in order
    example, ngram = example[by_ngram], ngram[by_ngram]
    begins = np.searchsorted(ngram, np.arange(len(x) + 1))  # where each input n-gram's occurrences begin
    output_example, output_ngram = outputs.between(*of_y)
    examples = np.arange(1 + max(example.max(initial=-1), output_example.max(initial=-1)))
    first, last = (np.searchsorted(output_example, examples, side=side) for side in ("left", "right"))
    before = np.concatenate([[0], np.cumsum((last - first)[example])])[begins]  # pairs before each input n-gram
    counts = np.zeros(len(y), np.int32)
    low = 0
    while low < len(x):
        high = max(low + 1, int(np.searchsorted(before, before[low] + PAIRS_AT_ONCE, side="right")) - 1)
        turns = begins[low] + np.argsort(example[begins[low] : begins[high]], kind="stable")
        room = min(int(before[high] - before[low]), (high - low) * len(y))
        kept, similarity = np.empty((room, 3), dtype=np.int32), np.empty(room, dtype=np.float32)
        occurrences = (begins, ngram, example, first, last, output_ngram)
        rows = np.zeros((high - low, 2), np.int64)
        pairs_above(turns, low, lowest, x, y, *occurrences, counts, spread, kept, similarity, rows)
        lengths = rows[:, 1] - rows[:, 0]
        at = np.repeat(rows[:, 0] - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        left, right, examples_with = kept[at].astype(np.int64).T
        yield AlignedPairs(left + of_x[0], right + of_y[0], examples_with, similarity[at])
        low = high


def _kept(work: Work, order: int, inputs: "SideNgrams", outputs: "SideNgrams", pairs: AlignedPairs) -> pa.Table:
    """The rows of a block that Definition 1 keeps; dropped pairs are counted."""
    inputs_here, outputs_here = inputs.ngrams.gather(pairs.input), outputs.ngrams.gather(pairs.output)
    shares, inside = relations(inputs_here, outputs_here)
    for name, number in (("below_gamma", -len(inside)), ("contained", inside.sum()), (f"accepted_n{order}", (~inside).sum())):
        work.add(name, int(number))
    kept, ngrams = pairs.taken(np.flatnonzero(~inside)), {"input_ngram": inputs_here, "output_ngram": outputs_here}
    rows = len(kept.input)
    columns = {"task": pa.repeat(pa.scalar(work.labels["task"]), rows), "order": np.full(rows, order, dtype=np.int16)}
    columns |= {name: texts.filter(pl.Series(~inside)).to_arrow() for name, texts in ngrams.items()}
    return pa.table(columns | {"similarity": kept.similarity, "shares_word": shares[~inside], "examples": kept.examples})


def relations(x: pl.Series, y: pl.Series) -> tuple[Ints, Ints]:
    """(they share a word, one contains or equals the other) for each pair of n-grams: bool [pairs] twice."""
    one, other, spaced = pl.col("x"), pl.col("y"), [pl.format(" {} ", name) for name in "xy"]
    inside = [a.str.contains(b, literal=True) for a, b in (spaced, spaced[::-1])]
    shares = one.str.split(" ").list.set_intersection(other.str.split(" ")).list.len() > 0
    rows = pl.DataFrame({"x": x, "y": y}).select(shares=shares, inside=inside[0] | inside[1])
    return rows["shares"].to_numpy(), rows["inside"].to_numpy()


# -- n-grams and their vectors ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class SideNgrams:
    """Sorted n-grams; n-gram i is `ngrams[i]`. Rows (`example`, `ngram`), sorted by both, say which n-grams each example has."""

    ngrams: pl.Series
    example: Codes
    ngram: Codes

    def __len__(self) -> int:
        return len(self.ngrams)

    def between(self, low: int, high: int) -> tuple[Codes, Codes]:
        """(example, ngram - low) of the n-grams low … high - 1."""
        chosen = (self.ngram >= low) & (self.ngram < high)
        return self.example[chosen], self.ngram[chosen] - np.int32(low)


def orders(work: Work) -> list[int]:
    batches = (b for p in work.parts("example_ngrams") for b in work.batches(p, "order", rows=262_144))
    return sorted({n for batch in batches for n in batch.column(0).unique().to_pylist()})


def sides(work: Work, order: int) -> tuple[SideNgrams, SideNgrams]:
    """The n-grams of this order in the inputs and in the outputs of the mining examples."""
    empty = pl.DataFrame(schema={"example": pl.String, "side": pl.String, "ngram": pl.String})
    frames = [empty]
    for part in work.parts("example_ngrams"):
        for batch in work.batches(part, "split", "example", "side", "order", "ngram", rows=262_144):
            rows = pl.DataFrame(pa.Table.from_batches([batch]))
            rows = rows.filter((pl.col("split") == "mine") & (pl.col("order") == order))
            frames.append(rows.select(empty.columns))
    rows = pl.concat(frames)
    examples = pl.Enum(rows["example"].unique().sort())
    numbered = rows.select(pl.col("example").cast(examples).to_physical().cast(pl.Int32), "side", "ngram")
    return side_of(*(numbered.filter(pl.col("side") == name).drop("side") for name in ("input", "output")))


def side_of(inputs: pl.DataFrame, outputs: pl.DataFrame) -> tuple[SideNgrams, SideNgrams]:
    """Both sides from tables of the n-grams in each example: columns example (a number), ngram."""
    result = []
    for rows in (inputs, outputs):
        ngrams = rows["ngram"].unique().sort()
        numbers = pl.DataFrame({"ngram": ngrams}).with_row_index("number")
        numbered = rows.join(numbers, on="ngram").select("example", pl.col("number").cast(pl.Int32)).sort("example", "number")
        result.append(SideNgrams(ngrams, *(numbered[column].to_numpy().astype(np.int32) for column in ("example", "number"))))
    return result[0], result[1]


class Vectors:
    """The embeddings of n-grams, read on demand, as they may exceed memory. `length`: of a vector, 1 if there is none."""

    def __init__(self, work: Work, side: str, ngrams: pl.Series) -> None:
        """Find the rows of all n-grams. Raises AssertionError if an n-gram has no embedding."""
        self._work = work
        self._rows = [self._find(part, side, ngrams) for part in work.parts("embeddings")]
        firsts = (next(work.batches(part, "vector", rows=1), None) for part in work.parts("embeddings"))
        self.length = max((len(b.column(0)[0]) for b in firsts if b is not None and b.num_rows), default=1)
        missing = len(ngrams) - sum(len(rows) for _, rows, _ in self._rows)
        assert not missing, f"{side}: {missing} n-grams have no embedding"

    def _find(self, part: Part, side: str, ngrams: pl.Series) -> tuple[Part, Ints, Ints]:
        """The rows of an embeddings part with these n-grams, ascending, and the numbers of the n-grams."""
        wanted, before = pl.DataFrame({"ngram": ngrams}).with_row_index("number"), 0
        frames = [pl.DataFrame(schema={"row": pl.Int64, "number": pl.Int64})]
        for batch in self._work.batches(part, "side", "ngram", rows=ROWS_PER_GROUP):
            rows = pl.DataFrame(pa.Table.from_batches([batch])).with_row_index("row", before).filter(pl.col("side") == side)
            frames.append(rows.join(wanted, on="ngram").select(pl.col("row", "number").cast(pl.Int64)))
            before += batch.num_rows
        rows = pl.concat(frames).sort("row")
        return part, rows["row"].to_numpy(), rows["number"].to_numpy()

    def load(self, low: int, high: int) -> Floats:
        vectors = np.zeros((high - low, self.length), dtype=np.float32)
        for part, all_rows, all_numbers in self._rows:
            chosen = (all_numbers >= low) & (all_numbers < high)
            rows, numbers = all_rows[chosen], all_numbers[chosen] - low
            file, before = self._work.store.open(part), 0
            for group in range(file.metadata.num_row_groups):
                after = before + file.metadata.row_group(group).num_rows
                inside = slice(*np.searchsorted(rows, [before, after]))
                if inside.start < inside.stop:
                    table = file.read_row_group(group, columns=["vector"]).column(0).combine_chunks()
                    flat = table.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.length)
                    vectors[numbers[inside]] = flat[rows[inside] - before]
                before = after
        return vectors


RATES = {"align": Rate(70e3, "pairs /s", DEBIAN), "bytes of a pair": Rate(12.0, "bytes for a mined pair", DEBIAN)}


def cost(sizes: Sizes) -> Cost:
    times = 1 + len(sizes.study.variants)
    parts, pairs = len(sizes.tasks) * times, times * sum(t.pairs for t in sizes.tasks)
    written, core = pairs * RATES["bytes of a pair"], pairs / RATES["align"]
    return Cost(parts, pairs, "pairs", 0.0, written, core, memory=1e9, guesses=(OTHER_PAIRS,), rates=RATES)


ABOUT, READS = "pairs of n-grams above the lowest γ", ("example_ngrams", "embeddings")
STAGES = (Stage((TASK_GRAMS, SIMILARITIES), plan, run),)
ALIGN = Step("align", version=3, about=ABOUT, reads=READS, stages=STAGES, variants=True, cost=cost)
