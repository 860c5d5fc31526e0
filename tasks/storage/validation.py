"""Contracts, checked on every row: types and keys with Arrow, values and sums with Great Expectations over DuckDB."""

import json
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import Contract, StudyError
from tasks.storage.disk import not_written
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


# -- Great Expectations -----------------------------------------------------------------------------------------------
# It cannot use duckdb-engine as it comes (great_expectations#11579: DuckDB drops a result on rollback, which comes before the
# fetch), so it gets one connection whose transaction methods do nothing.
#
# For a small table the queries cost more than the rows, and most tables are small. So a suite is first checked only for success,
# which takes one query for all columns; what fails is checked again for numbers and examples. It runs the query of a rule twice, to
# show rows and to count them, so the rows that break a rule are put aside before: one scan says which rules are broken, and each
# balance is computed once.
EXAMPLES_SHOWN = 5
DIALECT = "taskgram"
ROWS_ASIDE = 1000  # of those that break a rule


def expectations(contract: Contract, connection: Any) -> list[dict[str, Any]]:
    """Check every row of the view that has the contract's name; one result per expectation. Not thread-safe."""
    import duckdb

    try:
        counts = _put_aside(contract, connection)
    except duckdb.Error as error:
        if not_written(error, contract.name):
            raise
        remedy = "`taskgram validate STUDY` sets a damaged part aside; else make memory free"
        raise StudyError(f"{contract.name}: its rows cannot be checked: {str(error)[:500]}. {remedy}") from error
    with _batch(contract.name, connection) as batch:
        suite = _suite(contract)
        results = _ask(batch, suite, "BOOLEAN_ONLY")
        broken = {_says(r) for r in results if not r.success}
        again = _ask(batch, [e for e in suite if e.description in broken], "COMPLETE") if broken else []
    by_sentence = {_says(r): _result(r, contract) for r in [*results, *again]}
    for sentence in counts.keys() & by_sentence.keys():
        by_sentence[sentence]["unexpected"] = counts[sentence]
    return [by_sentence[e.description] for e in suite]


def _ask(batch: Any, wanted: list[Any], answer: str) -> list[Any]:
    import great_expectations as gx

    suite = gx.ExpectationSuite(name=f"{batch.data_asset.name} {answer}", expectations=wanted)
    return list(batch.validate(suite, result_format=answer).results)


def _says(result: Any) -> str:
    return str(result.expectation_config.description)


def _suite(contract: Contract) -> list[Any]:
    """The contract as Great Expectations' expectations, each with a sentence that describes it."""
    import great_expectations.expectations as gxe

    suite: list[Any] = []
    for c in contract.columns:
        if not c.nullable:
            suite.append(gxe.ExpectColumnValuesToNotBeNull(column=c.name, description=f"{c.name} is never missing"))
        low, high = c.between or (c.at_least, c.at_most)
        if low is not None or high is not None:
            sentence = f"{c.name} lies in [{low}, {high}]"
            suite.append(gxe.ExpectColumnValuesToBeBetween(column=c.name, min_value=low, max_value=high, description=sentence))
        if c.one_of:
            sentence = f"{c.name} is one of {', '.join(c.one_of)}"
            suite.append(gxe.ExpectColumnValuesToBeInSet(column=c.name, value_set=list(c.one_of), description=sentence))
    aside = {"rule": [r.why for r in contract.rules], "balance": [b.why for b in contract.balances]}
    for name, why in ((f"{kind}_{i}", why) for kind, reasons in aside.items() for i, why in enumerate(reasons)):
        query = f"SELECT * FROM {name} WHERE EXISTS (SELECT 1 FROM {{batch}}) OR true"  # a query must name the batch
        suite.append(gxe.UnexpectedRowsExpectation(unexpected_rows_query=query, description=why))
    return suite


