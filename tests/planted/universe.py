"""Worlds whose truth is known, as counts and log-probabilities alone (docs/method.md §16).

The planted universe is a full factorial of facts, 400 in each of 96 equal cells:
    P = C / df(s_x) in {1, 2, 3, 4, 6, 8} / 16      df(s_x) in {32, 64, 128, 256}      df(s_y) / df(s_x) in {1/2, 1, 2, 4}
so that P is uncorrelated with both frequencies. s_x occurs 1-4 times in a document, whatever P. A pair occurs in
k = max(1, round(1/2 / P)) examples, and 1-3 pairs make an example, whose output is s_y, a tail of 0-8 tokens, the next s_y …
The truth ρ* is Spearman's ρ over all rows; a world samples 1,000 whole examples, under 2 % of them. What a mistake would give
is known too, and further from ρ* than three half-widths of a world's interval.

The null worlds have ρ = 0 and rows that are not independent:
    shared_input    rows of an example share s_x, which moves both sides
    shared_output   rows share s_y, which moves both sides
    tied_block      the higher log P_LLM, the more rows an example has
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product

import numpy as np

from tasks.statistics.correlation import Floats, Ints, Rows, influence, spearman

SHARES = np.array([1, 2, 3, 4, 6, 8]) / 16
INPUT_DOCUMENTS = (32, 64, 128, 256)
OUTPUT_RATIOS = (0.5, 1, 2, 4)
FACTS_PER_CELL = 400
SAMPLED = 1_000  # examples of a world
OUTPUTS = 240  # distinct s_y of `shared_output`: more than 200 effective ones
CHARACTERS = 3  # of a token
MISTAKES = ("min_count", "added", "never_reset", "occurrences")
DESIGNS = ("planted", "shared_input", "shared_output", "tied_block")


@dataclass(frozen=True)
class Sides:
    """Rows of the planted universe: both sides of Mem_n, and each side as a mistake would have it. Shapes: (rows,)."""

    log_p: Floats
    """log C / df(s_x)"""
    log_llm: Floats
    """log P_LLM(s_y | ·)"""
    min_count: Floats
    """log min(df(s_x), df(s_y)) / df(s_x): what a minimum of counts takes for co-occurrence"""
    added: Floats
    """log k·C / df(s_x): a pair's count added once for each of its examples"""
    never_reset: Floats
    """log P_LLM from s_y to the end of the text: a mask that is never reset"""
    occurrences: Floats
    """log C / C(s_x): documents by occurrences"""
    example: Ints
    output: Ints

    def rows(self, mistake: str = "") -> Rows:
        """x and y, one of them as a mistake has it."""
        x = self.log_p if mistake in ("", "never_reset") else getattr(self, mistake)
        return Rows(x, self.never_reset if mistake == "never_reset" else self.log_llm, self.example, self.output)

    def rho(self, mistake: str = "") -> float:
        """Spearman's ρ."""
        rows = self.rows(mistake)
        return spearman(rows.x, rows.y)

    def of_examples(self, chosen: Ints) -> Sides:
        """The rows of these examples."""
        wanted = np.zeros(self.example[-1] + 1, dtype=bool)
        wanted[chosen] = True
        keep = wanted[self.example]
        return Sides(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


@lru_cache(maxsize=1)
def universe(seed: int) -> Sides:
    """The planted universe; seconds to make, so the last one is kept. AssertionError where a mistake would be hard to see."""
    rng = np.random.default_rng([seed, 1])
    cells = np.array(list(product(SHARES, INPUT_DOCUMENTS, OUTPUT_RATIOS))).repeat(FACTS_PER_CELL, axis=0)
    p, inputs, outputs = cells[:, 0], cells[:, 1], cells[:, 1] * cells[:, 2]
    times = rng.permutation(np.resize([1, 2, 3, 4], len(p)))  # s_x in each of its documents
    example, fact = _examples(np.maximum(1, np.round(0.5 / p)).astype(int), rng)
    holders = np.bincount(fact, minlength=len(p))
    shared = 0.3 * rng.normal(size=example[-1] + 1)[example]
    wanted = np.minimum(-4 + 1.1 * np.log(p)[fact] + shared + 0.8 * rng.normal(size=len(fact)), -0.01)
    log_llm, never_reset = _scored(wanted, example, rng)
    found = Sides(
        log_p=np.log(p)[fact],
        log_llm=log_llm,
        min_count=np.log(np.minimum(inputs, outputs) / inputs)[fact],
        added=np.log(holders * p)[fact],
        never_reset=never_reset,
        occurrences=np.log(p / times)[fact],
        example=example,
        output=fact,
    )
    tail = never_reset - log_llm
    assert tail.var() >= 8 * log_llm.var(), "what follows s_y has to drown it"
    far = 3 * half_width(found)
    for mistake in MISTAKES:
        distance = abs(found.rho(mistake) - found.rho())
        assert distance >= far, f"{mistake} is {distance:.3f} from the truth, which is less than three half-widths"
    return found


@lru_cache(maxsize=1)
def truth_of(seed: int) -> float:
    """ρ* of the planted universe."""
    return universe(seed).rho()


def half_width(sides: Sides) -> float:
    """Of a world's 95 % interval: 1.96 · SE of ρ over SAMPLED examples, from influence values summed over examples."""
    rows = sides.rows()
    sums = np.bincount(rows.example, weights=influence(rows.x, rows.y))
    return float(1.96 * np.sqrt((sums**2).sum() * len(sums) / SAMPLED) / len(rows))


def _examples(copies: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Deal k copies of each fact out to examples of 1-3 facts: (example, fact) of every row, in order of examples.

    A fact that an example was dealt twice stays in it once.
    """
    fact = rng.permutation(np.repeat(np.arange(len(copies)), copies))
    sizes = rng.permutation(np.resize([1, 2, 3], len(fact)))
    example = np.repeat(np.arange(len(sizes)), sizes)[: len(fact)]
    first = np.sort(np.unique(example * len(copies) + fact, return_index=True)[1])  # facts stay in the order they were dealt in
    return example[first], fact[first]


def _scored(wanted: Floats, example: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Log-probabilities token by token, summed over each s_y, and from each s_y to the end of the text."""
    from tests.support import span_sums

    own, tail = rng.integers(1, 4, len(wanted)), rng.integers(0, 9, len(wanted))
    both = own + tail
    ends = np.cumsum(both)
    values = -1.25 * rng.exponential(size=ends[-1])
    is_own = np.arange(ends[-1]) - np.repeat(ends - both, both) < np.repeat(own, both)
    values[is_own] = np.repeat(wanted / own, own)
    offsets = np.append(np.flatnonzero(np.diff(example, prepend=-1)), len(example))
    scored, unreset = np.empty(len(wanted)), np.empty(len(wanted))
    for low, high in zip(offsets[:-1], offsets[1:], strict=True):
        first, last = ends[low] - both[low], ends[high - 1]
        starts = np.arange(last - first, dtype=np.int32) * CHARACTERS
        begin = (ends[low:high] - both[low:high] - first) * CHARACTERS
        stop = begin + own[low:high] * CHARACTERS
        whole = np.full(high - low, (last - first) * CHARACTERS)
        sums = span_sums(starts, starts + CHARACTERS, values[first:last], np.append(begin, begin), np.append(stop, whole))
        scored[low:high], unreset[low:high] = sums[: high - low], sums[high - low :]
    return scored, unreset


def planted_world(seed: int, world: int) -> Sides:
    """SAMPLED whole examples of the universe."""
    everything = universe(seed)
    rng = np.random.default_rng([seed, 2, world])
    return everything.of_examples(rng.choice(everything.example[-1] + 1, SAMPLED, replace=False))


def null_world(design: str, seed: int, world: int) -> Rows:
    """SAMPLED examples of a design in which nothing is memorized."""
    rng = np.random.default_rng([seed, 2 + DESIGNS.index(design), world])

    def noise(size: int, scale: float = 1.0) -> Floats:
        return scale * rng.normal(size=size)

    if design == "shared_input":
        example = np.repeat(np.arange(SAMPLED), np.resize([1, 2, 3], SAMPLED))
        rows = len(example)
        x, y = noise(SAMPLED)[example] + noise(rows, 0.5), noise(SAMPLED)[example] + noise(rows, 0.5)
        return Rows(x, y, example, np.arange(rows))
    if design == "shared_output":
        example = np.repeat(np.arange(SAMPLED), 2)
        first = rng.integers(0, OUTPUTS, SAMPLED)
        output = np.stack([first, (first + rng.integers(1, OUTPUTS, SAMPLED)) % OUTPUTS], axis=1).ravel()  # two that differ
        rows = len(example)
        return Rows(noise(OUTPUTS)[output] + noise(rows, 0.4), noise(OUTPUTS)[output] + noise(rows, 0.4), example, output)
    likely = noise(SAMPLED)
    example = np.repeat(np.arange(SAMPLED), np.clip(np.round(2.5 + 1.5 * likely), 1, 6).astype(int))
    rows = len(example)
    return Rows(noise(SAMPLED)[example] + noise(rows, 0.5), likely[example] + noise(rows, 0.5), example, np.arange(rows))
