"""What a study will cost is arithmetic on what its steps declare; where the cost is known it is right within a factor of three.

tests/flows/test_forecast.py is about what `taskgram plan` makes of it.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cost.forecast import cost_of
from flows.cost.survey import machine_of, survey
from flows.plan import lay_out
from flows.study import STEPS
from flows.study_files import shipped_studies
from schemas import Study, StudyError, load_study
from schemas.settings.base import parse_count
from tasks.corpus.ingest import INGEST
from tasks.cost import GPUS, RATES, CorpusSize, Cost, Machine, ModelSize, Sizes, TaskSize, forward_flops, training_flops
from tasks.memorization import MEASURES
from tasks.models.shapes import HUB, Shape
from tasks.ngrams import novelty_scan
from tasks.ngrams.query import query
from tests.machine import without
from tests.studies import REPOSITORY

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
    """Two parts of the corpus, held-out and inserted text are drawn from, two are counted in; three checkpoints, in two pieces."""
    models: list[dict[str, Any]] = [
        {"name": n, "pretrain": {"tokens": 40_000, "checkpoints": shares}} for n, shares in (("a", [1.0]), ("b", [0.5, 1.0]))
    ]
    models[1]["pretrain"] |= {"inject": [{}, {"repetitions": 2}]}
    corpus = {"planted": {"tokens": 60_000, "shards": 2, "insertions": {"canaries": 1}}}
    asked = {"name": "s", "corpus": corpus, "models": models, "memorization": {"pieces": 2, "samples": {"duplicates": 10}}}
    study = Study.model_validate(asked)
    planned = {p.step.name: sum(len(stage.jobs) for stage in p.stages) for p in lay_out(STEPS, study)}
    measures = sum(m.applies(study) for m in MEASURES)
    assert (planned["sequences"], planned["score_sequences"], planned["measure"]) == (2 + 1 + 1 + 2 + 1, 3 * 2, measures + 1)
    assert (planned["memorize"], planned["inject"]) == (3, 1 + 2)
    assert (planned["recite"], planned["count_recitations"]) == (3 * 2, 1 + 2 + 1)
    found = costs(survey(study))
    assert {step: cost.parts for step, cost in found.items()} == planned
    of_windows = ("sequences", "score_sequences", "recite", "count_recitations", "memorize")
    assert found["inject"].core == pytest.approx(1.5 * found["models"].core, rel=0.1), "three trainings beside two"
    assert all(found[step].core > 0 and found[step].rates for step in of_windows)


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
    for ngrams, name in ((1e3, "1k"), (1e5, "100k"), (3e6, "3M"), (4e7, "40M")):
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
