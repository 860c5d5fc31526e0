"""What a model reads of an example: text as tokens with code point offsets, and tokens as windows that fit its context.

Prompt, separator and output are tokenised as one string (docs/method.md §5). The continuation is every token that ends after
the prompt, so the white space between belongs to it. The first token is the one before each document in training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schemas import StudyError
from tasks.models.language_model import LanguageModel
from tasks.text.bpe.tokenizer import tokenise


@dataclass(frozen=True)
class Request:
    """A continuation to score. `first` is the index of its first token in `ids`, which begin with the document start."""

    ids: np.ndarray  # int32[1 + text tokens]
    first: int
    starts: tuple[int, ...]  # code points into the output, one per continuation token; negative in the separator
    ends: tuple[int, ...]
    straddles: bool


@dataclass(frozen=True)
class Window:
    """A piece of a request that fits the context: ids[start:end]; those from `first` on are scored, the last is only a target."""

    request: int
    start: int
    first: int
    end: int


def requests(model: LanguageModel, texts: Sequence[tuple[str, str, str]], names: Sequence[str]) -> list[Request]:
    """One request per (prompt, separator, output). StudyError, by `names`, for an output without tokens, or with unknown ones."""
    made = []
    for text, name in zip(tokenise(model.tokenizer, texts), names, strict=True):
        if text.begin == len(text.ids):
            problem = f"the tokenizer of model {model.name!r} makes no token of the output"
            raise StudyError(f"{name}: {problem}; change the output or the tokenizer")
        ids = np.array([model.start, *text.ids], np.int32)
        check_ids(model, text.ids, name)
        made.append(Request(ids, text.begin + 1, tuple(text.starts), tuple(text.ends), text.straddles))
    return made


def check_ids(model: LanguageModel, ids: Sequence[int], name: str) -> None:
    """Raises StudyError for a token that the network does not have. A tokenizer may have more, as long as none occurs."""
    if (highest := max(ids, default=0)) >= model.vocabulary:
        token = f"token {highest} ({model.tokenizer.id_to_token(highest)!r}), but vocab_size = {model.vocabulary}"
        remedy = "the network has no such token; put the tokenizer.json that it was trained with into its folder"
        raise StudyError(f"{name}: the tokenizer of model {model.name!r} makes {token}: {remedy}")


def windows(number: int, request: Request, context: int) -> Iterator[Window]:
    """One window if the continuation is at most half the context long, else several with shared left halves. Cut at the left end
    only. If a text is longer than the context, each scored token still sees at least half a context."""
    length, first = len(request.ids), request.first
    while first < length:
        end = min(length, max(context + 1, first + max(1, context // 2)))
        yield Window(number, max(0, end - context - 1), first, end)
        first = end
