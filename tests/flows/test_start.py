"""What would stop a run is known before a server or a cluster starts, all of it at once, and `plan` says so too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cost.forecast import forecast
from flows.cost.forecast_table import show
from flows.plan import lay_out_what_can_be
from flows.start import lay_out_run, problems
from flows.study import STEPS
from schemas import StudyError, load_study
from tasks.storage.store import Store
from tests.studies import REPOSITORY
from tests.support import NOTES, RIVERS, write_corpus

STUDY = f'name = "small"\nworkers = 0\n{NOTES}{RIVERS}'
LADDER = '[[models]]\nname = "m"\n[models.pretrain]\ntokens = 1_000\n'
CASES = {
    "steps": (STUDY + LADDER, "tokens = 1000 are less than one step of batch × context = 16 × 128 = 2048"),
    "corpus": (STUDY.replace("corpus/*", "gone/*"), "corpus source 'notes': no file matches"),
    "task": (STUDY.replace("rivers.jsonl", "gone.jsonl"), "task 'rivers': no file matches"),
    "empty": (
        STUDY.replace("rivers.jsonl", "empty.jsonl"),
        "empty.jsonl: no record of it is an example for reader 'jsonl'; it is empty",
    ),
    "malformed": (
        STUDY.replace("rivers.jsonl", "malformed.jsonl"),
        "malformed.jsonl: no record of it is an example .* row 1: no field",
    ),
    "folder": (STUDY + '[[models]]\nname = "m"\npath = "gone"\n', "model 'm': there is no folder"),
    "tokenizer": (STUDY + '[[models]]\nname = "m"\npath = "model"\n', "model 'm': .* has no tokenizer.json"),
    "tokenizer file": (STUDY.replace("vocabulary = 300", 'file = "gone.json"'), "gone.json: cannot be read"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path, [5], words=20, length=4, seed=1)
    (tmp_path / "rivers.jsonl").write_text('{"answer": "no input"}\n{"id": "1", "input": "Velm", "output": "Torin"}\n')
    (tmp_path / "malformed.jsonl").write_text('{"answer": "no input"}\n' * 3)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_each_is_named_with_its_place(case: str, folder: Path) -> None:
    text, words = CASES[case]
    (folder / "small.toml").write_text(text)
    study, store = load_study(folder / "small.toml"), Store(str(folder / "root"))
    with pytest.raises(StudyError, match=words):
        lay_out_run(study, store)
    assert len(problems(lay_out_what_can_be(STEPS, study), store)) == 1, "steps that depend on it add nothing"
    needs = forecast(str(folder / "small.toml"), str(folder / "root"))
    assert needs.problems or needs.sizes.missing


def test_a_study_without_a_problem_has_none(folder: Path) -> None:
    (folder / "small.toml").write_text(STUDY)
    study = load_study(folder / "small.toml")
    planned = [p.step.name for p in lay_out_run(study, Store(str(folder / "root")))]
    assert planned == [s.name for s in STEPS if s.applies(study)], "the first record is a reject, the second an example"
    assert forecast(str(folder / "small.toml"), str(folder / "root")).problems == ()


def test_plan_prints_what_a_run_reports_without_a_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "small.toml").write_text(STUDY.replace("rivers.jsonl", "malformed.jsonl") + LADDER)
    show(forecast(str(folder / "small.toml"), str(folder / "root")))
    printed = capsys.readouterr().out
    program = (
        "import json, sys; from flows.cli import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, sorted({'prefect', 'distributed', 'torch'} & set(sys.modules))]))"
    )
    words = ["run", str(folder / "small.toml"), "--root", str(folder / "root")]
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert json.loads(ran.stdout) == [1, []]
    for words in (CASES["steps"][1], "malformed.jsonl: no record of it is an example"):
        assert words in printed.partition("A run would stop")[2].partition("\n\nstep")[0] and words in ran.stderr, "both at once"
