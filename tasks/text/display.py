"""Text of others, fit to be shown: nothing in it commands a terminal, turns the direction of a line, or has no end.

"\\x1b[2J\\u202eexe.txt"    ->    "\\ufffd[2J\\ufffdexe.txt"
"""

from __future__ import annotations

import json
import re
from typing import Any

# Controls of both sets, format characters that turn or hide text, halves of characters, and separators of lines.
_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with what would command a terminal replaced; lines and tabs stay."""
    return _COMMANDS.sub("\ufffd", text)


def json_text(value: Any) -> str:
    """JSON for a terminal or a program: what would command a terminal is written as \\uXXXX, so that the value is the same."""
    return _COMMANDS.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(value, indent=1, ensure_ascii=False))


def brief(value: Any, most: int = 80) -> str:
    """The beginning of a value as Python writes it, however deep it is nested."""
    try:
        return repr(value)[:most]
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep to be shown"
