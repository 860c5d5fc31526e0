"""Foreign text made safe to show: no terminal commands, no changes of text direction, no unbounded length.

    "\\x1b[2J\\u202eexe.txt"    ->    "\\ufffd[2J\\ufffdexe.txt"

And the text around some spans of a document, and a line of text with its spans marked; spans are (start, end) in code points.

    excerpt_around("… sixty code points … Velm … sixty code points …", [(22, 26)])  ->  text, ((22, 26),)
    mark_spans("the river of Velm", [[(4, 9)], [(13, 17)]], {1: ("«", "»"), 2: ("‹", "›")})  ->  "the «river» of ‹Velm›"
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

CONTEXT = 60  # code points shown before and after a span
GAP = " … "
Span = tuple[int, int]
Groups = Sequence[Sequence[Sequence[int]]]  # of spans
Clean = Callable[[str], str]
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


def excerpt_around(text: str, spans: Sequence[Span], near: int = 2 * CONTEXT) -> tuple[str, tuple[Span, ...]]:
    """The text around the spans, and the spans in it; spans with at most `near` code points between them share a piece."""
    pieces: list[list[int]] = []
    for start, end in sorted(spans):
        if pieces and start - pieces[-1][1] <= near:
            pieces[-1][1] = max(pieces[-1][1], end)
        else:
            pieces.append([start, end])
    excerpt, moved = "", dict[Span, Span]()
    for first, last in pieces:
        excerpt += GAP if excerpt else ""
        begin = max(0, first - CONTEXT)
        shift = len(excerpt) - begin
        moved |= {(start, end): (start + shift, end + shift) for start, end in spans if first <= start and end <= last}
        excerpt += text[begin : last + CONTEXT]
    return excerpt, tuple(moved[span] for span in spans)


def mark_spans(text: str, groups: Groups, marks: Mapping[int, tuple[str, str]], clean: Clean = one_line) -> str:
    """The cleaned text with marks (before, after) around the spans of each group. `marks` is keyed by the groups that a stretch
    belongs to, as bits: 1 for the first, 2 for the second, 3 where both overlap."""
    bits = [0] * len(text)
    for number, spans in enumerate(groups):
        for start, end in spans:
            bits[start:end] = [b | 1 << number for b in bits[start:end]]
    shown = ""
    for key, places in groupby(range(len(text)), key=bits.__getitem__):
        before, after = marks.get(key, ("", ""))
        shown += before + clean("".join(text[i] for i in places)) + after
    return shown
