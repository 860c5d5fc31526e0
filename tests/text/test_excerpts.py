"""Excerpts keep the text of their spans, and marks surround exactly the code points of each span."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.text.display import CONTEXT, GAP, excerpt_around, mark_spans

MARKS = {1: ("«", "»"), 2: ("‹", "›"), 3: ("[", "]")}
TEXT = st.text("ab 漢", min_size=1, max_size=600)


@st.composite
def text_with_spans(draw):
    text = draw(TEXT)
    starts = draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=4))
    return text, [(start, min(len(text), start + draw(st.integers(1, 90)))) for start in starts]


@given(text_with_spans())
def test_an_excerpt_contains_every_span_and_little_else(case):
    text, spans = case
    excerpt, moved = excerpt_around(text, spans)
    for (start, end), (first, last) in zip(spans, moved, strict=True):
        assert excerpt[first:last] == text[start:end]
        assert excerpt[max(0, first - 5) : last + 5] in text
    assert all(piece in text for piece in excerpt.split(GAP))
    assert len(excerpt) <= sum(end - start + 4 * CONTEXT for start, end in spans)


def test_distant_spans_are_two_pieces_unless_near_allows_more():
    text = "x" * 70 + "river" + "x" * 150 + "velm" + "x" * 70
    spans = [(70, 75), (225, 229)]
    assert excerpt_around(text, spans)[0].count(GAP) == 1
    assert excerpt_around(text, spans, near=150) == (text[10:289], ((60, 65), (215, 219)))


@given(text_with_spans())
def test_marks_surround_the_spans_and_change_nothing_else(case):
    text, spans = case
    shown = mark_spans(text, [spans[:2], spans[2:]], MARKS)
    assert shown.translate({ord(c): None for c in "«»‹›[]"}) == text
    marked = {i for start, end in spans for i in range(start, end)}
    depth, at = 0, 0
    for c in shown:
        if c in "«‹[":
            depth += 1
        elif c in "»›]":
            depth -= 1
        else:
            assert (depth > 0) == (at in marked)
            at += 1


def test_marks_of_overlapping_groups_and_control_characters():
    assert mark_spans("river\nof\x1bvelm", [[(0, 8)], [(6, 13)]], MARKS) == "«river »[of]‹ velm›"
