"""The arguments of `taskgram`: any name, root, phrase or number ends in an answer or in one line that helps."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.cli import main
from flows.engine import run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tasks.text.display import printable
from tests.fuzz.targets import limited

few = settings(
    max_examples=12,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SMALL = """name = "small"
workers = 0
[[corpus.sources]]
name = "notes"
files = ["notes.jsonl"]
"""


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """What the command line sets is restored."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose words can be counted."""
    path = tmp_path_factory.mktemp("small")
    texts = ["The harbour of Velm is deep.", "a\x1b[2J\u202e harbour\u0085 of \x9b31m Velm", "漢字 ½ d’Or"]
    rows = [{"id": f"d\x1b[31m{i}", "text": text} for i, text in enumerate(texts)]
    (path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "small.toml").write_text(SMALL)
    study = load_study(path / "small.toml")
    session = Session(study, "small.toml", Store(str(path / "root")), Cluster(0, "1GB", "", address=""))
    for planned in lay_out(STEPS, study):
        if planned.step.name in ("plant", "ids", "ingest", "words"):
            run_step(planned, session)
    session.close()
    return path


def output_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; fails if one of them is a traceback or controls the terminal."""
    capsys.readouterr()
    with limited(60):
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    out, error = capsys.readouterr()
    assert code in (0, 1, 2), (words, error)
    assert "please report" not in error and "Traceback" not in error, error
    assert printable(out + error) == out + error, "nothing controls the terminal"
    return code, out, error


TEXT = st.text(max_size=12) | st.sampled_from(
    ["", ".", "..", "/", "\x00", "a" * 5000, "\udcff", "-", "s.toml/x", "\x1b[2J.toml", "~", "%s"]
)


@few
@given(st.sampled_from(["plan", "status", "count", "trace", "report", "validate", "clean", "run"]), TEXT)
@example("run", "a" * 5000 + ".toml")
@example("plan", "\x00.toml")
def test_no_name_of_a_study_ends_in_a_traceback(folder: Path, capsys: pytest.CaptureFixture[str], command: str, name: str) -> None:
    more = ["phrase"] if command in ("count", "trace") else []
    code, _, error = output_of([command, "--root", str(folder / "root"), "--", name, *more], capsys)
    assert code and error


@few
@given(TEXT | st.builds(lambda a, b: f"{a}://{b}", st.sampled_from(["file", "nothing", "", "memory"]), TEXT))
@example("s3://key:secret@bucket/results")
@example("s3://bucket/results?token=secret")
@example("s3://[")
def test_no_root_ends_in_a_traceback_and_none_reveals_its_secret(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, capsys: pytest.CaptureFixture[str], root: str
) -> None:
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("here"))
    try:
        _, out, error = output_of(["status", str(folder / "small.toml"), f"--root={root}"], capsys)
    finally:
        os.chdir(here)
    assert "secret" not in out + error


@few
@given(st.lists(TEXT | st.sampled_from(["harbour of Velm", "velm", "漢字"]), min_size=1, max_size=3))
def test_no_phrase_ends_in_a_traceback(folder: Path, capsys: pytest.CaptureFixture[str], phrases: list[str]) -> None:
    for more in ([], ["--json"]):
        output_of(["count", *more, "--root", str(folder / "root"), str(folder / "small.toml"), "--", *phrases], capsys)


def test_text_of_the_corpus_does_not_control_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["count", "--root", str(folder / "root"), str(folder / "small.toml"), "harbour"]
    _, out, _ = output_of(words, capsys)
    assert "«harbour»" in out and "d\ufffd[31m1" in out
    _, out, _ = output_of([*words, "--json"], capsys)
    assert {e["id"] for e in json.loads(out)["excerpts"]} == {"d\x1b[31m0", "d\x1b[31m1"}, "JSON keeps the text as it is"


@few
@given(st.sampled_from(["--cron", "--timezone", "--port"]), TEXT)
@example("--port", "99999999")
@example("--port", "-1")
@example("--cron", "* * * * * * *")
@example("--cron", "99 99 99 99 99")
@example("--timezone", "../../etc/passwd")
def test_no_schedule_ends_in_a_traceback(folder: Path, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    given = {"--cron": "nonsense", "--timezone": "nowhere", "--port": "1"} | {option: value}
    words = [f"{name}={text}" for name, text in given.items()]
    code, _, error = output_of(["serve", *words, "--root", str(folder / "root"), str(folder / "small.toml")], capsys)
    assert code and error


def test_a_name_that_init_cannot_write_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("../up", "/etc/x", "a/b", "a\x00", "\x1b", "a" * 100, "..", ""):
        assert output_of(["init", name], capsys)[0] == 1
    assert sys.stderr is not None
