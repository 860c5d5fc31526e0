"""CONTRIBUTING.md, followed to the letter in a copy of the tree: each recipe takes the edits it promises, passes the quick checks,
and works; and the checks notice when an edit is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contributing.recipes import ROOT, Edit, edits

PROMISED = {"Add a measure": 2, "Add a reader": 2, "Add a step": 4}
MAKE_DOCS = """
from flows.commands.generated_files import main
main()
"""
CHECKS = {
    "Add a measure": ("tests/contributing/test_lists.py", "tests/flows/test_docs.py"),
    "Add a reader": ("tests/examples/test_readers.py", "tests/examples/test_tasks_page.py"),
    "Add a step": ("tests/contributing/test_lists.py", "tests/flows/test_docs.py", "tests/test_architecture.py"),
}
WORKS = {
    "Add a measure": """
from tests.metrics.alone import measured
from tests.metrics.world import world
rows = measured(root, world(), "output_length")
answer = [(row["statistic"], row["estimate"] > 0) for row in rows.values()]
""",
    "Add a reader": """
from tasks.examples.readers import reader_module
from tasks.examples.record import TaskFile
(root / "dev.jsonl").write_text('{"question": "is velm a river", "answer": true}\\n{"question": "q", "answer": 1}\\n')
read = reader_module("boolq").read(TaskFile("dev.jsonl", root / "dev.jsonl"), {"encoding": "utf-8"})
answer = [getattr(item, "output", None) or item.reason for item in read]
""",
    "Add a step": """
from tasks.examples.lengths import LENGTHS
from schemas import CONTRACTS
from tests.support import read_rows, run_step, write_part
empty = {"list": [], "int": 0, "stri": ""}
given = {c.name: [empty[str(c.type)[:4].rstrip("0123456789")]] for c in CONTRACTS["examples"].columns}
given |= {"task": ["t"], "split": ["evaluate"], "example": ["a"], "input": ["What is the capital of Velm?"], "output": ["Torin"]}
part = write_part(root, "examples", given, {"task": "t"})
rows = read_rows(root, run_step(LENGTHS, None, root, {"examples": (part,)})["example_lengths"])
answer = [[row["input_words"], row["output_words"]] for row in rows]
""",
}
ANSWERS = {
    "Add a measure": [["mean", True]],
    "Add a reader": ["yes", "field 'answer' is neither true nor false"],
    "Add a step": [[6, 1]],
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that git lists, committed in a repository of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    for words in ("init -q", "config user.name test", "config user.email test@localhost", "add -A", "commit -q -m copy"):
        git(tmp_path, words)
    return tmp_path


def git(tree: Path, words: str) -> None:
    subprocess.run(["git", *words.split()], cwd=tree, check=True, capture_output=True)


def call(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A Python command in the copy, which comes before what is installed."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)


def make_docs(tree: Path) -> bool:
    """What `make docs` does, and let git list what is new; False if a generator fails."""
    done = call(tree, "-c", MAKE_DOCS)
    git(tree, "add -A")
    return done.returncode == 0


def checks(tree: Path, section: str) -> subprocess.CompletedProcess[str]:
    """The quick checks that concern a recipe."""
    return call(tree, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CHECKS[section])


def apply(tree: Path, some: list[Edit]) -> None:
    for edit in some:
        edit.apply(tree)


@pytest.mark.parametrize("section", PROMISED)
def test_a_recipe_takes_the_edits_it_promises(section: str) -> None:
    assert len({edit.file for edit in edits(section) if edit.is_code}) == PROMISED[section]


@pytest.mark.parametrize("section", PROMISED)
def test_a_recipe_passes_the_quick_checks_and_works(tree: Path, section: str) -> None:
    apply(tree, edits(section))
    assert make_docs(tree)
    files = [edit.file for edit in edits(section) if edit.file.endswith(".py")]
    for words in (["ruff", "check", *files], ["ruff", "format", "--check", *files]):
        done = call(tree, "-m", *words)
        assert done.returncode == 0, done.stdout
    done = call(tree, "-c", "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout
    done = checks(tree, section)
    assert done.returncode == 0, done.stdout
    program = f"import json, pathlib, tempfile\nroot = pathlib.Path(tempfile.mkdtemp(dir='.')).resolve()\n{WORKS[section]}"
    done = call(tree, "-c", f"{program}\nprint('ANSWER', json.dumps(answer))")
    assert "ANSWER" in done.stdout, done.stderr
    assert json.loads(done.stdout.split("ANSWER")[1]) == ANSWERS[section]


@pytest.mark.slow
@pytest.mark.parametrize("section", PROMISED)
def test_leaving_out_an_edit_is_noticed_by_the_quick_checks(tree: Path, section: str) -> None:
    for left_out in edits(section):
        apply(tree, [edit for edit in edits(section) if edit.file != left_out.file])
        noticed = not make_docs(tree) or checks(tree, section).returncode != 0
        assert noticed, f"nobody notices that {left_out.file} is missing"
        git(tree, "reset -q --hard")
