"""Whatever ends a run, one more run gives the bytes of a run that nothing disturbed, and leaves nothing lying about.

Three trials, one seed each; `make test-faults` makes more than fifty, of every kind. Killed workers and full disks are in
tests/flows/test_interrupted.py, too, which compares more of what they leave.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.__main__ import run
from tests.faults.trial import undisturbed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(tmp_path_factory.mktemp("faults") / "whole")


@pytest.mark.parametrize("fault", ["flow_killed", "server_killed", "part_flipped_of_a_killed_run"])
def test_one_more_run_repairs_it(fault: str, whole: Path, tmp_path: Path) -> None:
    result = run(fault, 1, tmp_path, whole)
    assert result.good, result
