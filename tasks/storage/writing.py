"""Writing a part: under a temporary name, flushed to the disk, and only then published.

A local part appears by a rename in its folder. Where there is no rename (object stores), it is written on this machine
first and then uploaded: an object is visible when its upload is complete, and never before.
"""

import filecmp
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import Contract
from tasks.storage.layout import Layout

ROWS_PER_GROUP = 65_536
FOOTER = b"taskgram"
SEAL = 32  # bytes of a part's own hash


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file of this machine: it appears, flushed to the disk, when the block ends without an error, or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def in_row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_GROUP, so that a file's bytes do not depend on the blocks."""
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(t.num_rows for t in pending) >= ROWS_PER_GROUP:
            joined = pa.concat_tables(pending)
            complete = joined.num_rows // ROWS_PER_GROUP * ROWS_PER_GROUP
            yield from (joined.slice(at, ROWS_PER_GROUP) for at in range(0, complete, ROWS_PER_GROUP))
            pending = [joined.slice(complete)]
    rest = [t for t in pending if t.num_rows]
    if rest:
        yield pa.concat_tables(rest)


class PartWriter:
    """Writes one part per table to temporary names; used through `Store.writing`. remote: the root's file system, if elsewhere."""

    def __init__(self, layout: Layout, remote: Any, tables: Mapping[str, Contract], key: str) -> None:
        self.layout, self.remote, self.tables, self.key = layout, remote, tables, key
        self.temporary = {t: layout.near_kind(t, "parts") / f".{key}.{uuid.uuid4().hex}.tmp" for t in tables}
        self.writers: dict[str, pq.ParquetWriter] = {}

    def write(self, table: str, rows: pa.Table | pa.RecordBatch) -> None:
        schema = self.tables[table].schema
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        if set(rows.column_names) != set(schema.names):
            wrong = sorted(set(rows.column_names) ^ set(schema.names))
            raise AssertionError(f"{table}: columns {wrong} are missing or not in the contract")
        if table not in self.writers:
            self.temporary[table].parent.mkdir(parents=True, exist_ok=True)
            options = {"write_page_checksum": True, **_encoding(self.tables[table])}
            self.writers[table] = pq.ParquetWriter(self.temporary[table], schema, **options)
        self.writers[table].write_table(rows.select(schema.names).cast(schema), row_group_size=ROWS_PER_GROUP)

    def publish(self, footer: Mapping[str, Any], publish_files: Callable[[str, str], None]) -> None:
        """Close, flush to disk and publish all parts, after the files that belong to them."""
        for table, contract in self.tables.items():
            self.write(table, contract.schema.empty_table()) if table not in self.writers else None
            self.writers[table].add_key_value_metadata({FOOTER.decode(): json.dumps(footer, sort_keys=True)})
            self.writers[table].close()
            _seal(self.temporary[table])
        for temporary in self.temporary.values():
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())  # all of them before the first rename: some disks report only here that they are full
        for table in self.tables:
            publish_files(table, self.key)
        for table, temporary in self.temporary.items():
            final = self.layout.part(table, self.key)
            if self.remote is None:
                _put(temporary, Path(final))
            else:
                self.remote.put_file(str(temporary), final)

    def discard(self) -> None:
        """Remove what was not published, including a file whose writer could not be created."""
        for table, temporary in self.temporary.items():
            with suppress(Exception):
                self.writers[table].close()
            Path(temporary).unlink(missing_ok=True)


def _seal(path: Path) -> None:
    """Put the hash of a Parquet file between its pages and its footer, where no reader looks. The checksums of pages do not cover
    the footer, and a part that no manifest lists yet has no other hash."""
    with open(path, "r+b") as file:
        hashed, start = hashlib.file_digest(file, "sha256").digest(), _start_of_footer(file)
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(hashed + footer)


def is_sealed(file: BinaryIO) -> bool:
    """Whether a Parquet file is, byte for byte, as it was written: its hash, put there by `PartWriter`, is that of its bytes."""
    place, hashed = _start_of_footer(file) - SEAL, hashlib.sha256()
    if place < 0:
        return False
    file.seek(0)
    for start in range(0, place, 1 << 20):
        hashed.update(file.read(min(1 << 20, place - start)))
    seal = file.read(SEAL)
    hashed.update(file.read())
    return seal == hashed.digest()


def _start_of_footer(file: BinaryIO) -> int:
    """Where the footer of a Parquet file starts: the last 8 bytes are its length and a mark. Negative where they are no such."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - 8, 0))
    return end - 8 - int.from_bytes(file.read(4), "little")


def _put(temporary: Path, final: Path) -> None:
    """Rename; a file with the same bytes that already exists is kept with its time, as others may have read it meanwhile."""
    try:
        same = filecmp.cmp(temporary, final, shallow=False)
    except OSError:  # there is none, or `validate` has just set it aside, or it cannot be read
        same = False
    if same:
        temporary.unlink()
    else:
        os.replace(temporary, final)


def _encoding(contract: Contract) -> dict[str, Any]:
    """Parquet settings of a table: zstd, or delta encoding of numbers and sorted n-grams without compression, which is faster."""
    schema = contract.schema
    if contract.compression == "zstd":
        return {"compression": "zstd", "compression_level": 1}
    encodings = {f.name: "DELTA_BINARY_PACKED" for f in schema if pa.types.is_integer(f.type)}
    encodings |= {n: "DELTA_BYTE_ARRAY" for n in contract.key if pa.types.is_binary(schema.field(n).type)}
    statistics = [f.name for f in schema if not pa.types.is_binary(f.type)]
    return {"compression": "none", "use_dictionary": False, "column_encoding": encodings, "write_statistics": statistics}
