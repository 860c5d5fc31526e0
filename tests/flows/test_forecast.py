"""What `taskgram plan` prints, and what it learns from the files and runs that are here."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from flows.cost import sample
from flows.cost.forecast import as_json, forecast
from flows.cost.forecast_table import show
from flows.cost.survey import survey, training_speed
from flows.plan import lay_out
from flows.study import STEPS
from flows.study_files import shipped_studies
from flows.terminal import count, duration
from schemas import Study, load_study
from tasks.corpus.ingest import INGEST
from tasks.cost import RATES, training_flops
from tasks.storage.store import Store
from tasks.text.bpe.tokenizer import load_tokenizer, train
from tasks.text.words.analyzer import words_of
from tests.flows.test_cost import costs
from tests.models import small
from tests.studies import REPOSITORY
from tests.support import run_step, shipped_text, write_part

# -- what `taskgram plan` prints ---------------------------------------------------------------------------------------
TINY = """
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
    (tmp_path / "tiny.toml").write_text(TINY)
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


def test_a_study_of_runs_says_first_how_many_on_how_many_tokens_in_what_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = forecast("memorization", str(tmp_path / "root"))
    show(needs)
    title, *lines = capsys.readouterr().out.splitlines()
    rest = lines[next(i for i, line in enumerate(lines) if line.startswith("runs")) :]  # after a title that may take two
    runs = rest[0] if rest[0].endswith("core") else f"{rest[0]} {rest[1].strip()}"
    trained = [s.cost for s in needs.steps if s.step in ("ensemble", "redraw", "capacity")]
    time, tokens = duration(sum(c.core + c.gpu for c in trained)), sum(c.work for c in trained)
    assert title.startswith("memorization ") and runs.startswith("runs      64 of each of 3 models")
    assert runs.endswith(f"; {count(tokens)} tokens, training takes {time} of one core") and 60e6 < tokens < 120e6
    assert not any(line.startswith(("tasks", "models  ")) for line in rest), "it has none"
    assert max(s.cost.memory for s in needs.steps) <= 2e9, "a worker of 2 GB is enough"


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
    """Declared sizes and hardware are guesses; the bytes of a study may not depend on them."""
    text = tiny.read_text()
    start, end = text.index('[[corpus.sources]]\nname = "shards"'), text.index('[[tasks]]\nname = "rivers"')
    plain = text[:start] + text[end : text.index('[[tasks]]\nname = "sums"')]
    declared = plain.replace('files = ["corpus/*.jsonl"]', 'files = ["corpus/*.jsonl"]\ntokens = "3G"\ndocuments = "2M"')
    declared = declared.replace("orders = [1]", "orders = [1]\nexpected = [5, 50]") + '[hardware]\ncores = 64\ngpu = "H100"\n'
    keys = []
    for version in (plain, declared):
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
    run = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
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


