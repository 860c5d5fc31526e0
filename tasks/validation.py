"""Contracts, checked on every row: types and keys with Arrow, values and sums with Great Expectations over DuckDB.

Great Expectations cannot use duckdb-engine as it comes (great_expectations#11579: DuckDB drops a result on rollback, and the
rollback comes before the fetch), so it gets one connection whose transaction methods do nothing.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas import Column, Contract
from tasks.dataset import Part, Store

Tables = Mapping[str, Sequence[Part]]
EXAMPLES_SHOWN = 5
_one_at_a_time = threading.Lock()  # GX keeps its context in the process


def validate(store: Store, contract: Contract, tables: Tables, contracts: Mapping[str, Contract]) -> dict[str, Any]:
    """Check all rows of `contract`'s table against types, key, values, rules and balances.

    Returns {"success", "checks": [{"check", "success", "unexpected", "examples"}]}; a violation is never an exception.
    """
    checks = [_types_and_key(store, contract, part) for part in tables[contract.name]]
    failed = [c for c in checks if not c["success"]]
    first: list[dict[str, Any]] = failed or [
        {
            "check": f"types, and strictly increasing {', '.join(contract.key)}",
            "success": True,
            "unexpected": 0,
            "examples": [],
        }
    ]
    if not failed and any(tables.get(name) for name in _named(contract)):  # what is made of nothing is as it must be
        with _one_at_a_time, _views(store, contract, tables, contracts) as connection:
            first += _expectations(contract, connection)
    return {"success": all(c["success"] for c in first), "checks": first}


def check_rules(store: Store, contract: Contract, tables: Tables, contracts: Mapping[str, Contract]) -> list[str]:
    """The same conditions without Great Expectations, for tests of single steps; returns what is violated."""
    problems = [c["check"] for c in (_types_and_key(store, contract, p) for p in tables[contract.name]) if not c["success"]]
    if problems:
        return problems
    with _views(store, contract, tables, contracts) as connection:
        for column in contract.columns:
            for condition in _value_conditions(column):
                bad = connection.execute(f"SELECT * FROM {contract.name} WHERE NOT ({condition}) LIMIT 1").fetchall()
                problems += [f"{contract.name}.{column.name}: NOT {condition}: {bad[0]}"] if bad else []
        for rule in contract.rules:
            bad = connection.execute(f"SELECT * FROM {contract.name} WHERE NOT ({rule.sql}) LIMIT 1").fetchall()
            problems += [f"{contract.name}: {rule.why}: {bad[0]}"] if bad else []
        for item in contract.balances:
            left, right = connection.execute(f"SELECT ({item.left}), ({item.right})").fetchone()
            problems += [f"{contract.name}: {item.why}: {left} ≠ {right}"] if left != right else []
    return problems


def _types_and_key(store: Store, contract: Contract, part: Part) -> dict[str, Any]:
    """Whether one part has the contract's types and is strictly increasing in its key."""
    file = store.open(part)
    found = file.schema_arrow.remove_metadata()
    wanted = contract.schema
    if not found.equals(pa.schema([f.remove_metadata() for f in wanted])) and not found.equals(wanted):
        names = [f"{f.name}: {f.type}" for f in found]
        return {
            "check": f"{part.key}: types are those of {contract.name}",
            "success": False,
            "unexpected": 1,
            "examples": names,
        }
    previous: list[pa.Scalar] | None = None
    for batch in file.iter_batches(batch_size=65_536, columns=list(contract.key)):
        columns = [batch.column(batch.schema.get_field_index(k)) for k in contract.key]
        if previous is not None:
            columns = [pa.concat_arrays([pa.array([p], c.type), c]) for p, c in zip(previous, columns, strict=True)]
        at = _first_not_increasing(columns)
        if at is not None:
            rows = [{k: c[i].as_py() for k, c in zip(contract.key, columns, strict=True)} for i in (at, at + 1)]
            check = f"{part.key}: strictly increasing in {', '.join(contract.key)}"
            return {"check": check, "success": False, "unexpected": 1, "examples": [str(r) for r in rows]}
        previous = [c[len(c) - 1].as_py() for c in columns]
    return {"check": part.key, "success": True, "unexpected": 0, "examples": []}


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
    """The words of the contract's own name and conditions: which tables it speaks of."""
    text = " ".join([contract.name, *(r.sql for r in contract.rules), *(f"{b.left} {b.right}" for b in contract.balances)])
    return set(re.findall(r"\w+", text))


@contextmanager
def _views(store: Store, contract: Contract, tables: Tables, contracts: Mapping[str, Contract]) -> Any:
    """A DuckDB connection on which every table the contract names is a view, and `sums` is a table."""
    import duckdb

    named = _named(contract)
    connection = duckdb.connect(config={"threads": 1})
    try:
        if not store.local:
            connection.register_filesystem(store.fs)
        for name, parts in tables.items():
            if name not in named:
                continue
            if parts:
                paths = ", ".join("'" + _address(store, p).replace("'", "''") + "'" for p in parts)
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{paths}])")
            elif name in contracts:
                connection.register(name, contracts[name].schema.empty_table())
        connection.execute("CREATE TABLE sums (part VARCHAR, name VARCHAR, value DOUBLE)")
        rows = [(p.key, n, float(v)) for p in tables[contract.name] for n, v in store.footer(p)["sums"].items()]
        if rows:
            connection.executemany("INSERT INTO sums VALUES (?, ?, ?)", rows)
        yield connection
    finally:
        connection.close()


