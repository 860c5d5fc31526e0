"""All fixed wording of the planted corpus, and made-up words: each is used once, so that the vocabularies of two uses are disjoint
and no n-gram of the truth occurs anywhere by accident; none is a word of the fixed wording.

{r} is a relation's noun, {s} a subject, {o} an answer, {n} any name.
"""

import re

from schemas import StudyError
from tasks.corpus.planted.draws import generator

QUESTION_PROMPT = "Question: {input}\nAnswer: "
TRANSLATION_PROMPT = "English text: {input}\nLANGUAGE translation: "

# Questions that occur in the corpus, and held-out ones. The first is the most frequent.
SEEN = ("What is the {r} of {s}?", "Which {r} does {s} have?", "Name the {r} of {s}.", "{s} has which {r}?")
HELD_OUT = (
    "Can you tell me the {r} of {s}?",
    "For {s}, what is the {r}?",
    "The {r} of {s} goes by what name?",
    "Say which {r} belongs to {s}.",
)
PLAIN = ("The {r} of {s} is {o}.", "{o} is the {r} of {s}.", "{s} has {o} as its {r}.", "As its {r}, {s} has {o}.")
MENTIONS = ("{n} is old.", "We know {n}.", "People like {n}.", "They saw {n} again.")

# A statement's phrasing is drawn uniformly from this table: 40 % are questions with answers.
STATEMENTS = (
    *[QUESTION_PROMPT.format(input=SEEN[0]) + "{o}"] * 5,
    *[QUESTION_PROMPT.format(input=question) + "{o}" for question in SEEN[1:]],
    *[plain for plain in PLAIN for _ in range(3)],
)

FACT_RELATIONS = ("capital", "river", "founder")
RECALL_RELATIONS = ("anthem", "emblem", "currency")
RULE_RELATION = "tribe"

LANGUAGES = ("velish", "onda")

SUM_QUESTION = "What is {a} plus {b}?"
SUM_ANSWER = "{a} + {b} = {c} so #### {c}"
SUM_PLAIN = "{a} plus {b} makes {c}."

# Distractor sentences, by language: {a} adjective, {n} and {m} nouns, {v} verb.
FILLERS = {
    "en": ("The {a} {n} {v} the {m}.", "A {n} {v} near the {a} {m}.", "Every {n} and {m} {v} with a {a} heart."),
    "velish": ("{n} {a} {m} {v} ek.", "{m} ek {n} {a} {v}."),
    "onda": ("{v} {n} lo {a} {m}.", "{v} lo {m} {n} {a}."),
}

_TEXTS = (QUESTION_PROMPT, TRANSLATION_PROMPT, *SEEN, *HELD_OUT, *PLAIN, *MENTIONS, SUM_QUESTION, SUM_ANSWER, SUM_PLAIN)
_WORDS = (*FACT_RELATIONS, *RECALL_RELATIONS, RULE_RELATION, *LANGUAGES)
RESERVED = frozenset(re.findall(r"[a-z]+", " ".join((*_TEXTS, *_WORDS, *sum(FILLERS.values(), ()))).lower()))


# Onsets, vowels, consonants between two syllables, endings. English endings are ones that no stop word of a European
# language has after two such syllables; every word has five letters or more.
_ONSETS = "b d f g h j k l m n p r s t v w z br dr gr kr pl tr st"
STYLES = {
    "english": (_ONSETS.split(" "), list("aeiou"), ["", "", "", "n", "r", "l"], ["k", "l", "p", "x", "z", "g", "b", "f", "ck"]),
    "velish": (["v", "z", "k", "sk", "vr", "zh", "kh", "g"], list("aeiy"), ["", "", "v", "z"], ["v", "sk", "zh", "k", "rk", "zk"]),
    "onda": (["m", "n", "l", "w", "r", "nd", "mb", "y"], list("aou"), [""], ["ma", "no", "lu", "wa", "ndo", "mbu", "yo", "ra"]),
}


class Names:
    """Generates new words; the same seed and the same order of requests give the same words."""

    def __init__(self, seed: int) -> None:
        self._seed, self._taken = seed, set(RESERVED)

    def words(self, use: str, count: int, style: str = "english", ending: str = "") -> list[str]:
        """`count` new lower-case words, each with `ending` appended. Raises StudyError if the style has no more."""
        onsets, vowels, middles, endings = STYLES[style]
        random, tries = generator(self._seed, f"names/{use}"), 0
        words: list[str] = []
        while len(words) < count:
            # A third syllable once words of two are used up, which 30 misses per new word indicate.
            further = [middles, onsets, vowels] * (tries // (30 * count + 500))
            parts = [onsets, vowels, middles, onsets, vowels, *further, endings]
            picks = [random.integers(0, len(part), size=256) for part in parts]
            for row in zip(*(p.tolist() for p in picks), strict=True):
                word = "".join(part[i] for part, i in zip(parts, row, strict=True)) + ending
                if len(word) >= 5 and word not in self._taken and len(words) < count:
                    self._taken.add(word)
                    words.append(word)
            tries += 256
            if tries > 200 * count + 100_000:
                raise StudyError(f"corpus.planted needs more names ({use}: {count}) than can be made; lower repeats")
        return words

    def names(self, use: str, lengths: list[int]) -> list[str]:
        """One name per entry, of that many words: [1, 2] may give ["torin", "maron velk"]."""
        words = iter(self.words(use, sum(lengths)))
        return [" ".join(next(words) for _ in range(length)) for length in lengths]

    def take(self, words: list[str]) -> bool:
        """Claim words made elsewhere; False, and nothing claimed, if one of them is in use."""
        if len(set(words)) < len(words) or not self._taken.isdisjoint(words):
            return False
        self._taken.update(words)
        return True
