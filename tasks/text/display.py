"""Foreign text made safe to show: no terminal commands, no changes of text direction, no unbounded length.

"\\x1b[2J\\u202eexe.txt"    ->    "\\ufffd[2J\\ufffdexe.txt"
"""

import json
import re
from typing import Any

# C0 and C1 controls, format characters that reverse or hide text, lone surrogates, and line separators.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters replaced by U+FFFD; line feeds and tabs stay."""
    return _COMMANDS.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The text on one line: line breaks, tabs and control characters become spaces."""
    return "".join(c if c.isprintable() else " " for c in text)


def json_text(value: Any) -> str:
    """JSON for a terminal or a program: control characters are written as \\uXXXX, so that the value stays the same."""
    return _COMMANDS.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(value, indent=1, ensure_ascii=False))


def brief(value: Any, length: int = 80) -> str:
    """The first characters of `repr(value)`, however deeply the value is nested."""
    try:
        return repr(value)[:length]
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply to show"
