"""One bucket of suffixes, counted within a given memory: as many passes as it takes, each over a range of first pairs of ids.

A pass loads the suffixes of its range from all parts, sorts and counts them. With more than one pass the counts of each pass
wait in a temporary file per order, because a part of `ngram_counts` goes order by order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.dataset import Part
from tasks.step import Work

ROWS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Ordered:
    """Counted n-grams of one order: big-endian ids (uint8 [rows, 4n]), occurrences and documents."""

    order: int
    grams: np.ndarray
    occurrences: np.ndarray
    documents: np.ndarray


class Bucket:
    """The suffixes of one bucket in all parts, and how to count them."""

    def __init__(
        self, work: Work, bucket: int, renumberings: Sequence[np.ndarray], ids: int, orders: Sequence[int], min_count: int
    ) -> None:
        """`renumberings`: one per suffixes part. `ids`: size of the common vocabulary. `orders`: each at least 2."""
        self.work, self.renumberings, self.orders, self.min_count = work, renumberings, sorted(orders), min_count
        self.longest, self.bits = max(orders), max(1, ids.bit_length())
        self.columns = -(-self.longest // (64 // self.bits))
        self.groups = [(part, _groups_of(work, part, bucket)) for part in work.parts("ngram_suffixes")]
        self.bases = np.cumsum([0, *(_documents_of(work, part) for part in work.parts("ngram_suffixes"))])
        self.rows = sum(rows for _, groups in self.groups for _, rows in groups)
        self.rare = {order: (0, 0) for order in self.orders}

    @property
    def bytes_per_suffix(self) -> int:
        """Memory of one suffix in a pass: keys and documents, twice while they are sorted, and what is counted."""
        return 2 * (8 * self.columns + 4) + 12 + -(-(12 * len(self.orders)) // self.min_count) + 8

    @property
    def passes(self) -> int:
        """How often the bucket is read."""
        return max(1, -(-self.rows * self.bytes_per_suffix // self.work.job.memory))

    def count(self) -> Iterator[Ordered]:
        """Every n-gram that is frequent enough, by order and then by its ids; afterwards `rare` says what was not.

        `rare`: n-grams and occurrences below `min_count`, by order.
        """
        ranges = self._ranges()
        if len(ranges) == 1:
            yield from self._count_range(*ranges[0])
            return
        with tempfile.TemporaryDirectory(dir=_scratch(self.work)) as folder, ExitStack() as stack:
            files = {n: Path(folder) / f"{n}.arrow" for n in self.orders}
            schema = pa.schema([("ngram", pa.binary()), ("occurrences", pa.int32()), ("documents", pa.int32())])
            writers = {n: stack.enter_context(pa.ipc.new_file(str(f), schema)) for n, f in files.items()}
            for low, high in ranges:
                for found in self._count_range(low, high):
                    grams = pa.FixedSizeBinaryArray.from_buffers(
                        pa.binary(4 * found.order), len(found.grams), [None, pa.py_buffer(np.ascontiguousarray(found.grams))]
                    )
                    columns = [grams.cast(pa.binary()), pa.array(found.occurrences), pa.array(found.documents)]
                    writers[found.order].write_batch(pa.record_batch(columns, schema=schema))
            stack.close()
            yield from _read_back(files)

    def _count_range(self, low: int, high: int) -> Iterator[Ordered]:
        """Count the suffixes whose first pair is in [low, high)."""
        from tasks.ngrams import count_kernels as kernels

        keys, documents = self._load(low, high)
        if len(self.orders) == 1 and self.columns == 1:
            yield from self._count_one_order(keys[:, 0], documents)
            return
        kernels.sort_suffixes(keys, documents, self.bits)
        wanted = np.zeros(self.longest + 1, bool)
        wanted[self.orders] = True
        last = np.full(int(self.bases[-1]), -1, np.int32)
        places, found, first, occurrences, holding, rare, rare_occurrences = kernels.count_sorted(
            keys, documents, self.bits, self.longest, wanted, self.min_count, last
        )
        for n in self.orders:
            grams, times = self.rare[n]
            self.rare[n] = (grams + int(rare[n]), times + int(rare_occurrences[n]))
            for begin in range(0, int(found[n]), ROWS_AT_ONCE):
                rows = slice(places[n] + begin, places[n] + min(begin + ROWS_AT_ONCE, found[n]))
                yield Ordered(n, kernels.ngram_bytes(keys, first[rows], n, self.bits), occurrences[rows], holding[rows])

    def _count_one_order(self, keys: np.ndarray, documents: np.ndarray) -> Iterator[Ordered]:
        """The same for a single order whose n-grams fit in 64 bits."""
        from tasks.ngrams import count_kernels, order_kernels

        (n,) = self.orders
        last = np.uint64((1 << self.bits) - 1) << np.uint64(self.bits * (64 // self.bits - n))
        whole = (keys & last) > 0  # the others end with their document before the n-th id
        grams, documents = keys[whole], documents[whole]
        again = order_kernels.repetitions(grams, np.flatnonzero(np.diff(documents, append=-1)) + 1)
        grams.sort()
        again.sort()
        distinct, occurrences, holding, rare, rare_occurrences = order_kernels.runs(grams, again, self.min_count)
        before = self.rare[n]
        self.rare[n] = (before[0] + rare, before[1] + rare_occurrences)
        for begin in range(0, len(distinct), ROWS_AT_ONCE):
            rows = np.arange(begin, min(begin + ROWS_AT_ONCE, len(distinct)))
            names = count_kernels.ngram_bytes(distinct[:, None], rows, n, self.bits)
            yield Ordered(n, names, occurrences[rows], holding[rows])

    def _load(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys (uint64 [suffixes, columns]) and documents (int32), numbered over the corpus, of one range."""
        from tasks.ngrams import count_kernels as kernels

        whole = (low, high) == EVERYTHING
        size = self.rows if whole else sum(int(rows.sum()) for _, rows in self._in_range(low, high))
        keys, documents, at = np.empty((size, self.columns), np.uint64), np.empty(size, np.int32), 0
        for number, suffixes, where in self._pieces():
            rows = np.arange(suffixes.shape[1]) if whole else self._rows(number, suffixes, low, high)
            kernels.pack(suffixes, self.renumberings[number], self.bits, rows, keys, at)
            documents[at : at + len(rows)] = where[rows] + self.bases[number]
            at += len(rows)
        return keys, documents

    def _rows(self, number: int, suffixes: np.ndarray, low: int, high: int) -> np.ndarray:
        from tasks.ngrams import count_kernels as kernels

        pairs = kernels.pair_keys(suffixes[0], self.renumberings[number])
        return np.flatnonzero((pairs >= low) & (pairs < high))

    def _in_range(self, low: int, high: int) -> Iterator[tuple[int, np.ndarray]]:
        """Per row group: which rows are in the range."""
        from tasks.ngrams import count_kernels as kernels

        for number, suffixes, _ in self._pieces(1):
            pairs = kernels.pair_keys(suffixes[0], self.renumberings[number])
            yield number, (pairs >= low) & (pairs < high)

    def _ranges(self) -> list[tuple[int, int]]:
        """Ranges of first pairs with about as many suffixes each. A pair is never split, so one may be larger than asked."""
        from tasks.ngrams import count_kernels as kernels

        if self.passes == 1:
            return [EVERYTHING]
        every = max(1, self.rows // 1_000_000)
        sample = [
            kernels.pair_keys(suffixes[0], self.renumberings[number])[::every] for number, suffixes, _ in self._pieces(1)
        ]
        pairs = np.sort(np.concatenate(sample))
        cuts = np.unique(pairs[np.arange(1, self.passes) * len(pairs) // self.passes])
        edges = [EVERYTHING[0], *(int(c) for c in cuts), EVERYTHING[1]]
        return list(zip(edges, edges[1:], strict=False))

    def _pieces(self, halves: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(number of the part, suffixes int64 [halves, rows], documents) of each of the bucket's row groups."""
        halves = halves or -(-self.longest // 2)
        names = [f"ids_{2 * h + 1}_{2 * h + 2}" for h in range(halves)]
        for number, (part, groups) in enumerate(self.groups):
            file = self.work.store.open(part)
            for group, _ in groups:
                table = file.read_row_group(group, columns=["document", *names], use_threads=False)
                suffixes = np.stack([table.column(n).to_numpy() for n in names])
                yield number, suffixes, table.column("document").to_numpy()


EVERYTHING = (-1, 1 << 62)


def _groups_of(work: Work, part: Part, bucket: int) -> list[tuple[int, int]]:
    """(row group, rows) of the row groups that hold this bucket; each holds a single one."""
    metadata = work.store.open(part).metadata
    column = NAMES.index("bucket")
    found = []
    for group in range(metadata.num_row_groups):
        info = metadata.row_group(group)
        if info.num_rows and info.column(column).statistics.min == bucket:
            found.append((group, info.num_rows))
    return found


def _documents_of(work: Work, part: Part) -> int:
    """One more than the largest document of a part of suffixes."""
    metadata = work.store.open(part).metadata
    column = NAMES.index("document")
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    return max((g.column(column).statistics.max + 1 for g in groups if g.num_rows), default=0)


def _read_back(files: dict[int, Path]) -> Iterator[Ordered]:
    """What the passes counted, cut into the pieces that one pass would have given."""
    for order, path in files.items():
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            for begin in range(0, table.num_rows, ROWS_AT_ONCE):
                piece = table.slice(begin, ROWS_AT_ONCE).combine_chunks()
                grams = piece["ngram"].chunk(0)
                first = int(np.frombuffer(grams.buffers()[1], np.int32)[grams.offset])
                data = np.frombuffer(grams.buffers()[2], np.uint8)[first : first + 4 * order * len(grams)]
                counts = [piece[name].to_numpy() for name in ("occurrences", "documents")]
                yield Ordered(order, data.reshape(-1, 4 * order), *counts)


def _scratch(work: Work) -> str | None:
    """A folder under a local root, so that the disk that must be large is the one the user chose."""
    if not work.store.local:
        return None
    folder = Path(work.store.base) / ".scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


NAMES = ["block", "bucket", "position", "document"]  # the first columns of ngram_suffixes
