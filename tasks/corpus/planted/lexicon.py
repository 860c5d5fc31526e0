"""Tasks "velish" and "onda": sentences of five lexicon words and their translations.

English:  adjective noun verb adjective noun      Velish: noun adjective noun adjective verb
                                                  Onda:   verb noun adjective noun adjective, the object first

In Velish a noun's ending marks it as subject or object, an adjective's ending marks the class of its noun; in Onda the
verb's ending marks the class of the subject. So a word has one or two translations, chosen by an adjacent word.
An eighth of all sentences, chosen by a hash of the sentence, is held out of the corpus, in every language.
"""

from typing import Any

import numpy as np

from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import Ints, below, draw, generator, skewed
from tasks.corpus.planted.phrases import LANGUAGES, TRANSLATION_PROMPT, Names
from tasks.corpus.planted.planted_rows import TruePair, example

CLASSES = ("adjective", "noun", "verb")
SLOTS = (0, 1, 2, 0, 1)  # class of each word of an English sentence
ORDERS = {"velish": (1, 0, 4, 3, 2), "onda": (2, 4, 3, 1, 0)}
ENDINGS = {"velish": {"adjective": ("", "u"), "noun": ("", "an")}, "onda": {"verb": ("", "ni")}}
HELD_OUT_SHARE = 8  # one sentence in eight
MOST_MINED = 20_000
CHUNK = 65_536


