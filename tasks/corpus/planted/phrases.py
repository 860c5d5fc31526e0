"""All fixed wording of the planted corpus; no made-up name may be one of these words.

{r} is a relation's noun, {s} a subject, {o} an answer, {n} any name.
"""

import re

QUESTION_PROMPT = "Question: {input}\nAnswer: "
TRANSLATION_PROMPT = "English text: {input}\nLANGUAGE translation: "

# Questions that occur in the corpus, and held-out ones. The first is the most frequent.
SEEN = ("What is the {r} of {s}?", "Which {r} does {s} have?", "Name the {r} of {s}.", "{s} has which {r}?")
_HELD_OUT = (
    "Can you tell me the {r} of {s}?|For {s}, what is the {r}?|The {r} of {s} goes by what name?|Say which {r} belongs to {s}."
)
HELD_OUT = tuple(_HELD_OUT.split("|"))
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
