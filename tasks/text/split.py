"""Seeded choices that depend only on a name, so that they are the same in every file and on every machine."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from tasks.text.display import brief
from tasks.text.lines import value_at


def seeded_hash(seed: int, *words: str) -> int:
    """63 bits that look random and follow from the seed and the words."""
    text = "\x00".join((str(seed), *words)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def in_evaluated_half(split: Mapping[str, Any], record: Mapping[str, Any]) -> bool | str:
    """Whether a record's key falls into the evaluated share of a split, or the reason why it has no key. A record without a key
    must not be used in either half: it could be a copy of an evaluated text."""
    try:
        value = value_at(record, split["field"])
    except KeyError:
        value = None
    match = re.search(split["pattern"], value) if isinstance(value, str) else None
    if match is None or not match.groups() or match.group(1) is None:
        return f"the split's pattern {split['pattern']!r} finds no key in field {split['field']!r}: {brief(value)}"
    return seeded_hash(split["seed"], match.group(1)) / 2**63 < split["share"]
