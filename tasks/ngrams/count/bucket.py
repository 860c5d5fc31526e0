"""One bucket of suffixes, counted within a given memory: as many passes as it takes, each over some ranges of first ids.

A pass loads the suffixes of its ranges from all parts and counts range by range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.ngrams.count.ordered_output import Ordered, Waiting
from tasks.step import Work
from tasks.storage.store import Part

SUFFIXES_AT_ONCE = 1 << 20  # put into ranges together
RANGE = 1 << 15  # suffixes of a range, about: what is looked up at random then stays in a processor's cache
NUMBER = 64  # bits
KINDS = (("documents", np.int32), ("packed", np.uint64))


@dataclass(frozen=True)
class Piece:
    """Suffixes as a part wrote them: uint64 [numbers, suffixes], so many ids to a number; documents (int32) of the part."""

    part: int
    packed: np.ndarray
    per: int
    documents: np.ndarray


@dataclass(frozen=True)
class Chunk:
    """Suffixes by range, in corpus order within: columns (int32 [longest, suffixes]), documents; starts (int64 [ranges + 1])."""

    columns: np.ndarray
    documents: np.ndarray
    starts: np.ndarray


class Bucket:
    """The suffixes of one bucket in all parts, and how to count them."""

    def __init__(
        self,
        work: Work,
        bucket: int,
        renumberings: Sequence[np.ndarray],
        occurrences: np.ndarray,
        orders: Sequence[int],
        min_count: int,
    ) -> None:
        """`renumberings`: one per suffixes part. `occurrences`: of the common vocabulary's ids. `orders`: each at least 2."""
        self.work, self.renumberings, self.orders, self.min_count = work, renumberings, sorted(orders), min_count
        self.longest, self.bits = max(orders), max(1, len(occurrences).bit_length())
        self.groups = [(part, _groups_of(work, part, bucket)) for part in work.parts("ngram_suffixes")]
        self.bases = np.cumsum([0, *(_documents_of(work, part) for part in work.parts("ngram_suffixes"))])
        self.rows = sum(rows for _, groups in self.groups for _, rows, _ in groups)
        self.rare = {order: (0, 0) for order in self.orders}
        ends = np.cumsum(np.concatenate([[0], occurrences])) * (self.rows / max(1, int(occurrences.sum())))
        self.range_of = (np.maximum(ends - 1, 0) // RANGE).astype(np.int32)

    @property
    def bytes_per_suffix(self) -> int:
        """Memory of one suffix in a pass: its ids and its document."""
        return 4 * self.longest + 4

    @property
    def passes(self) -> list[tuple[int, int]]:
        """[low, high) of the ranges each pass counts: half of the memory is for their suffixes, half for what was counted.

        A first id is never split, so a pass may be larger than asked.
        """
        number = int(self.range_of[-1]) + 1
        each = max(1, self.work.job.memory // 2 // (self.bytes_per_suffix * RANGE))
        return [(low, min(low + each, number)) for low in range(0, number, each)]

    def count(self) -> Iterator[Ordered]:
        """Every n-gram that is frequent enough, by order and then by its ids; afterwards `rare` says what was not.

        `rare`: n-grams and occurrences below `min_count`, by order.
        """
        with Waiting(self.orders, lambda: _scratch(self.work), self.work.job.memory // 2) as waiting:
            for low, high in self.passes:
                for found in self._count_pass(low, high):
                    waiting.add(found)
            yield from waiting.pieces()

    def _count_pass(self, low: int, high: int) -> Iterator[Ordered]:
        """The n-grams of some ranges, range by range, each in the order of n."""
        chunks = [self._chunk(pieces, low, high) for pieces in self._gathered()]
        single = len(self.orders) == 1 and self.longest * self.bits <= NUMBER
        for at in range(high - low if chunks else 0):
            slices = [slice(c.starts[at], c.starts[at + 1]) for c in chunks]
            columns = np.concatenate([c.columns[:, s] for c, s in zip(chunks, slices, strict=True)], axis=1)
            documents = np.concatenate([c.documents[s] for c, s in zip(chunks, slices, strict=True)])
            if columns.shape[1]:
                yield from [self._count_one_order(columns, documents)] if single else self._count_range(columns, documents)

    def _count_range(self, columns: np.ndarray, documents: np.ndarray) -> Iterator[Ordered]:
        """Count a range: int32 [longest, suffixes] and their documents (int32), in the order of the corpus."""
        from tasks.ngrams.kernels import count_kernels as kernels

        low, rows, bits = int(columns[0].min()), columns.shape[1], self.bits
        row_bits = rows.bit_length()
        width = (int(columns[0].max()) - low).bit_length() + bits  # of a group's number and the next id
        keys = kernels.pairs(columns[0], columns[1], low, bits, row_bits if width + row_bits <= NUMBER else 0)
        of_rows = np.arange(rows, dtype=np.int32)
        grams = np.empty((0, 1), np.uint32)
        for n in range(2, self.longest + 1):
            names = None
            if width + row_bits > NUMBER:
                keys, names = _renumbered(keys, of_rows, row_bits)
            else:
                keys.sort()
            following = columns[n] if n < self.longest else np.empty(0, np.int32)
            width = (len(keys) if self.min_count == 1 else len(keys) // 2).bit_length() + bits
            numbers, occurrences, holding, keys, of_rows = kernels.split(
                keys,
                row_bits,
                documents,
                following,
                self.min_count == 1,
                bits,
                row_bits if width + row_bits <= NUMBER else 0,
            )
            grams = kernels.spell(numbers if names is None else names[numbers.astype(np.int64)], grams, low, bits)
            if n in self.rare:
                kept = occurrences >= self.min_count
                whole = int(np.count_nonzero(columns[n - 1]))
                alone = whole - int(occurrences.sum())
                self._count_rare(n, alone + int((~kept).sum()), whole - int(occurrences[kept].sum()))
                chosen = slice(None) if kept.all() else kept
                yield Ordered(n, big_endian(grams[chosen] - 1), occurrences[chosen], holding[chosen])

    def _count_one_order(self, columns: np.ndarray, documents: np.ndarray) -> Ordered:
        """The same for a single order whose n-grams fit in 64 bits."""
        from tasks.ngrams.kernels import count_kernels, order_kernels

        (n,) = self.orders
        whole = columns[n - 1] > 0  # the others end with their document before the n-th id
        grams, documents = count_kernels.numbers_of(columns[:n, whole], self.bits), documents[whole]
        again = order_kernels.repetitions(grams, np.flatnonzero(np.diff(documents, append=-1)) + 1)
        grams.sort()
        again.sort()
        distinct, occurrences, holding, rare, rare_occurrences = order_kernels.runs(grams, again, self.min_count)
        self._count_rare(n, rare, rare_occurrences)
        return Ordered(n, order_kernels.bytes_of(distinct, n, self.bits), occurrences, holding)

    def _count_rare(self, order: int, grams: int, occurrences: int) -> None:
        before = self.rare[order]
        self.rare[order] = (before[0] + grams, before[1] + occurrences)

    def _chunk(self, pieces: Sequence[Piece], low: int, high: int) -> Chunk:
        """The suffixes of these ranges, sorted by range."""
        from tasks.ngrams.kernels import spill_kernels as kernels

        size = np.zeros(high - low, np.int64)
        range_of = {part: self.range_of[self.renumberings[part]] for part in {p.part for p in pieces}}
        which = [kernels.ranges(p.packed[0], p.per, range_of[p.part], low, high, size) for p in pieces]
        starts = np.concatenate([[0], np.cumsum(size)])
        columns, holders = np.empty((self.longest, starts[-1]), np.int32), np.empty(starts[-1], np.int32)
        at = starts[:-1].copy()
        for piece, of in zip(pieces, which, strict=True):
            base, renumbered = self.bases[piece.part], self.renumberings[piece.part]
            kernels.place(piece.packed, piece.per, renumbered, of, piece.documents, base, at, columns, holders)
        return Chunk(columns, holders, starts)

    def _gathered(self) -> Iterator[list[Piece]]:
        """The bucket's pieces, small ones together."""
        some: list[Piece] = []
        for piece in self._pieces():
            some.append(piece)
            if sum(len(p.documents) for p in some) >= SUFFIXES_AT_ONCE:
                yield some
                some = []
        if some:
            yield some

    def _pieces(self) -> Iterator[Piece]:
        """Each of the bucket's row groups, in the order of the corpus."""
        for number, (part, groups) in enumerate(self.groups):
            file = self.work.store.open(part)
            for group, rows, per in groups:
                table = file.read_row_group(group, columns=["documents", "packed"], use_threads=False)
                documents, packed = (np.frombuffer(table.column(c)[0].as_buffer(), t) for c, t in KINDS)
                yield Piece(number, packed.reshape(-1, rows), per, documents)


def _renumbered(keys: np.ndarray, of_rows: np.ndarray, row_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Where keys and rows do not fit in one number: (place among the distinct keys, row), sorted; and the distinct keys."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(keys) else np.empty(0, bool)
    places = (np.cumsum(new) - 1).astype(np.uint64)
    return (places << np.uint64(row_bits)) | of_rows[order].astype(np.uint64), keys[new]


def big_endian(ids: np.ndarray) -> np.ndarray:
    """uint8 [rows, 4n] of uint32 [rows, n]."""
    return ids.astype(">u4").view(np.uint8).reshape(len(ids), 4 * ids.shape[1])


def _groups_of(work: Work, part: Part, bucket: int) -> list[tuple[int, int, int]]:
    """(row group, suffixes, ids to a number) of the row groups that hold this bucket; each is a single row."""
    file = work.store.open(part)
    table = file.read(columns=["bucket", "suffixes", "ids_per_number"])
    rows = zip(*(table.column(c).to_pylist() for c in table.column_names), strict=True)
    return [(group, suffixes, per) for group, (of, suffixes, per) in enumerate(rows) if of == bucket and suffixes]


def _documents_of(work: Work, part: Part) -> int:
    """One more than the last document of a part of suffixes."""
    return max(work.read_part(part, "last_document").column("last_document").to_pylist(), default=-1) + 1


def _scratch(work: Work) -> str:
    """A folder under a local root, so that the disk that must be large is the one the user chose."""
    folder = work.store.layout.scratch(work.stage.writes[0].name, work.planned.key)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
