"""Made-up words. Every word is used once, so that the vocabularies of two uses are disjoint and no n-gram of the truth
occurs anywhere by accident.
"""

from schemas import StudyError
from tasks.corpus.planted.draws import generator
from tasks.corpus.planted.phrases import RESERVED

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
