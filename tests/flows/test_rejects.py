"""Records that did not become rows: how many, the most frequent reasons, and that no other number counts them."""

from __future__ import annotations

import json
from pathlib import Path

from flows.engine import run_step
from flows.manifests import rejected
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store
from tests.support import NOTES, RIVERS


def test_rejected_records_are_counted_apart_and_their_reasons_by_kind(tmp_path: Path) -> None:
    texts = [{"id": f"{i}", "text": "The river of Velm."} for i in range(5)]
    wrong = [*texts[:4], {"id": "a", "body": ""}, {"id": "b", "body": ""}, {"id": "c", "text": 3}]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text("\n".join([*map(json.dumps, texts + wrong), "[1]", "{broken"]))
    (tmp_path / "rivers.jsonl").write_text(json.dumps({"id": "1", "input": "Velm?", "output": "Torin"}))
    (tmp_path / "s.toml").write_text(f'name = "s"\nworkers = 0\n{NOTES}{RIVERS}')
    study = load_study(tmp_path / "s.toml")
    session = Session(study, "s", Store(str(tmp_path / "root")), Cluster(0, "1GB", str(tmp_path / ".dask"), address=""))
    plan = [p for p in lay_out(STEPS, study) if p.step.name in ("plant", "ids", "ingest", "read")]
    assert {p.step.name: rejected(session.store, p) for p in plan} == dict.fromkeys(("plant", "ids", "ingest", "read"), [])
    rows = {p.step.name: run_step(p, session).rows for p in plan}
    assert rows == {"plant": 0, "ids": 0, "ingest": 5, "read": 2}, "documents; the example, evaluated and mined"
    ingest, read = (rejected(session.store, p) for p in plan[2:])
    assert ingest[0].startswith("9 records rejected; ") and "document_rejects" in ingest[0] and read == []
    assert ingest[1:3] == [
        "4 × such as: the id '0' occurs in an earlier row of this file",
        "2 × no field 'text'; there are id, body",
    ]
    assert ingest[3].startswith("1 × ") and ingest[4] == "2 for 2 other reasons"
