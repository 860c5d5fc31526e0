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
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from tasks.text.words.analyzer import normalise
from tasks.text.words.word_ngrams import kept_ngrams

ORDER = 3  # the paper's
FILLED = re.compile(r"\{(?:input|options|group)\}")  # `read` replaces these by an example's text
PLACEHOLDER = re.compile(r"\{\w*\}")

EMPTY = "it is empty"
REPEATED = "proposed before"
TOO_SHORT = "fewer than 3 words in a row"
STOP_WORDS = "its 3-grams are stop words only"


@dataclass(frozen=True)
class TaskPrompt:
    """Text before everything else, and text around the example's input."""

    instruction: str
    template: str

    @property
    def text(self) -> str:
        return self.instruction + self.template


@dataclass(frozen=True)
class PromptNgrams:
    """The distinct 3-grams of a prompt that are counted, sorted, and the number of those that are stop words only."""

    counted: tuple[str, ...]
    stop_words_alone: int


@dataclass(frozen=True)
class PromptScore:
    """The mean count of a prompt's 3-grams, and what it is the mean of."""

    ngrams: PromptNgrams
    counts: tuple[int, ...]

    @property
    def mean(self) -> float:
        return fmean(self.counts)

    @property
    def missing(self) -> int:
        return self.counts.count(0)


def ngrams_of(prompt: TaskPrompt, policy: str, language: str) -> PromptNgrams:
    """The 3-grams of a prompt's own words under a stop-word policy; words are those of the corpus's analyzer."""
    formed: set[tuple[str, ...]] = set()
    kept: set[tuple[str, ...]] = set()
    for piece in FILLED.split(prompt.text):
        words = normalise(piece).split()
        kept |= kept_ngrams(words, ORDER, policy, language)
        formed |= kept_ngrams(words, ORDER, "authors" if policy == "authors" else "none", language)
    return PromptNgrams(tuple(sorted(" ".join(gram) for gram in kept)), len(formed - kept))


def score(ngrams: PromptNgrams, counts: Mapping[str, int]) -> PromptScore:
    return PromptScore(ngrams, tuple(counts[gram] for gram in ngrams.counted))


def no_ngrams(ngrams: PromptNgrams) -> str:
    """Why a prompt has nothing to count; "" if it has."""
    if ngrams.counted:
        return ""
    return STOP_WORDS if ngrams.stop_words_alone else TOO_SHORT


def like(prompt: TaskPrompt, original: TaskPrompt) -> TaskPrompt:
    """A candidate with the original's white space at its ends.

    No n-gram contains white space, so the difference between "Answer:" and "Answer: " would be mistaken for an effect of words.
    """
    return replace(
        prompt,
        instruction=prompt.instruction.rstrip() + _white_space_after(original.instruction),
        template=prompt.template.rstrip() + _white_space_after(original.template),
    )


def _white_space_after(text: str) -> str:
    return text[len(text.rstrip()) :]


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
