"""A small study whose corpus repeats a text: the model that is trained on it has memorized that text, and nothing else."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest

from flows.plan import lay_out
from flows.study import STEPS
from schemas import CONTRACTS, load_study
from tasks.storage.store import Store
from tests.studies import taskgram
from tests.support import run_step

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


@pytest.mark.slow
def test_a_repeated_text_is_extracted_and_random_and_held_out_text_is_not(tmp_path: Path) -> None:
    """As two workers of a run and one process without the flow find it, byte for byte."""
    file = write_notes(tmp_path)
    study, roots = load_study(file), [tmp_path / "run", tmp_path / "alone"]
    taskgram("run", str(file), "--workers", "2", root=roots[0])
    tables: dict[str, Any] = {}
    for step in (s for s in STEPS if s.name != "report"):
        tables |= run_step(step, study, roots[1], tables) if step.applies(study) else {}
    stores = [Store(str(root)) for root in roots]
    planned = {t: parts for p in lay_out(STEPS, study) for t, parts in p.outputs.items()}
    windows = ("sequence_candidates", "sequence_counts", "sequences", "sequence_scores", "sequence_measures")
    for name in (*windows, "recitations", "recited_suffixes", "recitation_partials", "recitation_counts", "metrics"):
        assert {p.key for p in planned[name]} == {p.key for p in tables[name]}
        for part in planned[name]:
            one, other = (store.read([part], CONTRACTS[name].schema) for store in stores)
            assert one.equals(other), f"{name}: the number of workers changes no number"
    rows = stores[0].read(planned["metrics"], CONTRACTS["metrics"].schema).to_pylist()
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
    sums = stores[0].footer(planned["sequences"][0])["sums"]
    assert sums["phantoms_in_corpus"] > 0, "the text is in the held-out half too, where it is no phantom"
