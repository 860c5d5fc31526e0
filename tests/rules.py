"""A contract's conditions on every row, without Great Expectations, which takes seconds: for tests of single steps."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from schemas import Column, Contract
from tasks.storage.store import Store
from tasks.storage.validation import Tables, _look, _views


def check_rules(store: Store, contract: Contract, tables: Tables, contracts: Mapping[str, Contract]) -> list[str]:
    """The violations that `validate` would find."""
    looked = [_look(store, contract, part) for part in tables[contract.name]]
    problems = [check["check"] for check, _ in looked if not check["success"]]
    if problems:
        return problems
    with _views(store, contract, tables, contracts, [s for _, s in looked], _database()) as connection:
        conditions = [(f".{c.name}: NOT {sql}", sql) for c in contract.columns for sql in _value_conditions(c)]
        conditions += [(f": {rule.why}", rule.sql) for rule in contract.rules]
        if conditions:
            broken = ", ".join(f"NOT ({sql}) AS c{i}" for i, (_, sql) in enumerate(conditions))
            any_row = ", ".join(f"coalesce(bool_or(c{i}), false)" for i in range(len(conditions)))
            found = connection.execute(f"SELECT {any_row} FROM (SELECT {broken} FROM {contract.name})").fetchone()
            for wrong, (words, sql) in zip(found, conditions, strict=True):
                row = connection.execute(f"SELECT * FROM {contract.name} WHERE NOT ({sql}) LIMIT 1").fetchone() if wrong else None
                problems += [f"{contract.name}{words}: {row}"] if wrong else []
        if contract.balances:
            sides = ", ".join(f"({item.left}), ({item.right})" for item in contract.balances)
            found = connection.execute(f"SELECT {sides}").fetchone()
            for item, left, right in zip(contract.balances, found[::2], found[1::2], strict=True):
                problems += [f"{contract.name}: {item.why}: {left} ≠ {right}"] if left != right else []
    return problems


@cache
def _database() -> Any:
    """One for the process: to open one takes longer than to check most tables."""
    import duckdb

    return duckdb.connect(config={"threads": 1, "temp_directory": ""})


def _value_conditions(column: Column) -> list[str]:
    """SQL conditions for one column's limits; a null meets every limit except NOT NULL."""
    name, conditions = f'"{column.name}"', []
    if not column.nullable:
        conditions.append(f"{name} IS NOT NULL")
    low, high = column.between or (column.at_least, column.at_most)
    if low is not None:
        conditions.append(f"coalesce({name} >= {low}, true)")
    if high is not None:
        conditions.append(f"coalesce({name} <= {high}, true)")
    if column.one_of:
        values = ", ".join("'" + v + "'" for v in column.one_of)
        conditions.append(f"coalesce({name} IN ({values}), true)")
    return conditions
