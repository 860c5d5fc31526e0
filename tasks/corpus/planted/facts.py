"""Task "facts": the full factorial of docs/method.md §16. All combinations of the levels of P = C/df(s_x), df(s_x) and
df(s_y)/df(s_x) are equally frequent, so P is exactly uncorrelated with both frequencies and with min(1, df(s_y)/df(s_x)).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import generator
from tasks.corpus.planted.phrases import FACT_RELATIONS, HELD_OUT, SEEN, Names
from tasks.corpus.planted.planted_rows import TruePair
from tasks.corpus.planted.statements import Fact, Statements

SIXTEENTHS = (1, 2, 3, 4, 6, 8)  # P × 16
HALVES = (1, 2, 4, 8)  # df(s_y) / df(s_x) × 2
ALTERNATIVES = 48  # other answers of a relation, to which a subject's other statements are distributed
PHRASINGS = tuple(p for seen, held_out in zip(SEEN, HELD_OUT, strict=True) for p in (("seen", seen), ("held-out", held_out)))


@dataclass(frozen=True)
class Cell:
    """One cell of the factorial: the indices of its levels, and its counts."""

    repeat: int
    p: int
    x: int
    y: int
    sixteenths: int
    input_documents: int
    output_documents: int

    @property
    def pair_documents(self) -> int:
        """C(s_x, s_y)."""
        return self.sixteenths * self.input_documents // 16

    @property
    def pair(self) -> str:
        return f"p{self.sixteenths:02d}-x{self.input_documents:04d}-y{self.output_documents:05d}-{self.repeat:04d}"

    # Four properties that must not correlate with P or a frequency. Each is one or two bits of x and y; the five bits are
    # linearly independent, so that within any value of one the others are still balanced.
    @property
    def input_words(self) -> int:
        return 1 + (self.p ^ self.x ^ self.y ^ self.repeat) % 2

    @property
    def output_words(self) -> int:
        return 2 if self.x == self.y and self.x % 2 == 0 else 1

    @property
    def occurrences_per_document(self) -> int:
        """Occurrences of the subject in each of its documents: 1 to 4."""
        times_two = (0, 2, 3, 1)[self.y]  # in the field of four elements
        return 1 + (self.x ^ times_two)

    @property
    def relation(self) -> str:
        return FACT_RELATIONS[(self.p + self.x + self.y + self.repeat) % len(FACT_RELATIONS)]

    @property
    def first_phrasing(self) -> int:
        """0 if its examples begin with a phrasing of the corpus, 1 if with a held-out one."""
        return (self.x >> 1 ^ self.y >> 1 ^ self.repeat) % 2

    @property
    def examples(self) -> int:
        """k = max(1, round(½ / P)), so that summing over examples gives k·P ≈ constant."""
        return max(1, math.floor(8 / self.sixteenths + 0.5))


def cells(planted: Planted) -> Iterator[Cell]:
    """All cells, in blocks of one df(s_x) and df(s_y) with every P; four consecutive blocks have every df and ratio."""
    for repeat in range(planted.repeats):
        for turn in range(4):
            for x, input_documents in enumerate(planted.document_frequencies):
                y = x ^ turn
                for p, sixteenths in enumerate(SIXTEENTHS):
                    yield Cell(repeat, p, x, y, sixteenths, input_documents, HALVES[y] * input_documents // 2)


def assert_independent(cells: list[Cell]) -> None:
    """Assert that the covariance of P with each statistic that a wrong measure could use instead is exactly 0."""
    p = np.array([c.sixteenths for c in cells])
    documents = [(c.input_documents, c.output_documents, min(2, HALVES[c.y])) for c in cells]
    statistics = np.array([(*n, c.occurrences_per_document, c.input_words) for n, c in zip(documents, cells, strict=True)])
    if (len(cells) * (p @ statistics) != p.sum() * statistics.sum(axis=0)).any():
        raise AssertionError("the factorial of facts is not balanced")


def _redrawn(cells: list[Cell], seed: int) -> list[Cell]:
    """The cells with P permuted among the facts of one df(s_x) and df(s_y), so that P stays uncorrelated with them."""
    random, size = generator(seed, "placebo/facts"), len(SIXTEENTHS)
    drawn = [cells[begin + i].sixteenths for begin in range(0, len(cells), size) for i in random.permutation(size).tolist()]
    return [replace(cell, sixteenths=sixteenths) for cell, sixteenths in zip(cells, drawn, strict=True)]


class FactorialFacts:
    def __init__(self, planted: Planted, seed: int, names: Names, statements: Statements) -> None:
        self._seed, self._limit, self._statements = seed, planted.examples, statements
        self.cells = list(cells(planted))
        assert_independent(self.cells)
        subjects = statements.name(names.names("facts/subjects", [c.input_words for c in self.cells]))
        answers = statements.name(names.names("facts/answers", [c.output_words for c in self.cells]))
        words = [2 if i % 8 == 7 else 1 for i in range(ALTERNATIVES)]
        pools = {r: statements.name(names.names(f"facts/other {r}", words)) for r in FACT_RELATIONS}
        random = generator(seed, "facts/alternatives")
        self.facts: list[Fact] = []
        self._stated = _redrawn(self.cells, seed) if planted.redrawn else self.cells
        for cell, stated, subject, answer in zip(self.cells, self._stated, subjects, answers, strict=True):
            self._plant(cell, stated, subject, answer, random.permutation(pools[cell.relation]).tolist())

    def _plant(self, cell: Cell, stated: Cell, subject: int, answer: int, others: list[int]) -> None:
        together, extra = stated.pair_documents, cell.occurrences_per_document - 1
        self._statements.state(cell.relation, subject, answer, together, extra)
        each, more = divmod(cell.input_documents - together, len(others))
        for place, other in enumerate(others):
            self._statements.state(cell.relation, subject, other, each + (place < more), extra)
        self._statements.mention(answer, cell.output_documents - together)
        self.facts.append(Fact(cell.pair, cell.relation, subject, answer, "factorial", math.log(stated.sixteenths / 16)))

    def truth(self) -> list[TruePair]:
        rows = [self._statements.truth("facts", fact) for fact in self.facts]
        for row, cell in zip(rows, self._stated, strict=True):
            planned = (cell.pair_documents, cell.input_documents, cell.output_documents)
            if (row.pair_documents, row.input_documents, row.output_documents) != planned:
                raise AssertionError(f"{row.pair}: the statements give {row}, the factorial {planned}")
        return rows

    def examples(self) -> list[dict[str, Any]]:
        """One question per pair and phrasing, k per pair; complete blocks of six P levels up to the setting `examples`."""
        rows, block, random = [], len(SIXTEENTHS), generator(self._seed, "facts/phrasings")
        size = sum(c.examples for c in self.cells[:block])
        for i, (cell, fact) in enumerate(zip(self.cells, self.facts, strict=True)):
            rows.append(self._example(fact, "mine", 0))
            turn = 2 * int(random.integers(0, len(SEEN)))
            if (i // block + 1) * size <= self._limit:
                phrasings = ((turn + cell.first_phrasing + k) % len(PHRASINGS) for k in range(cell.examples))
                rows += [self._example(fact, "evaluate", phrasing) for phrasing in phrasings]
        return rows

    def _example(self, fact: Fact, split: str, phrasing: int) -> dict[str, Any]:
        seen, question = PHRASINGS[phrasing]
        return self._statements.question(fact, f"{fact.pair}/{seen}-{phrasing // 2}", split, seen, question)
