"""Contracts are collected from the files of schemas/tables: a table is defined once and listed nowhere else."""

from __future__ import annotations

import importlib
from pathlib import Path

import schemas
from schemas import CONTRACTS, Contract

TABLES = Path(schemas.__file__).parent / "tables"


def test_every_contract_of_every_file_is_collected_and_called_as_its_table():
    for path in TABLES.glob("[a-z]*.py"):
        module = importlib.import_module(f"schemas.tables.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, Contract):
                assert CONTRACTS[value.name] is value
                assert name == value.name.upper(), f"{path.name}: call {name} {value.name.upper()}, as its table"


def test_names_are_imported_from_schemas_as_from_their_files():
    assert schemas.METRICS is CONTRACTS["metrics"] and schemas.NGRAM_COUNTS is CONTRACTS["ngram_counts"]
    assert schemas.DOCUMENTS is CONTRACTS["documents"] and list(CONTRACTS) == sorted(CONTRACTS)
