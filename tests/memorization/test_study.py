"""A small study whose corpus repeats a text: the model that is trained on it has memorized that text, and nothing else."""

import json
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest

import taskgram as taskgram_module
from flows.commands.sequence_trace import DOCUMENTS
from flows.engine import run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.models import score_sequences
from tasks.storage.store import Store
from tests.studies import REPOSITORY, FinishedStudy, taskgram

pytestmark = pytest.mark.slow
STUDY = """
name = "repeated"
[[corpus.sources]]
name = "notes"
files = ["notes-*.jsonl"]
held_out = "half"
[splits.half]
field = "id"
pattern = "(.*)"
share = 0.3
[tokenizer]
vocabulary = 260
[[models]]
name = "small"
[models.pretrain]
hidden = 48
tokens = 60_000
batch = 8
context = 32
[memorization]
prefix = 6
suffix = 6
samples = { uniform = 60, duplicates = 12, phantoms = 60 }
sampling = [{}, { top_k = 5 }]
unrelated_prefixes = 4
[measures]
bootstrap = 50
"""


def write_notes(folder: Path) -> Path:
    """The study and its corpus: random letters, and ends of a text of forty different ones; in two files."""
    draw, letters = random.Random(1), string.ascii_letters[:40]
    text = "".join(draw.sample(letters, 40))
    for number in range(2):
        rows = ["".join(draw.choices(letters, k=30)) for _ in range(100)]
        rows += [text[draw.randrange(28) :] for _ in range(150)]
        lines = [json.dumps({"id": f"{number}-{i}", "text": row}) for i, row in enumerate(rows)]
        draw.shuffle(lines)
        (folder / f"notes-{number}.jsonl").write_text("\n".join(lines))
    (folder / "repeated.toml").write_text(STUDY)
    return folder / "repeated.toml"


