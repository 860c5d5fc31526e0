"""Sums of partial counts over parts: partial tables are sorted by key, so they are merged, some keys at a time."""

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from tasks.step import Work

ROW_BYTES = 400  # memory of a row while it is summed


def _smaller(key: Sequence[str], bound: tuple) -> pl.Expr:
    """key < bound, the first column first."""
    expression = pl.lit(False)
    for name, value in reversed(list(zip(key, bound, strict=True))):
        expression = (pl.col(name) < value) | ((pl.col(name) == value) & expression)
    return expression


def _empty(work: Work, table: str, columns: Sequence[str]) -> pl.DataFrame:
    schema = work.contracts[table].schema
    return pl.DataFrame(pa.schema([schema.field(c).remove_metadata() for c in columns]).empty_table())


def by_key(work: Work, table: str, key: Sequence[str], *columns: str) -> Iterator[pl.DataFrame]:
    """The rows of all parts of a table in frames: all rows of one key are in one frame, keys increase from frame to frame. The
    parts are sorted by the columns `key`. Memory is the job's, unless one key has more rows than fit."""
    parts, every = work.parts(table), [*key, *columns]
    rows = min(65_536, max(64, work.job.memory // (ROW_BYTES * max(1, len(parts)))))
    readers = [work.batches(part, *every, rows=rows) for part in parts]
    held, reading = [_empty(work, table, every) for _ in parts], set(range(len(parts)))  # rows read but not taken; parts not ended

    def read_on(i: int) -> None:
        batch = next(readers[i], None)
        if batch is None:
            reading.discard(i)
        else:
            held[i] = pl.concat([held[i], pl.DataFrame(pa.Table.from_batches([batch])).select(every)])

    while True:
        for i in list(reading):
            while held[i].is_empty() and i in reading:
                read_on(i)
        if not reading:
            break
        last = {i: held[i].select(key).row(-1) for i in reading}
        bound, taken = min(last.values()), []
        for i, frame in [(i, frame) for i, frame in enumerate(held) if frame.height]:
            count = int(frame.select(_smaller(key, bound).sum()).item())  # these come first
            taken.append(frame.head(count))
            held[i] = frame.slice(count)
        if sum(map(len, taken)):
            yield pl.concat(taken)
        for i in [i for i in reading if last[i] == bound]:
            read_on(i)
    if sum(map(len, held)):
        yield pl.concat(held)


def summed(work: Work, table: str, key: Sequence[str], *counts: str) -> pl.DataFrame:
    """One row per key with the sums of these columns over all parts."""
    empty = _empty(work, table, [*key, *counts])
    sums = (frame.group_by(key).agg(pl.col(*counts).sum() if counts else []) for frame in by_key(work, table, key, *counts))
    return pl.concat([empty, *(s.select(empty.columns) for s in sums)])
