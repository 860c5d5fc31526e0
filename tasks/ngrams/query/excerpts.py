"""The text around a pair in a document that holds it, with the places of both n-grams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from schemas import PAIR_DOCUMENTS
from tasks.step import Work
from tasks.storage.store import Part
from tasks.text.words.analyzer import segment

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


def read_excerpts(work: Work, chosen: pl.DataFrame) -> Iterator[pa.Table]:
    """Rows of pair_documents, in groups, sorted, for `chosen`: pair, rank, part, document, and the first word of each n-gram."""
    pieces = [pl.DataFrame(PAIR_DOCUMENTS.schema.empty_table())]
    for part in work.parts("documents"):
        pieces += [pl.DataFrame(rows) for rows in _excerpts_of_part(work, part, chosen.filter(pl.col("part") == part.key))]
    found = pl.concat(pieces).sort("input_ngram", "output_ngram", "rank")
    for begin in range(0, found.height, ROWS_AT_ONCE):
        yield found[begin : begin + ROWS_AT_ONCE].to_arrow()


def _excerpts_of_part(work: Work, part: Part, chosen: pl.DataFrame) -> Iterator[pa.Table]:
    """Rows of pair_documents in the order of the documents; each document is segmented once, however many pairs it shows."""
    wanted: dict[int, list[dict[str, Any]]] = {}
    for row in chosen.to_dicts():
        wanted.setdefault(row["document"], []).append(row)
    for batch in work.batches(part, "document", "source", "id", "text") if wanted else ():
        columns = (batch.column(name).to_pylist() for name in ("document", "source", "id", "text"))
        rows = [
            row
            for document, source, name, text in zip(*columns, strict=True)
            if document in wanted
            for row in _rows(wanted[document], source, name, text)
        ]
        yield pa.Table.from_pylist(rows, schema=PAIR_DOCUMENTS.schema)


def _rows(chosen: list[dict[str, Any]], source: str, name: str, text: str) -> Iterator[dict[str, Any]]:
    """The rows of one document."""
    _, starts, ends = segment(text)
    for row in chosen:
        spans = []
        for side in ("input", "output"):
            at, length = row[f"{side}_word"], row[f"{side}_ngram"].count(" ") + 1
            spans.append(Span(starts[at], ends[at + length - 1]))
        shown, x, y = excerpt(text, *spans)
        yield {
            "input_ngram": row["input_ngram"],
            "output_ngram": row["output_ngram"],
            "rank": row["rank"],
            "source": source,
            "id": name,
            "excerpt": shown,
            "input_start": x.start,
            "input_end": x.end,
            "output_start": y.start,
            "output_end": y.end,
        }
