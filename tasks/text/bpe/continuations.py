"""A prompt and what follows it, as tokens: one string is tokenised; the continuation is what ends behind the prompt.

So the white space between belongs to the continuation, and no token is guessed by tokenising the output alone (task-grams
docs/method.md §5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tokenised:
    """Token ids of the whole string. The continuation is ids[begin:]; starts and ends are its tokens' code points, counted
    from the output's first character, so they are negative in the separator."""

    ids: list[int]
    begin: int
    starts: list[int]
    ends: list[int]
    straddles: bool  # a token of the continuation begins in the prompt


def tokenise(tokenizer: Any, texts: Sequence[tuple[str, str, str]]) -> list[Tokenised]:
    """One per (prompt, separator, output). `tokenizer` is what `tasks.text.bpe.tokenizer.load_tokenizer` returns."""
    encodings = tokenizer.encode_batch(["".join(t) for t in texts], add_special_tokens=False)
    found = []
    for (prompt, separator, _), encoding in zip(texts, encodings, strict=True):
        offsets = encoding.offsets
        begin = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(offsets))
        origin, behind = len(prompt) + len(separator), offsets[begin:]
        found.append(
            Tokenised(
                encoding.ids,
                begin,
                [s - origin for s, _ in behind],
                [e - origin for _, e in behind],
                any(s < len(prompt) for s, _ in behind),
            )
        )
    return found
