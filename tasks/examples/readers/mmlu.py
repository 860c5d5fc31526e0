"""MMLU, a CSV file per subject, without header: question, four choices, letter. Cells may contain line breaks.

"Which of these is prime?",4,6,7,9,C

The subjects are in two groups (arXiv 2407.14985 §3), those of the authors' released script (compute_llm_prob.py): 34 of knowledge,
22 of reasoning. `formal_logic` is in neither.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from schemas import StudyError
from tasks.examples.record import LETTERS, Example, Items, NotAnExample, ReadSettings, TaskFile, csv_rows, examples_of

SETTINGS = ("subjects",)
GROUPS_SHARE_SHOTS = True
_KNOWLEDGE = """
    anatomy astronomy business_ethics clinical_knowledge computer_security global_facts high_school_european_history
    high_school_geography high_school_government_and_politics high_school_macroeconomics high_school_microeconomics
    high_school_psychology high_school_us_history high_school_world_history human_aging human_sexuality international_law
    jurisprudence logical_fallacies management marketing medical_genetics miscellaneous moral_disputes nutrition philosophy
    prehistory professional_psychology public_relations security_studies sociology us_foreign_policy virology world_religions
"""
_REASONING = """
    abstract_algebra college_biology college_chemistry college_computer_science college_mathematics college_medicine
    college_physics conceptual_physics econometrics electrical_engineering elementary_mathematics high_school_biology
    high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics high_school_statistics
    machine_learning moral_scenarios professional_accounting professional_law professional_medicine
"""
KNOWLEDGE, REASONING = frozenset(_KNOWLEDGE.split()), frozenset(_REASONING.split())
SUBJECTS = KNOWLEDGE | REASONING | {"formal_logic"}


def subject_of(name: str) -> str:
    """The subject of a file: "dev/astronomy_dev.csv" is of astronomy."""
    return re.sub(r"(_(dev|val|test))?(\.csv)?(\.gz|\.zst)?$", "", Path(name).name)


def subjects_of(subjects: str | Sequence[str]) -> frozenset[str]:
    """The subjects a task names: "knowledge", "reasoning", or a list. StudyError for one that MMLU does not have."""
    if isinstance(subjects, str):
        return {"knowledge": KNOWLEDGE, "reasoning": REASONING}[subjects]
    unknown = sorted(set(subjects) - SUBJECTS)
    if unknown:
        raise StudyError(f"subjects: MMLU has no subject {unknown[0]!r}; its names are those of its files, e.g. 'astronomy'")
    return frozenset(subjects)


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file; x is the question without its choices, y the right choice's text, group the subject."""
    stem = re.sub(r"\.csv(\.gz|\.zst)?$", "", Path(file.name).name)
    rows = csv_rows(file.path, settings["encoding"])
    records = ((row, ",".join(cells), problem or cells) for row, cells, problem in rows)
    return examples_of(records, lambda row, cells: _example(cells, f"{stem}/{row:05d}", row, subject_of(file.name)))


def _example(cells: list[str], identifier: str, row: int, subject: str) -> Example:
    if len(cells) != 6:
        raise NotAnExample(f"{len(cells)} cells, not 6: question, four choices, letter")
    question, *options, letter = cells
    if letter.strip().upper() not in tuple(LETTERS[:4]):
        raise NotAnExample(f"the right choice is {letter!r:.40}, not one of A, B, C, D")
    answer = LETTERS.index(letter.strip().upper())
    if not question.strip() or not options[answer].strip():
        raise NotAnExample("a question or a right choice without text")
    return Example(row, identifier, question, options[answer], subject, options=tuple(options), answer=answer)
