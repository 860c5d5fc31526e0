"""Excerpts of documents that contain a pair, with the positions of both n-grams in them."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from schemas import PAIR_DOCUMENTS
from tasks.step import Work
from tasks.storage.store import Part
from tasks.text.excerpts import excerpt_around
from tasks.text.words.analyzer import segment

NEAR = 160  # code points between two n-grams that share one piece, at most
ROWS_AT_ONCE = 20_000


def read_excerpts(work: Work, chosen: pl.DataFrame) -> Iterator[pa.Table]:
    """Sorted rows of pair_documents for `chosen`: pair, rank, part, document, and the position of each n-gram's first word."""
    pieces = [pl.DataFrame(PAIR_DOCUMENTS.schema.empty_table())]
    for part in work.parts("documents"):
        pieces += [pl.DataFrame(rows) for rows in _excerpts_of_part(work, part, chosen.filter(pl.col("part") == part.key))]
    excerpts = pl.concat(pieces).sort("input_ngram", "output_ngram", "rank")
    for begin in range(0, excerpts.height, ROWS_AT_ONCE):
        yield excerpts[begin : begin + ROWS_AT_ONCE].to_arrow()


def _excerpts_of_part(work: Work, part: Part, chosen: pl.DataFrame) -> Iterator[pa.Table]:
    """Rows of pair_documents in the order of the documents; each document is segmented once, however many pairs it contains."""
    wanted: dict[int, list[dict[str, Any]]] = {}
    for row in chosen.to_dicts():
        wanted.setdefault(row["document"], []).append(row)
    for batch in work.batches(part, "document", "source", "id", "text") if wanted else ():
        documents = (document for document in batch.to_pylist() if document["document"] in wanted)
        rows = [row for document in documents for row in _rows(wanted[document["document"]], document)]
        yield pa.Table.from_pylist(rows, schema=PAIR_DOCUMENTS.schema)


def _rows(chosen: list[dict[str, Any]], document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one document."""
    _, starts, ends = segment(document["text"])
    for row in chosen:
        spans = []
        for side in ("input", "output"):
            at, length = row[f"{side}_word"], row[f"{side}_ngram"].count(" ") + 1
            spans.append((starts[at], ends[at + length - 1]))
        excerpt, (x, y) = excerpt_around(document["text"], spans, NEAR)
        of_pair = {column: row[column] for column in ("input_ngram", "output_ngram", "rank")}
        spans_in_it = {"input_start": x[0], "input_end": x[1], "output_start": y[0], "output_end": y[1]}
        yield of_pair | {"source": document["source"], "id": document["id"], "excerpt": excerpt} | spans_in_it
