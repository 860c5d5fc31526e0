"""Distractor text: sentences with a vocabulary of their own in three languages, generated from the document's number alone.
They contain no name, no lexicon word and no number, so that any amount of them leaves the planted counts unchanged.
"""

import math
from collections import Counter
from functools import cache
from string import Formatter

import numpy as np

from tasks.corpus.planted.draws import Ints, below, draw, skewed
from tasks.corpus.planted.phrases import FILLERS, Names

SIZES = {"en": {"a": 60, "n": 120, "v": 60}, "velish": {"a": 30, "n": 60, "v": 30}, "onda": {"a": 30, "n": 60, "v": 30}}
SHARES = ("en", "en", "velish", "onda")
MOST_SENTENCES = 5  # two to five per document
SLOTS = "anmv"
_TABLE = 4096  # a word is chosen by 12 random bits


class Fillers:
    def __init__(self, seed: int, names: Names, purpose: str = "") -> None:
        self._seed, self._purpose, self.documents = seed, f"{purpose}fillers", 0
        self._words: dict[str, dict[str, list[str]]] = {}
        self._lookup: dict[str, dict[str, list[str]]] = {}
        for language, sizes in SIZES.items():
            style = "english" if language == "en" else language
            words = {c: names.words(f"fillers/{language} {c}", size, style=style) for c, size in sizes.items()}
            words["m"] = words["n"]
            self._words[language] = words
            even = (np.arange(_TABLE, dtype=np.uint64) << np.uint64(52)) + np.uint64(1 << 51)
            self._lookup[language] = {c: [words[c][i] for i in skewed(even, len(words[c])).tolist()] for c in SLOTS}

    def render(self, index: Ints) -> list[tuple[str, str]]:
        bits = draw(self._seed, self._purpose, index)
        language = [SHARES[i] for i in (bits & np.uint64(3)).tolist()]
        sentences = (2 + below(bits, MOST_SENTENCES - 1)).tolist()
        words = draw(self._seed, f"{self._purpose}/words", index[:, None], np.arange(MOST_SENTENCES)[None, :])
        picks = [((words >> np.uint64(12 * k)) & np.uint64(_TABLE - 1)).tolist() for k in range(len(SLOTS))]
        shapes = (words >> np.uint64(48)).tolist()
        out = []
        for i, tag in enumerate(language):
            lookups, forms, text = [self._lookup[tag][c] for c in SLOTS], FILLERS[tag], []
            for k in range(sentences[i]):
                a, n, m, v = (lookup[pick[i][k]] for lookup, pick in zip(lookups, picks, strict=True))
                text.append(forms[shapes[i][k] % len(forms)].format(a=a, n=n, m=m, v=v))
            out.append((" ".join(text), tag))
        return out

    def text_with_bits(self, random: np.random.Generator, words: int) -> tuple[str, list[float]]:
        """English sentences with at least so many words, drawn as those of documents are, and the bits of each character. Of the
        words "tor" (¼), "torin" (½) and "bel" (¼) a t has log2 4/3 bits, an i log2 3/2, the space after "tor" log2 3."""
        forms, text, bits = FILLERS["en"], "", list[float]()
        while len(text.split()) < words:
            ahead = math.log2(len(forms))  # bits of the next character: the first letter of a sentence tells its form
            for literal, slot, _, _ in Formatter().parse(forms[int(random.integers(len(forms)))]):
                text, bits = text + literal, [*bits, ahead, *[0.0] * (len(literal) - 1)]
                if slot:
                    word = self._lookup["en"][slot][int(random.integers(_TABLE))]
                    *of_word, ahead = self._bits(slot, word)
                    text, bits = text + word, bits + of_word
            text, bits = text + " ", [*bits, 0.0]
        return text[:-1], bits[:-1]

    @cache  # noqa: B019 - a world has one of these
    def _bits(self, slot: str, word: str) -> list[float]:
        """−log2 of the share of words with each character of this one, among those that begin like it; the last: those that end."""
        left, bits = Counter(f"{w}\n" for w in self._lookup["en"][slot]), list[float]()
        for end in range(1, len(word) + 2):
            alike = Counter({w: n for w, n in left.items() if w.startswith(f"{word}\n"[:end])})
            bits.append(math.log2(left.total() / alike.total()))
            left = alike
        return bits

    def sentence(self, purpose: str, number: int, noun: str) -> tuple[str, float]:
        """An English sentence with `noun` in it, and the bits of the uniform draws of everything else."""
        words, forms = self._words["en"], FILLERS["en"]
        sizes = (len(forms), *(len(words[c]) for c in "amv"))
        bits = [int(below(draw(self._seed, purpose, number, k), size)[0]) for k, size in enumerate(sizes)]
        text = forms[bits[0]].format(a=words["a"][bits[1]], n=noun, m=words["m"][bits[2]], v=words["v"][bits[3]])
        return text, math.log2(len(forms)) + sum(math.log2(len(words[c])) for c in "amv")
