"""The switch that leaves contaminated examples out of every measure (docs/method.md §13).

`[measures] exclude_contaminated = 13` leaves out each evaluated example of which 13 words in a row, of its input or its output,
stand in the corpus. What is left out is counted in `exclusions`. An excluded example is also no other input for Mem_Δ. Pairs are
mined as before: the switch belongs to the measures, and turning it costs neither mining nor counting.

How often test text stands in the corpus (the measure `contamination`) and how mining went are told of all examples.
"""

from __future__ import annotations

from typing import Any

from schemas import Study
from tasks.metrics.answers import Answers
from tasks.step import Work

TABLE = "contamination"


def switch(study: Study) -> dict[str, Any]:
    """What the switch puts into a measure's settings: nothing while it is off, so that no key changes."""
    n = study.measures.exclude_contaminated
    return {"exclude_contaminated": n} if n else {}


def contaminated(work: Work, task: str) -> set[str]:
    """The evaluated examples of a task that are left out; none while the switch is off.

    Who shares 14 words with the corpus shares 13, so longer orders need no look of their own.
    """
    order = work.settings.get("exclude_contaminated")
    if not order:
        return set()
    table = work.frame(TABLE, "task", "example", "order").filter(task=task, order=order)
    return set(table["example"].to_list())


def exclude(work: Work, answers: Answers, measure: str) -> None:
    """Say how many examples the switch left out of a measure; nothing while it is off."""
    order = work.settings.get("exclude_contaminated")
    if order:
        reason = f"contaminated: shares {order} words in a row with the corpus"
        answers.exclude(measure, reason, len(contaminated(work, answers.task)), "examples")
