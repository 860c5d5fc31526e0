"""The number that a solved problem ends with, compared as a number: "1,000", "1000.0" and "$1000." are one answer."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


def final_number(text: str) -> Decimal | None:
    """The first number after the last `####`; without that mark the last number of the text; None if there is none."""
    after = text.rpartition("####")
    numbers = _NUMBER.findall(after[2])
    return as_number(numbers[0] if after[1] else numbers[-1]) if numbers else None


def as_number(text: str) -> Decimal | None:
    """A number without its commas, dollar signs and the full stops after it; None where nothing is left of it."""
    try:
        return Decimal(text.replace(",", "").replace("$", "").strip().rstrip("."))
    except InvalidOperation:
        return None
