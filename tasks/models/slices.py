"""Rows of a job in slices of its examples, each kept in a file until the part is written, so that a killed job can resume.

A slice's file is written under another name and renamed, so it is complete or missing. Two runs at once may both compute a
slice; the bytes are equal.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.step import Work

TableAndSums = tuple[pa.Table, Mapping[str, int]]  # sums are numbers for the manifest
SUMS = b"sums"


def in_slices(work: Work, table: str, count: int, at_once: int, make: Callable[[range], TableAndSums]) -> None:
    """Write make(range) to `table` for 0 … count in slices of `at_once`; slices that a killed run has made are read."""
    folder = work.folder() / table if count > at_once else None
    for first in range(0, count, at_once):
        rows, sums = _kept(folder, first, lambda: make(range(first, min(first + at_once, count))))  # noqa: B023 - called at once
        work.write(table, rows)
        for name, value in sums.items():
            work.add(name, value)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _kept(folder: Path | None, first: int, make: Callable[[], TableAndSums]) -> TableAndSums:
    if folder is None:
        return make()
    path = folder / f"{first:09d}.parquet"
    try:
        rows = pq.read_table(path)
        return rows.replace_schema_metadata(None), json.loads(rows.schema.metadata[SUMS])
    except (OSError, pa.ArrowInvalid):
        rows, sums = make()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    pq.write_table(rows.replace_schema_metadata({SUMS: json.dumps(dict(sums))}), temporary)
    temporary.replace(path)
    return rows, sums


def table(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """Columns as a table with a contract's types."""
    return pa.table(dict(columns), schema=pa.schema([schema.field(name) for name in columns]))
