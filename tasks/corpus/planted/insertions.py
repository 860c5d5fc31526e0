"""Texts of which a planted corpus has an exact number of copies, and as many that are drawn alike and never inserted.

    canary       bako mide sufa …                 four bits for a consonant, two for a vowel, none for a space
    sentence     Every bralek and torif …         sentences like those of distractors: few bits, and most for rare words

Each copy is a document of its own that contains nothing else: its tokens are the same in every copy, whatever the tokenizer. No
other word of a planted world has four letters of this form, and texts are long, so that nothing else contains one.
"""

import math

from schemas.settings.corpus_settings import Insertions
from tasks.corpus.planted.draws import generator
from tasks.corpus.planted.fillers import Fillers
from tasks.corpus.planted.planted_rows import InsertedText

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
