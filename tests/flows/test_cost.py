"""What a study will cost is arithmetic on what its steps declare; where the cost is known it is right within a factor of three.

`taskgram plan` adds it up, and prints what is missing, what is there, and what the rest costs, whatever is not here yet.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cost import sample
from flows.cost.forecast import as_json, cost_of, forecast
from flows.cost.forecast_table import show
from flows.cost.survey import machine_of, survey, training_speed
from flows.plan import lay_out
from flows.study import STEPS
from flows.study_files import shipped_studies
from flows.terminal import count, duration
from schemas import Study, StudyError, load_study
from schemas.settings.study_file import parse_count
from tasks.corpus.ingest import INGEST
from tasks.cost import GPUS, RATES, CorpusSize, Cost, Machine, ModelSize, Sizes, TaskSize, forward_flops, training_flops
from tasks.models.shapes import HUB, Shape
from tasks.ngrams import novelty_scan
from tasks.ngrams.query import query
from tasks.storage.store import Store
from tasks.text.bpe.tokenizer import load_tokenizer, train
from tasks.text.words.analyzer import words_of
from tests.machine import without
from tests.models import small
from tests.studies import REPOSITORY
from tests.support import run_step, shipped_text, write_part

# the debian study as it was run: its corpus, and the sums of its manifests
CORPUS = CorpusSize(22.8e6, 66_261_190, 166_338, 21_782_033, 9_695_347, 10, 66e6, held_out=7.86e6, held_out_parts=3)
TASKS = (
    TaskSize("en-de", "translation", 150, 1166, (1, 2), 24),
    TaskSize("en-fr", "translation", 150, 1166, (1, 2), 24),
    TaskSize("nq-open", "qa", 300, 3610, (1, 2), 24),
    TaskSize("mmlu", "multiple_choice", 300, 1827, (1, 2), options=4),
    TaskSize("gsm8k", "math", 100, 1500, (2, 3), 24),
)
MODELS = tuple(ModelSize(f"neox-{p}", p, trained=800_000) for p in (156_544, 362_240, 1_317_632))
TWO_CORES = Machine(2)
STUDY = load_study(shipped_studies()["debian"])
DEBIAN = Sizes(STUDY, CORPUS, TASKS, MODELS, TWO_CORES)
RECORDED = re.compile(r"^(\w+) +done +(?:[\d,]+ +){2}([\d.]+) (B|[kMG]B) +([\d.]+) +[0-9a-f]{12}", re.M)


def costs(sizes: Sizes = DEBIAN) -> dict[str, Cost]:
    return {step.name: cost_of(step, sizes) for step in STEPS if step.applies(sizes.study)}


def recorded() -> dict[str, tuple[float, float]]:
    """Bytes and part-seconds by step, of the run that docs/debian.md shows."""
    page = (REPOSITORY / "docs" / "debian.md").read_text(encoding="utf-8")
    unit = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    return {step: (float(size) * unit[u], float(seconds)) for step, size, u, seconds in RECORDED.findall(page)}


# -- what the steps declare ------------------------------------------------------------------------------------------
def test_every_step_declares_its_cost() -> None:
    assert [step.name for step in STEPS if step.cost is None] == []


def test_a_step_without_a_cost_is_an_error_that_says_what_to_add() -> None:
    with pytest.raises(AssertionError, match=r"step ingest declares no cost: give Step\(…, cost=…\)"):
        cost_of(replace(INGEST, cost=None), DEBIAN)


@pytest.mark.parametrize("name", ["sample", "debian"])
def test_steps_expect_as_many_parts_as_are_planned(name: str) -> None:
    """What a plan goes by while files are missing is what it finds when they are there."""
    study = load_study(shipped_studies()[name])
    sizes = survey(study)
    if sizes.missing:
        without(f"the {name} study needs {sizes.missing[0].where}; set TASKGRAM_DATA to the folder that holds its data")
    planned = {p.step.name: sum(len(stage.jobs) for stage in p.stages) for p in lay_out(STEPS, study)}
    assert {step: cost.parts for step, cost in costs(sizes).items()} == planned


def test_windows_are_expected_in_as_many_parts_as_are_planned() -> None:
    """Two parts of the corpus and one of held-out text are drawn from, two are counted in; three checkpoints, in two pieces."""
    models = [{"name": n, "pretrain": {"tokens": 40_000, "checkpoints": shares}} for n, shares in (("a", [1.0]), ("b", [0.5, 1.0]))]
    corpus = {"planted": {"tokens": 60_000, "shards": 2}}
    asked = {"name": "s", "corpus": corpus, "models": models, "memorization": {"pieces": 2, "samples": {"duplicates": 10}}}
    study = Study.model_validate(asked)
    planned = {p.step.name: sum(len(stage.jobs) for stage in p.stages) for p in lay_out(STEPS, study)}
    assert (planned["sequences"], planned["score_sequences"], planned["measure"]) == (2 + 1 + 2 + 1, 3 * 2, 3 + 1)
    found = costs(survey(study))
    assert {step: cost.parts for step, cost in found.items()} == planned
    assert all(found[step].core > 0 and found[step].rates for step in ("sequences", "score_sequences"))


def test_large_files_are_expected_in_as_many_pieces_as_are_planned(tmp_path: Path) -> None:
    for name, size in (("large.jsonl", 2_500_000), ("packed.jsonl.gz", 400_000), ("small.jsonl", 1_000)):
        (tmp_path / name).write_bytes(b"\n" * size)
    corpus = {"partition": "1MB", "sources": [{"name": "s", "files": ["*.jsonl", "*.gz"]}]}
    tasks = [{"name": "t", "family": "qa", "evaluate": ["small.jsonl"]}]
    study = Study.model_validate({"name": "s", "corpus": corpus, "data": str(tmp_path), "tasks": tasks})
    planned = {p.step.name: sum(len(stage.jobs) for stage in p.stages) for p in lay_out(STEPS, study)}
    assert (planned["ids"], planned["ingest"]) == (3 + 2 + 2, 3 + 2 + 1)
    assert {step: cost.parts for step, cost in costs(survey(study)).items()} == planned


def test_the_debian_study_costs_what_it_cost() -> None:
    """Every step of half a second or more within a factor of three of its part-seconds on docs/debian.md, the study of its 5.0
    minutes and its bytes."""
    found, run = costs(), recorded()
    assert len(run) > 15, "the table of docs/debian.md is read"
    seconds = {step: s for step, (_, s) in run.items() if s >= 0.5 and step in found}
    assert {s: (found[s].core, seconds[s]) for s in seconds if not 1 / 3 < found[s].core / seconds[s] < 3} == {}
    total = sum(x.wall(TWO_CORES) + RATES["step"] for x in found.values())
    assert 5.0 * 60 / 3 < total < 5.0 * 60 * 3
    written = sum(size for size, _ in run.values())
    assert written / 3 < sum(x.written for x in found.values()) < written * 3


def test_the_sample_study_takes_minutes_as_it_did() -> None:
    """The sample gave one rate only (planting); it ran 240 s on two cores (docs/benchmarks.md)."""
    sizes = replace(survey(load_study(shipped_studies()["sample"])), machine=TWO_CORES)
    total = sum(x.wall(TWO_CORES) + RATES["step"] for x in costs(sizes).values())
    assert 240 / 3 < total < 240 * 3
    assert pytest.approx(sizes.corpus.tokens, rel=0.2) == 413_658
    assert [m.checkpoints for m in sizes.models] == [1, 1, 2]


PUBLISHED = {
    "EleutherAI/pythia-70m": 70_426_624,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-410m": 405_334_016,
    "EleutherAI/pythia-1b": 1_011_781_632,
    "EleutherAI/pythia-1.4b": 1_414_647_808,
    "EleutherAI/pythia-2.8b": 2_775_208_960,
    "EleutherAI/pythia-6.9b": 6_857_302_016,
    "EleutherAI/pythia-12b": 11_846_072_320,
}


def test_parameters_follow_from_shapes() -> None:
    """Total parameters as Pythia's authors publish them (arXiv 2304.01373), and those of the debian study's manifests."""
    assert {name: HUB[name].parameters for name in PUBLISHED} == PUBLISHED
    ladder = [Shape(32, 2, 4096, tied=True), Shape(64, 2, 4096, tied=True), Shape(128, 4, 4096, tied=True)]
    assert [shape.parameters for shape in ladder] == [m.parameters for m in MODELS]


def test_a_shape_counts_what_transformers_builds() -> None:
    """On small networks of both kinds, built without memory for their weights."""
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, OlmoConfig

    small: dict[str, Any] = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": 500,
        "tie_word_embeddings": False,
    }
    neox, olmo = GPTNeoXConfig(**small, intermediate_size=192), OlmoConfig(**small, intermediate_size=100)
    for config, shape in ((neox, Shape(48, 3, 500)), (olmo, Shape(48, 3, 500, 4, "olmo", 100))):
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
        assert sum(p.numel() for p in network.parameters()) == shape.parameters


def test_passes_and_trainings_in_flops() -> None:
    assert forward_flops(1e9, 1_000) == 2e12
    assert training_flops(1e9, 1_000) == 3 * forward_flops(1e9, 1_000)


def test_query_rates_go_through_what_was_measured_and_fall() -> None:
    def rate(pairs: float) -> float:
        return query.interpolated(pairs, query.SPEEDS)

    for pairs, name in ((1e3, "1k"), (1e5, "100k"), (1e6, "1M")):
        assert rate(pairs) == pytest.approx(query.RATES[f"query, {name} pairs"])
    assert rate(1) == rate(1_000)
    rates = [rate(10**e) for e in (3, 4, 5, 5.5, 6, 7)]
    assert rates == sorted(rates, reverse=True)


def test_novelty_rates_go_through_what_was_measured_and_one_scan_for_all_is_cheaper_than_one_each() -> None:
    for ngrams, name in ((1e3, "1k"), (1e5, "100k"), (3e6, "3M")):
        rate = novelty_scan.interpolated(ngrams, novelty_scan.SPEEDS)
        assert rate == pytest.approx(novelty_scan.RATES[f"novelty, {name} n-grams"], rel=1e-3)
    ladders = (tuple(replace(MODELS[0], name=f"m{i}") for i in range(n)) for n in (1, 10))
    one, ten = (costs(replace(DEBIAN, models=models))["novelty"].core for models in ladders)
    assert ten < 5 * one


def test_a_placebo_costs_what_counting_in_it_costs() -> None:
    """Documents, words and pairs once more, and a measure of each task; no tokens, no models."""
    with_placebo = STUDY.model_copy(update={"placebo": STUDY.corpus})
    found, alone = costs(replace(DEBIAN, study=with_placebo, placebo=CORPUS)), costs()
    again = ("plant", "ids", "ingest", "words", "query")
    for step in (s for s in alone if s != "measure"):
        assert found[step].core == pytest.approx((2 if step in again else 1) * alone[step].core)
        assert found[step].parts == (2 if step in again else 1) * alone[step].parts
    assert found["measure"].parts == alone["measure"].parts + len(TASKS)


@given(st.integers(1, 64), st.floats(1, 50))
@settings(deadline=None, max_examples=40)
def test_more_of_everything_costs_no_less_and_more_processes_no_more(processes: int, times: float) -> None:
    grow = ("packed", "text", "documents", "tokens", "words", "unpacked")
    large = replace(CORPUS, **{name: getattr(CORPUS, name) * times for name in grow})
    one, many = costs(), costs(replace(DEBIAN, corpus=large))
    assert all(many[s].core >= one[s].core * 0.9 for s in ("ingest", "tokens", "words", "query", "novelty"))
    for step, cost in one.items():
        assert cost.wall(Machine(processes)) <= cost.wall(Machine(1)) + 1e-9, step
        assert cost.wall(Machine(processes)) >= cost.core / processes - 1e-9


def test_a_gpu_takes_the_passes_from_the_cores() -> None:
    big = replace(DEBIAN, models=(ModelSize("big", 7e9, download=14e9),))
    a100 = Machine(2, GPUS["A100"], weight_bytes=2)
    cpu, gpu = costs(big), costs(replace(big, machine=a100))
    assert gpu["score"].core < 60 < gpu["score"].gpu < cpu["score"].core / 100
    passes = sum(t.evaluated * (3 + max(0, t.options - 1)) for t in TASKS)
    assert gpu["score"].work == passes
    assert gpu["models"].work == gpu["models"].read == 14e9
    assert gpu["score"].memory > 14e9
    assert any("data sheet" in g for g in gpu["score"].guesses)
    measured = costs(replace(big, machine=replace(a100, flops=100e12)))
    assert not any("data sheet" in g for g in measured["score"].guesses), "a measured number is no guess"


def test_two_gpus_take_half_the_time() -> None:
    big = replace(DEBIAN, models=tuple(ModelSize(f"m{i}", 1e9) for i in range(4)))
    machines = (Machine(2, GPUS["H100"]), Machine(2, GPUS["H100"], 2))
    one, two = (costs(replace(big, machine=m))["score"].wall(m) for m in machines)
    assert two == pytest.approx(one / 2)


def test_every_rate_names_its_source_and_a_guess_is_marked_and_no_name_has_two_values() -> None:
    tables = [RATES, *(cost.rates for cost in costs().values())]
    named = [(name, rate) for table in tables for name, rate in table.items()]
    for name, rate in named:
        assert rate > 0
        assert rate.unit
        assert rate.guess or "docs/" in rate.source or "sample" in rate.source, name
        assert {float(other) for same, other in named if same == name} == {rate}, name


@pytest.mark.parametrize(("text", "number"), [("300G", 300e9), ("1.5M", 1.5e6), ("4096", 4096), ("12_000k", 12e6), ("3T", 3e12)])
def test_counts_are_read_as_people_write_them(text: str, number: float) -> None:
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["300B", "many", "", "-3G"])
def test_other_counts_are_errors_that_show_the_way(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_count(text)


def test_an_unknown_gpu_is_named_with_those_that_are_known() -> None:
    study: dict[str, Any] = {"name": "s", "corpus": {"planted": {}}, "scoring": {"device": "cuda"}, "hardware": {"gpu": "H9000"}}
    with pytest.raises(StudyError, match=r"H9000.*H100.*flops"):
        machine_of(Study.model_validate(study))
    study["hardware"]["flops"] = "250T"
    assert machine_of(Study.model_validate(study)).flops == 250e12


def test_a_variant_costs_its_task_grams_and_all_of_them_one_scan_more() -> None:
    def of(*variants: dict) -> dict[str, Cost]:
        study = {"name": "s", "corpus": {"planted": {}}, "tasks": [{"name": "t", "family": "qa", "reader": "planted"}]}
        sizes = survey(Study.model_validate(study | {"variants": variants}))
        return costs(replace(sizes, models=MODELS, machine=TWO_CORES))

    authors = {"name": "a", "stop_words": "authors"}
    wide = {"name": "b", "encoder": {"dimensions": 512}}
    none, one, two = of(), of(authors), of(authors, wide)
    assert [x["align"].work / none["align"].work for x in (one, two)] == [2, 3]
    assert [x["extract"].parts for x in (none, one, two)] == [1, 2, 2], "an encoder has no n-grams of its own"
    assert [x["embed"].written / none["embed"].written for x in (one, two)] == [2, 4]
    assert [x["query"].work / none["query"].work for x in (one, two)] == [2, 2]
    assert none["query"].core < one["query"].core < two["query"].core
    assert none["score"] == two["score"]


def test_no_cost_is_negative_or_undefined() -> None:
    nothing = CorpusSize(0, 0, 0, 0, 0, 0, 0)
    for sizes in (DEBIAN, replace(DEBIAN, corpus=nothing), replace(DEBIAN, models=()), replace(DEBIAN, tasks=())):
        for cost in costs(sizes).values():
            for value in (cost.core, cost.gpu, cost.read, cost.written, cost.wall(TWO_CORES), cost.memory):
                assert value >= 0
                assert math.isfinite(value)


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
