"""What a study will cost is arithmetic on measured rates; on studies whose cost is known it is right within a factor of three."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cost.estimate import estimate, forward_flops, training_flops
from flows.cost.hardware import Machine, machine_of
from flows.cost.line import Line, novelty_rate, query_rate
from flows.cost.rates import GPUS, HUB, RATES, SIZES, Shape
from flows.cost.sizes import Asking, CorpusSize, Counting, ModelSize, TaskSize
from flows.cost.survey import sizes_of
from flows.study_files import shipped_studies
from schemas import Study, StudyError, load_study
from schemas.settings.study_file import parse_count

# the debian study as it was run: docs/debian.md and the sums of its manifests
DEBIAN = CorpusSize(22.8e6, 66_261_190, 166_338, 21_782_033, 9_695_347, 10, 66e6, held_out=7.86e6)
TASKS = [
    TaskSize("en-de", "translation", 150, 1166, (1, 2), 24),
    TaskSize("en-fr", "translation", 150, 1166, (1, 2), 24),
    TaskSize("nq-open", "qa", 300, 3610, (1, 2), 24),
    TaskSize("mmlu", "multiple_choice", 300, 1827, (1, 2), options=4),
    TaskSize("gsm8k", "math", 100, 1500, (2, 3), 24),
]
MODELS = [ModelSize(f"neox-{p}", p, trained=800_000) for p in (156_544, 362_240, 1_317_632)]
COUNTING = Counting((1, 2), 8, False, 8_000_000, True, SIZES["small token"])
TWO_CORES = Machine(2)
SECONDS = {  # of parts, docs/debian.md
    "ingest": 3.2,
    "read": 0.8,
    "tokenizer": 3.3,
    "tokens": 4.4,
    "models": 263.9,
    "words": 5.4,
    "extract": 7.1,
    "embed": 17.5,
    "align": 11.5,
    "query": 38.0,
    "infinigram": 6.5,
    "score": 53.6,
    "generate": 19.3,
    "novelty": 19.5,
    "count": 7.0,
    "evidence": 6.5,
    "measure": 12.2,
    "report": 4.3,
}
PARTS = {
    "ingest": 10,
    "read": 5,
    "tokens": 10,
    "models": 3,
    "words": 10,
    "align": 5,
    "query": 11,
    "infinigram": 11,
    "score": 15,
    "generate": 12,
    "novelty": 32,
    "held_out": 2,
    "placebo": 0,
    "count": 19,
    "index": 0,
    "evidence": 35,
    "measure": 71,
    "report": 7,
}


def lines(machine: Machine = TWO_CORES, models: list[ModelSize] = MODELS, corpus: CorpusSize = DEBIAN) -> dict[str, Line]:
    return {x.step: x for x in estimate(corpus, TASKS, models, machine, Asking(2, 8192), COUNTING)}


def test_the_debian_study_costs_what_it_cost() -> None:
    """Every step within a factor of three of its part-seconds, the study of its 4.8 minutes, and every part counted."""
    found = lines()
    assert {step: found[step].parts for step in PARTS} == PARTS
    wrong = {s: (found[s].core, seconds) for s, seconds in SECONDS.items() if not 1 / 3 < found[s].core / seconds < 3}
    assert not wrong
    total = sum(x.wall(TWO_CORES) + RATES["step"].value for x in found.values())
    assert 4.8 * 60 / 3 < total < 4.8 * 60 * 3
    assert 543e6 / 3 < sum(x.written for x in found.values()) < 543e6 * 3, "bytes of docs/debian.md, added up"


def test_the_sample_study_takes_minutes_as_it_did() -> None:
    """The sample gave one rate only (planting); it ran 240 s on two cores (docs/benchmarks.md)."""
    sizes = sizes_of(load_study(shipped_studies()["sample"]))
    found = estimate(sizes.corpus, sizes.tasks, sizes.models, TWO_CORES, sizes.asking, sizes.counting)
    total = sum(x.wall(TWO_CORES) + RATES["step"].value for x in found)
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

    neox = GPTNeoXConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        vocab_size=500,
        tie_word_embeddings=False,
    )
    olmo = OlmoConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=100,
        vocab_size=500,
        tie_word_embeddings=False,
    )
    for config, shape in ((neox, Shape(48, 3, 500)), (olmo, Shape(48, 3, 500, 4, "olmo", 100))):
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
        assert sum(p.numel() for p in network.parameters()) == shape.parameters


def test_passes_and_trainings_in_flops() -> None:
    assert forward_flops(1e9, 1_000) == 2e12
    assert training_flops(1e9, 1_000) == 3 * forward_flops(1e9, 1_000)


def test_query_rates_go_through_what_was_measured_and_fall() -> None:
    for pairs, name in ((1e3, "1k"), (1e5, "100k"), (1e6, "1M")):
        assert query_rate(pairs) == pytest.approx(RATES[f"query, {name} pairs"].value)
    assert query_rate(1) == query_rate(1_000)
    rates = [query_rate(10**e) for e in (3, 4, 5, 5.5, 6, 7)]
    assert rates == sorted(rates, reverse=True)


def test_novelty_rates_go_through_what_was_measured_and_one_scan_for_all_is_cheaper_than_one_each() -> None:
    for ngrams, name in ((1e3, "1k"), (1e5, "100k"), (3e6, "3M")):
        assert novelty_rate(ngrams) == pytest.approx(RATES[f"novelty, {name} n-grams"].value, rel=1e-3)
    one, ten = (lines(models=[replace(MODELS[0], name=f"m{i}") for i in range(n)])["novelty"].core for n in (1, 10))
    assert ten < 5 * one


def test_a_placebo_costs_what_counting_in_it_costs() -> None:
    """Documents, words and pairs; no tokens, no models."""
    found = estimate(DEBIAN, TASKS, MODELS, TWO_CORES, Asking(2, 8192), COUNTING, DEBIAN)
    line = {x.step: x for x in found}
    assert line["placebo"].core == pytest.approx(sum(line[s].core for s in ("plant", "ingest", "words", "query")))
    assert line["placebo"].parts == sum(line[s].parts for s in ("plant", "ingest", "words", "query"))


@given(st.integers(1, 64), st.floats(1, 50))
@settings(deadline=None, max_examples=40)
def test_more_of_everything_costs_no_less_and_more_processes_no_more(processes: int, times: float) -> None:
    small, large = (
        lines(),
        lines(
            corpus=CorpusSize(*(x * times for x in (22.8e6, 66e6, 1e5, 2.18e7, 9.7e6)), 10, 66e6 * times, held_out=7.86e6)
        ),
    )
    assert all(
        large[s].core >= lines(corpus=DEBIAN)[s].core * 0.9 for s in ("ingest", "tokens", "words", "query", "novelty")
    )
    for step, line in small.items():
        assert line.wall(Machine(processes)) <= line.wall(Machine(1)) + 1e-9, step
        assert line.wall(Machine(processes)) >= line.core / processes - 1e-9


def test_a_gpu_takes_the_passes_from_the_cores() -> None:
    big = [ModelSize("big", 7e9, download=14e9)]
    cpu, gpu = lines(models=big), lines(Machine(2, GPUS["A100"], weight_bytes=2), big)
    assert gpu["score"].core < 60 < gpu["score"].gpu < cpu["score"].core / 100
    tokens = sum(t.evaluated * (3 + max(0, t.options - 1)) for t in TASKS)
    assert gpu["score"].work == tokens
    assert gpu["models"].work == gpu["models"].read == 14e9
    assert gpu["score"].memory > 14e9
    assert any("data sheet" in g for g in gpu["score"].guesses)
    named = lines(Machine(2, GPUS["A100"], flops=100e12, weight_bytes=2), big)
    assert not any("data sheet" in g for g in named["score"].guesses), "a measured number is no guess"


def test_two_gpus_take_half_the_time() -> None:
    big = [ModelSize(f"m{i}", 1e9) for i in range(4)]
    one, two = (lines(m, big)["score"].wall(m) for m in (Machine(2, GPUS["H100"]), Machine(2, GPUS["H100"], 2)))
    assert two == pytest.approx(one / 2)


def test_every_rate_says_where_it_is_from_and_guesses_say_so() -> None:
    for rate in [*RATES.values(), *SIZES.values()]:
        assert rate.value > 0
        assert rate.unit
        assert rate.guess or "docs/" in rate.source or "sample" in rate.source, rate


@pytest.mark.parametrize(
    ("text", "number"), [("300G", 300e9), ("1.5M", 1.5e6), ("4096", 4096), ("12_000k", 12e6), ("3T", 3e12)]
)
def test_counts_are_read_as_people_write_them(text: str, number: float) -> None:
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["300B", "many", "", "-3G"])
def test_other_counts_are_errors_that_show_the_way(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_count(text)


def test_an_unknown_gpu_is_named_with_those_that_are_known() -> None:
    study = {"name": "s", "corpus": {"planted": {}}, "scoring": {"device": "cuda"}, "hardware": {"gpu": "H9000"}}
    with pytest.raises(StudyError, match=r"H9000.*H100.*flops"):
        machine_of(Study.model_validate(study))
    study["hardware"]["flops"] = "250T"
    assert machine_of(Study.model_validate(study)).flops == 250e12


def test_a_variant_costs_its_task_grams_and_all_of_them_one_scan_more() -> None:
    def of(*variants: dict) -> dict[str, Line]:
        study = {"name": "s", "corpus": {"planted": {}}, "tasks": [{"name": "t", "family": "qa", "reader": "planted"}]}
        sizes = sizes_of(Study.model_validate(study | {"variants": variants}))
        found = estimate(sizes.corpus, sizes.tasks, MODELS, TWO_CORES, sizes.asking, sizes.counting)
        return {line.step: line for line in found}

    authors = {"name": "a", "stop_words": "authors"}
    wide = {"name": "b", "encoder": {"dimensions": 512}}
    none, one, two = of(), of(authors), of(authors, wide)
    assert [x["align"].work / none["align"].work for x in (one, two)] == [2, 3]
    assert [x["extract"].parts for x in (none, one, two)] == [1, 2, 2], "an encoder has no n-grams of its own"
    assert [x["embed"].written / none["embed"].written for x in (one, two)] == [2, 4]
    assert [x["query"].work / none["query"].work for x in (one, two)] == [2, 2]
    assert none["query"].core < one["query"].core < two["query"].core
    assert none["score"] == two["score"]


def test_no_line_is_negative_or_undefined() -> None:
    nothing = CorpusSize(0, 0, 0, 0, 0, 0, 0)
    for found in (lines(), lines(corpus=nothing), lines(models=[])):
        for line in found.values():
            for value in (line.core, line.gpu, line.read, line.written, line.wall(TWO_CORES), line.memory):
                assert value >= 0
                assert math.isfinite(value)
