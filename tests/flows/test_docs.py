"""The documentation of the steps is what the steps are."""

from pathlib import Path

from flows.commands.step_pages import pages

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "steps"


def test_pages_are_up_to_date() -> None:
    written = {p.name: p.read_text(encoding="utf-8") for p in FOLDER.glob("*.md")}
    assert written == pages(), "run `make docs`"
