"""Scale is Dask's alone: one study, however many workers count, and wherever they run, gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from flows.engine import run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store

pytestmark = pytest.mark.slow

STUDY = """
name = "scale"
[corpus]
partition = "1MB"
[[corpus.sources]]
name = "notes"
files = ["corpus/*.jsonl"]
[tokenizer]
vocabulary = 400
[counting]
all_orders = [1, 2, 3, 5]
min_count = 1
buckets = 3
windows = [4, 20]
index = true
longest_suffix = 16
[[tasks]]
name = "rivers"
family = "qa"
evaluate = ["rivers.jsonl"]
orders = [1, 2]
"""
COUNTING = (
    "ids",
    "ingest",
    "read",
    "tokenizer",
    "tokens",
    "words",
    "extract",
    "embed",
    "align",
    "query",
    "infinigram",
    "count",
    "index",
)
PLACES = ["Velm", "Maron", "Duvel", "Osk", "Tarn", "İzmir", "東京"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two files, one of which is cut into pieces."""
    path, draw = tmp_path_factory.mktemp("scale"), random.Random(5)
    (path / "corpus").mkdir()
    for name, documents in (("small", 40), ("large", 1_500)):
        lines = []
        for i in range(documents):
            facts = [
                f"The river of {draw.choice(PLACES)} is the {draw.choice(PLACES)}, {draw.randrange(400)} km long."
                for _ in range(draw.randrange(40))
            ]
            lines.append(json.dumps({"id": f"{name}-{i}", "text": " ".join(["Rivers.", *facts])}))
        (path / "corpus" / f"{name}.jsonl").write_text("\n".join(lines))
    questions = [{"id": p, "input": f"What is the river of {p}?", "output": q} for p in PLACES for q in PLACES[:3]]
    (path / "rivers.jsonl").write_text("".join(json.dumps(q | {"id": str(i)}) + "\n" for i, q in enumerate(questions)))
    (path / "scale.toml").write_text(STUDY)
    return path


def run(folder: Path, root: Path, cluster: Cluster) -> dict[str, str]:
    """Every table's bytes, files next to parts included, after all steps that count."""
    study, store = load_study(folder / "scale.toml"), Store(str(root))
    session = Session(study, "scale.toml", store, cluster)
    for planned in lay_out(STEPS, study):
        if planned.step.name in COUNTING:
            run_step(planned, session)
    files = [p for p in root.rglob("*") if p.is_file() and ("parts" in p.parts or "files" in p.parts)]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def test_any_number_of_workers_and_an_external_scheduler_give_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    found = {}
    for workers in (0, 1, 2):
        cluster = Cluster(workers, "2GB", str(tmp_path / ".dask"), address="")
        try:
            found[workers] = run(folder, tmp_path / str(workers), cluster)
        finally:
            cluster.close()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as existing:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", existing.scheduler_address)
        cluster = Cluster(0, "2GB", str(tmp_path / ".dask"))
        found["external"] = run(folder, tmp_path / "external", cluster)
        cluster.close()
    assert found[0] == found[1] == found[2] == found["external"]
    tables = {name.split("/")[0] for name in found[0]}
    assert {"words", "tokens", "ngram_counts", "pair_counts", "pair_windows", "infinigram", "ngram_index"} <= tables
    assert sum(name.startswith("documents/") for name in found[0]) >= 3, "the large file is cut into pieces"
