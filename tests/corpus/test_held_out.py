"""Held-out text: a sample of what a study keeps out of its corpus, to compare novelty with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import Study
from tasks.corpus import held_out
from tasks.corpus.held_out import HELD_OUT
from tasks.corpus.ingest import IDS, INGEST
from tests.corpus.test_planted import SMALL, words
from tests.support import read_rows, run_step

MODEL = {"name": "m", "pretrain": {"hidden": 16, "tokens": 4_000}}
TASK = {"name": "t", "family": "qa", "evaluate": ["t.jsonl"]}


def study_of(root: Path, **changes: Any) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "seed": 1,
            "data": str(root),
            "splits": {"pages": {"share": 0.5, "pattern": r"([^/]+)$"}},
            "corpus": {
                "sources": [
                    {"name": "book", "files": ["book.jsonl"], "held_out": "pages"},
                    {"name": "rest", "files": ["rest.jsonl"]},
                ]
            },
            "tasks": [TASK],
            "models": [MODEL],
        }
        | changes
    )


def write(root: Path, pages: int = 60) -> None:
    """A book in two languages whose pages are held out or not, one record without a key, and a source without a split."""
    rows = [{"id": f"{lang}/{i}", "text": f"page {i} in {lang}", "lang": lang} for i in range(pages) for lang in ("en", "de")]
    rows += [{"id": "en/", "text": "no key"}, {"id": "en/empty", "text": ""}]
    (root / "book.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (root / "rest.jsonl").write_text(json.dumps({"id": "r", "text": "the rest"}) + "\n")


def sample(root: Path, study: Study) -> list[dict]:
    return read_rows(root, run_step(HELD_OUT, study, root, {})["held_out_documents"])


def test_held_out_documents_are_those_that_ingest_turns_away_for_the_split(tmp_path: Path) -> None:
    write(tmp_path)
    study = study_of(tmp_path)
    tables = run_step(INGEST, study, tmp_path, run_step(IDS, study, tmp_path, {}))
    corpus = {r["id"] for r in read_rows(tmp_path, tables["documents"])}
    away = [r["excerpt"] for r in read_rows(tmp_path, tables["document_rejects"]) if "held out" in r["reason"]]
    found = sample(tmp_path, study)
    assert {r["id"] for r in found} == {json.loads(line)["id"] for line in away}
    assert not {r["id"] for r in found} & corpus
    assert {r["text"] for r in found} <= {f"page {i} in {lang}" for i in range(60) for lang in ("en", "de")}
    assert {r["language"] for r in found} == {"en", "de"}


def test_a_small_sample_is_the_beginning_of_a_large_one(tmp_path: Path, monkeypatch: Any) -> None:
    """Documents come in the order of a seeded hash; long ones are cut."""
    write(tmp_path)
    large = sample(tmp_path, study_of(tmp_path))
    monkeypatch.setattr(held_out, "MOST", 5)
    monkeypatch.setattr(held_out, "CHARACTERS", 4)
    small = sample(tmp_path, study_of(tmp_path))
    assert [r["id"] for r in small] == [r["id"] for r in large][:5]
    assert [(r["text"], r["words"]) for r in small] == [("page", 4)] * 5
    for text, beginning in (
        ("page 12", "page"),
        ("pages of", "pages"),
        ("page 1", "page 1"),
        ("pagelong", "pagelo"),
        ("\n" * 9, "\n" * 6),
    ):
        monkeypatch.setattr(held_out, "CHARACTERS", 6)
        assert held_out._beginning(text) == beginning, "no word is cut that is not longer than all"
    monkeypatch.setattr(held_out, "CHARACTERS", 4)
    other = sample(tmp_path, study_of(tmp_path, seed=2))
    assert [r["id"] for r in other] != [r["id"] for r in small]


def test_the_pieces_of_a_file_hold_out_what_the_file_does(tmp_path: Path) -> None:
    (tmp_path / "book.jsonl").write_text("".join(json.dumps({"id": f"en/{i}", "text": "word " * 400}) + "\n" for i in range(900)))
    (tmp_path / "rest.jsonl").write_text(json.dumps({"id": "r", "text": "the rest"}) + "\n")
    study = study_of(tmp_path)
    cut = study.model_copy(update={"corpus": study.corpus.model_copy(update={"partition": "1MB"})})
    assert len(held_out.plan(cut, {})) == 2
    assert {r["id"] for r in sample(tmp_path, cut)} == {r["id"] for r in sample(tmp_path, study)}


def test_a_planted_world_holds_out_another_sample_of_its_text(tmp_path: Path) -> None:
    """The same names and sentence forms. Its short statements repeat themselves, as in any sample; sentences are other ones."""
    from tasks.corpus.planted.plant import PLANT

    study = study_of(tmp_path, corpus={"planted": SMALL})
    inputs = run_step(PLANT, study, tmp_path, {}) | {"repeated_ids": ()}
    corpus = [r["text"] for r in read_rows(tmp_path, run_step(INGEST, study, tmp_path, inputs)["documents"])]
    found = sample(tmp_path, study)
    assert len(found) == 2 * held_out.MOST
    known = {w for text in corpus for w in words(text)}
    spoken = [w for r in found for w in words(r["text"])]
    assert sum(w in known for w in spoken) > 0.99 * len(spoken)
    again = [r["text"] in set(corpus) for r in found if len(words(r["text"])) > 7]
    assert len(again) > 200
    assert sum(again) < 0.25 * len(again)
    assert {"en", "velish", "onda"} <= {r["language"] for r in found}


def test_without_models_or_without_a_split_nothing_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    assert held_out.plan(study_of(tmp_path, models=[]), {}) == []
    assert held_out.plan(study_of(tmp_path, tasks=[TASK | {"generate": False}]), {}) == []
    assert len(held_out.plan(study_of(tmp_path), {})) == 1
