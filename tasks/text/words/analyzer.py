"""The analyzer: the definition of a word for everything that is counted (docs/method.md §1). The reference implementation.

    "The river of Velm's 48/2=24 bridges"    ->    the · river · of · velm's · 48 · 2 · 24 · bridges

The original text is segmented first and normalised afterwards. A word is a maximal run of letters, marks and numbers, with
apostrophes inside a word and `.` or `,` inside a number; Han, Kana, Thai, Lao, Khmer and Myanmar are one word per code
point, with the marks that follow it. Each surface form is normalised by NFKC and casefolding; a form that
decomposes (½ becomes 1 ⁄ 2) gives several words with one span. Punctuation always separates: `48/2=24` is `48 2 24`.
"""

import re
import unicodedata
from functools import lru_cache

import regex

ANALYZER = "words"
ANALYZER_VERSION = 1


def analyzer() -> dict[str, str | int]:
    """The settings of a job that analyses text, so that tables of two analyzers are never mixed."""
    return {"analyzer": ANALYZER, "analyzer_version": ANALYZER_VERSION}


# The prolonged sound mark belongs to no script in Unicode, and half-width voicing marks are letters there.
_SINGLE = (
    r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\u30FC\uFF70]"
)
_RUN = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_SINGLE}]+"
_WORD = regex.compile(
    rf"[{_SINGLE}&&[\p{{L}}\p{{N}}]][\p{{M}}\uFF9E\uFF9F]*"  # scripts without spaces: one code point and its marks
    rf"|{_RUN}(?:(?:['’]|(?<=\p{{N}})[.,](?=\p{{N}})){_RUN})*"
    r"|\p{M}+",
    flags=regex.V1,
)
_ASCII_WORD = re.compile(r"[0-9A-Za-z]+(?:(?:'|(?<=[0-9])[.,](?=[0-9]))[0-9A-Za-z]+)*")  # _WORD restricted to ASCII


@lru_cache(maxsize=1 << 20)
def _normal_forms(surface: str) -> tuple[str, ...]:
    """The words that a surface form becomes; possibly none."""
    folded = surface
    # Casefolding can undo NFKC and vice versa; two rounds reach the fixed point for all but a few code points.
    for _ in range(4):
        again = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        if again == folded:
            break
        folded = again
    folded = folded.replace("’", "'")
    if folded.isascii():
        return tuple(_ASCII_WORD.findall(folded))
    return tuple(m.group() for m in _WORD.finditer(folded))


def segment(text: str) -> tuple[list[str], list[int], list[int]]:
    """The normalised words of a text, and the start and end of each in code points of the original, end exclusive."""
    pattern = _ASCII_WORD if text.isascii() else _WORD
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in pattern.finditer(text):
        forms = _normal_forms(match.group())
        words += forms
        starts += [match.start()] * len(forms)
        ends += [match.end()] * len(forms)
    return words, starts, ends


def normalise(text: str) -> str:
    """The normalised words of a text with one space between them: the form of n-grams in tables."""
    return " ".join(segment(text)[0])


def words_of(text: str) -> list[str]:
    """The normalised words of a text without their positions: the first result of `segment`, but faster."""
    pattern = _ASCII_WORD if text.isascii() else _WORD
    return [form for surface in pattern.findall(text) for form in _normal_forms(surface)]
