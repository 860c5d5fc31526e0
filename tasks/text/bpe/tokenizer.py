"""Model tokens: a byte-level BPE trained on the corpus, or any tokenizer.json; a prompt and its output as tokens of one string."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas import StudyError

LONGEST, LARGEST_ID = 1 << 28, (1 << 24) - 1


def load_tokenizer(text: str, name: str = "tokenizer.json") -> Any:
    """A `tokenizers.Tokenizer` that adds no special tokens, truncates nothing, and gives offsets of all code points of a token. The
    post-processor is removed: a byte-level one trims the space off the offsets of " Torin", which then begins at "T". Raises
    StudyError if the text is not a tokenizer.json."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(json.dumps(json.loads(text) | {"post_processor": None, "truncation": None, "padding": None}))
    except BaseException as error:  # the library raises bare Exception, and a BaseException if it panics
        raise _reported(error, f"{name}: not a tokenizer.json: {error}. Save one with `tokenizer.save`.") from None
    tokenizer.encode_special_tokens = True  # "<|endoftext|>" in a document is plain text
    return tokenizer


def identity(text: str) -> str:
    """A hash of everything that determines the ids of a text, without layout and special tokens."""
    content = json.loads(load_tokenizer(text).to_str())
    model = dict(content["model"])
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.pop("merges", None) or []]
    added = [(t["id"], t["content"]) for t in content["added_tokens"] if not t["special"]]
    identifying = [content["normalizer"], content["pre_tokenizer"], model, merges, added]
    return hashlib.sha256(json.dumps(identifying, sort_keys=True).encode()).hexdigest()


def read_tokenizer(path: Path) -> str:
    """The text of a tokenizer.json file. Raises StudyError if it is missing or not valid."""
    try:
        with path.open("rb") as source:
            content = source.read(LONGEST + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot read a tokenizer.json: {error}; check `tokenizer.file` in the study") from None
    if len(content) > LONGEST:
        raise StudyError(f"{path}: larger than {LONGEST:,} bytes, so not a tokenizer.json; check `tokenizer.file` in the study")
    tokenizer = load_tokenizer(text, str(path))
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    if not ids or max(ids) > LARGEST_ID:
        have = f"ids up to {max(ids)}" if ids else "no ids at all"
        remedy = f"a model needs a row for each id; number them from 0 to at most {LARGEST_ID:,}"
        raise StudyError(f"{path}: its tokens have {have}, but {remedy}")
    return text


def _reported(error: BaseException, message: str) -> BaseException:
    """StudyError with the message, unless the user interrupted the program."""
    return error if isinstance(error, (KeyboardInterrupt, SystemExit)) else StudyError(message)


def train(texts: Iterable[str], vocabulary: int, end_of_document: str) -> str:
    """Train a byte-level BPE; returns its tokenizer.json, which is the same for the same texts in the same order."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special, first = [end_of_document], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, special_tokens=special, initial_alphabet=first)
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))


def with_token(text: str, token: str) -> tuple[str, int]:
    """The tokenizer with this special token, added if it is absent; and the token's id."""
    tokenizer = load_tokenizer(text)
    if tokenizer.token_to_id(token) is None:
        tokenizer.add_special_tokens([token])
    return tokenizer.to_str(), int(tokenizer.token_to_id(token))


def vocabulary_size(tokenizer: Any) -> int:
    """Largest id + 1: the rows of a model's embedding, even if ids have gaps."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def encode_batch(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without special tokens."""
    try:
        return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    except BaseException as error:
        remedy = "A vocabulary needs an unknown token, or a token for every byte"
        raise _reported(error, f"the tokenizer.json cannot encode a text: {error}. {remedy}") from None


class Tokenised(NamedTuple):
    """Token ids of the string. The continuation is ids[begin:]; starts and ends are the code point offsets of its tokens,
    relative to the output's first character, so they are negative in the separator."""

    ids: list[int]
    begin: int
    starts: list[int]
    ends: list[int]
    straddles: bool  # a token of the continuation begins in the prompt


def tokenise(tokenizer: Any, texts: Sequence[tuple[str, str, str]]) -> list[Tokenised]:
    """One per (prompt, separator, output), by `load_tokenizer`'s. The continuation is the tokens that end after the prompt. So the
    white space between them belongs to it, and the tokens are those that a model sees, not those of the output tokenised alone
    (docs/method.md §5)."""
    encodings = tokenizer.encode_batch(["".join(t) for t in texts], add_special_tokens=False)
    tokenised = []
    for (prompt, separator, _), encoding in zip(texts, encodings, strict=True):
        offsets = encoding.offsets
        begin = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(offsets))
        origin, continuation = len(prompt) + len(separator), offsets[begin:]
        starts, ends = [s - origin for s, _ in continuation], [e - origin for _, e in continuation]
        tokenised.append(Tokenised(encoding.ids, begin, starts, ends, any(s < len(prompt) for s, _ in continuation)))
    return tokenised
