"""Tasks "recall" and "choice": facts with a single answer, each stated an exact number of times (0 to some hundreds).

Facts share answers, and documents that only mention an answer equalise the frequencies of answers, so that the frequency of
an answer is independent of how often a subject's fact is stated.
"""

from typing import Any

import numpy as np

from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import generator
from tasks.corpus.planted.phrases import HELD_OUT, RECALL_RELATIONS, SEEN, Names
from tasks.corpus.planted.planted_rows import TruePair
from tasks.corpus.planted.statements import Fact, Statements

ANSWERS = 24  # per relation
OPTIONS = 4
LEVELS = (4, 5, 6)  # frequency of answers, in quarters of the largest number of statements of one answer
SUBJECT_MENTIONS = (1, 2, 4)  # documents that mention a subject without any answer


class Recall:
    def __init__(self, planted: Planted, seed: int, names: Names, statements: Statements) -> None:
        self._seed, self._limit, self._statements = seed, planted.examples, statements
        self._random = generator(seed, "recall")
        self._redrawn = generator(seed, "placebo/recall") if planted.redrawn else None
        self.facts: list[Fact] = []
        self._answers: dict[str, list[int]] = {}
        for number, relation in enumerate(RECALL_RELATIONS):
            numbers = range(number, planted.facts_per_exposure, len(RECALL_RELATIONS))
            wanted = [(e, i) for e in sorted(planted.exposures, reverse=True) for i in numbers]
            self._answers[relation] = statements.name(names.words(f"recall/{relation} answers", ANSWERS))
            self._plant(relation, wanted, names)
        # One fact of each level, then the next of each level, so that the first N facts are balanced for any N.
        self.facts.sort(key=lambda fact: fact.pair)
        self.facts.sort(key=lambda fact: (fact.pair.split("-")[1], fact.level))

    def _plant(self, relation: str, wanted: list[tuple[int, int]], names: Names) -> None:
        random, answers = self._random, self._answers[relation]
        lengths = [1 + (i + e.bit_length()) % 2 for e, i in wanted]
        subjects = self._statements.name(names.names(f"recall/{relation}", lengths))
        load, stated = np.zeros((2, len(answers)), dtype=np.int64)
        times = [exposures for exposures, _ in wanted]
        if self._redrawn:
            times = self._redrawn.permutation(times).tolist()
        for (exposures, i), subject, copies in zip(wanted, subjects, times, strict=True):
            # The answer stated least so far; facts that are never stated get any answer.
            place = int(load.argmin()) if exposures else int(random.integers(0, len(answers)))
            load[place] += exposures
            stated[place] += copies
            self._statements.state(relation, subject, answers[place], copies)
            self._statements.mention(subject, int(random.choice(SUBJECT_MENTIONS)))
            pair, optimal = f"e{exposures:05d}-{i:04d}", 0.0 if exposures else None
            self.facts.append(Fact(pair, relation, subject, answers[place], "exposure", optimal, level=exposures))
        levels = random.permutation(np.resize(LEVELS, len(answers)))
        for answer, already, level in zip(answers, stated.tolist(), levels.tolist(), strict=True):
            self._statements.mention(answer, max(1, int(load.max()) * level // 4) - already)

    def truth(self, task: str) -> list[TruePair]:
        return [self._statements.truth(task, fact) for fact in self.facts]

    def recall_examples(self) -> list[dict[str, Any]]:
        """Every fact in a phrasing of the corpus, then, up to the setting `examples`, in a held-out phrasing."""
        rows = [self._question(fact, "mine", "seen", 0) for fact in self.facts]
        evaluated = [self._question(fact, "evaluate", "seen", 0) for fact in self.facts]
        levels = len({fact.level for fact in self.facts})
        # Each round of levels begins with the next phrasing, so that every level has all phrasings.
        turns = ((fact, (i + i // levels) % len(HELD_OUT)) for i, fact in enumerate(self.facts))
        evaluated += [self._question(fact, "evaluate", "held-out", phrasing) for fact, phrasing in turns]
        return rows + evaluated[: self._limit]

    def choice_examples(self) -> list[dict[str, Any]]:
        """The same facts with four options; three are answers of other subjects."""
        random, rows = generator(self._seed, "choice"), []
        for number, fact in enumerate(self.facts):
            others = [a for a in self._answers[fact.relation] if a != fact.answer]
            options = random.choice(others, size=OPTIONS - 1, replace=False).tolist()
            place = int(random.integers(0, OPTIONS))
            options.insert(place, fact.answer)
            for split in ("mine", "evaluate") if number < self._limit else ("mine",):
                texts = [self._statements.text(o) for o in options]
                rows.append(self._question(fact, split, "seen", 0) | {"options": texts, "answer": place})
        return rows

    def _question(self, fact: Fact, split: str, seen: str, phrasing: int) -> dict[str, Any]:
        question = (SEEN if seen == "seen" else HELD_OUT)[phrasing]
        return self._statements.question(fact, f"{fact.pair}/{seen}-{phrasing}", split, seen, question)
