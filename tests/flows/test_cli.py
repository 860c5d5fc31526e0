"""The command line on a tiny real study without models: files in, report out, every command as a user types it."""

from __future__ import annotations

import doctest
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import taskgram as taskgram_module
from tests.studies import REPOSITORY, TASKGRAM, taskgram
from tests.support import NOTES, RIVERS

pytestmark = pytest.mark.slow

STUDY = f"""
name = "tiny"
workers = 0
{NOTES.replace('*.jsonl"', '*.jsonl*"')}[counting]
all_orders = [1, 2]
min_count = 1
{RIVERS}[[variants]]
name = "authors"
stop_words = "authors"
"""
ALONE = {"PREFECT_API_URL": ""}  # a run with nothing to do needs no server, and one that is killed shares none
FACTS = {"Velm": "Torin", "Maron": "Iska", "Duvel": "Torin", "Osk": "Pralle", "Tarn": "Iska"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that has been run."""
    path = tmp_path_factory.mktemp("tiny")
    (path / "corpus").mkdir()
    lines = [{"id": f"{s}-{i}", "text": f"The river of {s} is {r}. It is long."} for s, r in FACTS.items() for i in range(3)]
    (path / "corpus" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    questions = [{"id": s, "input": f"What is the river of {s}?", "output": r} for s, r in FACTS.items()]
    (path / "rivers.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (path / "tiny.toml").write_text(STUDY)
    taskgram("run", str(path / "tiny.toml"), root=path / "root")
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_server(folder: Path, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The runs after the first share a server; with a home of its own, as that of the user is none of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_server)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def steps(folder: Path) -> dict[str, dict]:
    found = json.loads(taskgram("status", str(folder / "tiny.toml"), "--json", root=folder / "root"))["steps"]
    return {s["step"]: s for s in found}


def computed(printed: str) -> set[str]:
    """The steps that a run computed parts of."""
    return set(re.findall(r"^ +(\w+) +[1-9]\d* of \d+ parts computed", printed, re.M))


def test_a_study_without_models_ends_in_a_report(folder: Path) -> None:
    assert {s["state"] for s in steps(folder).values()} == {"done"}
    page = (folder / "root" / "reports" / "tiny" / "index.html").read_text()
    assert "rivers" in page
    assert "not valid JSON" in page, "the broken record is reported"
    assert steps(folder)["ingest"]["rows"] == 15, "the reject is no document"


def test_the_recipe_for_other_programs_reads_each_row_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "how-to.md").read_text(encoding="utf-8")
    recipe = next(code for code in re.findall(r"```python\n(.*?)```", page, re.S) if "status.json" in code)
    (folder / "status.json").write_text(taskgram("status", str(folder / "tiny.toml"), "--json", root=folder / "root"))
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(recipe, names)
    study = taskgram_module.open(folder / "tiny.toml", folder / "root")
    own, all_of_them = study.table("pair_counts"), study.table("pair_counts", variants=True)
    assert sorted(names["rows"].fetchall()) == sorted(own.rows()) and len(all_of_them) > len(own) > 0


def test_the_session_of_the_python_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.toml").write_text(STUDY)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TASKGRAM_ROOT", str(folder / "root"))
    monkeypatch.setenv("TASKGRAM_FILE_HASHES", "")  # what the session sets does not outlive the test
    page = str(REPOSITORY / "docs" / "python.md")
    failed, examples = doctest.testfile(page, module_relative=False, optionflags=doctest.ELLIPSIS)
    assert examples > 10 and not failed


def test_python_says_what_went_wrong_in_the_words_of_the_command(folder: Path) -> None:
    (folder / "gone.toml").write_text(STUDY.replace('"rivers.jsonl"', '"gone.jsonl"'))
    with pytest.raises(taskgram_module.StudyError, match=r"gone\.jsonl"):
        taskgram_module.run(folder / "gone.toml", folder / "root")
    study = taskgram_module.open(folder / "tiny.toml", folder / "empty")
    for ask in (lambda: study.table("metrics"), lambda: study.report, lambda: study.count("river")):
        with pytest.raises(taskgram_module.StudyError, match=r"[Rr]un"):
            ask()
    with pytest.raises(taskgram_module.StudyError, match="no column 'document'; its columns are"):
        study.table("metrics", columns=["document"])


def test_an_example_is_traced_to_its_documents(folder: Path) -> None:
    words = ("trace", str(folder / "tiny.toml"), "river of velm")
    found = json.loads(taskgram(*words, "--json", root=folder / "root"))
    assert (found["task"], found["example"], found["output"]) == ("rivers", "Velm", "Torin")
    pair = next(p for p in found["pairs"] if (p["input_ngram"], p["output_ngram"]) == ("velm", "torin"))
    assert (pair["documents"], pair["input_documents"], pair["output_documents"]) == (3, 3, 6)
    assert "The river of «Velm» is ‹Torin›." in taskgram(*words, root=folder / "root")
    assert (folder / "root" / "reports" / "tiny" / "trace" / "tasks" / "rivers" / "index.js").exists()
    assert "5 examples match" in taskgram("trace", str(folder / "tiny.toml"), "river", root=folder / "root", code=1)


def test_prefect_keeps_a_run_per_step_with_progress_and_a_table(folder: Path) -> None:
    with sqlite3.connect(f"file:{folder / 'root' / '.prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
        artifacts = dict(database.execute("SELECT key, type FROM artifact").fetchall())
        names = {row[0] for row in database.execute("SELECT name FROM task_run").fetchall()}
    for step in ("ingest", "query", "measure", "report"):
        assert artifacts[f"tiny-{step}-progress"] == "progress"
        assert artifacts[f"tiny-{step}"] == "table"
        assert any(name.startswith(f"tiny/{step}/") for name in names)


def test_a_run_with_nothing_to_do_imports_neither_torch_nor_great_expectations_nor_dask_nor_prefect(folder: Path) -> None:
    program = (
        "import sys; from flows.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'great_expectations', 'distributed', 'transformers', 'prefect'} & set(sys.modules)))"
    )
    words = ["run", str(folder / "tiny.toml"), "--workers", "2", "--root", str(folder / "root")]
    words = [sys.executable, "-c", program, *words]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=REPOSITORY, env=os.environ | ALONE)
    assert run.stdout.strip().splitlines()[-1] == "0 []", run.stdout + run.stderr


def test_a_new_shard_makes_the_study_stale_and_is_computed_alone(folder: Path) -> None:
    shard = folder / "corpus" / "b.jsonl"
    shard.write_text(json.dumps({"id": "new", "text": "The river of Velm is Torin."}) + "\n")
    states = {name: s["state"] for name, s in steps(folder).items()}
    assert states["ingest"] == states["words"] == states["query"] == states["report"] == "stale"
    assert states["read"] == states["align"] == "done"
    printed = taskgram("run", str(folder / "tiny.toml"), root=folder / "root")
    assert "words             1 of 2 parts computed" in printed
    assert "  ingest            1 record rejected; " in printed and "  1 × not valid JSON" in printed
    assert "query             4 of 6 parts computed" in printed, "the new part, and the sum; of the variant, too"
    listed = set(re.findall(r"^ *(\w+) +(?:\d+ of|up to)", printed, re.M))
    assert listed == {name for name, s in steps(folder).items() if s["parts"]} and "models" not in listed, "only steps with parts"
    table = taskgram("status", str(folder / "tiny.toml"), root=folder / "root")
    assert set(re.findall(r"^(\w+) +done", table, re.M)) == listed
    shard.unlink()
    printed = taskgram("run", str(folder / "tiny.toml"), root=folder / "root", environment=ALONE)
    assert "parts computed" not in printed, "the old state is still there"


def test_only_refuses_unfinished_inputs_and_names_the_command(folder: Path) -> None:
    printed = taskgram("run", str(folder / "tiny.toml"), "--only", "query", root=folder / "other", code=1)
    assert "its inputs are not finished" in printed
    assert "taskgram run" in printed
    assert "--from plant" in printed
    assert "query             up to date" in taskgram("run", str(folder / "tiny.toml"), "--only", "query", root=folder / "root")


def test_from_runs_what_depends_on_the_step(folder: Path) -> None:
    printed = taskgram("run", str(folder / "tiny.toml"), "--from", "align", root=folder / "root")
    shown = [line.split()[0] for line in printed.splitlines() if "up to date" in line]
    assert set(shown) == {"align", "query", "evidence", "measure", "report"}


def test_another_gamma_computes_measures_and_report_alone(folder: Path) -> None:
    (folder / "gamma.toml").write_text(STUDY.replace(RIVERS, f"{RIVERS}gamma_default = 0.6\n"))
    printed = taskgram("run", str(folder / "gamma.toml"), root=folder / "root")
    assert computed(printed) == {"measure", "report"}


def test_force_computes_again_and_finds_the_same_bytes(folder: Path) -> None:
    printed = taskgram("run", str(folder / "tiny.toml"), "--force", "query", root=folder / "root")
    assert "query             4 of 4 parts computed" in printed
    header, *lines = [line.split() for line in printed.splitlines() if line.startswith("  ")]
    assert header == ["step", "parts", "rows", "size", "worker", "seconds"]
    assert {line[0]: float(line[-1]) for line in lines if "computed" in line}.keys() == computed(printed) == {"query"}
    assert "NOT DETERMINISTIC" not in printed
    assert "measure           up to date" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nothing.toml"), "no such study file"),
        (("run", "sampel"), "did you mean 'sample'"),
        (("run", "{study}", "--from", "qeury"), "there is no step 'qeury'"),
        (("run", "{study}", "--workers", "-1"), "--workers must be 0 (in this process) or more"),
        (("report", "sample"), "Run: taskgram run sample"),
    ],
)
def test_wrong_arguments_end_in_one_line_that_helps(folder: Path, words: tuple[str, ...], message: str) -> None:
    printed = taskgram(*(w.format(study=folder / "tiny.toml") for w in words), root=folder / "root", code=1)
    assert message in printed
    assert "Traceback" not in printed


def test_a_broken_input_fails_with_its_place_and_the_command_that_resumes(folder: Path) -> None:
    bad = folder / "corpus" / "c.jsonl.gz"
    bad.write_bytes(b"\x1f\x8b\x08\x00broken")
    try:
        printed = taskgram("run", str(folder / "tiny.toml"), root=folder / "root", code=1)
        states = steps(folder)
    finally:
        bad.unlink()
    assert "c.jsonl.gz: cannot be read after row 0" in printed
    assert "--from ingest" in printed
    assert states["ingest"]["state"] == "failed"
    assert "Traceback" not in printed


def test_validate_sets_damage_aside_and_the_next_run_repairs_it(folder: Path) -> None:
    taskgram("run", str(folder / "tiny.toml"), root=folder / "root", environment=ALONE)
    path = next((folder / "root" / "task_grams" / "parts").glob("*.parquet"))
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    printed = taskgram("validate", str(folder / "tiny.toml"), root=folder / "root", code=1)
    assert "task_grams: part" in printed
    assert "set aside" in printed
    assert "Traceback" not in printed
    printed = taskgram("run", str(folder / "tiny.toml"), root=folder / "root")
    assert "align             1 of 2 parts computed" in printed
    assert computed(printed) == {"align"}
    assert path.read_bytes() == content
    assert "Every byte is as recorded" in taskgram("validate", str(folder / "tiny.toml"), root=folder / "root")


def test_clean_removes_only_what_no_study_records(folder: Path) -> None:
    taskgram("run", str(folder / "tiny.toml"), root=folder / "root", environment=ALONE)
    planned = taskgram("clean", str(folder / "tiny.toml"), "--dry-run", root=folder / "root")
    removed = taskgram("clean", str(folder / "tiny.toml"), root=folder / "root")
    assert planned.split()[0] == removed.split()[0] != "0"
    assert "Every byte is as recorded" in taskgram("validate", str(folder / "tiny.toml"), root=folder / "root")
    assert taskgram("clean", str(folder / "tiny.toml"), root=folder / "root").startswith("0 files")


def test_a_terminated_run_ends_at_once_and_leaves_no_worker_behind(folder: Path) -> None:
    """A training of minutes runs on a worker; SIGTERM must end both, and the next run continues from what is finished."""
    model = '[[models]]\nname = "slow"\n[models.pretrain]\nhidden = 64\nheads = 2\ntokens = 50_000_000\nsave_every = 1.0\n'
    study = folder / "slow.toml"
    study.write_text(STUDY.replace('name = "tiny"', 'name = "slow"').replace("workers = 0", "workers = 1") + model)
    words, quiet = [*TASKGRAM, "run", str(study), "--root", str(folder / "root")], subprocess.DEVNULL
    with subprocess.Popen(words, stdout=quiet, stderr=quiet, cwd=REPOSITORY, env=os.environ | ALONE) as run:
        family = psutil.Process(run.pid)
        deadline = time.monotonic() + 300
        while not list((folder / "root" / "models" / "files").glob("*/resume*")):
            assert run.poll() is None
            assert time.monotonic() < deadline, "the training never began"
            time.sleep(0.5)
        children = family.children(recursive=True)
        assert children
        run.terminate()
        assert run.wait(timeout=120) != 0
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [p.cmdline() for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert steps(folder)["words"]["state"] == "done"
