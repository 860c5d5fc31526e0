"""Counts one bucket of suffixes within the job's memory, in as many passes as necessary, each over some ranges of first ids.

A pass loads the suffixes of its ranges from all parts and counts range by range.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import reduce
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.step import Work
from tasks.storage.store import Part

SUFFIXES_AT_ONCE = 1 << 20  # sorted into ranges together
RANGE = 1 << 15  # suffixes of a range, approximately, so that random access stays in a processor's cache
KEY_BITS = 64
SCHEMA = pa.schema([("ngram", pa.binary()), ("occurrences", pa.int32()), ("documents", pa.int32())])
ROWS_AT_ONCE = 1_000_000
COLUMNS = (("documents", np.int32), ("packed", np.uint64))


class NgramCounts(NamedTuple):
    """Counted n-grams of one order: big-endian ids (uint8 [rows, 4n]), occurrences and documents."""

    order: int
    grams: np.ndarray
    occurrences: np.ndarray
    documents: np.ndarray


def binary(rows: np.ndarray) -> pa.Array:
    """Rows of bytes (uint8 [rows, width]) as a binary column, without a copy."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))])


class PackedSuffixes(NamedTuple):
    """Suffixes as stored: `packed` uint64 [numbers, suffixes] with `per` ids per number; documents (int32) of the part."""

    part: int
    packed: np.ndarray
    per: int
    documents: np.ndarray


