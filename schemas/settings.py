"""What all settings of a study share: their base, names, and sizes as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Order = Annotated[int, Field(ge=1, le=16)]
StopWords = Literal["drop_all_stopword_ngrams", "authors", "none"]


class Settings(BaseModel):
    """Base of all settings: frozen, and nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_size(text: str) -> int:
    """Bytes of "1.5GB", "512MB", "64kB" or "4096". ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f'{text!r} is no size; write it like "512MB" or "1.5GB"')
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def parse_count(text: str) -> int:
    """The number "300G", "1.5M" or "4096" stands for, k M G T being thousands. ValueError for anything else."""
    found = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kMGT]?)", text.strip())
    if not found:
        raise ValueError(f'{text!r} is no number; write it like "300G", "1.5M" or "4096"')
    return int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))


def at_least(least: str, who_needs: str) -> AfterValidator:
    """Check of a size as people write it: `Annotated[str, at_least("64MB", "counting needs")]`."""

    def check(value: str) -> str:
        if parse_size(value) < parse_size(least):
            raise ValueError(f"{who_needs} at least {least}")
        return value

    return AfterValidator(check)
