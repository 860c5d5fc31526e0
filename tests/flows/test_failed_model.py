"""One model that fails does not take the report of the others away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.commands.status import describe
from tests.models import small

STUDY = """name = "two"
workers = 0
[[corpus.sources]]
name = "notes"
files = ["notes.jsonl"]
[tokenizer]
vocabulary = 300
[counting]
all_orders = []
[scoring]
other_inputs = 1
[measures]
bootstrap = 50
sweep_bootstrap = 50
sweep_gammas = []
[[tasks]]
name = "places"
family = "qa"
evaluate = ["places.jsonl"]
orders = [1]
[[models]]
name = "works"
path = "works"
[[models]]
name = "sees-ahead"
path = "sees-ahead"
[[models]]
name = "translates"
path = "translates"
"""


@pytest.mark.slow
def test_models_that_fail_are_named_in_the_report_of_the_others(tmp_path: Path) -> None:
    lines = {"notes": [{"id": str(i), "text": text} for i, text in enumerate(small.sentences())]}
    lines["places"] = [{"id": p, "input": f"Where is {p}?", "output": small.PLACES[-i]} for i, p in enumerate(small.PLACES[:12])]
    for name, records in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (tmp_path / "two.toml").write_text(STUDY)
    small.save_random(tmp_path / "works", context=64)
    small.save_random(tmp_path / "sees-ahead", "bert", context=64)
    config = small.save_random(tmp_path / "translates", context=64) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_encoder_decoder": True}))
    root = tmp_path / "root"
    command = [sys.executable, "-m", "flows.cli", "run", str(tmp_path / "two.toml"), "--root", str(root)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "'translates'" in run.stderr and "'sees-ahead'" in run.stderr
    assert "The report is there, without translates, sees-ahead." in run.stderr
    assert "not run because" not in run.stderr and "internal error" not in run.stderr
    page = (root / "reports" / "two" / "index.html").read_text()
    assert "Missing: translates. It failed" in page and "is an encoder-decoder" in page
    assert "Missing: sees-ahead. It failed" in page and "moves the logits before it" in page
    states = {s["step"]: (s["state"], s.get("error", "")) for s in describe(str(tmp_path / "two.toml"), str(root))}
    assert states["ingest"] == ("done", "")
    assert states["score"][0] == "failed" and "finished without sees-ahead: " in states["score"][1]
    assert "works" in (root / "reports" / "two" / "results.csv").read_text()
