"""A contract: the columns, key and rules of one table, defined once, from which types, checks and docs follow."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means (units included), and the values it may take."""

    name: str
    type: pa.DataType
    description: str
    between: tuple[float, float] | None = None
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None
    nullable: bool = False


@dataclass(frozen=True)
class Rule:
    """A SQL condition that every row must fulfil, and why."""

    sql: str
    why: str


@dataclass(frozen=True)
class Balance:
    """Two SQL scalars over the step's own and read tables that must be equal: what went in is what came out. Besides the tables
    there is `sums`: one row (part, name, value) per number a part reported while it was made. Every table has a column `part_key`,
    for conditions that hold within a part: the parts that one job writes have the same key."""

    left: str
    right: str
    why: str


@dataclass(frozen=True)
class Contract:
    """All that holds for one table. `key`: the columns in which each part is sorted, strictly increasing, and so unique."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    balances: tuple[Balance, ...] = ()
    compression: Literal["zstd", "none"] = "zstd"  # none: written and read once, and large

    def __post_init__(self) -> None:
        """Raises ValueError for two conditions with one sentence, for results are kept by that."""
        sentences = [*(rule.why for rule in self.rules), *(item.why for item in self.balances)]
        if twice := sorted({why for why in sentences if sentences.count(why) > 1}):
            raise ValueError(f"{self.name}: two conditions are called {twice[0]!r}")

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema every part must equal; each field carries its description."""
        return pa.schema([pa.field(c.name, c.type, c.nullable, {"description": c.description}) for c in self.columns])


# -- as contracts are written ------------------------------------------------------------------------------------------
column, rows, balance = Column, Rule, Balance


def table(name: str, description: str, *items: Column | Rule | Balance, compression: Literal["zstd", "none"] = "zstd") -> Contract:
    """A contract of columns, rules and balances. `name`: of the table and of its key, "pair_counts by input_ngram output_ngram"."""
    of: dict[type, Any] = {kind: tuple(item for item in items if isinstance(item, kind)) for kind in (Column, Rule, Balance)}
    name, _, key = name.partition(" by ")
    return Contract(name, description, of[Column], tuple(key.split()), of[Rule], of[Balance], compression)


def _of(type: pa.DataType) -> Callable[..., Column]:
    """What makes columns of a type: name, description, and limits as `Column` has them."""
    return lambda name, description, **limits: Column(name, type, description, **limits)


string, boolean, binary, int16, int32, int64 = map(_of, (pa.string(), pa.bool_(), pa.binary(), pa.int16(), pa.int32(), pa.int64()))
float32, float64 = _of(pa.float32()), _of(pa.float64())


def list_of(of: Callable[..., Column], name: str, description: str) -> Column:
    """A column of lists without nulls in them: `list_of(int32, "ids", "its token ids")`."""
    one = of(name, description)
    return replace(one, type=pa.list_(pa.field("element", one.type, nullable=False)))


def count(of: str) -> str:
    """The rows of a table, in SQL."""
    return f"(SELECT count(*) FROM {of})"


def total(column: str, of: str) -> str:
    """The sum of a column of a table, in SQL; 0 if it has no row."""
    return f"(SELECT coalesce(sum({column}), 0) FROM {of})"


def reported(name: str) -> str:
    """What the parts of a step reported under this name, in SQL."""
    return total("value", f"sums WHERE name = '{name}'")