class Bucket:
    def __init__(self, work: Work, renumberings: Sequence[np.ndarray], occurrences: np.ndarray) -> None:
        """`renumberings`: one per suffixes part. `occurrences`: of the common vocabulary's ids."""
        self.work, self.renumberings, self.min_count = work, renumberings, work.settings["min_count"]
        self.orders = [n for n in work.settings["orders"] if n > 1]
        self.longest, self.bits = max(self.orders), max(1, len(occurrences).bit_length())
        of_parts = [_groups_of(work, part) for part in work.parts("ngram_suffixes")]
        self.groups = [(part, groups) for part, (groups, _) in zip(work.parts("ngram_suffixes"), of_parts, strict=True)]
        self.bases = np.cumsum([0, *(documents for _, documents in of_parts)])
        self.rows = sum(rows for _, groups in self.groups for _, rows, _ in groups)
        self.rare = {order: np.zeros(2, np.int64) for order in self.orders}
        ends = np.cumsum(np.concatenate([[0], occurrences])) * (self.rows / max(1, int(occurrences.sum())))
        self.range_of = (np.maximum(ends - 1, 0) // RANGE).astype(np.int32)

    @property
    def bytes_per_suffix(self) -> int:
        return 4 * self.longest + 4

    @property
    def passes(self) -> list[tuple[int, int]]:
        """[low, high) of the ranges of each pass: half of the memory is for their suffixes. The suffixes of
        one first id are never split, so a pass may exceed this."""
        number = int(self.range_of[-1]) + 1
        each = max(1, self.work.job.memory // 2 // (self.bytes_per_suffix * RANGE))
        return [(low, min(low + each, number)) for low in range(0, number, each)]

    def count(self) -> Iterator[NgramCounts]:
        """Every n-gram with at least `min_count` occurrences, by order and then by ids. Afterwards `rare` has
        (n-grams, occurrences) below `min_count`, by order."""
        # Ranges come one after the other, but orders are wanted so. What half of the memory cannot hold has a file for each order,
        # under the local root, so that it goes to the disk that the user chose.
        scratch = self.work.store.layout.scratch(self.work.stage.writes[0].name, self.work.planned.key)
        held: dict[int, list[pa.RecordBatch]] = {n: [] for n in sorted(self.orders)}
        size, writers = 0, dict[int, pa.ipc.RecordBatchFileWriter]()
        with ExitStack() as opened, ExitStack() as written:
            for counts in (c for ranges in self.passes for c in self._count_pass(*ranges)):
                columns = [binary(counts.grams), pa.array(counts.occurrences), pa.array(counts.documents)]
                held[counts.order].append(pa.record_batch(columns, schema=SCHEMA))
                size += held[counts.order][-1].nbytes
                if size > self.work.job.memory // 2:
                    if not writers:
                        scratch.parent.mkdir(parents=True, exist_ok=True)
                        made = tempfile.TemporaryDirectory(dir=scratch.parent, prefix=f"{scratch.name}.")
                        folder = opened.enter_context(made)
                        writers = {n: written.enter_context(pa.ipc.new_file(f"{folder}/{n}.arrow", SCHEMA)) for n in held}
                    size = _write(held, writers)
            if writers:
                _write(held, writers)
                written.close()
            for order, batches in held.items():
                if writers:
                    with pa.memory_map(f"{folder}/{order}.arrow") as source:
                        yield from _read_pieces(order, pa.ipc.open_file(source).read_all())
                else:
                    yield from _read_pieces(order, pa.Table.from_batches(batches, SCHEMA))
                    batches.clear()

    def _count_pass(self, low: int, high: int) -> Iterator[NgramCounts]:
        chunks = [self._chunk(pieces, low, high) for pieces in self._gathered()]
        single = len(self.orders) == 1 and self.longest * self.bits <= KEY_BITS
        for at in range(high - low if chunks else 0):
            columns = np.concatenate([columns[:, starts[at] : starts[at + 1]] for columns, _, starts in chunks], axis=1)
            documents = np.concatenate([holders[starts[at] : starts[at + 1]] for _, holders, starts in chunks])
            if columns.shape[1]:
                yield from [self._count_one_order(columns, documents)] if single else self._count_range(columns, documents)

    def _count_range(self, columns: np.ndarray, documents: np.ndarray) -> Iterator[NgramCounts]:
        """Count a range: columns int32 [longest, suffixes] and documents (int32), in corpus order."""
        from tasks.ngrams.kernels import count_kernels as kernels

        low, rows, bits = int(columns[0].min()), columns.shape[1], self.bits
        row_bits = rows.bit_length()
        width = (int(columns[0].max()) - low).bit_length() + bits  # of a group number and the next id
        keys, of_rows = _joined(columns[0] - low, columns[1], bits), np.arange(rows, dtype=np.int32)
        if width + row_bits <= KEY_BITS:
            keys = _joined(keys, of_rows, row_bits)
        grams = np.empty((0, 1), np.uint32)
        for n in range(2, self.longest + 1):
            names = None
            if width + row_bits > KEY_BITS:
                keys, names = _renumbered(keys, of_rows, row_bits)
            else:
                keys.sort()
            following = columns[n] if n < self.longest else np.empty(0, np.int32)
            width = (len(keys) if self.min_count == 1 else len(keys) // 2).bit_length() + bits
            next_bits, alone = row_bits if width + row_bits <= KEY_BITS else 0, self.min_count == 1
            split = kernels.split(keys, row_bits, documents, following, alone, bits, next_bits)
            numbers, occurrences, holding, keys, of_rows = split
            grams = _spelled(numbers if names is None else names[numbers.astype(np.int64)], grams, low, bits)
            if n in self.rare:
                kept = occurrences >= self.min_count
                whole = int(np.count_nonzero(columns[n - 1]))
                alone = whole - int(occurrences.sum())
                self.rare[n] += (alone + int((~kept).sum()), whole - int(occurrences[kept].sum()))
                chosen = slice(None) if kept.all() else kept
                yield NgramCounts(n, kernels.big_endian(grams[chosen] - 1), occurrences[chosen], holding[chosen])

    def _count_one_order(self, columns: np.ndarray, documents: np.ndarray) -> NgramCounts:
        """The same for a single order whose n-grams fit in 64 bits."""
        from tasks.ngrams.kernels import count_kernels as kernels

        (n,) = self.orders
        whole = columns[n - 1] > 0  # the others reach the end of their document before the n-th id
        ids, documents = columns[:n, whole].astype(np.uint64) - np.uint64(1), documents[whole]
        grams = reduce(lambda before, following: _joined(before, following, self.bits), ids)
        repeated = kernels.repetitions(grams, np.flatnonzero(np.diff(documents, append=-1)) + 1)
        grams.sort()
        repeated.sort()
        distinct, occurrences, holding, rare, rare_occurrences = kernels.runs(grams, repeated, self.min_count)
        self.rare[n] += (rare, rare_occurrences)
        return NgramCounts(n, kernels.big_endian(kernels.ids_of(distinct, n, self.bits)), occurrences, holding)

    def _chunk(self, pieces: Sequence[PackedSuffixes], low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The suffixes of these ranges, by range, then in corpus order: columns (int32 [longest, suffixes]), documents, and where
        each range begins."""
        from tasks.ngrams.kernels import count_kernels as kernels

        size = np.zeros(high - low, np.int64)
        range_of = {part: self.range_of[self.renumberings[part]] for part in {p.part for p in pieces}}
        which = [kernels.ranges(p.packed[0], p.per, range_of[p.part], low, high, size) for p in pieces]
        starts = np.concatenate([[0], np.cumsum(size)])
        columns, holders = np.empty((self.longest, starts[-1]), np.int32), np.empty(starts[-1], np.int32)
        at = starts[:-1].copy()
        for (part, packed, per, documents), of in zip(pieces, which, strict=True):
            kernels.place(packed, per, self.renumberings[part], of, documents, self.bases[part], at, columns, holders)
        return columns, holders, starts

    def _gathered(self) -> Iterator[list[PackedSuffixes]]:
        gathered: list[PackedSuffixes] = []
        for piece in self._pieces():
            gathered.append(piece)
            if sum(len(p.documents) for p in gathered) >= SUFFIXES_AT_ONCE:
                yield gathered
                gathered = []
        if gathered:
            yield gathered

    def _pieces(self) -> Iterator[PackedSuffixes]:
        for number, (part, groups) in enumerate(self.groups):
            file = self.work.store.open(part)
            for group, rows, per in groups:
                table = file.read_row_group(group, columns=["documents", "packed"], use_threads=False)
                documents, packed = (np.frombuffer(table.column(c)[0].as_buffer(), t) for c, t in COLUMNS)
                yield PackedSuffixes(number, packed.reshape(-1, rows), per, documents)


def _joined(high: np.ndarray, low: np.ndarray, bits: int) -> np.ndarray:
    """uint64: two numbers ≥ 0 as one, the second in the lowest `bits`."""
    return (high.astype(np.uint64, copy=False) << np.uint64(bits)) | low.astype(np.uint64, copy=False)


def _spelled(numbers: np.ndarray, shorter: np.ndarray, low: int, bits: int) -> np.ndarray:
    """uint32 [groups, n]: the ids of n-grams from their numbers (group of the n-gram without its last id, last id). `shorter`
    has the groups of the previous order; for pairs it has one column, and the number contains the first id minus `low`."""
    before, last = (numbers >> np.uint64(bits)).astype(np.int64), (numbers & np.uint64((1 << bits) - 1)).astype(np.uint32)
    beginning = shorter[before] if shorter.shape[1] > 1 else (before + low).astype(np.uint32)[:, None]
    return np.concatenate([beginning, last[:, None]], axis=1)


def _renumbered(keys: np.ndarray, of_rows: np.ndarray, row_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """For keys that do not fit in one number with their row: sorted (rank of the key, row), and the distinct keys."""
    distinct, places = np.unique(keys, return_inverse=True)
    numbers = _joined(places, of_rows, row_bits)
    numbers.sort()
    return numbers, distinct


def _groups_of(work: Work, part: Part) -> tuple[list[tuple[int, int, int]], int]:
    """(row group, suffixes, ids per number) of the row groups of the job's bucket, and the number of the part's documents. A row
    group is one row: every block has one for each bucket, in order. Only those of this bucket are read, for there are as many as
    blocks times buckets."""
    file, bucket, buckets = work.store.open(part), work.settings["bucket"], work.settings["buckets"]
    groups = range(bucket, file.metadata.num_rows, buckets)
    table = file.read_row_groups(groups, columns=["bucket", "suffixes", "ids_per_number", "last_document"], use_threads=False)
    rows = list(zip(groups, *(table.column(c).to_pylist() for c in table.column_names), strict=True))
    assert all(of == bucket for _, of, *_ in rows), "each block has a row for each bucket"
    documents = 1 + max((last for *_, last in rows), default=-1)
    return [(group, suffixes, per) for group, _, suffixes, per, _ in rows if suffixes], documents


def _write(held: dict[int, list[pa.RecordBatch]], writers: dict[int, pa.ipc.RecordBatchFileWriter]) -> int:
    """Move what is held to the files; returns the bytes that are held then."""
    for order, batches in held.items():
        for batch in batches:
            writers[order].write_batch(batch)
        batches.clear()
    return 0


def _read_pieces(order: int, table: pa.Table) -> Iterator[NgramCounts]:
    for begin in range(0, table.num_rows, ROWS_AT_ONCE):
        piece = table.slice(begin, ROWS_AT_ONCE).combine_chunks()
        grams = piece["ngram"].chunk(0)
        first = int(np.frombuffer(grams.buffers()[1], np.int32)[grams.offset])
        data = np.frombuffer(grams.buffers()[2], np.uint8)[first : first + 4 * order * len(grams)]
        yield NgramCounts(order, data.reshape(-1, 4 * order), *(piece[name].to_numpy() for name in ("occurrences", "documents")))
