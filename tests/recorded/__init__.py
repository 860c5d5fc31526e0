"""Recorded metrics of the shipped studies, row by row: a change that is not meant to change a number must reproduce them.

    python -m tests.recorded ROOT sample debian     # record again, after a change that is meant to, and say why in its commit

Trained weights differ between kinds of processors, so each record holds the hashes of its models: where the weights differ, only
rows that no model takes part in are compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from schemas import CONTRACTS
from tests.studies import FinishedStudy

FOLDER = Path(__file__).parent
TABLES = ("metrics", "exclusions", "metric_family")
FLOATS = ("estimate", "low", "high", "standard_error", "p_value", "q_value", "truth", "x")
KEYS = {table: CONTRACTS[table].key for table in TABLES}


def table_of(study: FinishedStudy, table: str) -> pl.DataFrame:
    """A table of a finished study, sorted by its key."""
    return pl.DataFrame(study.rows(table), schema=pl.Schema(CONTRACTS[table].schema)).sort(KEYS[table])


def weights(study: FinishedStudy) -> dict[str, str]:
    """The hash of each model's weights, by "model@checkpoint"."""
    return {f"{r['model']}@{r['checkpoint']}": r["sha256"] for r in study.rows("models")}


def path_of(study: str, table: str) -> Path:
    """Where a record lies."""
    return FOLDER / f"{study}_{table}.parquet"


def record(study: FinishedStudy) -> None:
    """Write the records of a study."""
    for table in TABLES:
        rows = table_of(study, table).to_arrow()
        rows = rows.replace_schema_metadata(weights(study))
        pq.write_table(rows, path_of(study.study, table), compression="zstd", compression_level=19)


def recorded(study: str, table: str) -> tuple[pl.DataFrame, dict[str, str]]:
    """A record, and the hashes of the weights it was made with."""
    rows = pq.read_table(path_of(study, table))
    metadata = {k.decode(): v.decode() for k, v in (rows.schema.metadata or {}).items()}
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame, metadata


def differences(study: FinishedStudy, table: str) -> tuple[int, list[dict[str, Any]]]:
    """How many rows were compared, and those that differ, with both values.

    Numbers may differ by 1e-9, relatively: the order of a sum is not part of what a measure promises.
    """
    before, hashes = recorded(study.study, table)
    now = table_of(study, table)
    if weights(study) != hashes:  # another processor: what no model takes part in is the same everywhere
        corpus_only = (pl.col("model") == "") & (pl.col("measure") != "emergence")
        before, now = before.filter(corpus_only), now.filter(corpus_only)
    joined = before.join(now, on=KEYS[table], how="full", suffix="_now", coalesce=True)
    values = [c for c in before.columns if c not in KEYS[table]]
    return len(joined), joined.filter(~pl.all_horizontal(*map(_equal, values))).to_dicts()


def _equal(column: str) -> pl.Expr:
    left, right = pl.col(column), pl.col(f"{column}_now")
    if column not in FLOATS:
        return left.eq_missing(right)
    close = (left - right).abs() <= 1e-9 * pl.max_horizontal(left.abs(), right.abs(), pl.lit(1e-3))
    return left.eq_missing(right) | close.fill_null(False)
