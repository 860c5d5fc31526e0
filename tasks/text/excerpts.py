"""The text around some spans of a document, and a line of text with its spans marked.

    excerpt_around("… sixty code points … Velm … sixty code points …", [(22, 26)])  ->  text, ((22, 26),)
    mark_spans("the river of Velm", [[(4, 9)], [(13, 17)]], {1: ("«", "»"), 2: ("‹", "›")})  ->  "the «river» of ‹Velm›"

Spans are (start, end) in code points, end exclusive.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from tasks.text.display import one_line

CONTEXT = 60  # code points shown before and after a span
GAP = " … "
Span = tuple[int, int]


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


def mark_spans(
    text: str,
    groups: Sequence[Sequence[Sequence[int]]],
    marks: Mapping[int, tuple[str, str]],
    clean: Callable[[str], str] = one_line,
) -> str:
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
