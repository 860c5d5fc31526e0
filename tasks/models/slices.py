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

from schemas import Contract
from tasks.models.language_model import LanguageModel
from tasks.models.load import open_checkpoint, repeatable
from tasks.step import Work

Columns = tuple[Mapping[str, Any], Mapping[str, int]]  # and numbers for the manifest
Make = Callable[[LanguageModel, range], Columns]
Check = Callable[[LanguageModel], None]
SUMS = b"sums"


def in_slices(work: Work, contract: Contract, count: int, at_once: int, make: Make, check: Check | None = None) -> None:
    """Write the rows of make(model, range) for 0 … count in slices of `at_once`; slices that a killed run has made are read. The
    model is the one that the job's labels name; `check` is called with it first. Columns that are labels are added."""
    folder = work.folder() / contract.name if count > at_once else None
    with repeatable(work.settings.get("device", "cpu")):
        model = open_checkpoint(work)
        if check:
            check(model)
        for rows in (range(first, min(first + at_once, count)) for first in range(0, count, at_once)):
            path = folder / f"{rows.start:09d}.parquet" if folder else None
            table = _kept(path) if path else None
            if table is None:
                columns, sums = make(model, rows)
                size, labels = len(next(iter(columns.values()))), {**work.labels, "checkpoint": int(work.labels["checkpoint"])}
                arrays = {n: columns[n] if n in columns else [labels[n]] * size for n in contract.schema.names}
                table = pa.table(arrays, contract.schema).replace_schema_metadata({SUMS: json.dumps(dict(sums))})
                if path:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pq.write_table(table, temporary := path.with_name(f"{uuid.uuid4().hex}.tmp"))
                    temporary.replace(path)
            work.write(contract.name, table.replace_schema_metadata(None))
            for name, value in json.loads(table.schema.metadata[SUMS]).items():
                work.add(name, value)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _kept(path: Path) -> pa.Table | None:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
