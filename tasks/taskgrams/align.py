"""Task-grams: the pairs of an input and an output n-gram that belong together (arXiv 2407.14985 §2, Definition 1).

    A_n(T) = ∪_i G_n(x_i) × G_n(y_i)
    H_n(T) = { (s_x, s_y) ∈ A_n(T) : cos(E(s_x), E(s_y)) > γ,  s_x ≠ s_y }          strictly above

A pair counts once, however many examples hold it; how many do is kept beside it. Pairs in which one n-gram contains the
other ("maron" and "maron velk") are dropped and counted: cosine favours them, and P(s_y|s_x) is trivially 1. The pairs are
mined above the lowest γ the study allows; the γ of a measure is applied by the measure, to the similarity stored here. How
the similarities of all candidates are spread is stored too: a γ given as a percentile is taken from it.

Pairs come in the order of their input n-gram, in blocks that are complete, so that memory does not grow with their number.
Where the vectors are more than the job's memory, both sides are gone through in slabs, each input slab beside all output
slabs; what is written is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from schemas import SIMILARITIES, TASK_GRAMS, Study
from schemas.settings.variant_views import views
from tasks.cost import DEBIAN, OTHER_PAIRS, Cost, Rate, Sizes
from tasks.step import Inputs, Job, Stage, Step, Work, labelled, parts_of
from tasks.storage.writing import ROWS_PER_GROUP
from tasks.taskgrams.sides import Floats, Ints, Side, Vectors, orders, sides
from tasks.text.gamma import STEPS, at_most

PAIRS_AT_ONCE = 16_000_000  # pairs of a block, counted once for each example that holds them


class Pairs(NamedTuple):
    """Pairs strictly above the lowest γ, ascending by (input, output), which number the n-grams of their sides."""

    input: Ints
    output: Ints
    examples: Ints  # that hold the pair
    similarity: Floats

    def taken(self, which: Ints) -> Pairs:
        """Those of these places."""
        return Pairs(self.input[which], self.output[which], self.examples[which], self.similarity[which])


class Loads(Protocol):
    """See Vectors."""

    length: int

    def load(self, low: int, high: int) -> Floats: ...


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task, for the study and each of its variants."""
    jobs = []
    for view, task in ((v, t) for v in views(study) for t in v.study.tasks):
        seen = parts_of(inputs, example_ngrams=view.ngrams, embeddings=view.label)
        parts = {t: tuple(p for p in seen[t] if p.labels["task"] == task.name) for t in ("example_ngrams", "embeddings")}
        jobs.append(Job(labelled({"task": task.name}, view.label), {"lowest_gamma": task.lowest_gamma}, parts, cost=10.0))
    return jobs


def run(work: Work) -> None:
    """Write the pairs above the lowest γ, and how the similarities of all candidates are spread.

    Sums: candidates = |∪ A_n|, below_gamma, contained (above γ, yet one inside the other), and per order, for acceptance
    rates, candidates_n2, accepted_n2 …
    """
    for name in ("candidates", "below_gamma", "contained"):
        work.add(name, 0)
    for order in orders(work):
        for name in ("candidates", "accepted"):
            work.add(f"{name}_n{order}", 0)
        both = sides(work, order)
        vectors = Vectors(work, "input", both[0].ngrams), Vectors(work, "output", both[1].ngrams)
        spread = np.zeros(2 * STEPS + 1, dtype=np.int64)
        found = aligned(*both, *vectors, work.settings["lowest_gamma"], spread, memory=work.job.memory // 2)
        for rows in in_row_groups(_kept(work, order, *both, pairs) for pairs in found):
            work.write("task_grams", rows)
        for name in ("candidates", f"candidates_n{order}", "below_gamma"):
            work.add(name, int(spread.sum()))  # those above γ were taken from the last already
        steps = np.flatnonzero(spread)
        work.write(
            "similarities",
            {
                "task": [work.labels["task"]] * len(steps),
                "order": np.full(len(steps), order, dtype=np.int16),
                "at_most": at_most(steps),
                "candidates": spread[steps],
            },
        )


def aligned(inputs: Side, outputs: Side, x: Loads, y: Loads, lowest: float, spread: Ints, *, memory: int) -> Iterator[Pairs]:
    """The pairs of A_n with a cosine strictly above `lowest`, in order.

    spread [2·STEPS + 1] gets one for each pair of A_n. `memory` (bytes) is for the vectors of both sides.
    """
    at_once = max(1, memory // (8 * max(x.length, y.length)))
    slabs = [(low, min(low + at_once, len(outputs))) for low in range(0, len(outputs), at_once)]
    only = y.load(*slabs[0]) if len(slabs) == 1 else None
    for low in range(0, len(inputs), at_once):
        high = min(low + at_once, len(inputs))
        vectors = x.load(low, high)
        if only is not None:
            yield from _slab(inputs, outputs, (low, high), slabs[0], vectors, only, lowest, spread)
            continue
        found = [
            pairs
            for slab in slabs
            for pairs in _slab(inputs, outputs, (low, high), slab, vectors, y.load(*slab), lowest, spread)
        ]
        if found:
            together = Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))
            yield together.taken(np.lexsort((together.output, together.input)))


