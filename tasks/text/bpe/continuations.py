"""A prompt and its output as tokens of one string; the continuation is the tokens that end after the prompt.

So the white space between them belongs to the continuation, and the tokens are those that a model sees, not those of the
output tokenised alone (docs/method.md §5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tokenised:
    """Token ids of the string. The continuation is ids[begin:]; starts and ends are the code point offsets of its tokens,
    relative to the output's first character, so they are negative in the separator."""

    ids: list[int]
    begin: int
    starts: list[int]
    ends: list[int]
    straddles: bool  # a token of the continuation begins in the prompt


def tokenise(tokenizer: Any, texts: Sequence[tuple[str, str, str]]) -> list[Tokenised]:
    """One per (prompt, separator, output). `tokenizer` is what `tasks.text.bpe.tokenizer.load_tokenizer` returns."""
    encodings = tokenizer.encode_batch(["".join(t) for t in texts], add_special_tokens=False)
    tokenised = []
    for (prompt, separator, _), encoding in zip(texts, encodings, strict=True):
        offsets = encoding.offsets
        begin = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(offsets))
        origin, continuation = len(prompt) + len(separator), offsets[begin:]
        starts, ends = [s - origin for s, _ in continuation], [e - origin for _, e in continuation]
        tokenised.append(Tokenised(encoding.ids, begin, starts, ends, any(s < len(prompt) for s, _ in continuation)))
    return tokenised
