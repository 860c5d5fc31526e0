"""The shipped study shows what its corpus was planted to show: its record, and a finished root if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from flows.study_files import study_path
from schemas import load_study
from tests.memorization.planted_truth import BEGIN, CLAIMS, END, PAGE, RECORD, PlantedTruth, page_table, panel_of

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


@pytest.mark.slow
def test_a_finished_root_shows_what_was_planted() -> None:
    """Of the study memorization in TASKGRAM_TEST_ROOT; it takes too long to be run by a test."""
    root = Path(os.environ.get("TASKGRAM_TEST_ROOT", "")) / "memorization"
    if not os.environ.get("TASKGRAM_TEST_ROOT") or not (root / "ensemble_scores").is_dir():
        pytest.skip("TASKGRAM_TEST_ROOT has no study memorization; run it there with taskgram run memorization --root")
    study = load_study(study_path("memorization"))
    for model in study.membership.models:
        truth = PlantedTruth(panel_of(study, str(root), model.name))
        wrong = [(claim.name, number) for claim in CLAIMS if not claim.holds(*(number := claim.number(truth)), shipped=True)]
        assert not wrong, (model.name, wrong)
