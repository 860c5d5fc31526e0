"""`taskgram plan` says what is missing, what is there, and what the rest costs, whatever is not here yet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cost.forecast import as_json, forecast
from flows.cost.forecast_table import count, duration, show
from flows.plan import lay_out
from flows.study import STEPS
from flows.study_files import shipped_studies
from schemas import load_study
from tasks.corpus.ingest import INGEST
from tests.studies import REPOSITORY
from tests.support import run_step, shipped_text

STUDY = """
name = "tiny"
workers = 2
[[corpus.sources]]
name = "notes"
files = ["corpus/*.jsonl"]
[[corpus.sources]]
name = "shards"
files = ["pile/*.jsonl.zst"]
tokens = "3G"
documents = "2M"
[[tasks]]
name = "rivers"
family = "qa"
evaluate = ["rivers.jsonl"]
orders = [1]
[[tasks]]
name = "sums"
family = "math"
reader = "gsm8k"
evaluate = ["gsm8k/test.jsonl"]
expected = [1319, 1319]
orders = [1]
[[models]]
name = "pythia"
hub = "EleutherAI/pythia-410m"
revision = "step1000"
[[models]]
name = "mine"
path = "models/mine"
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text(json.dumps({"id": "1", "text": "The river of Velm is Torin."}) + "\n")
    (tmp_path / "rivers.jsonl").write_text('{"id": "q", "input": "Which river?", "output": "Torin"}\n' * 7)
    (tmp_path / "tiny.toml").write_text(STUDY)
    return tmp_path / "tiny.toml"


def steps(found: dict) -> dict[str, dict]:
    return {s["step"]: s for s in found["steps"]}


def test_what_is_not_here_is_named_and_the_rest_is_estimated(tiny: Path) -> None:
    found = as_json(forecast(str(tiny), str(tiny.parent / "root")))
    assert {m["what"] for m in found["missing"]} == {"corpus source 'shards'", "task 'sums'", "model 'mine'"}
    assert found["corpus"]["tokens"] == pytest.approx(3e9, rel=0.01)
    assert found["corpus"]["documents"] == pytest.approx(2e6, rel=0.01)
    assert {t["name"]: t["evaluated"] for t in found["tasks"]} == {"rivers": 7, "sums": 1319}
    assert steps(found)["models"]["bytes_read"] == 2 * 405_334_016, "in 16 bits, as the hub has it"
    assert steps(found)["tokens"]["there"] is None
    assert found["left"]["wall_seconds"] > 60
    assert json.loads(json.dumps(found))["left"] == found["left"]
    assert found["rates"]["tokens"]["source"].startswith("docs/benchmarks.md")


def test_finished_parts_are_not_counted_again(tiny: Path) -> None:
    text = tiny.read_text()
    start, end = text.index('[[corpus.sources]]\nname = "shards"'), text.index("[[tasks]]")
    tiny.write_text(text[:start] + text[end:])
    root = tiny.parent / "root"
    before = steps(as_json(forecast(str(tiny), str(root))))["ingest"]
    run_step(INGEST, load_study(tiny), root, {"planted_files": ()})
    after = steps(as_json(forecast(str(tiny), str(root))))["ingest"]
    assert (before["there"], after["there"], after["parts"]) == (0, 1, 1)
    assert before["wall_seconds"] > 0
    assert after["left"] == after["wall_seconds"] == 0


def test_what_only_the_plan_reads_changes_no_part(tiny: Path) -> None:
    """Declared sizes and hardware are guesses; the bytes of a study may not hang on them."""
    text = tiny.read_text()
    start, end = text.index('[[corpus.sources]]\nname = "shards"'), text.index('[[tasks]]\nname = "rivers"')
    plain = text[:start] + text[end : text.index('[[tasks]]\nname = "sums"')]
    told = plain.replace('files = ["corpus/*.jsonl"]', 'files = ["corpus/*.jsonl"]\ntokens = "3G"\ndocuments = "2M"')
    told = told.replace("orders = [1]", "orders = [1]\nexpected = [5, 50]") + '[hardware]\ncores = 64\ngpu = "H100"\n'
    keys = []
    for version in (plain, told):
        tiny.write_text(version)
        keys.append([p.fingerprint for p in lay_out(STEPS, load_study(tiny))])
    assert keys[0] == keys[1]


def test_the_table_reads_as_a_page(tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = forecast(str(tiny), str(tiny.parent / "root"))
    for width in ("80", "140"):
        monkeypatch.setenv("COLUMNS", width)
        show(found)
        printed = capsys.readouterr().out
        for word in (
            "Not here yet",
            "pile/*.jsonl.zst",
            "pythia",
            "405 M",
            "novelty",
            "left to do",
            "Guesses",
            "as the study expects",
        ):
            assert word in printed
        assert "…" not in printed, "no number is cut off"
        assert all(len(line) <= int(width) for line in printed.splitlines() if line.startswith(" novelty"))


def test_planning_imports_nothing_heavy_and_asks_no_network(tiny: Path) -> None:
    program = (
        "import sys; from flows.cli import main; code = main(['plan', *sys.argv[1:]]); "
        "print(code, sorted({'torch', 'great_expectations', 'distributed', 'transformers', 'prefect'} & set(sys.modules)))"
    )
    words = [str(tiny), "--root", str(tiny.parent / "root"), "--json"]
    run = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120, cwd=REPOSITORY
    )
    assert run.stdout.strip().splitlines()[-1] == "0 []", run.stdout + run.stderr


@pytest.mark.parametrize("name", ["pythia", "olmo"])
def test_the_shipped_studies_of_public_models_are_planned_without_their_files(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.toml").write_text(shipped_text(name), encoding="utf-8")
    found = as_json(forecast(str(tmp_path / f"{name}.toml"), str(tmp_path / "root")))
    by_step = steps(found)
    assert not any(m["guess"] for m in found["models"]), "the size of every model is known"
    assert {t["family"] for t in found["tasks"]} == {"qa", "translation", "multiple_choice", "math"}
    assert all(t["evaluated"] > 0 and t["mined"] > 0 for t in found["tasks"])
    assert found["missing"], "none of the files is shipped"
    assert found["left"]["bytes_written"] < found["machine"]["disk"]
    for step in ("ingest", "tokens", "words", "query", "infinigram", "score", "generate", "novelty"):
        assert by_step[step]["wall_seconds"] > 1
    assert not any("worker_memory" in note or "main memory" in note for note in found["notes"])


def test_pythia_has_nine_sizes_and_checkpoints() -> None:
    text = shipped_studies()["pythia"].read_text(encoding="utf-8")
    ends = re.findall(r'hub = "EleutherAI/pythia-([\d.]+[mb])"\nrevision = "step143000"', text)
    assert ends == ["14m", "70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    assert set(re.findall(r'revision = "step(\d+)"', text)) == {"1000", "4000", "16000", "64000", "143000"}


def test_numbers_for_people() -> None:
    assert [count(x) for x in (7, 3450, 21_800_000, 3e11, 999_600)] == ["7", "3,450", "21.8 M", "300 G", "1 M"]
    assert [duration(x) for x in (0.2, 40, 312, 11_200, 1e6)] == ["< 1 s", "40 s", "5.2 min", "3.1 h", "12 days"]
