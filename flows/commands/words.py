"""`taskgram words`: how the analyzer splits a text into the words that are counted (docs/words.md). Needs no study."""

from collections.abc import Sequence
from typing import Any

from schemas import StudyError
from tasks.text.words.analyzer import segment


def words(text: str) -> list[dict[str, Any]]:
    """The words of a text, each with its span (code points, end exclusive) and the text there. StudyError if it has none."""
    rows = [{"word": w, "start": s, "end": e, "text": text[s:e]} for w, s, e in zip(*segment(text), strict=True)]
    if not rows:
        raise StudyError(f'"{text}" has no word: a word has a letter, a mark or a number')
    return rows


def show(rows: Sequence[dict[str, Any]]) -> str:
    width = max(len("word"), *(len(w["word"]) for w in rows))
    cells = [("word", "span", "text"), *((w["word"], f"{w['start']}–{w['end']}", w["text"]) for w in rows)]
    return "\n".join(f"{word:<{width}}  {span:>7}  {text}" for word, span, text in cells)
