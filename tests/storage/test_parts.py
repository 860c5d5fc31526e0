"""Parts on disk: what a part carries so that damage is noticed before any manifest lists it."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import CONTRACTS, REPORT_FILES
from tasks.metrics.measure import MEASURE
from tasks.step import Job, Work, keyed
from tasks.storage.parts import Part
from tasks.storage.store import Store
from tasks.storage.writing import is_sealed
from tests.support import write_part


def written(root: Path) -> tuple[Store, Part, Path]:
    """A root with one part of one row."""
    store, part = Store(str(root)), Part("report_files", "k")
    schema = REPORT_FILES.schema
    rows = {f.name: ["a" if pa.types.is_string(f.type) else 3] for f in schema}
    with store.writing({"report_files": REPORT_FILES}, "k", {"sums": {}}) as writer:
        writer.write("report_files", pa.table(rows, schema=schema))
    return store, part, Path(store.part_path(part))


def test_no_bit_of_a_part_flips_unnoticed(tmp_path: Path) -> None:
    store, part, path = written(tmp_path)
    assert store.is_whole(part, None)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 6):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            assert not is_sealed(io.BytesIO(flipped)), f"byte {place}, bit {bit}"
    for damaged in (b"", whole[:7], whole[:-1], whole + b"\0", whole[1:]):
        path.write_bytes(damaged)
        assert not store.is_whole(part, None)


def test_every_reader_of_parquet_reads_a_sealed_part(tmp_path: Path) -> None:
    store, part, path = written(tmp_path)
    rows = store.read([part], REPORT_FILES.schema).to_pylist()
    assert len(rows) == 1 and rows[0]["bytes"] == 3
    assert pq.read_table(path).to_pylist() == pl.read_parquet(path).to_dicts() == rows
    assert duckdb.sql(f"SELECT * FROM read_parquet('{path}')").arrow().read_all().to_pylist() == rows


def test_ranges_of_rows_are_read_in_order_across_batches(tmp_path: Path) -> None:
    """Ranges may begin again where the last one began, and leave rows out; those before are gone."""
    part = write_part(tmp_path, "recitation_partials", {name: list(range(3000)) for name in ("number", "occurrences", "documents")})
    job = keyed(MEASURE, 0, Job({}, inputs={"recitation_partials": (part,)}))
    work = Work(Store(str(tmp_path)), job, MEASURE.stages[0], CONTRACTS)
    read = work.in_order(part, "number")
    for rows in (range(1), range(700), range(700, 2500), range(2600, 2600), range(2600, 3000)):
        assert read(rows)["number"].to_pylist() == list(rows)
    assert work.count(part) == 3000 and work.in_order(part)(range(2)).column_names == ["number", "occurrences", "documents"]
    with pytest.raises(AssertionError, match="rows that were read before"):
        read(range(5))
