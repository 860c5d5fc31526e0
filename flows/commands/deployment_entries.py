"""Writes the entries of deployments/prefect.yaml that run one step, from the steps themselves; the rest is written by hand.

`make docs` runs it; a test fails when the file is not what this writes.
"""

import sys
from pathlib import Path

from flows.study import STEPS
from flows.study_files import study_path
from schemas import load_study

MARK = "  # One entry for each step, written by `make docs`."


def with_entries(text: str) -> str:
    """The text of a prefect.yaml up to the mark, and after it an entry for each step of the sample."""
    steps = [step for step in STEPS if step.applies(load_study(study_path("sample")))]
    entry = "  - {{<<: *step, name: sample-{0}, tags: [taskgram, sample, {0}], parameters: {{study: sample, only: {0}}}}}\n"
    return text[: text.index(MARK)] + MARK + "\n" + "".join(entry.format(step.name) for step in steps)


def main(file: str = "deployments/prefect.yaml") -> None:
    path = Path(file)
    path.write_text(with_entries(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
