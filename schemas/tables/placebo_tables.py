"""The tables of a study's placebo corpus: those of its corpus, as far as counting pairs needs them, under names of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from schemas.contract import Contract
from schemas.tables.documents import DOCUMENT_IDS, DOCUMENT_REJECTS, DOCUMENTS, PLANTED_FILES, REPEATED_IDS
from schemas.tables.encoded_documents import VOCABULARY, WORDS
from schemas.tables.task_counts import NGRAM_PARTIALS, NGRAM_STATS, PAIR_COUNTS, PAIR_PARTIALS

PREFIX = "placebo_"


def _renamed(contracts: Iterable[Contract]) -> dict[str, Contract]:
    """The same contracts under other names, by the old: what they say of each other, they say of the renamed ones."""
    known = {contract.name: contract for contract in contracts}
    read = re.compile(rf"\b(FROM|JOIN) ({'|'.join(known)})\b")  # a column may have the name of a table

    def of_placebo(sql: str) -> str:
        return read.sub(rf"\1 {PREFIX}\2", sql)

    return {
        name: replace(
            contract,
            name=PREFIX + name,
            description=f"Of the placebo corpus: {contract.description}",
            balances=tuple(replace(b, left=of_placebo(b.left), right=of_placebo(b.right)) for b in contract.balances),
        )
        for name, contract in known.items()
    }


PLACEBO_TABLES = _renamed(
    (
        PLANTED_FILES,
        DOCUMENT_IDS,
        REPEATED_IDS,
        DOCUMENTS,
        DOCUMENT_REJECTS,
        WORDS,
        VOCABULARY,
        NGRAM_PARTIALS,
        PAIR_PARTIALS,
        NGRAM_STATS,
        PAIR_COUNTS,
    )
)
"""Contracts by the name of the corpus' own table."""
