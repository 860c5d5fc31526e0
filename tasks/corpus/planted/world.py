"""The plan of a planted corpus: its documents, their order, and the truth about them (docs/method.md §16).

A world is a list of components, each of which generates its k-th document from k alone. A seeded permutation mixes them, so
that a shard is a range of positions and can be generated independently.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from schemas import StudyError
from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import Ints, shuffled
from tasks.corpus.planted.facts import FactorialFacts
from tasks.corpus.planted.fillers import Fillers
from tasks.corpus.planted.lexicon import Lexicon
from tasks.corpus.planted.phrases import LANGUAGES, Names
from tasks.corpus.planted.planted_rows import TruePair
from tasks.corpus.planted.planted_sequences import Copies, inserted_texts, planted_sequences
from tasks.corpus.planted.recall import Recall
from tasks.corpus.planted.rules import RuleFacts
from tasks.corpus.planted.statements import Statements
from tasks.corpus.planted.sums import Sums

CHUNK = 8_192
SAMPLE = 512
Component = Statements | Lexicon | Sums | Copies | Fillers  # each has `documents`, and renders them by their numbers


class World:
    """Everything planted, for one setting and seed. `tokens` and `shards` change neither truth nor tasks. A redrawn world has the
    same names, questions and frequencies, but the number of statements of each fact and all sentences are drawn again. Correlations
    with its counts are those that any such corpus would give (docs/method.md §6d)."""

    def __init__(self, planted: Planted, seed: int) -> None:
        self.planted, self.seed = planted, seed
        names, statements = Names(seed), Statements(seed, planted.purpose)
        self.facts = FactorialFacts(planted, seed, names, statements)
        self.recall = Recall(planted, seed, names, statements)
        self.rules = RuleFacts(planted, seed, names, statements)
        statements.freeze()
        self.lexicon, self.sums = Lexicon(planted, seed, names), Sums(planted, seed)
        self.fillers = Fillers(seed, names, planted.purpose)
        self.sequences = planted_sequences(planted, seed, names, self.fillers)
        self.insertions = inserted_texts(planted.insertions, seed, self.fillers) if planted.insertions else []
        self.components: dict[str, Component] = {"statements": statements, "lexicon": self.lexicon, "sums": self.sums}
        if not planted.redrawn:
            # canaries are only for models that are trained on them
            self.components |= {"sequences": Copies(self.sequences), "insertions": Copies(self.insertions)}

    # -- truth and tasks -------------------------------------------------------------------------------------------
    def truth(self) -> list[TruePair]:
        rows = [*self.facts.truth(), *self.recall.truth("recall"), *self.recall.truth("choice"), *self.rules.truth()]
        return sorted([*rows, *self.lexicon.truth(), *self.sums.truth()], key=lambda row: (row.task, row.pair))

    def tasks(self) -> dict[str, list[dict[str, Any]]]:
        made = {"facts": self.facts.examples(), "rules": self.rules.examples(), "sums": self.sums.examples()}
        made |= {"recall": self.recall.recall_examples(), "choice": self.recall.choice_examples()}
        return made | {language: self.lexicon.examples(language) for language in LANGUAGES}

    # -- documents ------------------------------------------------------------------------------------------------
    def words(self) -> dict[str, int]:
        """Words of each component, estimated from a sample of its documents."""
        return {name: round(_mean_words(c, c.documents) * c.documents) for name, c in self.components.items()}

    def fill(self) -> int:
        """Add distractors up to the setting `tokens`; returns the number of documents. Raises StudyError if the planted documents
        alone have more words than that."""
        if "fillers" not in self.components:
            planted = sum(self.words().values())
            if planted > 1.02 * self.planted.tokens:
                problem = f"the planted documents have {planted} words, more than tokens = {self.planted.tokens}"
                remedy = "raise tokens, or lower document_frequencies, repeats or parallel_documents"
                raise StudyError(f"corpus.planted: {problem}; {remedy}")
            free = max(0, self.planted.tokens - planted)
            self.fillers.documents = int(free / _mean_words(self.fillers, SAMPLE))
            self.components["fillers"] = self.fillers
        return sum(c.documents for c in self.components.values())

    def shard(self, number: int) -> tuple[int, int]:
        documents, shards = self.fill(), self.planted.shards
        if documents < shards:
            raise StudyError(f"corpus.planted: {documents} documents are fewer than shards = {shards}; lower shards")
        return documents * number // shards, documents * (number + 1) // shards

    def positions(self, name: str) -> Ints:
        """The positions in the corpus of the documents of a component, in its order."""
        total, place, starts = self.fill(), list(self.components).index(name), self._starts()
        return shuffled(np.arange(starts[place], starts[place + 1]), total, self.seed, "corpus", inverse=True)

    def _starts(self) -> Ints:
        return np.cumsum([0, *(c.documents for c in self.components.values())])

    def texts(self, first: int, last: int) -> Iterator[tuple[int, str, str]]:
        """(position, text, language) of the documents at these positions of the corpus."""
        total, starts = self.fill(), self._starts()
        for begin in range(first, last, CHUNK):
            numbers = shuffled(np.arange(begin, min(begin + CHUNK, last)), total, self.seed, "corpus")
            owner = np.searchsorted(starts, numbers, side="right") - 1
            out: list[tuple[str, str]] = [("", "")] * len(numbers)
            for number, component in enumerate(self.components.values()):
                chosen = np.flatnonzero(owner == number)
                for place, made in zip(chosen.tolist(), component.render(numbers[chosen] - starts[number]), strict=True):
                    out[place] = made
            yield from ((begin + i, text, language) for i, (text, language) in enumerate(out))


def _mean_words(component: Component, documents: int) -> float:
    if not documents:
        return 0.0
    index = np.unique(np.linspace(0, documents - 1, min(SAMPLE, documents)).astype(np.int64))
    return sum(len(re.findall(r"\w+", text)) for text, _ in component.render(index)) / len(index)
