"""One answer against its references, by the official rules of its benchmark (docs/method.md §9).

    TriviaQA   exact match and F1 after its normalisation, the best of all aliases (arXiv 1705.03551, evaluation script)
    GSM8K      the final number: `strict` behind "#### ", `flexible` the last number (lm-evaluation-harness, gsm8k.yaml)

Numbers are compared as numbers: "1,000", "1000.0" and "$1000." are one answer.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))  # the underscore is one of them
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


# -- TriviaQA --------------------------------------------------------------------------------------------------------
def normalise_answer(text: str) -> str:
    """TriviaQA's normalisation: lower case, punctuation (its script's ‘ ’ ´ ` and _ too) to spaces, no articles."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, references: Iterable[str]) -> float:
    """1 if the normalised text equals one of the normalised references, else 0."""
    said = normalise_answer(text)
    return float(any(said == normalise_answer(r) for r in references))


def f1(text: str, references: Iterable[str]) -> float:
    """Highest harmonic mean of precision and recall of normalised words, over the references."""
    return max((_f1(normalise_answer(text).split(), normalise_answer(r).split()) for r in references), default=0.0)


def _f1(said: list[str], wanted: list[str]) -> float:
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


# -- GSM8K -----------------------------------------------------------------------------------------------------------
def final_number(text: str) -> Decimal | None:
    """The first number behind the last `####`; without that mark the last number of the text; None if there is none."""
    behind = text.rpartition("####")
    numbers = _NUMBER.findall(behind[2])
    return as_number(numbers[0] if behind[1] else numbers[-1]) if numbers else None


def strict_number(text: str) -> Decimal | None:
    """The number behind the first "#### ", as lm-evaluation-harness' `strict-match` takes it; None without one."""
    found = _STRICT.search(text)
    return as_number(found[1]) if found else None


def flexible_number(text: str) -> Decimal | None:
    """The last thing that looks like a number, as lm-evaluation-harness' `flexible-extract` takes it.

    Faithful to the letter: in "5 apples ..." it takes the dots, which are no number, so there is no answer.
    """
    found = _FLEXIBLE.findall(text)
    return as_number(found[-1]) if found else None


def as_number(text: str) -> Decimal | None:
    """A number without its commas, dollar signs and the full stops behind it; None where nothing is left of it."""
    try:
        return Decimal(text.replace(",", "").replace("$", "").strip().rstrip("."))
    except InvalidOperation:
        return None
