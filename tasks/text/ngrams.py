"""Contiguous word n-grams of a text, and which of them are kept.

Stop words are never deleted before n-grams are formed: a phrase with holes stands contiguously in no document. The default
policy drops n-grams made of nothing but stop words (task-grams §1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from tasks.text.words import normalise

# Names of the lists in the package `stop-words`, by language tag.
_LISTS = {"en": "en", "de": "de", "fr": "fr", "es": "es", "cs": "cz", "hu": "hu", "it": "it"}


def ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """All n-grams in their order: max(0, len(words) - n + 1) of them."""
    for i in range(len(words) - n + 1):
        yield tuple(words[i : i + n])


@lru_cache(maxsize=64)
def stop_words(language: str) -> frozenset[str]:
    """Stop words of a language, normalised; none for a language that has no list."""
    if language not in _LISTS:
        return frozenset()
    from stop_words import get_stop_words

    return frozenset(w for form in get_stop_words(_LISTS[language]) for w in normalise(form).split())


def keep(words: Sequence[str], policy: str, languages: Sequence[str]) -> bool:
    """Whether an n-gram is kept: `none` keeps all, `drop_all_stopword_ngrams` those with a word that is not a stop word."""
    if policy == "none":
        return True
    if policy == "drop_all_stopword_ngrams":
        return any(all(word not in stop_words(language) for language in languages) for word in words)
    raise ValueError(f"no stop word policy {policy!r}")
