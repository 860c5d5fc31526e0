"""docs/tasks.md: its snippets load, and it leaves no reader out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas import StudyError, load_study
from schemas.settings.reader_versions import READER_VERSIONS, reader_kind
from schemas.settings.study_file import Task
from tests.examples.support import DATA
from tests.examples.support import study as study_of

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_every_snippet_of_the_page_loads(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('name = "s"\n[corpus.planted]\n' + "\n".join(SNIPPETS), encoding="utf-8")
    tasks = load_study(path).tasks
    assert len(tasks) == len(SNIPPETS)
    assert {reader_kind(t.reader) for t in tasks} == set(READER_VERSIONS) - {"planted"}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda s: re.search('name = "(.*?)"', s)[1])
def test_every_snippet_can_be_planned_or_names_the_file_that_is_missing(tmp_path, snippet):
    from tasks.examples.read import plan

    path = tmp_path / "study.toml"
    path.write_text(f'name = "s"\ndata = "{DATA}"\n[corpus.planted]\n' + snippet, encoding="utf-8")
    study = load_study(path)
    if all(list(DATA.glob(f)) for f in (*study.tasks[0].evaluate, *study.tasks[0].mine)) or study.tasks[0].revision:
        (job,) = plan(study, {"planted_files": ()})
        assert job.settings["evaluate"]
    else:
        with pytest.raises(StudyError, match="no file matches|is no folder"):
            plan(study, {"planted_files": ()})


def test_each_setting_of_a_task_that_the_page_names_is_one():
    table = PAGE[PAGE.index("| setting |") :]
    named = re.findall(r"^\| `(\w+) = ", table, re.MULTILINE)
    assert len(named) >= 7
    assert set(named) <= set(Task.model_fields)


@pytest.mark.parametrize(
    ("reader", "message"),
    [("mmmlu", "nearest is 'mmlu'"), ("hf", "hf:NAME"), ("hf:", "no such reader"), ("hf:a:b:c", "no such reader")],
)
def test_a_reader_that_is_none_is_an_error_that_names_the_nearest(tmp_path, reader, message):
    with pytest.raises(ValueError, match=message):
        study_of(tmp_path, reader=reader)
