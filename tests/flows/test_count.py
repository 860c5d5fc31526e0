"""`taskgram count` as a user types it, on a study of a few documents: from the words, and from the index."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.commands import corpus_questions
from flows.engine import run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tasks.text.display import mark_spans
from tasks.text.words.analyzer import words_of
from tests.studies import REPOSITORY, taskgram
from tests.support import NOTES

STUDY = (
    """
name = "{name}"
workers = 0
"""
    + NOTES
    + """[counting]
index = {index}
"""
)
TEXTS = [
    "The River of Velm is Torin. It is long; the river of Velm is cold.",
    "Torin flows through Velm.\tNobody knows why.",
    "The river of Maron is Iska.",
    "Torin! " + "Many other words stand between. " * 9 + "Velm.",
    "Nothing of this.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of the same two files, one with an index; run as far as questions need."""
    path = tmp_path_factory.mktemp("count")
    (path / "corpus").mkdir()
    for name, texts in (("a", TEXTS[:2]), ("b", TEXTS[2:])):
        lines = (json.dumps({"id": f"{name}{i}", "text": text}) + "\n" for i, text in enumerate(texts))
        (path / "corpus" / f"{name}.jsonl").write_text("".join(lines))
    for name, index in (("indexed", "true"), ("scanned", "false"), ("fresh", "false")):
        (path / f"{name}.toml").write_text(STUDY.format(name=name, index=index))
    for name in ("indexed", "scanned"):
        study = load_study(path / f"{name}.toml")
        cluster = Cluster(0, "1GB", str(path / ".dask"), address="")
        session = Session(study, name, Store(str(path / "root")), cluster)
        for planned in lay_out(STEPS, study):
            if planned.step.name in ("ingest", "tokenizer", "tokens", "words", "index"):
                run_step(planned, session)
    return path


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index answers, as in a large corpus."""
    monkeypatch.setattr(corpus_questions, "LOADED", 0.0)


def asked(folder: Path, study: str, *phrases: str, documents: int = 3) -> dict[str, Any]:
    return corpus_questions.count(str(folder / f"{study}.toml"), str(folder / "root"), phrases, documents)


def test_index_and_scan_say_the_same(folder: Path) -> None:
    for phrases in (
        ["river of Velm"],
        ["velm", "TORIN"],
        ["Velm", "torin", "is"],
        ["velm", "velm"],
        ["absent"],
        ["the river", "iska"],
    ):
        scanned, indexed = asked(folder, "scanned", *phrases), asked(folder, "indexed", *phrases)
        assert scanned.pop("read") == "scan" and indexed.pop("read") == "index"
        for found in (scanned, indexed):
            del found["seconds"], found["study"]
        assert scanned == indexed


def test_few_words_are_scanned_for_a_few_phrases_until_the_kernels_are_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module(corpus_questions.KERNELS)
    monkeypatch.setattr(corpus_questions, "LOADED", 9.0)
    assert asked(folder, "indexed", "velm")["read"] == "index", "its kernels are loaded"
    monkeypatch.delitem(sys.modules, corpus_questions.KERNELS)
    seconds = sum(len(words_of(text)) for text in TEXTS) * corpus_questions.PER_WORD * 3  # read, and compared with two
    for loaded, read in ((seconds * 1.01, "scan"), (seconds * 0.99, "index")):
        monkeypatch.setattr(corpus_questions, "LOADED", loaded)
        assert asked(folder, "indexed", "velm", "torin")["read"] == read


def test_counts_and_co_occurrence_are_those_of_the_texts(folder: Path) -> None:
    found = asked(folder, "indexed", "Velm,", "torin")
    assert found["corpus_documents"] == 5
    assert found["phrases"] == [
        {"given": "Velm,", "phrase": "velm", "occurrences": 4, "documents": 3},
        {"given": "torin", "phrase": "torin", "occurrences": 3, "documents": 3},
    ]
    assert found["documents_with_all"] == 3
    assert [e["id"] for e in found["excerpts"]] == ["a0", "a1", "b1"]
    for excerpt in found["excerpts"]:
        shown = [excerpt["text"][start:end] for start, end in excerpt["spans"]]
        assert shown == ["Velm", "Torin"]
    assert " … " in found["excerpts"][2]["text"], "far apart, so in two pieces"
    assert asked(folder, "indexed", "velm", documents=1)["excerpts"][0]["id"] == "a0"
    assert asked(folder, "indexed", "velm", documents=0)["excerpts"] == []


def test_an_unknown_word_counts_nothing(folder: Path) -> None:
    found = asked(folder, "scanned", "gribble", "velm")
    assert found["phrases"][0]["occurrences"] == found["phrases"][0]["documents"] == 0
    assert found["documents_with_all"] == 0 and found["excerpts"] == []


def test_what_a_person_reads(folder: Path) -> None:
    study, root = str(folder / "indexed.toml"), folder / "root"
    printed = taskgram("count", study, "river of velm", "torin", root=root)
    assert "river of velm             2             1" in printed
    assert '1 document contains both: 100.0% of those with "river of velm", 33.3% of those with "torin"' in printed
    assert "notes a0\n  The «River of Velm» is «Torin»." in printed
    assert "5 documents, answered by a scan of all words in" in printed, "there are few"
    printed = taskgram("count", str(folder / "scanned.toml"), "river of velm", root=root)
    assert "answered by a scan of all words in" in printed
    found = json.loads(taskgram("count", study, "gribble", "--json", root=root))
    assert list(found) == ["study", "read", "seconds", "corpus_documents", "phrases", "documents_with_all", "excerpts"]
    plain, bold = {1: corpus_questions.PLAIN}, {1: corpus_questions.BOLD}
    assert mark_spans("a\tb\x1b[2Jc", [[(0, 1), (2, 3), (2, 7)]], plain) == "«a» «b [2J»c"
    assert mark_spans("ab", [[(1, 2)]], bold) == "a\x1b[1mb\x1b[0m"


def test_wrong_questions_end_in_one_line_that_helps(folder: Path) -> None:
    for root, words, message in (
        ("root", (str(folder / "indexed.toml"), "velm", "..."), '"..." has no word'),
        ("other", (str(folder / "fresh.toml"), "velm"), "Run: taskgram run"),
        ("root", (str(folder / "indexed.toml"), "velm", "--documents", "-1"), "--documents must be 0 or more"),
    ):
        printed = taskgram("count", *words, root=folder / root, code=1)
        assert message in printed and "Traceback" not in printed


def imported(*words: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the modules it has imported."""
    program = (
        "import sys; from flows.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "print(code, *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=300, cwd=REPOSITORY)
    code, *names = run.stdout.strip().splitlines()[-1].split()
    return int(code), set(names)


HEAVY = {
    "torch",
    "great_expectations",
    "prefect",
    "dask",
    "distributed",
    "transformers",
    "tokenizers",
    "scipy.stats",
    "matplotlib",
    "duckdb",
    "polars",
    "sqlalchemy",
}


def test_a_question_imports_only_what_it_needs(folder: Path) -> None:
    code, names = imported("count", str(folder / "indexed.toml"), "velm", "--root", str(folder / "root"))
    assert code == 0 and not names & (HEAVY | {"numba"})


def test_status_and_help_import_only_what_they_need(folder: Path) -> None:
    code, names = imported("status", str(folder / "indexed.toml"), "--root", str(folder / "root"))
    assert code == 0 and not names & (HEAVY - {"polars"}), "all steps are laid out, and most of them know polars"
    code, names = imported("--help")
    assert code == 0 and not names & (HEAVY | {"numpy", "pyarrow", "pydantic", "tasks", "schemas"})


def test_questions_lay_out_the_same_parts_as_a_run(folder: Path) -> None:
    study = load_study(folder / "indexed.toml")
    whole = {p.step.name: p.outputs for p in lay_out(STEPS, study)}
    assert {p.step.name: p.outputs for p in lay_out(corpus_questions.STEPS, study)}.items() <= whole.items()
