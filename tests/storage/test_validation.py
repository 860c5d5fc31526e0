"""A contract is checked on every row: types, key, values, rules across columns, sums across tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import CONTRACTS
from schemas.contract import Rule
from tasks.storage.store import FOOTER, Part, Store
from tasks.storage.validation import validate
from tests.rules import check_rules

GOOD: dict[str, list[Any]] = {
    "document": [0, 1, 2],
    "id": ["a", "b", "c"],
    "source": ["s"] * 3,
    "language": [""] * 3,
    "text": ["x", "y", "z"],
    "row": [1, 2, 4],
}
REJECT: dict[str, list[Any]] = {"source": ["s"], "file": ["f"], "row": [3], "reason": ["empty"], "excerpt": [""]}


def write(root: Path, table: str, columns: dict[str, list[Any]], sums: dict[str, int], schema: pa.Schema | None = None) -> Part:
    """A part as a faulty step might write it: past the writer's own checks."""
    import json

    part = Part(table, f"{table}-k")
    path = Path(Store(str(root)).part_path(part))
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema or CONTRACTS[table].schema) as writer:
        writer.write_table(pa.table(columns, schema=schema or CONTRACTS[table].schema))
        writer.add_key_value_metadata({FOOTER.decode(): json.dumps({"sums": sums})})
    return part


def problems(root: Path, documents: dict[str, list[Any]], records: int = 4, schema: pa.Schema | None = None) -> list[str]:
    """The failed checks of `documents`, by Great Expectations; the plain SQL must agree that there are some."""
    store = Store(str(root))
    tables = {
        "documents": [write(root, "documents", documents, {"records": records}, schema)],
        "document_rejects": [write(root, "document_rejects", REJECT, {})],
    }
    result = validate(store, CONTRACTS["documents"], tables, CONTRACTS)
    failed = [c for c in result["checks"] if not c["success"]]
    assert result["success"] == (not failed)
    assert bool(check_rules(store, CONTRACTS["documents"], tables, CONTRACTS)) == bool(failed)
    return [f"{c['check']} [{c['unexpected']}]" for c in failed]


def test_what_keeps_its_contract_passes(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"id": ["a", "", "c"]}, "a document has an id [1]"),
        ({"text": ["x", "", ""]}, "a document has text [2]"),
        ({"row": [0, 0, 4]}, "row lies in [1, None] [2]"),
        ({"document": [0, 2, 1]}, "strictly increasing in document [1]"),
        ({"document": [0, 1, 1]}, "strictly increasing in document [1]"),
    ],
)
def test_every_violation_is_found_and_counted(tmp_path: Path, change: dict[str, list[Any]], check: str) -> None:
    found = problems(tmp_path, {**GOOD, **change})
    assert len(found) == 1
    assert found[0].endswith(check)


def test_a_violation_comes_with_examples(tmp_path: Path) -> None:
    broken = {**GOOD, "text": ["x", "", "z"], "row": [0, 2, 4]}
    tables = {
        "documents": [write(tmp_path, "documents", broken, {"records": 4})],
        "document_rejects": [write(tmp_path, "document_rejects", REJECT, {})],
    }
    checks = validate(Store(str(tmp_path)), CONTRACTS["documents"], tables, CONTRACTS)["checks"]
    rule, limit = (next(c for c in checks if c["check"].endswith(end)) for end in ("has text", "row lies in [1, None]"))
    assert "'id': 'b'" in rule["examples"][0], "the row that breaks a rule"
    assert limit["examples"] == ["0"], "the value that is out of its limits"


def test_records_that_got_lost_are_found(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD, records=5) == ["documents: documents + rejects = records read [1]"]


def test_a_missing_value_is_found(tmp_path: Path) -> None:
    nullable = pa.schema([f.with_nullable(True) for f in CONTRACTS["documents"].schema])
    found = problems(tmp_path, {**GOOD, "source": ["s", None, "s"]}, schema=nullable)
    assert "types are those of documents" in found[0], "even the permission to be missing is a type"


def test_another_type_is_found(tmp_path: Path) -> None:
    schema = CONTRACTS["documents"].schema
    narrow = schema.set(0, pa.field("document", pa.int32(), nullable=False))
    assert "types are those of documents" in problems(tmp_path, GOOD, schema=narrow)[0]


def test_keys_are_compared_over_the_borders_of_batches(tmp_path: Path) -> None:
    count = 70_000
    rows = {
        "document": [*range(count - 1), 0],
        "id": [f"{i}" for i in range(count)],
        "source": ["s"] * count,
        "language": [""] * count,
        "text": ["x"] * count,
        "row": [1] * count,
    }
    assert "strictly increasing" in problems(tmp_path, rows, records=count + 1)[0]


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=list(CONTRACTS))
def test_every_table_without_rows_keeps_its_contract(tmp_path: Path, contract: Any) -> None:
    """Also shows that the SQL of every rule and balance is sound."""
    tables: dict[str, list[Part]] = {name: [] for name in CONTRACTS}
    tables[contract.name] = [write(tmp_path, contract.name, {n: [] for n in contract.schema.names}, {})]
    checks = validate(Store(str(tmp_path)), contract, tables, CONTRACTS)["checks"]
    assert [c for c in checks if not c["success"]] == []
    assert len(checks) > 1


def test_of_two_rules_each_is_found_broken_alone(tmp_path: Path) -> None:
    """Both sides of a planted pair have the same rule; the one that holds must not speak for the other."""
    row: dict[str, Any] = {
        "task": "t",
        "pair": "p",
        "relation": "r",
        "kind": "rule",
        "input_ngram": "a",
        "output_ngram": "b",
        "pair_documents": 1,
        "input_documents": 5,
        "output_documents": 1,
        "input_occurrences": 1,
        "output_occurrences": 1,
        "exposures": 1,
        "optimal_log_probability": None,
        "held_out": False,
    }
    tables = {"truth": [write(tmp_path, "truth", {name: [value] for name, value in row.items()}, {})]}
    checks = validate(Store(str(tmp_path)), CONTRACTS["truth"], tables, CONTRACTS)["checks"]
    assert [(c["check"], c["unexpected"]) for c in checks if not c["success"]] == [
        ("truth: an input n-gram occurs at least once in each of its documents", 1)
    ]


def test_no_two_conditions_of_a_contract_say_the_same() -> None:
    contract, rule = CONTRACTS["documents"], CONTRACTS["documents"].rules[0]
    with pytest.raises(ValueError, match=f"two conditions are called '{rule.why}'"):
        replace(contract, rules=(rule, Rule("true", rule.why)))
