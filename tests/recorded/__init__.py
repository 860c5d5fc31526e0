"""Recorded metrics of the shipped studies, row by row: a change that is not meant to change a number must reproduce them.

    python -m tests.recorded ROOT sample debian     # record again, after a change that is meant to, and say why in its commit

Trained weights differ between kinds of processors, so each record holds the hashes of its models: where the weights differ, only
rows that no model takes part in are compared. A record of the sample also gives docs/memorization.md one number of each statistic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from flows.study_files import study_path
from schemas import CONTRACTS, load_study
from tasks.memorization import MEASURES
from tasks.report.formatting import any_number
from tasks.report.numbers import label_of
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
    PAGE.write_text(with_numbers(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


PAGE = FOLDER.parent.parent / "docs" / "memorization.md"
BEGIN, END = "<!-- sample -->\n", "<!-- end of sample -->"
PREFERRED = ("planted", "uniform", "duplicates", "phantoms", "planted_phantoms", "")


def memorization_numbers(metrics: pl.DataFrame, model: str) -> str:
    """A table of one number of each measure of sequences and statistic: that of a model at its last checkpoint, of planted texts
    where there are any, at the `level` nearest to ½ and in the last `bin`."""
    rows = metrics.filter(pl.col("measure").is_in([m.name for m in MEASURES]), pl.col("model").is_in(["", model]))
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows.filter(pl.col("estimate").is_finite()).to_dicts(), key=_preference):
        chosen.setdefault((row["measure"], row["statistic"]), row)
    order = [m.name for m in MEASURES]
    lines = [
        f"| `{measure}` `{statistic}` | {label_of(row) or '–'} | {any_number(row)} | {row['rows']:,} |"
        for (measure, statistic), row in sorted(chosen.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    ]
    heading = ["| measure | of which rows | number, 95 % interval | windows |", "|---|---|---|---|"]
    return "\n".join([*heading, *lines, ""]) if lines else ""


def _preference(row: Mapping[str, Any]) -> tuple[Any, ...]:
    nearest = abs(row["level"] - 0.5) if row["level"] >= 0 else 0.0
    sample = PREFERRED.index(row["group"]) if row["group"] in PREFERRED else len(PREFERRED)
    return (-row["checkpoint"], sample, row["detail"] not in ("", "T=1"), row["detail"], nearest, -row["bin"])


def with_numbers(page: str) -> str:
    """The page with the numbers that are recorded of the sample."""
    (before, _, rest), (metrics, _) = page.partition(BEGIN), recorded("sample", "metrics")
    largest = load_study(study_path("sample")).models[-1].name
    return f"{before}{BEGIN}{memorization_numbers(metrics, largest)}{END}{rest.partition(END)[2]}"


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
