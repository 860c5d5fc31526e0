"""Sequences whose memorization has a known answer (docs/method.md §17): canaries of known entropy, natural sentences in
many copies, pairs of twins of one rule of which one is held out, and phantoms, drawn the same way and never trained on.

    canary       bako mide sufa …                 four bits for a consonant, two for a vowel, none for a space
    sentence     Every bralek and torif …         sentences like those of distractors: few bits, and most for rare words

These texts are inserted in exact numbers of copies, each a document of its own that contains nothing else: its tokens are the same
in every copy, whatever the tokenizer. No other word of a planted world has four letters of this form, and texts are long, so that
nothing else contains one.
"""

import math
from collections.abc import Sequence

import numpy as np

from schemas.settings.corpus_settings import Insertions
from schemas.settings.study_file import Planted
from tasks.corpus.planted.draws import Ints, generator
from tasks.corpus.planted.fillers import Fillers
from tasks.corpus.planted.phrases import Names
from tasks.corpus.planted.planted_rows import InsertedText, PlantedSequence

CANARY_WORDS, CANARY_LENGTH = 64, 8
RING = 8  # words of a twin rule


class Copies:
    """One document per copy of a text; each document is its text and nothing else."""

    def __init__(self, texts: Sequence[PlantedSequence] | Sequence[InsertedText]) -> None:
        self._texts, self._ends = [t.text for t in texts], np.cumsum([t.copies for t in texts], dtype=np.int64)

    @property
    def documents(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def render(self, index: Ints) -> list[tuple[str, str]]:
        return [(self._texts[i], "en") for i in np.searchsorted(self._ends, index, side="right").tolist()]


def planted_sequences(planted: Planted, seed: int, names: Names, fillers: Fillers) -> list[PlantedSequence]:
    made = [*_canaries(planted, seed, names), *_duplicates(planted, names, fillers), *_twins(planted, names)]
    return sorted(made, key=lambda s: s.sequence)


def _planted_or_phantom(planted: Planted, kind: str, sequences: list[tuple[str, float]], first_power: int) -> list[PlantedSequence]:
    """The last ones are phantoms; all are drawn alike, so this choice is random. The others get 1, 2, 4 … copies."""
    members, out = len(sequences) - round(planted.phantoms * len(sequences)), []
    for i, (text, bits) in enumerate(sequences):
        name, copies = f"{kind}-{i:04d}", 2 ** (first_power + i % 6)
        group, kind_of, n = (name, kind, copies) if i < members else (kind, "phantom", 0)
        out.append(PlantedSequence(name, kind_of, group, text, n, bits))
    return out


def _canaries(planted: Planted, seed: int, names: Names) -> list[PlantedSequence]:
    vocabulary = names.words("canaries", CANARY_WORDS)
    random, seen = generator(seed, "canaries"), set()
    made: list[tuple[str, float]] = []
    while len(made) < planted.canaries:
        text = " ".join(vocabulary[i] for i in random.integers(0, CANARY_WORDS, size=CANARY_LENGTH).tolist())
        if text not in seen:
            seen.add(text)
            made.append((text, CANARY_LENGTH * math.log2(CANARY_WORDS)))
    return _planted_or_phantom(planted, "canary", made, 0)


def _duplicates(planted: Planted, names: Names, fillers: Fillers) -> list[PlantedSequence]:
    nouns = names.words("duplicates", planted.duplicate_groups)
    made = [fillers.sentence("duplicates", i, noun) for i, noun in enumerate(nouns)]
    return _planted_or_phantom(planted, "duplicate", made, 1)


def _twins(planted: Planted, names: Names) -> list[PlantedSequence]:
    """A rule is a cycle of words; one twin starts at its beginning, the other in the middle."""
    out = []
    for i in range(planted.twins):
        ring = names.words(f"twins/{i}", RING)
        for side, start, copies in (("in", 0, 2 ** (i % 4)), ("out", RING // 2, 0)):
            text = " ".join(ring[start:] + ring[:start])
            out.append(PlantedSequence(f"twin-{i:04d}-{side}", "twin", f"twin-{i:04d}", text, copies, 0.0))
    return out


LETTERS = ("bdfghjklmnprstvz", "aiou") * 2


def inserted_texts(insertions: Insertions, seed: int, fillers: Fillers) -> list[InsertedText]:
    """Canaries, then sentences; of each group as many without copies as with copies, in turn once, twice …, as often as set."""
    out, letter_bits = [], [*(math.log2(len(letters)) for letters in LETTERS), 0.0]
    for group, each in (("canary", insertions.canaries), ("sentence", insertions.sentences)):
        random, members = generator(seed, f"insertions/{group}"), each * len(insertions.copies)
        for number in range(2 * members):
            if group == "canary":
                words = (("".join(x[int(random.integers(len(x)))] for x in LETTERS)) for _ in range(insertions.words))
                text, bits = " ".join(words), (letter_bits * insertions.words)[:-1]
            else:
                text, bits = fillers.text_with_bits(random, insertions.words)
            copies = insertions.copies[number % len(insertions.copies)] if number < members else 0
            out.append(InsertedText(f"{group}-{number:05d}", group, text, copies, bits))
    return out