# -- what is learnt from what is here ------------------------------------------------------------------------------------
def write_texts(folder: Path, documents: int, files: tuple[str, ...]) -> list[str]:
    """Files of JSON lines with some broken records; the texts of their documents, of words that no English text has."""
    draw, letters = random.Random(5), ("bdfgklmnprstvz", "aeiouäöüß")
    known = ["".join(draw.choice(letters[i % 2]) for i in range(draw.randint(2, 8))) for _ in range(4_000)]
    (folder / "corpus").mkdir()
    texts = []
    for number, name in enumerate(files):
        now = [" ".join(draw.choices(known, k=draw.randint(20, 90))) for _ in range(documents // len(files))]
        lines = "".join(
            json.dumps({"id": f"{number}-{i}", "lang": "xx", "text": t}) + "\n" + "{\n" * (i % 9 == 0) for i, t in enumerate(now)
        )
        packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(Path(name).suffix, bytes)
        (folder / "corpus" / name).write_bytes(packed(lines.encode()))
        texts += now
    return texts


@pytest.mark.parametrize("limit", [1_000_000, 100_000])
def test_the_size_of_a_corpus_that_is_here_is_known_by_a_sample(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, if small; else by 100 kB of each file within 3 %, where sizes of files alone give 6 times too few documents."""
    monkeypatch.setattr(sample, "READ", limit)
    monkeypatch.setattr(sample, "READ_PACKED", limit * 7 // 10)  # more than a block of zstd
    texts, within = write_texts(tmp_path, 1_800, ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst")), 1e-9 if limit > 100_000 else 0.03
    settings = {"name": "s", "corpus": {"sources": [{"name": "c", "files": ["corpus/*"]}]}, "data": str(tmp_path)}
    found, size = survey(Study.model_validate(settings)).corpus, sum(len(t.encode()) for t in texts)
    tokenizer = load_tokenizer(train(iter(texts), 1024, "<|endoftext|>"))
    tokens = sum(len(e.ids) for e in tokenizer.encode_batch(texts))
    assert found.documents == pytest.approx(len(texts), rel=within) and found.text == pytest.approx(size, rel=within)
    assert found.words == pytest.approx(sum(len(words_of(t)) for t in texts), rel=within)
    assert found.tokens == pytest.approx(tokens, rel=max(within, 1e-9))
    assert bool(found.guesses) == (limit == 100_000)


@pytest.mark.parametrize("content", [b"\x00\x01", b"", b"{}\n" * 9])
def test_a_corpus_of_which_nothing_can_be_read_is_estimated_by_its_size(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(content + b"x" * 1_000)
    settings = {"name": "s", "corpus": {"sources": [{"name": "c", "files": ["a.jsonl.gz"]}]}, "data": str(tmp_path)}
    assert survey(Study.model_validate(settings)).corpus.text == pytest.approx(0.9 * 4 * (len(content) + 1_000))


def test_the_speed_of_training_is_that_of_the_newest_run_under_the_root(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def trained(seconds: float, written: str, device: str = "cpu") -> None:
        row = {"model": ["a"], "checkpoint": [1], "source": ["pretrained here"], "revision": [""], "path": ["p"], "sha256": ["0"]}
        row |= {"parameters": [1_000_000], "parameters_non_embedding": [1], "tokens_seen": [100_000], "loss": [1.0], "seed": [0]}
        part = write_part(tmp_path, "models", row | {"membership": [""]}, {"model": "a"}, f"{written}-{device}")
        manifest = {"table": "models", "fingerprint": part.key, "written": written}
        store.write_manifest(manifest | {"parts": [{"key": part.key, "labels": {"model": "a"}, "seconds": seconds}]})

    assert training_speed(str(tmp_path)) == (0.0, "")
    trained(60.0, "2026-01-01")
    trained(30.0, "2026-01-02")
    trained(0.5, "2026-01-03")  # too short to tell
    assert training_speed(str(tmp_path)) == (6e11 / 30, "a")
    study = {"name": "s", "corpus": {"planted": {}}, "models": [{"name": "b", "pretrain": {"tokens": 1_000_000}}]}
    sizes = survey(Study.model_validate(study), str(tmp_path))
    assert sizes.machine.flops == 2e10 and any("20 GFLOP/s of a core, as a did" in note for note in sizes.notes)
    seconds = training_flops(sizes.models[0].parameters, 1_000_000) / 2e10
    assert costs(sizes)["models"].core == pytest.approx(seconds + RATES["part"])
    elsewhere = survey(Study.model_validate(study | {"hardware": {"cores": 64}}), str(tmp_path))
    assert elsewhere.machine.flops == 0.0, "another machine"


def test_the_time_is_a_range_and_fewer_workers_take_longer(tiny: Path) -> None:
    two, one = (forecast(str(tiny), str(tiny.parent / "root"), workers) for workers in (2, 1))
    for found in (two, one):
        low, high = found.wall_range
        assert 0 < low < found.total("wall") < 2 * found.total("wall") <= high
    assert one.wall_range[1] > two.wall_range[1] and as_json(one)["left"]["wall_range"] == list(one.wall_range)


def test_what_ends_the_answers_of_each_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small.save_random(tmp_path / "m")
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 5]}')
    study = 'name = "ends"\n[corpus.planted]\n[[tasks]]\nname = "facts"\nfamily = "qa"\nreader = "planted"\n'
    study += '[[models]]\nname = "a"\npath = "m"\n[[models]]\nname = "b"\n[models.pretrain]\n'
    (tmp_path / "ends.toml").write_text(study)
    show(forecast(str(tmp_path / "ends.toml"), str(tmp_path / "root")))
    lines = [line.split(None, 1)[1] for line in capsys.readouterr().out.splitlines() if line.startswith("answers")]
    token = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    fifth = next(t for t, i in token.items() if i == 5)
    assert lines[0] == f"end at <|endoftext|> (0: config.json, generation_config.json), {fifth} (5: generation_config.json): a"
    assert lines[1:] == ["end at <|endoftext|> (the study's tokenizer): b"]
