"""A prompt, its words that are counted, and the placeholders that a candidate must keep (arXiv 2407.14985 §7, docs/method.md §12).

    score(u) = mean over s in G_3(u) of C(s),  C(s): occurrences of s in the corpus

A prompt u is a task's instruction and template. Only its own words are counted:

    "Which river flows through {input}?\\nThe answer is "   →   which river flows · river flows through · the answer is

An n-gram ends at a placeholder, because the next word differs between examples. The examples' inputs are left out: they are the
same under every prompt, so they would add one constant to all scores, weighted by how short the prompt is; and a prompt chosen
without them has seen no example that it is evaluated on. G_3 is a set, so repeating a phrase changes nothing, and n-grams of stop
words only are left out as everywhere in the study (docs/method.md §1).
"""

import re
from dataclasses import dataclass

from tasks.text.words.analyzer import normalise
from tasks.text.words.word_ngrams import kept_ngrams

ORDER = 3  # the paper's
LANGUAGE = "en"  # of the stop words; prompts are in English, whatever they ask about
FILLED = re.compile(r"\{(?:input|options|group)\}")  # `read` replaces these by an example's text
PLACEHOLDER = re.compile(r"\{\w*\}")
EMPTY, REPEATED = "it is empty", "proposed before"
TOO_SHORT, STOP_WORDS = "fewer than 3 words in a row", "its 3-grams are stop words only"


@dataclass(frozen=True)
class TaskPrompt:
    """Text before everything else, and text around the example's input."""

    instruction: str
    template: str

    @property
    def text(self) -> str:
        return self.instruction + self.template


def ngrams_of(prompt: TaskPrompt, policy: str) -> tuple[list[str], int]:
    """The distinct 3-grams of a prompt's own words that a stop-word policy keeps, sorted; and how many are stop words only."""
    formed: set[tuple[str, ...]] = set()
    kept: set[tuple[str, ...]] = set()
    for piece in FILLED.split(prompt.text):
        words = normalise(piece).split()
        kept |= kept_ngrams(words, ORDER, policy, LANGUAGE)
        formed |= kept_ngrams(words, ORDER, "authors" if policy == "authors" else "none", LANGUAGE)
    return sorted(" ".join(gram) for gram in kept), len(formed - kept)


def like(prompt: TaskPrompt, original: TaskPrompt) -> TaskPrompt:
    """A candidate with the original's white space at its ends, whose effect would be mistaken for one of words."""
    both = ((prompt.instruction, original.instruction), (prompt.template, original.template))
    return TaskPrompt(*(new.rstrip() + old[len(old.rstrip()) :] for new, old in both))


def fault(prompt: TaskPrompt, original: TaskPrompt) -> str:
    """Why a candidate cannot be a prompt of this task; "" if it can. It must keep the original's placeholders."""
    if not prompt.text.strip():
        return EMPTY
    for new, old in ((prompt.template, original.template), (prompt.instruction, original.instruction)):
        has, needed = set(PLACEHOLDER.findall(new)), set(PLACEHOLDER.findall(old))
        if needed - has:
            return f"no {min(needed - has)}"
        if has - needed:
            return "a placeholder that the task's own prompt lacks"
    return ""
