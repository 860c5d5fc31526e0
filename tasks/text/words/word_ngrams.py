"""Contiguous word n-grams of a text, and the stop-word policies that decide which of them are kept.

    the capital of the land     n = 2    none                       the capital · capital of · of the · the land
                                         drop_all_stopword_ngrams   the capital · capital of · the land
                                         authors                    capital land

The default never deletes a stop word before n-grams are formed: a phrase with gaps occurs contiguously in no document.
`authors` follows the released scripts of arXiv 2407.14985, which delete stop words first where n ≤ 3 (docs/method.md §1).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

from tasks.text.words.analyzer import normalise

Side = Literal["input", "output"]

LONGEST_WITH_GAPS = 3  # n up to which `authors` deletes stop words

# Names of the lists in the package `stop-words`, by language tag.
_LISTS = {"en": "en", "de": "de", "fr": "fr", "es": "es", "cs": "cz", "hu": "hu", "it": "it"}


def ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """All max(0, len(words) - n + 1) n-grams in their order."""
    for i in range(len(words) - n + 1):
        yield tuple(words[i : i + n])


@lru_cache(maxsize=64)
def stop_words(language: str) -> frozenset[str]:
    """The normalised stop words of a language; empty for a language without a list."""
    if language not in _LISTS:
        return frozenset()
    from stop_words import get_stop_words

    return frozenset(w for form in get_stop_words(_LISTS[language]) for w in normalise(form).split())


def places(words: Sequence[str], n: int, policy: str, language: str) -> list[int]:
    """Positions of the words that n-grams are formed from: all, or, under `authors`, those that are not stop words."""
    if policy == "authors" and n <= LONGEST_WITH_GAPS:
        without = stop_words(language)
        return [i for i, word in enumerate(words) if word not in without]
    return list(range(len(words)))


def keep(words: Sequence[str], policy: str, language: str) -> bool:
    """Whether an n-gram is kept: `drop_all_stopword_ngrams` drops those that consist of stop words only."""
    without = stop_words(language) if policy == "drop_all_stopword_ngrams" else frozenset()
    return any(word not in without for word in words)


def kept_ngrams(words: Sequence[str], n: int, policy: str, language: str) -> set[tuple[str, ...]]:
    formed = set(ngrams([words[i] for i in places(words, n, policy, language)], n))
    return {gram for gram in formed if keep(gram, policy, language)}