def _put_aside(contract: Contract, connection: Any) -> dict[str, int]:
    """Tables rule_0, balance_0 …: rows that break each rule, and the sides of each balance that are not equal. Returns how many
    rows break a rule, by its sentence; more than ROWS_ASIDE are not put aside."""
    counts: tuple[int, ...] = ()
    if contract.rules:
        tests = ", ".join(f"NOT ({rule.sql}) AS rule_{i}" for i, rule in enumerate(contract.rules))
        broken_rows = ", ".join(f"coalesce(count_if(rule_{i}), 0)" for i in range(len(contract.rules)))
        counts = connection.execute(f"SELECT {broken_rows} FROM (SELECT {tests} FROM {contract.name})").fetchone()
    for i, (rule, rows) in enumerate(zip(contract.rules, counts, strict=True)):
        which = f"NOT ({rule.sql})" if rows else "false"
        connection.execute(f"CREATE TABLE rule_{i} AS SELECT * FROM {contract.name} WHERE {which} LIMIT {ROWS_ASIDE}")
    for i, item in enumerate(contract.balances):
        sides = f"SELECT ({item.left}) AS left_side, ({item.right}) AS right_side"
        unequal = "left_side IS DISTINCT FROM right_side"
        connection.execute(f"CREATE TABLE balance_{i} AS SELECT * FROM ({sides}) WHERE {unequal}")
    return {rule.why: int(rows) for rule, rows in zip(contract.rules, counts, strict=True)}


@contextmanager
def _batch(table: str, connection: Any) -> Iterator[Any]:
    """A view of the connection, as the batch that Great Expectations checks."""
    context, wrapper = _context(), _connection_class()
    from sqlalchemy.pool import StaticPool

    options = {"creator": lambda: wrapper(connection), "poolclass": StaticPool}
    source = context.data_sources.add_sql(table, connection_string=f"duckdb+{DIALECT}:///:memory:", kwargs=options)
    try:
        asset = source.add_table_asset(table, table_name=table)
        yield asset.get_batch(asset.build_batch_request())
    finally:
        context.data_sources.delete(table)


def load() -> None:
    """Import Great Expectations, which takes seconds, while there is nothing else to do."""
    _context()


@cache
def _context() -> Any:
    """One context for the process, kept in memory; the files that it writes nevertheless, for its documentation, are removed."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    context._save_project_config = lambda: None  # it is stored nowhere, but would be serialised as YAML for every table
    for site in context.variables.data_docs_sites.values():
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
    return context


@cache
def _connection_class() -> type:
    """duckdb-engine's connection without transactions; registers its dialect, too."""
    import duckdb_engine
    from sqlalchemy.dialects import registry
    from sqlalchemy.types import NullType

    class Connection(duckdb_engine.ConnectionWrapper):
        def begin(self) -> None: ...
        def commit(self) -> None: ...
        def rollback(self) -> None: ...
        def close(self) -> None: ...

    class Dialect(duckdb_engine.Dialect):
        """Looks up the columns of one view; duckdb-engine would search a catalog as large as PostgreSQL's."""

        supports_statement_cache = True

        def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
            described = connection.exec_driver_sql(f'DESCRIBE "{table_name}"').fetchall()
            return [{"name": row[0], "type": NullType(), "nullable": True, "default": None} for row in described]

        def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
            return {"constrained_columns": [], "name": None}  # a view has none

    registry.impls[f"duckdb.{DIALECT}"] = lambda: Dialect
    return Connection


def _result(result: Any, contract: Contract) -> dict[str, Any]:
    """One expectation's outcome in a few plain fields."""
    seen = result.result or {}
    raised: Any = next(iter((result.exception_info or {}).values()), {})
    message = raised.get("exception_message") if isinstance(raised, dict) else None
    examples = seen.get("partial_unexpected_list") or (seen.get("details") or {}).get("unexpected_rows") or []
    unexpected = seen.get("unexpected_count", seen.get("observed_value", 0)) or 0
    shown = [message] if message else [str(e)[:300] for e in examples[:EXAMPLES_SHOWN]]
    outcome = {"success": bool(result.success), "unexpected": int(unexpected), "examples": shown}
    return {"check": f"{contract.name}: {_says(result)}"} | outcome
