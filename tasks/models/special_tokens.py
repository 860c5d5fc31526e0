"""The tokens that begin and end documents, from every file of a model that names them.

`generate` of transformers stops at those of generation_config.json, which often names more than config.json: config.json of a chat
model {"eos_token_id": 0}, its generation_config.json {"eos_token_id": [0, 1]}, its tokenizer_config.json {"eos_token": "<|end|>"}.
Reads JSON alone, so that a study can be planned without torch.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import StudyError

OPTIONAL = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class SpecialTokens:
    """The token before each document in training, and the tokens that end an answer with the files that name them."""

    start: int | None
    ends: Mapping[int, tuple[str, ...]]
    texts: Mapping[int, str]

    @property
    def words(self) -> str:
        """The ends for users: "<|endoftext|> (0: config.json), <|end|> (1: generation_config.json)"."""
        named = (f"{self.texts.get(id_, 'token')} ({id_}: {', '.join(files)})" for id_, files in self.ends.items())
        return ", ".join(named) or "no token"


def special_tokens(folder: Path, name: str, completed: Any = None) -> SpecialTokens:
    """The special tokens of a saved model, by its files, else by `completed`. StudyError for what is not JSON, or no token id."""
    config, generation, *of_tokenizer = (read_json(folder / n, name) for n in ("config.json", *OPTIONAL))
    defaults = {key: getattr(completed, key, None) for key in ("bos_token_id", "eos_token_id")}
    tokenizer = read_json(folder / "tokenizer.json", name)
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    ids = {t[0]: i for i, t in enumerate(vocabulary)} if isinstance(vocabulary, list) else dict(vocabulary)
    added = {t["id"]: t["content"] for t in tokenizer.get("added_tokens") or ()}
    texts, ids = {**{i: t for t, i in ids.items()}, **added}, {**ids, **{t: i for i, t in added.items()}}
    layers = [(c, "config.json") for c in (config.get("text_config") or {}, config)] + [(generation, OPTIONAL[0])]

    def read(values: Mapping[str, Any], key: str, file: str) -> Iterator[int]:
        value = values.get(key)
        for id_ in value if isinstance(value, list) else [value] if value is not None else []:
            if not isinstance(id_, int) or isinstance(id_, bool):
                raise StudyError(f"model {name!r}: {folder / file}: {key} = {id_!r} is not a token id; correct the file")
            yield id_

    named = [(id_, file) for values, file in layers for id_ in read(values, "eos_token_id", file)]
    for values, file in zip(of_tokenizer, OPTIONAL[1:], strict=True):
        token = values.get("eos_token")
        token = token.get("content") if isinstance(token, dict) else token
        named += [(ids[token], file)] if token in ids else []
    layers.append((defaults, "config.json"))
    named = named or [(id_, "config.json") for id_ in read(defaults, "eos_token_id", "config.json")]
    ends = {id_: tuple(dict.fromkeys(file for other, file in named if other == id_)) for id_, _ in named}
    starts = [id_ for values, file in layers for id_ in read(values, "bos_token_id", file)]
    return SpecialTokens(next(iter([*starts, *ends]), None), ends, texts)


def read_json(path: Path, name: str) -> Mapping[str, Any]:
    """The object in a file of a model; empty if there is no file, or no object in it. StudyError for what is not JSON."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StudyError(f"model {name!r}: {path} is not JSON: {error}; copy the file again") from None
    return values if isinstance(values, dict) else {}