class Lexicon:
    """Parallel documents in two languages, then documents in one language: English, Velish, Onda."""

    def __init__(self, planted: Planted, seed: int, names: Names) -> None:
        self._seed, self._limit, self._corpus = seed, planted.examples, f"{planted.purpose}corpus"
        self._parallel, self._single = planted.parallel_documents, planted.monolingual_documents
        quarter = planted.lexicon // 4
        self._sizes = {"adjective": quarter, "noun": planted.lexicon - 2 * quarter, "verb": quarter}
        self._english = {c: names.words(f"lexicon/english {c}", self._sizes[c]) for c in CLASSES}
        self._gender = generator(seed, "lexicon/gender").permutation(np.arange(self._sizes["noun"]) % 2)
        self._foreign = {language: {c: _inflected(names, language, c, self._sizes[c]) for c in CLASSES} for language in LANGUAGES}

    @property
    def documents(self) -> int:
        return 2 * self._parallel + 3 * self._single

    # -- sentences ------------------------------------------------------------------------------------------------
    def _drawn(self, purpose: str, index: Ints, attempt: int) -> Ints:
        """(len(index), 5) word numbers; the two nouns differ, and so do the two adjectives."""
        bits = [draw(self._seed, f"lexicon/{purpose}", index, np.array([8 * attempt + place])) for place in range(len(SLOTS))]
        columns = [skewed(of, self._sizes[CLASSES[c]]) for of, c in zip(bits, SLOTS, strict=True)]
        for first, second in ((0, 3), (1, 4)):
            size = self._sizes[CLASSES[SLOTS[first]]]
            columns[second] = np.where(columns[second] == columns[first], (columns[second] + 1) % size, columns[second])
        return np.stack(columns, axis=1)

    def _keys(self, sentences: Ints) -> Ints:
        return np.ravel_multi_index(tuple(sentences.T), [self._sizes[CLASSES[c]] for c in SLOTS])

    def _held_out(self, sentences: Ints) -> np.ndarray:
        return below(draw(self._seed, "lexicon/held out", self._keys(sentences)), HELD_OUT_SHARE) == 0

    def sentences(self, index: Ints) -> Ints:
        """Word numbers of these documents' sentences; a held-out sentence is drawn again."""
        out = self._drawn(self._corpus, index, 0)
        todo, attempt = np.flatnonzero(self._held_out(out)), 0
        while len(todo):
            attempt += 1
            out[todo] = self._drawn(self._corpus, index[todo], attempt)
            todo = todo[self._held_out(out[todo])]
        return out

    def forms(self, language: str, sentences: Ints) -> Ints:
        """(n, 5): the form of each English word's translation, by English position."""
        subject, object_ = self._gender[sentences[:, 1]], self._gender[sentences[:, 4]]
        nothing = np.zeros(len(sentences), dtype=np.int64)
        if language == "velish":
            return np.stack([subject, nothing, nothing, object_, nothing + 1], axis=1)
        return np.stack([nothing, nothing, subject, nothing, nothing], axis=1)

    def _english_text(self, row: list[int]) -> str:
        return " ".join(self._english[CLASSES[c]][word] for c, word in zip(SLOTS, row, strict=True))

    def _foreign_text(self, language: str, row: list[int], forms: list[int]) -> str:
        table = self._foreign[language]
        return " ".join(table[CLASSES[SLOTS[k]]][row[k]][forms[k]] for k in ORDERS[language])

    # -- documents ------------------------------------------------------------------------------------------------
    def _kind(self, index: Ints) -> Ints:
        """0, 1: parallel with Velish, Onda; 2: English; 3, 4: Velish, Onda."""
        return np.searchsorted(np.cumsum([self._parallel] * 2 + [self._single] * 3), index, side="right")

    def render(self, index: Ints) -> list[tuple[str, str]]:
        kinds, sentences = self._kind(index), self.sentences(index)
        forms = {language: self.forms(language, sentences).tolist() for language in LANGUAGES}
        out = []
        for i, (kind, row) in enumerate(zip(kinds.tolist(), sentences.tolist(), strict=True)):
            if kind == 2:
                out.append((self._english_text(row) + ".", "en"))
                continue
            language = LANGUAGES[kind % 3]  # 0, 1 and 3, 4
            foreign = self._foreign_text(language, row, forms[language][i])
            if kind > 2:
                out.append((foreign + ".", language))
            else:
                out.append((_prompt(language).format(input=self._english_text(row)) + foreign, f"en-{language}"))
        return out

    # -- truth ----------------------------------------------------------------------------------------------------
    def _counts(self) -> tuple[dict[str, Ints], dict[tuple[str, str], Ints], dict[tuple[str, str], Ints]]:
        """Documents per English word, per form, and per (word, form); no word occurs twice in a sentence."""
        english = {c: np.zeros(n, dtype=np.int64) for c, n in self._sizes.items()}
        alone = {(language, c): np.zeros((n, 2), dtype=np.int64) for language in LANGUAGES for c, n in self._sizes.items()}
        both = {key: table.copy() for key, table in alone.items()}
        for first in range(0, self.documents, CHUNK):
            index = np.arange(first, min(first + CHUNK, self.documents))
            kind, sentences = self._kind(index), self.sentences(index)
            for place, slot in enumerate(SLOTS):
                c = CLASSES[slot]
                np.add.at(english[c], sentences[kind <= 2, place], 1)
                for number, language in enumerate(LANGUAGES):
                    forms = self.forms(language, sentences)
                    for kinds, table in ((number, both), (number, alone), (number + 3, alone)):
                        of = kind == kinds
                        np.add.at(table[language, c], (sentences[of, place], forms[of, place]), 1)
        return english, alone, both

    def truth(self) -> list[TruePair]:
        """One row per English word and form of its translation. Given the sentence, the translation is certain."""
        english, alone, both = self._counts()
        rows = []
        for language in LANGUAGES:
            for c in CLASSES:
                pairs, foreign = both[language, c].tolist(), alone[language, c].tolist()
                for word, forms in enumerate(self._foreign[language][c]):
                    for form in range(len(set(forms))):
                        together, inputs, outputs = pairs[word][form], int(english[c][word]), foreign[word][form]
                        names = (language, f"{c}-{word:03d}-{form}", f"en-{language}", "lexicon")
                        counts = (together, inputs, outputs, inputs, outputs, together)
                        rows.append(TruePair(*names, self._english[c][word], forms[form], *counts, 0.0))
        return rows

    def examples(self, language: str) -> list[dict[str, Any]]:
        """Mined: sentences of the parallel documents. Evaluated: distinct held-out sentences."""
        first = LANGUAGES.index(language) * self._parallel
        mined = self.sentences(np.arange(first, first + min(self._parallel, MOST_MINED)))
        drawn = self._drawn(f"evaluate {language}", np.arange(80 * self._limit), 0)
        drawn = drawn[self._held_out(drawn)]
        drawn = drawn[np.sort(np.unique(self._keys(drawn), return_index=True)[1])][: self._limit]
        return self._records(language, "mine", mined) + self._records(language, "evaluate", drawn)

    def _records(self, language: str, split: str, sentences: Ints) -> list[dict[str, Any]]:
        names, texts = (f"{split}-{i:05d}" for i in range(len(sentences))), map(self._english_text, sentences.tolist())
        rows = zip(sentences.tolist(), self.forms(language, sentences).tolist(), strict=True)
        foreign = (self._foreign_text(language, row, forms) for row, forms in rows)
        group, prompt = f"en-{language}", _prompt(language)
        return [example(name, split, group, x, y, prompt) for name, x, y in zip(names, texts, foreign, strict=True)]


def _prompt(language: str) -> str:
    return TRANSLATION_PROMPT.replace("LANGUAGE", language.title())


def _inflected(names: Names, language: str, kind: str, count: int) -> list[tuple[str, str]]:
    """`count` words, each in its two forms (equal where the language does not inflect this class)."""
    endings = ENDINGS[language].get(kind)
    out: list[tuple[str, str]] = []
    while len(out) < count:
        for stem in names.words(f"lexicon/{language} {kind} {len(out)}", count - len(out), style=language):
            if endings is None:
                out.append((stem, stem))
            elif names.take([stem + endings[1]]):
                out.append((stem, stem + endings[1]))
    return out