def bring_up_to_date(file: Path, root: Path, steps: Collection[str] = (), cluster: Cluster | None = None) -> dict[str, int]:
    """Run these steps of the study, or all; how many parts of each were computed."""
    study = load_study(file)
    session = Session(study, str(file), Store(str(root)), cluster or Cluster(0, "1GB", "", address=""))
    try:
        planned = [p for p in lay_out(STEPS, study) if not steps or p.step.name in steps]
        return {p.step.name: run_step(p, session).computed for p in planned}
    finally:
        session.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """The study, finished in one process. Tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("repeated")
    file = write_notes(folder)
    bring_up_to_date(file, folder / "root")
    return FinishedStudy(folder / "root", str(file))


def of_memorization(study: FinishedStudy) -> dict[str, list[str]]:
    """The tables of each step that the study has because it asks what is memorized, and of those that read these."""
    plain = load_study(Path(study.study)).model_copy(update={"memorization": None})
    more = [p for p in study.plan if not p.step.applies(plain) or p.step.name in ("measure", "report")]
    assert {"sequences", "score_sequences", "recite"} <= {p.step.name for p in more}
    return {p.step.name: list(p.outputs) for p in more}


def copy_without(study: FinishedStudy, root: Path, tables: Iterable[str]) -> dict[str, bytes]:
    """Copy the root except for these tables; the parts of these."""
    shutil.copytree(study.root, root, ignore=lambda folder, names: [*tables] if Path(folder) == study.root else [])
    parts = [p for table in tables for p in (study.root / table).glob("parts/*")]
    return {str(p.relative_to(study.root)): p.read_bytes() for p in parts}


def test_a_repeated_text_is_extracted_and_random_and_held_out_text_is_not(finished: FinishedStudy) -> None:
    rows = finished.rows("metrics")
    rate = {r["group"]: r["estimate"] for r in rows if (r["measure"], r["statistic"]) == ("extraction", "rate")}
    by_bin = {r["bin"]: r["estimate"] for r in rows if r["statistic"] == "rate_by_duplicates" and r["group"] == "duplicates"}
    auc = {r["detail"]: r["estimate"] for r in rows if r["statistic"] == "auc" and r["group"] == "uniform"}
    recited = {(r["group"], r["detail"]): r["estimate"] for r in rows if (r["measure"], r["statistic"]) == ("recitation", "rate")}
    assert {group: recited[group, "exact"] for group in rate} == rate
    assert recited["uniform", "anywhere"] > rate["uniform"] and recited["uniform", "bleu"] >= rate["uniform"]
    assert recited["phantoms", "bleu"] <= 0.1 and recited["uniform", "bleu"] > recited["phantoms", "bleu"]
    assert rate["phantoms"] <= 0.05 and by_bin[0] <= 0.1 < rate["uniform"]
    assert max(by_bin) > 20 and by_bin[max(by_bin)] > 0.8
    assert len(auc) == 4 and auc["loss"] > 0.6
    sums = finished.store.footer(finished.parts("sequences")[0])["sums"]
    assert sums["phantoms_in_corpus"] > 0, "the text is in the held-out half too, where it is no phantom"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_byte(finished: FinishedStudy, tmp_path: Path, workers: int) -> None:
    steps = of_memorization(finished)
    wanted = copy_without(finished, tmp_path / "root", [t for tables in steps.values() for t in tables])
    cluster = Cluster(workers, "2GB", str(tmp_path / ".dask"), address="")
    computed = bring_up_to_date(Path(finished.study), tmp_path / "root", steps, cluster)
    assert all(computed.values()) and len(wanted) > 10
    assert {name for name, content in wanted.items() if (tmp_path / "root" / name).read_bytes() != content} == set()


AT_ONCE = 16  # windows that a killed run may lose


def score_slowly(file: str, root: str) -> None:
    """Score the windows, some at once, with a pause after each lot."""
    scores = score_sequences.score_windows

    def slow(*arguments: Any) -> Any:
        time.sleep(0.3)
        return scores(*arguments)

    score_sequences.score_windows, score_sequences.WINDOWS_AT_ONCE = slow, AT_ONCE
    bring_up_to_date(Path(file), Path(root), ["score_sequences"])


def test_a_killed_run_goes_on_inside_its_part(finished: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, whole, total = tmp_path / "root", tmp_path / "whole", len(finished.rows("sequences"))
    monkeypatch.setattr(score_sequences, "WINDOWS_AT_ONCE", AT_ONCE)
    for copy in (root, whole):
        names = copy_without(finished, copy, ["sequence_scores"])
    bring_up_to_date(Path(finished.study), whole, ["score_sequences"])
    program = "import sys, tests.memorization.test_study as t; t.score_slowly(*sys.argv[1:])"
    words = [sys.executable, "-c", program, finished.study, str(root)]
    with subprocess.Popen(words, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as run:
        began = time.monotonic()
        while len(lots := list(root.glob("sequence_scores/files/*/*/*.parquet"))) < 2:
            assert run.poll() is None and time.monotonic() - began < 120
            time.sleep(0.01)
        run.kill()
    assert run.returncode == -signal.SIGKILL and not list(root.glob("sequence_scores/parts/*.parquet"))
    again, scores = list[int](), score_sequences.score_windows

    def counting(model: Any, windows: Any, *more: Any) -> Any:
        again.append(len(windows) if len(windows) > 1 else 0)  # a drawn window is compared with itself alone
        return scores(model, windows, *more)

    monkeypatch.setattr(score_sequences, "score_windows", counting)
    assert bring_up_to_date(Path(finished.study), root, ["score_sequences"]) == {"score_sequences": 1}
    assert total - AT_ONCE * (len(lots) + 1) <= sum(again) <= total - AT_ONCE * len(lots), "what was scored is not scored again"
    assert all((root / name).read_bytes() == (whole / name).read_bytes() for name in names), "the bytes of an undisturbed run"
    assert not list(root.glob("sequence_scores/files/*/*/*"))


def test_a_window_is_traced_to_its_documents_and_to_what_the_model_writes(finished: FinishedStudy) -> None:
    study = taskgram_module.open(finished.study, finished.root)
    sequences, scores = ({r["sequence"]: r for r in finished.rows(table)} for table in ("sequences", "sequence_scores"))
    recitations = {r["sequence"]: r for r in finished.rows("recitations")}
    texts, counts = finished.rows("documents"), {r["generation"]: r["documents"] for r in finished.rows("recitation_counts")}
    tokens = {d["id"]: t["ids"] for d, t in zip(texts, finished.rows("tokens"), strict=True)}
    common = max(sequences.values(), key=lambda r: (r["occurrences"], r["sequence"]))
    missed = next(r for r in sequences.values() if r["sequence"] in recitations and not r["occurrences"])
    for row in (common, missed):
        found = study.trace(row["sequence"])
        json.dumps(found, allow_nan=False)
        (model,), (beginning, rest) = found["models"], found["text"]
        assert {k: found[k] for k in row} == row
        assert "".join(found["tokens"]) == beginning + rest
        of_model = scores[row["sequence"]]
        assert all(model[k] == of_model[k] for k in ("log_probabilities", "ranks", "margins"))
        assert model["first_miss"] == (None if all(of_model["hits"][6:]) else of_model["hits"][6:].index(False))
        excerpts = found["excerpts"]
        assert len(excerpts) == min(DOCUMENTS, row["documents"]) and len({e["id"] for e in excerpts}) == len(excerpts)
        for e in excerpts:
            assert e["text"][e["start"] : e["end"]] == beginning + rest
            assert tokens[e["id"]][e["offset"] :][: len(row["ids"])] == row["ids"]
        if recited := recitations.get(row["sequence"]):
            assert model["recitation"]["text"] != rest and model["recitation"]["ended"] == recited["ended"]
            assert model["recitation"].get("documents") == counts.get(recited["generation"])
        else:
            assert model["recitation"] is None and model["first_miss"] is None
    printed = taskgram("trace", finished.study, f"sequences/{common['sequence']}", root=finished.root)
    assert "gives the suffix" in printed and f"occurs {common['occurrences']} times" in printed
    near = f"{missed['sequence'][:-1]}z"
    assert f"did you mean {missed['sequence']}" in taskgram("trace", finished.study, near, root=finished.root, code=1)
