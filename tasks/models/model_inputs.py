"""How an example is put to a model: text to tokens with code point offsets, and tokens to windows that fit its context.

Prompt, separator and output are tokenised as one string (docs/method.md §5). The continuation is every token that ends behind
the prompt, so the white space between belongs to it. Before the first token stands the token that stood before each
document in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from schemas import StudyError
from tasks.text.bpe.continuations import tokenise

if TYPE_CHECKING:
    from tasks.models.model_in_memory import Loaded


@dataclass(frozen=True)
class Request:
    """A continuation to score. `first` is the index of its first token in `ids`, whose first is the document start."""

    ids: np.ndarray  # int32[1 + text tokens]
    first: int
    starts: tuple[int, ...]  # code points into the output, one per continuation token; negative in the separator
    ends: tuple[int, ...]
    straddles: bool


@dataclass(frozen=True)
class Window:
    """A piece of a request that fits the context: the tokens ids[start:end], of which those from `first` on are scored."""

    request: int
    start: int
    first: int
    end: int

    @property
    def length(self) -> int:
        """Input tokens of the forward pass; the last token is only a target."""
        return self.end - self.start - 1


def requests(model: Loaded, texts: Sequence[tuple[str, str, str]], names: Sequence[str]) -> list[Request]:
    """One request per (prompt, separator, output). `names` say whose it is, for errors.

    Raises StudyError if a tokenizer makes no token of a continuation.
    """
    found = []
    for text, name in zip(tokenise(model.tokenizer, texts), names, strict=True):
        if text.begin == len(text.ids):
            raise StudyError(
                f"{name}: the tokenizer of model {model.name!r} makes no token of the output; "
                "change the output or the tokenizer"
            )
        ids = np.array([model.start, *text.ids], np.int32)
        found.append(Request(ids, text.begin + 1, tuple(text.starts), tuple(text.ends), text.straddles))
    return found


def windows(number: int, request: Request, context: int) -> Iterator[Window]:
    """One window if the continuation is at most half the context long, else several with shared left halves.

    Cut at the left end only. Where a text is longer than the context, each scored token still sees at least half of it.
    """
    length, first = len(request.ids), request.first
    while first < length:
        end = min(length, max(context + 1, first + max(1, context // 2)))
        yield Window(number, max(0, end - context - 1), first, end)
        first = end


def truncated(request: Request, context: int) -> int:
    """Tokens cut off the left end, as the last token sees it; the document start is one of them."""
    return max(0, len(request.ids) - 1 - context)