def _address(store: Store, part: Part) -> str:
    """A part as DuckDB finds it: a path, or a URL for the file system that is registered with it."""
    path = store.part_path(part)
    return path if store.local else store.fs.unstrip_protocol(path)


def _value_conditions(column: Column) -> list[str]:
    """SQL conditions for one column's limits; a null fulfils every limit but its own."""
    name, found = f'"{column.name}"', []
    if not column.nullable:
        found.append(f"{name} IS NOT NULL")
    low, high = column.between or (column.at_least, column.at_most)
    if low is not None:
        found.append(f"coalesce({name} >= {low}, true)")
    if high is not None:
        found.append(f"coalesce({name} <= {high}, true)")
    if column.one_of:
        values = ", ".join("'" + v + "'" for v in column.one_of)
        found.append(f"coalesce({name} IN ({values}), true)")
    return found


def _suite(contract: Contract) -> list[tuple[str, Any]]:
    """The contract as Great Expectations' expectations, each with a sentence that says it."""
    import great_expectations.expectations as gxe

    suite: list[tuple[str, Any]] = []
    for c in contract.columns:
        if not c.nullable:
            suite.append((f"{c.name} is never missing", gxe.ExpectColumnValuesToNotBeNull(column=c.name)))
        low, high = c.between or (c.at_least, c.at_most)
        if low is not None or high is not None:
            expectation = gxe.ExpectColumnValuesToBeBetween(column=c.name, min_value=low, max_value=high)
            suite.append((f"{c.name} lies in [{low}, {high}]", expectation))
        if c.one_of:
            members = gxe.ExpectColumnValuesToBeInSet(column=c.name, value_set=list(c.one_of))
            suite.append((f"{c.name} is one of {', '.join(c.one_of)}", members))
    for rule in contract.rules:
        query = f"SELECT * FROM {{batch}} WHERE NOT ({rule.sql}) LIMIT 1000"
        suite.append((rule.why, gxe.UnexpectedRowsExpectation(unexpected_rows_query=query, description=rule.why)))
    for item in contract.balances:
        query = (f"SELECT * FROM (SELECT ({item.left}) AS left_side, ({item.right}) AS right_side) "
                 f"WHERE left_side IS DISTINCT FROM right_side AND (SELECT count(*) FROM {{batch}}) >= 0")  # fmt: skip
        suite.append((item.why, gxe.UnexpectedRowsExpectation(unexpected_rows_query=query, description=item.why)))
    return suite


def _expectations(contract: Contract, connection: Any) -> list[dict[str, Any]]:
    """Run the suite over every row; one result per expectation."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import duckdb_engine
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from sqlalchemy.pool import StaticPool

    class Connection(duckdb_engine.ConnectionWrapper):
        def begin(self) -> None: ...
        def commit(self) -> None: ...
        def rollback(self) -> None: ...
        def close(self) -> None: ...

    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    options = {"creator": lambda: Connection(connection), "poolclass": StaticPool}
    source = context.data_sources.add_sql("parts", connection_string="duckdb:///:memory:", kwargs=options)
    batch = (
        source.add_table_asset(contract.name, table_name=contract.name).add_batch_definition_whole_table("all").get_batch()
    )
    suite, sentences = gx.ExpectationSuite(name=contract.name), []
    for sentence, expectation in _suite(contract):
        suite.add_expectation(expectation)
        sentences.append((sentence, expectation.expectation_type))
    result = context.suites.add(suite) and batch.validate(suite)
    for site in context.variables.data_docs_sites.values():  # made for documents we do not build
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
    return [_result(r, contract) for r in result.results]


def _result(result: Any, contract: Contract) -> dict[str, Any]:
    """One expectation's outcome in a few plain fields."""
    config, seen = result.expectation_config, result.result or {}
    described = (
        config.description or f"{config.type.removeprefix('expect_').replace('_', ' ')} ({config.kwargs.get('column', '')})"
    )
    raised: Any = next(iter((result.exception_info or {}).values()), {})
    message = raised.get("exception_message") if isinstance(raised, dict) else None
    examples = seen.get("partial_unexpected_list") or (seen.get("details") or {}).get("unexpected_rows") or []
    unexpected = seen.get("unexpected_count", seen.get("observed_value", 0)) or 0
    return {
        "check": f"{contract.name}: {described}", "success": bool(result.success), "unexpected": int(unexpected),
        "examples": [message] if message else [str(e)[:300] for e in examples[:EXAMPLES_SHOWN]],
    }  # fmt: skip
