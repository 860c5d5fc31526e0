"""The catalogue of settings has all of them, and the study that `taskgram init --full` writes from it is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows.commands.init_template import write_study
from schemas import Study, StudyError, load_study
from schemas.settings.catalogue import EXAMPLES, UNITS, catalogue, quoted
from schemas.settings.corpus_settings import Planted
from schemas.settings.study_file import models_in

SAY = "give it a description, and in schemas/settings/catalogue.toml a value other than the default"
PATHS = {s.path for s in catalogue()}


def loaded(text: str, folder: Path) -> Study:
    (folder / "mine.toml").write_text(text)
    return load_study(folder / "mine.toml")


@pytest.fixture
def full(tmp_path: Path) -> str:
    return write_study("mine", tmp_path, full=True).read_text()


def test_every_setting_is_in_the_catalogue_with_its_meaning() -> None:
    classes, waiting = set[type[BaseModel]](), [Study]
    while waiting:
        classes.add(model := waiting.pop())
        waiting += [m for field in model.model_fields.values() for m in models_in(field.annotation) if m not in classes]
    declared = {(model, name) for model in classes for name, f in model.model_fields.items() if not models_in(f.annotation)}
    assert declared - {(s.of, s.name) for s in catalogue()} == {(Planted, "redrawn")}
    assert [s.path for s in catalogue() if not s.meaning or (s.example is None and s.default is None)] == [], SAY
    assert [s.path for s in catalogue() if not s.required and quoted(s.example) == quoted(s.default)] == [], SAY


def test_examples_and_units_are_of_settings_that_exist() -> None:
    tables = {path.rpartition(".")[0] for path in PATHS}

    def named(table: dict, above: str = "") -> list[str]:
        paths = [(f"{above}.{name}".lstrip("."), value) for name, value in table.items()]
        return [p for path, value in paths for p in (named(value, path) if path in tables else [path])]

    assert {*named(EXAMPLES), *UNITS} <= PATHS


def test_a_full_study_shows_every_setting_and_with_all_of_them_set_nothing_changes(full: str, tmp_path: Path) -> None:
    shown = re.findall(r"^#{0,2}([a-z_]+) = ", full, re.M)
    assert sorted(shown) == sorted(s.name for s in catalogue())
    study = loaded(full, tmp_path)
    uncommented, count = re.subn(r"^#(?=\w)", "", full, flags=re.M)
    assert count > 80 and loaded(uncommented, tmp_path) == study


def test_each_example_of_a_full_study_can_be_set(full: str, tmp_path: Path) -> None:
    plain = loaded(full, tmp_path)
    blocks = re.findall(r"^##\[.*?(?=\n\n|\Z)", full, re.M | re.S)
    optional = ["##[splits.pages]", "##[[variants]]", "##[corpus.planted]", "##[corpus.planted.insertions]"]
    optional += ["##[corpus.controlled]", "##[membership]", "##[[membership.models]]", "##[capacity]"]
    assert [block.splitlines()[0] for block in blocks] == optional
    for block in blocks:
        generated = any(name in block.splitlines()[0] for name in ("planted", "controlled", "membership", "capacity"))
        source = full[full.index("[[corpus.sources]]") : full.index("##[splits")] if generated else ""
        text = full.replace(block, block.replace("##", "")).replace(source, "\n", 1 if source else 0)
        text = text.replace("##[corpus.controlled]", "[corpus.controlled]", "membership" in block)  # runs need its sequences
        assert loaded(text, tmp_path) != plain
    lines = [line for line in re.findall(r"^##[a-z].*", full, re.M) if not any(line in block for block in blocks)]
    lines.remove("##workers = 40")
    with pytest.raises(StudyError, match="are for a cluster_class"):
        loaded(full.replace("##workers = 40", "workers = 40"), tmp_path)
    assert len(lines) > 6
    for line in lines:
        assert loaded(full.replace(f"\n{line}\n", f"\n{line[2:]}\n", 1), tmp_path) != plain
