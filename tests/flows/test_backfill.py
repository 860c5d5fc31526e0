"""What comes later is computed alone: a new shard is read, cut into words and tokens and counted, and sums take it in."""

from __future__ import annotations

import gzip
import hashlib
import json
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
name = "later"
[[corpus.sources]]
name = "notes"
files = ["corpus/*.jsonl*"]
[tokenizer]
file = "tokenizer.json"
[[tasks]]
name = "rivers"
family = "qa"
evaluate = ["rivers.jsonl"]
orders = [1, 2]
"""
COUNTING = ("ids", "ingest", "read", "tokenizer", "tokens", "words", "extract", "embed", "align", "query", "infinigram")
RIVERS = {"Velm": "Torin", "Maron": "Iska", "Duvel": "Torin", "Osk": "Pralle", "Tarn": "Iska"}


def texts(times: int) -> list[str]:
    return [f"The river of {place} is {river}. It is long." for place, river in RIVERS.items() for _ in range(times)]


def shard(folder: Path, name: str, times: int) -> None:
    """A file of the corpus, packed or not."""
    lines = "".join(json.dumps({"id": f"{name}-{i}", "text": text}) + "\n" for i, text in enumerate(texts(times))).encode()
    (folder / "corpus" / name).write_bytes(gzip.compress(lines, mtime=0) if name.endswith(".gz") else lines)


def tokenizer(path: Path) -> None:
    """A byte-level BPE, fixed: one that is trained on the corpus is another with every shard."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts(1),
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False),
    )
    made.save(str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    questions = [{"id": place, "input": f"What is the river of {place}?", "output": river} for place, river in RIVERS.items()]
    (tmp_path / "rivers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in questions))
    (tmp_path / "later.toml").write_text(STUDY)
    tokenizer(tmp_path / "tokenizer.json")
    shard(tmp_path, "2026-01.jsonl", 3)
    shard(tmp_path, "2026-02.jsonl.gz", 2)
    return tmp_path


def run(folder: Path, root: Path) -> dict[str, int]:
    """Parts computed by each step that counts."""
    study, computed = load_study(folder / "later.toml"), {}
    cluster = Cluster(0, "1GB", str(root / ".dask"), address="")
    session = Session(study, "later.toml", Store(str(root)), cluster)
    for planned in lay_out(STEPS, study):
        if planned.step.name in COUNTING:
            computed[planned.step.name] = run_step(planned, session).computed
    session.close()
    return computed


def parts(root: Path, folder: Path) -> dict[str, str]:
    """Bytes of every part that the study as it now is consists of."""
    store = Store(str(root))
    plan = [p for p in lay_out(STEPS, load_study(folder / "later.toml")) if p.step.name in COUNTING]
    return {
        f"{part.table}/{part.key}": hashlib.sha256(Path(store.part_path(part)).read_bytes()).hexdigest()
        for planned in plan
        for found in planned.outputs.values()
        for part in found
    }


def test_a_new_shard_is_computed_alone_and_the_sums_are_those_of_a_fresh_run(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = run(folder, root)
    assert (first["ingest"], first["words"], first["tokens"]) == (2, 2, 2)
    before = parts(root, folder)
    shard(folder, "2026-03.jsonl", 1)
    second = run(folder, root)
    assert (second["ingest"], second["words"], second["tokens"]) == (1, 1, 1)
    assert second["query"] == second["infinigram"] == 2, "the scan of the new part, and the sum"
    assert second["read"] == second["extract"] == second["align"] == 0, "the tasks have not changed"
    after = parts(root, folder)
    kept = {name for name in before if name.split("/")[0] in ("documents", "words", "tokens", "pair_partials", "ngram_partials")}
    assert kept <= set(after)
    assert all(after[name] == before[name] for name in kept)
    assert set(run(folder, root).values()) == {0}
    run(folder, tmp_path / "fresh")
    assert parts(tmp_path / "fresh", folder) == after
