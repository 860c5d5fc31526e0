"""A buffer that sorts counted n-grams by order, because a part of `ngram_counts` is written order by order.

It is in memory, and once it is too large in one file per order. Either way it returns the same pieces.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

ROWS_AT_ONCE = 1_000_000
SCHEMA = pa.schema([("ngram", pa.binary()), ("occurrences", pa.int32()), ("documents", pa.int32())])


@dataclass(frozen=True)
class NgramCounts:
    """Counted n-grams of one order: big-endian ids (uint8 [rows, 4n]), occurrences and documents."""

    order: int
    grams: np.ndarray
    occurrences: np.ndarray
    documents: np.ndarray


def binary(rows: np.ndarray) -> pa.Array:
    """Rows of bytes (uint8 [rows, width]) as a binary column, without a copy."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))])


class OrderBuffer:
    """A context with the n-grams of each order, sorted. `scratch`: the folder for files beyond `memory` bytes."""

    def __init__(self, orders: Sequence[int], scratch: Path, memory: int) -> None:
        self.buffered: dict[int, list[pa.RecordBatch]] = {n: [] for n in orders}
        self.scratch, self.memory, self.bytes = scratch, memory, 0
        self.files: dict[int, Path] = {}
        self.writers: dict[int, pa.RecordBatchWriter] = {}
        self.folder = ExitStack()

    def __enter__(self) -> "OrderBuffer":
        return self

    def __exit__(self, *problem: object) -> None:
        for writer in self.writers.values():
            writer.close()
        self.folder.close()

    def add(self, counts: NgramCounts) -> None:
        columns = [binary(counts.grams), pa.array(counts.occurrences), pa.array(counts.documents)]
        self.buffered[counts.order].append(pa.record_batch(columns, schema=SCHEMA))
        self.bytes += self.buffered[counts.order][-1].nbytes
        if self.bytes > self.memory:
            self._spill()

    def pieces(self) -> Iterator[NgramCounts]:
        """Everything added, order by order, in pieces of ROWS_AT_ONCE; empties the buffer."""
        if self.files:
            self._spill()
        while self.writers:
            self.writers.popitem()[1].close()
        for order in sorted(self.buffered):
            if self.files:
                with pa.memory_map(str(self.files[order])) as source:
                    yield from _pieces(order, pa.ipc.open_file(source).read_all())
            else:
                yield from _pieces(order, pa.Table.from_batches(self.buffered.pop(order), SCHEMA))

    def _spill(self) -> None:
        if not self.files:
            self.scratch.mkdir(parents=True, exist_ok=True)
            folder = Path(self.folder.enter_context(tempfile.TemporaryDirectory(dir=self.scratch)))
            self.files = {n: folder / f"{n}.arrow" for n in self.buffered}
            self.writers = {n: pa.ipc.new_file(str(f), SCHEMA) for n, f in self.files.items()}
        for order, batches in self.buffered.items():
            for batch in batches:
                self.writers[order].write_batch(batch)
            batches.clear()
        self.bytes = 0


def _pieces(order: int, table: pa.Table) -> Iterator[NgramCounts]:
    for begin in range(0, table.num_rows, ROWS_AT_ONCE):
        piece = table.slice(begin, ROWS_AT_ONCE).combine_chunks()
        grams = piece["ngram"].chunk(0)
        first = int(np.frombuffer(grams.buffers()[1], np.int32)[grams.offset])
        data = np.frombuffer(grams.buffers()[2], np.uint8)[first : first + 4 * order * len(grams)]
        yield NgramCounts(order, data.reshape(-1, 4 * order), *(piece[name].to_numpy() for name in ("occurrences", "documents")))
