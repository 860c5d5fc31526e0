"""Sums of partial counts over parts: partial tables are sorted by key, so they are merged, some keys at a time."""

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from tasks.step import Work
from tasks.storage.store import Part

ROW_BYTES = 400  # memory of a row while it is summed


class _Cursor:
    """A reader of one part: `frame` has the rows that were read but not taken; `ended` is true at the end of the part."""

    def __init__(self, work: Work, part: Part, columns: Sequence[str], rows: int) -> None:
        schema = work.contracts[part.table].schema
        self.frame = pl.DataFrame(pa.schema([schema.field(c).remove_metadata() for c in columns]).empty_table())
        self._batches, self.ended = work.batches(part, *columns, rows=rows), False

    def read_on(self) -> None:
        """Read one more batch."""
        batch = next(self._batches, None)
        if batch is None:
            self.ended = True
        else:
            self.frame = pl.concat([self.frame, pl.DataFrame(pa.Table.from_batches([batch])).select(self.frame.columns)])

    def last(self, key: Sequence[str]) -> tuple:
        return self.frame.select(key).row(-1)

    def take(self, smaller: pl.Expr) -> pl.DataFrame:
        """Remove and return the rows for which `smaller` is true, which come first."""
        count = int(self.frame.select(smaller.sum()).item())
        taken, self.frame = self.frame.head(count), self.frame.slice(count)
        return taken


def _smaller(key: Sequence[str], bound: tuple) -> pl.Expr:
    """key < bound, the first column first."""
    expression = pl.lit(False)
    for name, value in reversed(list(zip(key, bound, strict=True))):
        expression = (pl.col(name) < value) | ((pl.col(name) == value) & expression)
    return expression


def by_key(work: Work, table: str, key: Sequence[str], *columns: str) -> Iterator[pl.DataFrame]:
    """The rows of all parts of a table in frames: all rows of one key are in one frame, keys increase from frame to frame. The
    parts are sorted by the columns `key`. Memory follows from the job's memory, not from the number of rows, unless one key has
    more rows than fit."""
    parts = work.parts(table)
    rows = min(65_536, max(64, work.job.memory // (ROW_BYTES * max(1, len(parts)))))
    cursors = [_Cursor(work, part, [*key, *columns], rows) for part in parts]
    while cursors:
        for cursor in cursors:
            while cursor.frame.is_empty() and not cursor.ended:
                cursor.read_on()
        cursors = [c for c in cursors if c.frame.height]
        reading = [c for c in cursors if not c.ended]
        if not reading:
            break
        bound = min(c.last(key) for c in reading)
        taken = pl.concat([c.take(_smaller(key, bound)) for c in cursors])
        if taken.height:
            yield taken
        for cursor in reading:
            if cursor.frame.is_empty() or cursor.last(key) == bound:
                cursor.read_on()
    if cursors:
        yield pl.concat([c.frame for c in cursors])


def summed(work: Work, table: str, key: Sequence[str], *counts: str) -> pl.DataFrame:
    """One row per key with the sums of these columns over all parts."""
    schema = work.contracts[table].schema
    empty = pl.DataFrame(pa.schema([schema.field(c).remove_metadata() for c in (*key, *counts)]).empty_table())
    sums = (frame.group_by(key).agg(pl.col(*counts).sum() if counts else []) for frame in by_key(work, table, key, *counts))
    return pl.concat([empty, *(s.select(empty.columns) for s in sums)])
