"""Counted n-grams that wait for their order's turn, because a part of `ngram_counts` goes order by order.

They wait in memory, and in a file per order once they are too many for that. Either way they come back in the same pieces.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

ROWS_AT_ONCE = 1_000_000
SCHEMA = pa.schema([("ngram", pa.binary()), ("occurrences", pa.int32()), ("documents", pa.int32())])


@dataclass(frozen=True)
class Ordered:
    """Counted n-grams of one order: big-endian ids (uint8 [rows, 4n]), occurrences and documents."""

    order: int
    grams: np.ndarray
    occurrences: np.ndarray
    documents: np.ndarray

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        return self.grams.nbytes + self.occurrences.nbytes + self.documents.nbytes


class Waiting:
    """N-grams of some orders, each order's in order; a context. `scratch` gives the folder for more than `memory` bytes."""

    def __init__(self, orders: Sequence[int], scratch: Callable[[], str], memory: int) -> None:
        self.held: dict[int, list[Ordered]] = {n: [] for n in orders}
        self.scratch, self.memory, self.bytes = scratch, memory, 0
        self.files: dict[int, Path] = {}
        self.writers: dict[int, pa.RecordBatchWriter] = {}
        self.folder = ExitStack()

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *problem: object) -> None:
        for writer in self.writers.values():
            writer.close()
        self.folder.close()

    def add(self, found: Ordered) -> None:
        """Behind those of its order that were added before."""
        self.held[found.order].append(found)
        self.bytes += found.nbytes
        if self.bytes > self.memory:
            self._put_away()

    def pieces(self) -> Iterator[Ordered]:
        """All of them, order by order, in pieces of ROWS_AT_ONCE; afterwards none are left."""
        if self.files:
            self._put_away()
        while self.writers:
            self.writers.popitem()[1].close()
        for order in sorted(self.held):
            yield from self._from_file(order) if self.files else self._from_memory(order)

    def _put_away(self) -> None:
        if not self.files:
            place = Path(self.folder.enter_context(tempfile.TemporaryDirectory(dir=self.scratch())))
            self.files = {n: place / f"{n}.arrow" for n in self.held}
            self.writers = {n: pa.ipc.new_file(str(f), SCHEMA) for n, f in self.files.items()}
        for order, found in self.held.items():
            for one in found:
                fixed = pa.binary(4 * order)
                buffer = pa.py_buffer(np.ascontiguousarray(one.grams))
                grams = pa.FixedSizeBinaryArray.from_buffers(fixed, len(one.grams), [None, buffer]).cast(pa.binary())
                columns = [grams, pa.array(one.occurrences), pa.array(one.documents)]
                self.writers[order].write_batch(pa.record_batch(columns, schema=SCHEMA))
            found.clear()
        self.bytes = 0

    def _from_memory(self, order: int) -> Iterator[Ordered]:
        some = self.held.pop(order)
        columns = [np.concatenate(c) for c in zip(*((o.grams, o.occurrences, o.documents) for o in some), strict=True)]
        del some
        for begin in range(0, len(columns[0]) if columns else 0, ROWS_AT_ONCE):
            yield Ordered(order, *(c[begin : begin + ROWS_AT_ONCE] for c in columns))

    def _from_file(self, order: int) -> Iterator[Ordered]:
        with pa.memory_map(str(self.files[order])) as source:
            table = pa.ipc.open_file(source).read_all()
            for begin in range(0, table.num_rows, ROWS_AT_ONCE):
                piece = table.slice(begin, ROWS_AT_ONCE).combine_chunks()
                grams = piece["ngram"].chunk(0)
                first = int(np.frombuffer(grams.buffers()[1], np.int32)[grams.offset])
                data = np.frombuffer(grams.buffers()[2], np.uint8)[first : first + 4 * order * len(grams)]
                counts = [piece[name].to_numpy() for name in ("occurrences", "documents")]
                yield Ordered(order, data.reshape(-1, 4 * order), *counts)
