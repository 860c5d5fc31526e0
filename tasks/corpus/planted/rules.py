"""Task "rules": the answer follows from the ending of the subject's name, independently of counts. A model that has learnt
the rule answers for subjects it never saw.
"""

from typing import Any

from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import generator
from tasks.corpus.planted.phrases import RULE_RELATION, SEEN, Names
from tasks.corpus.planted.planted_rows import TruePair
from tasks.corpus.planted.statements import Fact, Statements

ENDINGS = ("dor", "mix", "lun", "pash", "teg", "vok")
HELD_OUT_EVERY = 4
EXPOSURES = (1, 2, 4, 8, 16)
SUBJECT_MENTIONS = (0, 1, 2, 4, 8)


class RuleFacts:
    def __init__(self, planted: Planted, seed: int, names: Names, statements: Statements) -> None:
        self._limit, self._statements = planted.examples, statements
        random = generator(seed, f"{planted.purpose}rules")
        answers = statements.name(names.words("rules/answers", len(ENDINGS)))
        self.facts = []
        for i in range(planted.rule_subjects):
            rule, held_out = i // HELD_OUT_EVERY % len(ENDINGS), i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            subject = statements.name(names.words(f"rules/{i}", 1, ending=ENDINGS[rule]))[0]
            if not held_out:
                statements.state(RULE_RELATION, subject, answers[rule], int(random.choice(EXPOSURES)))
                statements.mention(subject, int(random.choice(SUBJECT_MENTIONS)))
            self.facts.append(Fact(f"{ENDINGS[rule]}-{i:04d}", RULE_RELATION, subject, answers[rule], "rule", 0.0, held_out))

    def truth(self) -> list[TruePair]:
        """Exact counts of every subject's pair; by the rule, the answer has probability 1, stated or not."""
        return [self._statements.truth("rules", fact) for fact in self.facts]

    def examples(self) -> list[dict[str, Any]]:
        """One question per subject; the group says whether its fact is stated in the corpus."""
        rows = []
        for number, fact in enumerate(self.facts):
            group = "held-out" if fact.held_out else "stated"
            for split in ("mine", "evaluate") if number < self._limit else ("mine",):
                rows.append(self._statements.question(fact, fact.pair, split, group, SEEN[0]))
        return rows
