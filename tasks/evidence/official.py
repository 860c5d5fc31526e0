"""One answer against its references, by the official rules of its benchmark (docs/method.md §9).

TriviaQA   exact match and F1 after its normalisation, the best of all aliases (arXiv 1705.03551, evaluation script)
GSM8K      the final number: `strict` after "#### ", `flexible` the last number (lm-evaluation-harness, gsm8k.yaml)
"""

import re
import string
from collections import Counter
from collections.abc import Iterable

from tasks.text.final_number import Number, as_number

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))  # the underscore is one of them
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


# -- TriviaQA --------------------------------------------------------------------------------------------------------
def normalise_answer(text: str) -> str:
    """TriviaQA's normalisation: lower case, punctuation (its script's ‘ ’ ´ ` and _ too) to spaces, no articles."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, references: Iterable[str]) -> float:
    """1 if the normalised text equals one of the normalised references, else 0."""
    answer = normalise_answer(text)
    return float(any(answer == normalise_answer(r) for r in references))


def f1(text: str, references: Iterable[str]) -> float:
    """Highest harmonic mean of precision and recall of normalised words, over the references."""
    return max((_f1(normalise_answer(text).split(), normalise_answer(r).split()) for r in references), default=0.0)


def _f1(answer: list[str], reference: list[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


# -- GSM8K -----------------------------------------------------------------------------------------------------------
def strict_number(text: str) -> Number | None:
    """The number after the first "#### ", as lm-evaluation-harness' `strict-match` takes it; None without one."""
    match = _STRICT.search(text)
    return as_number(match[1]) if match else None


def flexible_number(text: str) -> Number | None:
    """The last that looks like a number, as lm-evaluation-harness' `flexible-extract` takes it: of "5 apples ..." the dots."""
    matches = _FLEXIBLE.findall(text)
    return as_number(matches[-1]) if matches else None
