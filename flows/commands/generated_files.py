"""Writes what is generated from the code: docs/settings.md, docs/measures.md, docs/steps/, and the entries of
deployments/prefect.yaml that run one step; the rest of that file is written by hand.

`make docs` runs it; a test fails when a file is not what this writes.
"""

import sys
from pathlib import Path

from flows.commands import measure_pages, settings_page, step_pages
from flows.study import STEPS
from flows.study_files import study_path
from schemas import load_study

DEPLOYMENTS = "deployments/prefect.yaml"
MARK = "  # One entry for each step, written by `make docs`."


def with_entries(text: str) -> str:
    """The text of a prefect.yaml up to the mark, and after it an entry for each step of the sample."""
    steps = [step for step in STEPS if step.applies(load_study(study_path("sample")))]
    entry = "  - {{<<: *step, name: sample-{0}, tags: [taskgram, sample, {0}],\n     parameters: {{study: sample, only: {0}}}}}\n"
    return text[: text.index(MARK)] + MARK + "\n" + "".join(entry.format(step.name) for step in steps)


def generated(repository: Path) -> dict[str, str]:
    files = {"docs/settings.md": settings_page.page()} | {f"docs/steps/{n}": text for n, text in step_pages.pages().items()}
    edited = {DEPLOYMENTS: with_entries, measure_pages.PAGE: measure_pages.page}
    return files | {name: edit((repository / name).read_text(encoding="utf-8")) for name, edit in edited.items()}


def main(repository: Path = Path()) -> None:
    """Write all files, and remove the pages of steps that are gone."""
    files = generated(repository)
    for old in (repository / "docs" / "steps").glob("*.md"):
        if f"docs/steps/{old.name}" not in files:
            old.unlink()
    for name, text in files.items():
        (repository / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
