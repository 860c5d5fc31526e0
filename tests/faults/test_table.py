"""The documented table of faults is replaced by one of as many trials, and by no smaller one."""

from __future__ import annotations

from pathlib import Path

from tests.faults.__main__ import BEGIN, END, table, trials_of, write
from tests.faults.trial import Result


def results(trials: int) -> str:
    one = Result("disk_full", 1, 4, (), (), (), (), (), 20.0)
    return table([one] * trials, [], {})


def test_a_shorter_run_leaves_the_documented_table(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    page.write_text(f"before\n{BEGIN}\n{results(50)}\n\n50 trials.\n{END}\nafter")
    assert trials_of(results(50)) == 50
    write(results(5), page)
    assert "| disk full | 50 |" in page.read_text() and "50 trials." in page.read_text()
    write(results(56), page)
    assert "| disk full | 56 |" in page.read_text() and "| 50 |" not in page.read_text()
    assert page.read_text().startswith("before\n") and page.read_text().endswith("\nafter")
