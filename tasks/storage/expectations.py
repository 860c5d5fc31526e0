"""A contract's conditions as Great Expectations' expectations, every row checked, over a DuckDB connection.

Great Expectations cannot use duckdb-engine as it comes (great_expectations#11579: DuckDB drops a result on rollback, and the
rollback comes before the fetch), so it gets one connection whose transaction methods do nothing.

For a small table the queries cost more than the rows, and most tables are small. So a suite is first checked only for success,
which takes one query for all columns; what fails is checked again for numbers and examples. Great Expectations
runs the query of a rule twice, to show rows and to count them, so the rows that break a rule are put aside before: one scan
says which rules are broken, and each balance is computed once.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from schemas import Contract, StudyError
from tasks.storage.disk import not_written

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
