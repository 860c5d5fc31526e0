"""The text around a pair in a document that holds it, with the places of both n-grams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from tasks.step import Work
from tasks.text.words import segment

AROUND = 60  # code points before and behind each n-gram
NEAR = 160  # n-grams with no more than this between them share one piece
GAP = " … "
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Span:
    """Code points [start, end) of a text."""

    start: int
    end: int


def excerpt(text: str, first: Span, second: Span) -> tuple[str, Span, Span]:
    """The text around two spans, in one piece or two, and where the spans are in it."""
    left, right = sorted((first, second), key=lambda s: (s.start, s.end))
    near = right.start - left.end <= NEAR
    pieces = [Span(left.start, max(left.end, right.end))] if near else [left, right]
    wide = [Span(max(0, p.start - AROUND), min(len(text), p.end + AROUND)) for p in pieces]
    shown = GAP.join(text[w.start : w.end] for w in wide)

    def place(span: Span) -> Span:
        index = 0 if len(wide) == 1 or span == left else 1
        shift = wide[index].start - (0 if index == 0 else wide[0].end - wide[0].start + len(GAP))
        return Span(span.start - shift, span.end - shift)

    return shown, place(first), place(second)


def read_excerpts(work: Work, chosen: pl.DataFrame) -> Iterator[dict[str, list]]:  # type: ignore[type-arg]
    """Rows of pair_documents, in groups, sorted, for `chosen`: pair, rank, part, document, and the first word of each n-gram."""
    texts = _documents(work, chosen)
    for begin in range(0, chosen.height, ROWS_AT_ONCE):
        rows = [_row(row, *texts[row["part"], row["document"]]) for row in chosen[begin : begin + ROWS_AT_ONCE].to_dicts()]
        yield {name: [r[name] for r in rows] for name in rows[0]}


def _documents(work: Work, chosen: pl.DataFrame) -> dict[tuple[str, int], tuple[str, str, str]]:
    """(source, id, text) of the chosen documents, by part and place."""
    found = {}
    for part in work.parts("documents"):
        wanted = set(chosen.filter(pl.col("part") == part.key)["document"].to_list())
        if not wanted:
            continue
        for batch in work.batches(part, "document", "source", "id", "text"):
            numbers = batch.column("document").to_pylist()
            here = [i for i, n in enumerate(numbers) if n in wanted]
            for i in here:
                row = {
                    name: batch.column(batch.schema.get_field_index(name))[i].as_py() for name in ("source", "id", "text")
                }
                found[part.key, numbers[i]] = (row["source"], row["id"], row["text"])
    return found


def _row(row: dict, source: str, name: str, text: str) -> dict:  # type: ignore[type-arg]
    _, starts, ends = segment(text)
    spans = []
    for side in ("input", "output"):
        at, length = row[f"{side}_word"], row[f"{side}_ngram"].count(" ") + 1
        spans.append(Span(starts[at], ends[at + length - 1]))
    shown, x, y = excerpt(text, *spans)
    return {"input_ngram": row["input_ngram"], "output_ngram": row["output_ngram"], "rank": row["rank"], "source": source,
            "id": name, "excerpt": shown, "input_start": x.start, "input_end": x.end, "output_start": y.start,
            "output_end": y.end}  # fmt: skip
