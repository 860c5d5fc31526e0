"""`taskgram words`, and every example of the page that explains words."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from flows.commands.words import show, words
from schemas import StudyError
from tasks.taskgrams.extract import EXTRACT
from tasks.text.words.analyzer import normalise
from tests.studies import REPOSITORY, TASKGRAM
from tests.support import read_rows, run_step
from tests.taskgrams.world import examples_part, study_of

PAGE = (REPOSITORY / "docs" / "words.md").read_text(encoding="utf-8")
SHOWN = re.findall(r'^\$ taskgram words "(.*)"\n([^`]*)\n```$', PAGE, re.M)
OUTPUTS = [
    [cell.strip().strip("`") for cell in row] for row in re.findall(r"^\| (`\w+`) \|(.*?)\|(.*?)\|(.*?)\|(.*?)\|$", PAGE, re.M)
]


def test_the_page_shows_what_the_command_prints() -> None:
    assert len(SHOWN) == 3 and {text: show(words(text)) for text, _ in SHOWN} == dict(SHOWN)


def test_each_word_that_the_page_explains() -> None:
    explained = dict(re.findall(r"`([^`]+)` is\s+`([^`]+)`", PAGE))
    assert len(explained) == 6 and {text: normalise(text) for text in explained} == explained


@pytest.mark.parametrize(("family", "answer", "output", "order", "given"), OUTPUTS[1:])
def test_the_page_shows_the_output_ngrams_of_each_family(
    family: str, answer: str, output: str, order: str, given: str, tmp_path: Path
) -> None:
    languages = {"languages": ["en", "de"]} if family == "translation" else {}
    study = study_of(family=family, orders=[int(order)], answer=answer or None, **languages)
    part = examples_part(tmp_path, [("evaluate", "Which?", output)])
    tables = run_step(EXTRACT, study, tmp_path, {"examples": (part,)})
    found = [r["ngram"] for r in read_rows(tmp_path, tables["example_ngrams"]) if r["side"] == "output"]
    assert " · ".join(f"`{ngram}`" for ngram in found).strip("`") == given


def test_the_command_needs_no_study_and_leaves_no_folder(tmp_path: Path) -> None:
    command = [*TASKGRAM, "words", "Straße, o’clock", "--json"]
    run = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=120)
    assert json.loads(run.stdout) == [
        {"word": "strasse", "start": 0, "end": 6, "text": "Straße"},
        {"word": "o'clock", "start": 8, "end": 15, "text": "o’clock"},
    ]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StudyError, match="has no word"):
        words("…")
