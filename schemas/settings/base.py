"""What all settings of a study share: their base class, the types of names and paths, and sizes such as "1.5GB"."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", json_schema_extra={"format": "name"})]


NO_PATH = "not a path: it contains a NUL, or it, or a name in it, is too long"
NO_HUB_NAME = 'not the name of a model or data set on a hub; write it like "EleutherAI/pythia-70m"'
NO_REVISION = 'not a revision; name a branch, a tag or a commit, e.g. "main", "step3000" or "refs/pr/1"'


def _checked(good: Callable[[str], object], wrong: str) -> AfterValidator:
    def check(value: str) -> str:
        if value and not good(value):
            raise ValueError(wrong)
        return value

    return AfterValidator(check)


def _is_revision(text: str) -> bool:
    return len(text) <= 200 and all(re.fullmatch(r"[\w.+-]+", part) and part.strip(".") for part in text.split("/"))


def is_path(text: str) -> bool:
    """Whether a file system could have such a path or glob: no NUL, no name beyond 255 bytes, 2,000 in all."""
    raw = text.encode("utf-8", "surrogatepass")
    return b"\0" not in raw and len(raw) <= 2000 and all(len(name) <= 255 for name in raw.split(b"/"))


def is_hub_name(text: str) -> bool:
    """Whether a hub could have such a name: "pythia-70m" or "EleutherAI/pythia-70m", never one that leads up the folders."""
    parts = text.split("/")
    good = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}", part) and ".." not in part for part in parts)
    return 1 <= len(parts) <= 2 and good


Place = Annotated[str, _checked(is_path, NO_PATH), Field(json_schema_extra={"format": "path"})]  # or a glob
HubName = Annotated[str, _checked(is_hub_name, NO_HUB_NAME), Field(json_schema_extra={"format": "hub name"})]
Revision = Annotated[str, _checked(_is_revision, NO_REVISION), Field(json_schema_extra={"format": "revision"})]
Order = Annotated[int, Field(ge=1, le=16)]
StopWords = Literal["drop_all_stopword_ngrams", "authors", "none"]


class Settings(BaseModel):
    """Base of all settings: frozen; unknown settings are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def value(default: Any, meaning: str, **limits: Any) -> Any:
    """A setting: its default (... where a study must give it), what it does, and its limits, as pydantic's Field has them."""
    return Field(default, description=meaning, **limits)


def parse_size(text: str) -> int:
    """Bytes of "1.5GB", "512MB", "64kB" or "4096". ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f'{text[:80]!r} is not a size; write it like "512MB" or "1.5GB"')
    return _whole(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "), text)


def parse_count(text: str) -> int:
    """The number written as "300G", "1.5M" or "4096"; k M G T are powers of 1000. ValueError for anything else."""
    match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kMGT]?)", text.strip())
    if not match:
        raise ValueError(f'{text[:80]!r} is not a number; write it like "300G", "1.5M" or "4096"')
    return _whole(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "), text)


def _whole(number: float, text: str) -> int:
    if number > 2**63:
        raise ValueError(f"{text[:20]!r} is more than any machine has")
    return int(number)


def _written(value: str, parse: Callable[[str], int]) -> str:
    if value:
        parse(value)
    return value


Size = Annotated[str, AfterValidator(lambda value: _written(value, parse_size))]  # or empty
Count = Annotated[str, AfterValidator(lambda value: _written(value, parse_count))]  # or empty


def distinct(kind: str, names: Iterable[str]) -> None:
    """Raises ValueError for a name that is given twice: `distinct("models: duplicate name", …)`."""
    names = list(names)
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind} {double[0]!r}; give each its own")


def at_least(least: str, who_needs: str) -> AfterValidator:
    """A check of a size: `Annotated[str, at_least("64MB", "counting needs")]`."""

    def check(value: str) -> str:
        if parse_size(value) < parse_size(least):
            raise ValueError(f"{who_needs} at least {least}")
        return value

    return AfterValidator(check)
