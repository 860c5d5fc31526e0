"""A study says what is wrong with it, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.commands.init_template import write_study
from flows.study_files import shipped_studies, study_path
from schemas import Study, StudyError, load_study
from tests.support import shipped_text

SMALL = """
name = "small"
[corpus.planted]
tokens = 50_000
[[tasks]]
name = "facts"
family = "qa"
reader = "planted"
"""


def load(folder: Path, text: str) -> Study:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def test_shipped_studies_are_valid(tmp_path: Path) -> None:
    assert {"sample", "debian", "pythia", "olmo"} <= set(shipped_studies())
    for name in shipped_studies():
        path = tmp_path / f"{name}.toml"
        path.write_text(shipped_text(name), encoding="utf-8")
        study = load_study(path)
        assert study.tasks or study.membership


def test_a_new_study_from_the_template_is_valid(tmp_path: Path) -> None:
    assert load_study(write_study("mine", tmp_path)).name == "mine"
    with pytest.raises(StudyError, match="exists already"):
        write_study("mine", tmp_path)
    with pytest.raises(StudyError, match="cannot name a study"):
        write_study("../mine", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('titel = "x"', "titel is not a setting; the nearest one is 'title'"),
        ("seed = -1", "seed: "),
        ("[tokenizer]\nvocabluary = 300", "tokenizer.vocabluary is not a setting; the nearest one is 'vocabulary'"),
        ('[[models]]\nname = "m"', "exactly one of"),
        ('[[models]]\nname = "m"\n[models.pretrain]\nhiden = 3', "the nearest one is 'hidden'"),
        ('[[tasks]]\nname = "facts"\nfamily = "qa"', "duplicate name 'facts'"),
        ('[[tasks]]\nname = "b"\nfamily = "qa"\nsplit = "pages"', "there is no [splits.pages]"),
        ('[[tasks]]\nname = "b"\nfamily = "qa"\ngamma_default = 0.1', "below lowest_gamma"),
        ('[[tasks]]\nname = "b"\nfamily = "qa"\ngamma = {"9" = 0.9}', "not one of orders"),
        ('[[tasks]]\nname = "b"\nfamily = "qa"\ngamma = {"2" = "90%"}', 'percentile such as "p90"'),
        ('[[tasks]]\nname = "b"\nfamily = "qa"\ngamma_default = "p100"', 'percentile such as "p90"'),
        ('[[tasks]]\nname = "b"\nfamily = "qa"\ngamma = {"2" = 1.1}', "a number from -1 to 1"),
        ('[[tasks]]\nname = "a/b"\nfamily = "qa"', "tasks.1.name"),
        ("= 3", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(tmp_path: Path, change: str, message: str) -> None:
    top, tables = (change, "") if not change.startswith("[") else ("", change)
    with pytest.raises(StudyError) as error:
        load(tmp_path, top + SMALL + tables)
    assert message in str(error.value)
    assert str(tmp_path / "study.toml") in str(error.value)


def test_gamma_is_a_number_or_a_percentile_for_each_n(tmp_path: Path) -> None:
    task = '[[tasks]]\nname = "b"\nfamily = "qa"\ngamma_default = 1\ngamma = {"1" = "p90", "2" = 0.7}'
    study = load(tmp_path, SMALL + task)
    assert [study.task("b").gamma_at(n) for n in (1, 2, 3)] == ["p90", 0.7, 1.0]
    assert study.task("b").has_percentiles
    assert not study.tasks[0].has_percentiles


def test_files_that_are_not_studies(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe name")
    with pytest.raises(StudyError, match="not valid TOML"):
        load_study(tmp_path / "bytes.toml")
    with pytest.raises(StudyError, match="no such study file"):
        load_study(tmp_path / "nothing.toml")
    with pytest.raises(StudyError, match="did you mean 'sample'"):
        study_path("sampel")


def test_the_data_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKGRAM_DATA", str(tmp_path))
    assert load(tmp_path, SMALL).data == str(tmp_path)  # type: ignore[attr-defined]