def _slab(
    inputs: Side,
    outputs: Side,
    mine: tuple[int, int],
    theirs: tuple[int, int],
    x: Floats,
    y: Floats,
    lowest: float,
    spread: Ints,
) -> Iterator[Pairs]:
    """The pairs of the input n-grams mine[0]..mine[1]-1 and the output n-grams theirs[0]..theirs[1]-1, in blocks."""
    from tasks.taskgrams.align_kernels import pairs_above

    example, ngram = inputs.between(*mine)
    by_ngram = np.argsort(ngram, kind="stable")  # within one, examples stay in order
    example, ngram = example[by_ngram], ngram[by_ngram]
    begins = np.searchsorted(ngram, np.arange(len(x) + 1))  # where each input n-gram's occurrences begin
    holders, held = outputs.between(*theirs)
    first, last = (
        np.searchsorted(holders, np.arange(1 + max(example.max(initial=-1), holders.max(initial=-1))), side=side)
        for side in ("left", "right")
    )
    before = np.concatenate([[0], np.cumsum((last - first)[example])])[begins]  # pairs before each input n-gram
    counts, touched, of_output = (np.zeros(len(y), kind) for kind in (np.int32, np.int32, np.float32))
    cosines = np.zeros((4, len(y)), np.float32)
    low = 0
    while low < len(x):
        high = max(low + 1, int(np.searchsorted(before, before[low] + PAIRS_AT_ONCE, side="right")) - 1)
        # N-grams of one example take their turns together: its outputs' vectors are near by then.
        turns = low + np.argsort(example[begins[low:high]], kind="stable")
        room = min(int(before[high] - before[low]), (high - low) * len(y))
        kept, similarity = np.empty((room, 3), dtype=np.int32), np.empty(room, dtype=np.float32)
        ends = pairs_above(
            turns,
            lowest,
            x,
            y,
            begins,
            example,
            first,
            last,
            held,
            counts,
            touched,
            cosines,
            of_output,
            spread,
            kept,
            similarity,
        )
        at = _in_order(turns, ends)
        yield Pairs(
            kept[at, 0] + np.int64(mine[0]), kept[at, 1] + np.int64(theirs[0]), kept[at, 2].astype(np.int64), similarity[at]
        )
        low = high


def _in_order(turns: Ints, ends: Ints) -> Ints:
    """The places of rows that were written turn by turn, each turn's until its end, in the order of the turns' numbers."""
    order = np.argsort(turns)
    begins = np.concatenate([[0], ends])[:-1][order]
    lengths = ends[order] - begins
    return np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def in_row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_GROUP, so that no file shows in which blocks its rows were made."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(t.num_rows for t in held) >= ROWS_PER_GROUP:
            together = pa.concat_tables(held)
            whole = together.num_rows // ROWS_PER_GROUP * ROWS_PER_GROUP
            yield from (together.slice(at, ROWS_PER_GROUP) for at in range(0, whole, ROWS_PER_GROUP))
            held = [together.slice(whole)]
    rest = [t for t in held if t.num_rows]
    if rest:
        yield pa.concat_tables(rest)


def _kept(work: Work, order: int, inputs: Side, outputs: Side, pairs: Pairs) -> pa.Table:
    """Rows for what Definition 1 keeps of a block; what it does not keep is counted."""
    from tasks.taskgrams.align_kernels import relations

    shares, inside = relations(pairs.input, pairs.output, inputs.starts, inputs.words, outputs.starts, outputs.words)
    for name, number in (
        ("below_gamma", -len(inside)),
        ("contained", inside.sum()),
        (f"accepted_n{order}", (~inside).sum()),
    ):
        work.add(name, int(number))
    kept = pairs.taken(np.flatnonzero(~inside))
    return pa.table(
        {
            "task": pa.repeat(pa.scalar(work.labels["task"]), len(kept.input)),
            "order": np.full(len(kept.input), order, dtype=np.int16),
            "input_ngram": inputs.ngrams.gather(kept.input).to_arrow(),
            "output_ngram": outputs.ngrams.gather(kept.output).to_arrow(),
            "similarity": kept.similarity,
            "shares_word": shares[~inside],
            "examples": kept.examples,
        }
    )


RATES = {"align": Rate(70e3, "pairs /s", DEBIAN), "bytes of a pair": Rate(12.0, "bytes for a mined pair", DEBIAN)}


def cost(sizes: Sizes) -> Cost:
    """The pairs of every task, for the study and each of its variants."""
    times = 1 + len(sizes.study.variants)
    pairs = times * sum(t.pairs for t in sizes.tasks)
    written, core = pairs * RATES["bytes of a pair"], pairs / RATES["align"]
    parts, guesses = len(sizes.tasks) * times, (OTHER_PAIRS,)
    return Cost(parts, pairs, "pairs", written=written, core=core, memory=1e9, guesses=guesses, rates=RATES)


ALIGN = Step(
    "align",
    version=3,
    about="pairs of n-grams above the lowest γ",
    reads=("example_ngrams", "embeddings"),
    stages=(Stage(writes=(TASK_GRAMS, SIMILARITIES), plan=plan, run=run),),
    variants=True,
    cost=cost,
)
