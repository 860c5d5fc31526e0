"""Contracts, checked on every row: types and keys with Arrow, values and sums with Great Expectations over DuckDB."""

import json
import os
import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import Contract
from tasks.storage.expectations import expectations
from tasks.storage.store import Part, Store
from tasks.storage.writing import FOOTER

Tables = Mapping[str, Sequence[Part]]
THREADS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)  # workers often wait for a check
SUMS = pa.schema([("part", pa.string()), ("name", pa.string()), ("value", pa.float64())])
_one_at_a_time = threading.Lock()  # GX keeps its context in the process


def validate(store: Store, contract: Contract, tables: Tables, contracts: Mapping[str, Contract]) -> dict[str, Any]:
    """Check all rows of `contract`'s table against types, key, values, rules and balances. Returns {"success", "checks":
    [{"check", "success", "unexpected", "examples"}]}; a violation is never an exception."""
    looked = [_look(store, contract, part) for part in tables[contract.name]]
    failed = [check for check, _ in looked if not check["success"]]
    first = failed or [_check(f"types, and strictly increasing {', '.join(contract.key)}")]
    if not failed and any(tables.get(name) for name in _named(contract)):  # a table without parts satisfies its contract
        with _one_at_a_time, _views(store, contract, tables, contracts, [s for _, s in looked]) as connection:
            first += expectations(contract, connection)
    return {"success": all(c["success"] for c in first), "checks": first}


def _look(store: Store, contract: Contract, part: Part) -> tuple[dict[str, Any], Mapping[str, float]]:
    """One part, opened once: whether it has the contract's types and its key, and the sums of its footer."""
    file = store.open(part)
    return _types_and_key(file, contract, part), json.loads(file.metadata.metadata[FOOTER])["sums"]


def _types_and_key(file: pq.ParquetFile, contract: Contract, part: Part) -> dict[str, Any]:
    """Whether a part has the contract's types and is strictly increasing in its key."""
    schema = file.schema_arrow.remove_metadata()
    wanted = contract.schema
    if not schema.equals(pa.schema([f.remove_metadata() for f in wanted])) and not schema.equals(wanted):
        return _check(f"{part.key}: types are those of {contract.name}", [f"{f.name}: {f.type}" for f in schema])
    previous: list[pa.Scalar] | None = None
    for batch in file.iter_batches(batch_size=65_536, columns=list(contract.key)):
        columns = [batch.column(batch.schema.get_field_index(k)) for k in contract.key]
        if previous is not None:
            columns = [pa.concat_arrays([pa.array([p], c.type), c]) for p, c in zip(previous, columns, strict=True)]
        at = _first_not_increasing(columns)
        if at is not None:
            rows = [{k: c[i].as_py() for k, c in zip(contract.key, columns, strict=True)} for i in (at, at + 1)]
            return _check(f"{part.key}: strictly increasing in {', '.join(contract.key)}", [str(r) for r in rows])
        previous = [c[len(c) - 1].as_py() for c in columns]
    return _check(part.key)


def _check(what: str, examples: list[str] | None = None) -> dict[str, Any]:
    """The result of a check; examples: of violations."""
    wrong = examples is not None
    return {"check": what, "success": not wrong, "unexpected": int(wrong), "examples": examples or []}


def _first_not_increasing(columns: list[pa.Array]) -> int | None:
    """Index of the first row that is not smaller than the next, comparing columns from left to right."""
    length = len(columns[0])
    if length < 2:
        return None
    increasing: pa.Array = pa.array([False] * (length - 1))
    for column in reversed(columns):
        left, right = column.slice(0, length - 1), column.slice(1)
        increasing = pc.or_(pc.less(left, right), pc.and_(pc.equal(left, right), increasing))
    wrong = pc.index(increasing, pa.scalar(False)).as_py()
    return None if wrong < 0 else wrong


def _named(contract: Contract) -> set[str]:
    """The words of the contract's name and conditions, among them the tables that it refers to."""
    text = " ".join([contract.name, *(r.sql for r in contract.rules), *(f"{b.left} {b.right}" for b in contract.balances)])
    return set(re.findall(r"\w+", text))


Contracts = Mapping[str, Contract]
Sums = Sequence[Mapping[str, float]]


@contextmanager
def _views(store: Store, contract: Contract, tables: Tables, contracts: Contracts, sums: Sums, database: Any = None) -> Any:
    """A DuckDB connection on which every table the contract names is a view, and `sums`, those of each part, is a table. database:
    one that is open already, used if the store is on this machine."""
    import duckdb

    named = _named(contract)
    by_part = "part_key" in named
    # Created when memory is short; by default DuckDB uses the working folder.
    spill = store.layout.scratch(contract.name, uuid.uuid4().hex)
    shared = database is not None and store.local
    connection = database.cursor() if shared else duckdb.connect(config={"threads": THREADS, "temp_directory": str(spill)})
    create = "CREATE TEMP VIEW" if shared else "CREATE VIEW"
    try:
        if not store.local:
            connection.register_filesystem(store.fs)
        for name, parts in tables.items():
            if name not in named:
                continue
            if parts:
                paths = ", ".join("'" + _address(store, p).replace("'", "''") + "'" for p in parts)
                # hive_partitioning: else a root such as results/model=small would give every table a column `model`.
                selected = "* EXCLUDE (filename), parse_filename(filename, true) AS part_key" if by_part else "*"
                rows_of = f"read_parquet([{paths}], hive_partitioning = false, filename = {by_part})"
                connection.execute(f"{create} {name} AS SELECT {selected} FROM {rows_of}")
            elif name in contracts:
                empty = contracts[name].schema.empty_table()
                connection.register(name, empty.append_column("part_key", pa.array([], pa.string())) if by_part else empty)
        rows = [(p.key, n, float(v)) for p, of in zip(tables[contract.name], sums, strict=True) for n, v in of.items()]
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        connection.register("sums", pa.table([pa.array(c, f.type) for c, f in zip(columns, SUMS, strict=True)], schema=SUMS))
        yield connection
    finally:
        connection.close()


def _address(store: Store, part: Part) -> str:
    """A part's path for DuckDB, or a URL of the registered file system; glob characters are escaped."""
    path = store.part_path(part)
    return re.sub(r"([*?\[])", r"[\1]", path if store.local else store.fs.unstrip_protocol(path))
