"""The shipped study shows what was planted; `python -m tests.memorization.planted_truth ROOT` records it again."""

from __future__ import annotations

import polars as pl
import pytest

from tests.memorization.planted_truth import BEGIN, CLAIMS, END, PAGE, RECORD, page_table

RECORDED = pl.read_csv(RECORD)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.name)
def test_the_record_shows_what_was_planted(claim: object) -> None:
    """Each claim for each of the three seeds."""
    rows = RECORDED.filter(kind="claim", name=claim.name).to_dicts()  # type: ignore[attr-defined]
    assert len(rows) == 3
    for row in rows:
        assert claim.holds(row["value"], row["error"], shipped=True), row  # type: ignore[attr-defined]


def test_the_page_has_the_numbers_of_the_record() -> None:
    assert page_table(RECORDED) == PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
