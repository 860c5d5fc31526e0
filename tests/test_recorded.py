"""The metrics of the shipped studies are those that were recorded, row by row."""

from __future__ import annotations

import pytest

from tests.recorded import TABLES, differences
from tests.studies import FinishedStudy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("study", ["debian", "sample"])  # the worker next to that of the sample begins with the other study
def test_recorded_rows_are_reproduced(study: str, table: str, request: pytest.FixtureRequest) -> None:
    finished: FinishedStudy = request.getfixturevalue(study)
    compared, wrong = differences(finished, table)
    print(f"{study} {table}: {compared} rows compared")
    assert compared > 0 or table == "metric_family"
    assert not wrong, wrong[:5]
