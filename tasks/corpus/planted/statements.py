"""Documents that state or mention names: "The capital of Maron Velk is Torin.", "People like Torin."

They are planned as runs of documents with the same (relation, subject, answer, further mentions of the subject), so that
every count is a sum over runs and needs no text. The wording and the order of the mentions are drawn per document,
independently of subject and answer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.corpus.planted.draws import Ints, below, draw
from tasks.corpus.planted.phrases import FACT_RELATIONS, MENTIONS, QUESTION_PROMPT, RECALL_RELATIONS, RULE_RELATION, STATEMENTS
from tasks.corpus.planted.planted_rows import TruePair, example

RELATIONS = (*FACT_RELATIONS, *RECALL_RELATIONS, RULE_RELATION)
NOBODY = -1


@dataclass(frozen=True)
class Fact:
    """A planted pair: indices into the names of `Statements`, and what does not follow from the runs."""

    pair: str
    relation: str
    subject: int
    answer: int
    kind: str
    optimal_log_probability: float | None
    held_out: bool = False
    level: int = 0


class Statements:
    """Runs of documents over one list of names. No document contains two subjects or two answers."""

    def __init__(self, seed: int, purpose: str = "") -> None:
        self._seed, self._purpose = seed, f"{purpose}statements"
        self._names: list[str] = []
        self._runs: list[tuple[int, ...]] = []

    def name(self, names: list[str]) -> list[int]:
        first = len(self._names)
        self._names += names
        return list(range(first, first + len(names)))

    def text(self, name: int) -> str:
        """A name as written in texts."""
        return self._names[name].title()

    def state(self, relation: str, subject: int, answer: int, copies: int, mentions: int = 0) -> None:
        """Add `copies` documents that state this answer and mention the subject `mentions` more times."""
        self._run(RELATIONS.index(relation), subject, answer, mentions, copies)

    def mention(self, name: int, copies: int) -> None:
        self._run(NOBODY, name, NOBODY, 0, copies)

    def _run(self, *run: int) -> None:
        if run[-1] > 0:
            self._runs.append(run)

    def freeze(self) -> None:
        table = np.array(self._runs, dtype=np.int64).reshape(-1, 5)
        self._runs = []
        self._relation, self._subject, self._answer, self._extra, self._copies = table.T
        self._ends = np.cumsum(self._copies)
        self._titles = [name.title() for name in self._names]
        size = len(self._names)
        answered = self._answer >= 0
        self._df = _sum(self._subject, self._copies, size) + _sum(self._answer[answered], self._copies[answered], size)
        self._occurrences = self._df + _sum(self._subject, self._copies * self._extra, size)
        both, index = np.unique(self._subject[answered] * size + self._answer[answered], return_inverse=True)
        self._pairs = dict(zip(both.tolist(), _sum(index, self._copies[answered], len(both)).tolist(), strict=True))

    @property
    def documents(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def truth(self, task: str, fact: Fact) -> TruePair:
        x, y, df, occurrences = fact.subject, fact.answer, self._df, self._occurrences
        together = self._pairs.get(x * len(self._names) + y, 0)
        ngrams = (self._names[x], self._names[y])
        counts = (together, int(df[x]), int(df[y]), int(occurrences[x]), int(occurrences[y]), together)
        return TruePair(task, fact.pair, fact.relation, fact.kind, *ngrams, *counts, fact.optimal_log_probability, fact.held_out)

    def question(self, fact: Fact, name: str, split: str, group: str, phrasing: str) -> dict[str, Any]:
        """An example that asks for the fact's answer; `name` is its id, `group` a subdivision of its relation."""
        question = phrasing.format(r=fact.relation, s=self.text(fact.subject))
        return example(name, split, f"{fact.relation}/{group}", question, self.text(fact.answer), QUESTION_PROMPT)

    def render(self, index: Ints) -> list[tuple[str, str]]:
        run = np.searchsorted(self._ends, index, side="right")
        bits = draw(self._seed, self._purpose, index)
        phrase, order = below(bits, len(STATEMENTS)).tolist(), (bits & np.uint64(1)).tolist()
        wording = (bits >> np.uint64(1)) & np.uint64(255)
        columns = (self._relation[run], self._subject[run], self._answer[run], self._extra[run], wording)
        out = []
        for i, (relation, subject, answer, extra, choice) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            name = self._titles[subject]
            mentions = [MENTIONS[(choice >> 2 * k) & 3].format(n=name) for k in range(extra + (relation < 0))]
            if relation >= 0:
                statement = STATEMENTS[phrase[i]].format(r=RELATIONS[relation], s=name, o=self._titles[answer])
                mentions.insert(len(mentions) if order[i] else 0, statement)
            out.append(("\n".join(mentions), "en"))
        return out


def _sum(index: Ints, weight: Ints, size: int) -> Ints:
    out = np.zeros(size, dtype=np.int64)
    np.add.at(out, index, weight)
    return out
