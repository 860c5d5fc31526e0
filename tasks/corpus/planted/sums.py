"""Task "sums": a + b, with a share of the operand pairs (in both orders) that is never stated.

The question contains "12 plus 7", the answer "12 + 7 = 19 so #### 19". Numbers occur nowhere else in the corpus, so their
counts follow from the number of documents per pair and wording.
"""

from typing import Any

import numpy as np

from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import Ints, below, draw
from tasks.corpus.planted.phrases import QUESTION_PROMPT, SUM_ANSWER, SUM_PLAIN, SUM_QUESTION
from tasks.corpus.planted.planted_rows import TruePair, example

QUESTIONS_OF_TEN = 6  # out of ten documents, those that are a question with its answer
CHUNK = 65_536
MOST_MINED = 5_000


class Sums:
    def __init__(self, planted: Planted, seed: int) -> None:
        self._seed, self._limit, self.documents = seed, planted.examples, planted.sum_documents
        self._purpose = f"{planted.purpose}sums"
        size = self._size = planted.largest_operand
        a, b = np.triu_indices(size)
        order = np.argsort(draw(seed, "sums/held out", a, b), kind="stable")
        held_out = order[: min(max(1, round(planted.held_out_sums * len(order))), len(order) - 1)]
        self._held_out = np.zeros((size, size), dtype=bool)
        self._held_out[a[held_out], b[held_out]] = self._held_out[b[held_out], a[held_out]] = True
        self._stated = np.argwhere(~self._held_out)

    def _pairs(self, index: Ints) -> tuple[Ints, np.ndarray]:
        """Operands (n, 2) of these documents and whether each is a question."""
        pairs = self._stated[below(draw(self._seed, f"{self._purpose}/pair", index), len(self._stated))]
        return pairs, below(draw(self._seed, f"{self._purpose}/wording", index), 10) < QUESTIONS_OF_TEN

    def render(self, index: Ints) -> list[tuple[str, str]]:
        pairs, is_question = self._pairs(index)
        question = QUESTION_PROMPT.format(input=SUM_QUESTION) + SUM_ANSWER
        rows = zip(pairs.tolist(), is_question.tolist(), strict=True)
        return [((question if ask else SUM_PLAIN).format(a=a, b=b, c=a + b), "en") for (a, b), ask in rows]

    def counts(self) -> tuple[Ints, Ints]:
        """[operands, operands] twice: documents with each sum as a question, and as a plain statement."""
        questions, plain = np.zeros((2, self._size, self._size), dtype=np.int64)
        for first in range(0, self.documents, CHUNK):
            pairs, is_question = self._pairs(np.arange(first, min(first + CHUNK, self.documents)))
            np.add.at(questions, tuple(pairs[is_question].T), 1)
            np.add.at(plain, tuple(pairs[~is_question].T), 1)
        return questions, plain

    def _numbers(self, questions: Ints, plain: Ints) -> tuple[Ints, Ints]:
        """Documents and occurrences of every number: a question contains each operand and the sum twice."""
        a, b = np.indices(questions.shape)
        both, documents = questions + plain, np.zeros(2 * self._size, dtype=np.int64)
        occurrences = documents.copy()
        for number in (a, b, a + b):
            np.add.at(occurrences, number, 2 * questions + plain)
        np.add.at(documents, a, both)
        np.add.at(documents, b, np.where(b == a, 0, both))
        np.add.at(documents, a + b, np.where((a == 0) | (b == 0), 0, both))
        return documents, occurrences

    def truth(self) -> list[TruePair]:
        """Two pairs per sum: "12 plus 7" with the number "19", and with the words of the equation, "12 7 19"."""
        as_question, plain = self.counts()
        documents, occurrences = (n.tolist() for n in self._numbers(as_question, plain))
        rows = []
        for a, b in np.ndindex(as_question.shape):
            c, questions, stated = a + b, int(as_question[a, b]), int(as_question[a, b] + plain[a, b])
            equation = ("equation", f"{a} {b} {c}", questions, questions, questions)
            for name, output, together, df, times in (equation, ("number", f"{c}", stated, documents[c], occurrences[c])):
                of = ("sums", f"{a:03d}+{b:03d}/{name}", "sum", "arithmetic", f"{a} plus {b}", output)
                rows.append(TruePair(*of, together, stated, df, stated, times, together, 0.0, bool(self._held_out[a, b])))
        return rows

    def examples(self) -> list[dict[str, Any]]:
        """Evaluated: equally many stated and held-out sums. Mined: stated sums, the evaluated ones first."""
        as_question, plain = self.counts()
        chosen = {}
        for group, wanted in (("stated", as_question + plain > 0), ("held-out", self._held_out)):
            pairs = np.argwhere(wanted)
            chosen[group] = pairs[np.argsort(draw(self._seed, "sums/evaluated", pairs[:, 0], pairs[:, 1]), kind="stable")]
        each = min(self._limit // 2, *(len(pairs) for pairs in chosen.values()))
        rows = [self._example(a, b, "evaluate", group) for group, pairs in chosen.items() for a, b in pairs[:each].tolist()]
        return rows + [self._example(a, b, "mine", "stated") for a, b in chosen["stated"][:MOST_MINED].tolist()]

    def _example(self, a: int, b: int, split: str, group: str) -> dict[str, Any]:
        question, answer = SUM_QUESTION.format(a=a, b=b), SUM_ANSWER.format(a=a, b=b, c=a + b)
        return example(f"{a:03d}+{b:03d}", split, group, question, answer, QUESTION_PROMPT)
