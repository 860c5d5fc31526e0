"""Models from elsewhere: what ends their answers, what is refused and in which words, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import StudyError
from tasks.models import probes, slices
from tasks.models.alone import ALLOWED, compare, drawn
from tasks.models.generate import GENERATE, generate
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.load import load, repeatable
from tasks.models.model_inputs import requests
from tasks.models.pretrain import MODELS, hub_folder
from tasks.models.score import SCORE, score
from tests.models import small
from tests.models.test_zoo import LONG, alone
from tests.support import read_rows, run_step

QA = {"name": "qa", "family": "qa", "max_new_tokens": 6}
PROMPTS = [(q["prompt"], " ") for q in small.questions(6)]


def edit(folder: Path, file: str = "config.json", **values: Any) -> Path:
    path = folder / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))
    return folder


def opened(folder: Path, **given: Any) -> LanguageModel:
    with repeatable("cpu"):
        return load(SavedModel(folder, **given), "o")


def rows_of(root: Path, folder: Path, step: Any = MODELS, **scoring: Any) -> list[dict]:
    """The rows of a step for a model and a few questions."""
    study = small.study([{"name": "o", "path": str(folder)}], [QA], scoring={"other_inputs": 1, **scoring})
    tables = run_step(MODELS, study, root, {"tokens": (), "tokenizer": ()})
    tables |= {"examples": (small.examples(root, "qa", small.questions(6)),)}
    tables |= run_step(step, study, root, tables) if step is not MODELS else {}
    return read_rows(root, tables[step.writes[0].name])


# -- what ends an answer -----------------------------------------------------------------------------------------------
def test_answers_end_where_any_file_of_the_model_says(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = small.save_random(tmp_path / "m", "llama", 96, num_key_value_heads=1)
    assert [a.stopped for a in generate(opened(folder), PROMPTS, 12, (), 512)[0]] == ["length"] * 6
    usual = generate(opened(folder), PROMPTS, 12, (), 512)[0]
    first, second, third = usual[0].tokens[3], usual[1].tokens[5], usual[2].tokens[4]
    edit(folder, "generation_config.json", eos_token_id=[first, second])
    model, network = opened(folder), AutoModelForCausalLM.from_pretrained(folder)
    answers = generate(model, PROMPTS, 12, (), 512)[0]
    for answer in answers:
        ids = torch.tensor([answer.prompt])
        given = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0, "max_new_tokens": 12, "do_sample": False}
        both = network.generate(ids, **given)[0].tolist()
        assert [*answer.prompt, *answer.tokens] == both
    assert {a.stopped for a in answers[:2]} == {"end of document"}
    token = model.tokenizer.id_to_token(third)
    edit(folder, "tokenizer_config.json", eos_token={"content": token})
    assert opened(folder).ends == {0, first, second, third}
    (row,) = rows_of(tmp_path, folder)
    assert row["ends"].startswith("<|endoftext|> (0: config.json)")
    assert f"{token} ({third}: tokenizer_config.json)" in row["ends"]
    key = lambda: MODELS.stages[0].plan(small.study([{"name": "o", "path": str(folder)}]), {})[0].files  # noqa: E731
    before = key()
    edit(folder, "generation_config.json", eos_token_id=[first])
    assert key() != before, "the file is part of the model"


def test_lists_and_ids_outside_the_vocabulary(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "m", "gpt2", 96)
    edit(folder, bos_token_id=None, eos_token_id=[7, 9])
    edit(folder, "generation_config.json", bos_token_id=None, eos_token_id=None)
    model = opened(folder)
    assert (model.start, model.ends) == (7, {7, 9})
    for file, key, value in (
        ("config.json", "bos_token_id", 50256),
        ("config.json", "eos_token_id", [7, 50256]),
        ("generation_config.json", "eos_token_id", 300),
    ):
        folder = edit(small.save_random(tmp_path / "n", "gpt2", 96), file, **{key: value})
        number = value[-1] if isinstance(value, list) else value
        with pytest.raises(StudyError, match=f"{key} = {number}, but vocab_size = 300"):
            opened(folder)


def test_a_tokenizer_may_have_a_token_more_than_the_network_as_long_as_it_does_not_occur(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = small.save_random(tmp_path / "m", "llama", 96, num_key_value_heads=1)
    before = rows_of(tmp_path, folder, SCORE)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<image>"])
    tokenizer.add_tokens(["Kasura"])
    tokenizer.save(str(folder / "tokenizer.json"))
    model = opened(folder)
    made = requests(model, [(p, s, "Torin") for p, s in PROMPTS], ["it"] * 6)
    assert np.isfinite(np.concatenate(score(model, made, 512))).all()
    with pytest.raises(StudyError, match=r"it: the tokenizer of model 'o' makes token 301 \('Kasura'\), but vocab_size = 300"):
        requests(model, [("Where", " ", "Kasura")], ["it"])
    with pytest.raises(StudyError, match="makes token 301"):
        generate(model, [("Kasura", " ")], 3, (), 512)
    with pytest.raises(StudyError, match="task 'qa', example 'e000'"):
        rows_of(tmp_path / "again", folder, SCORE)
    assert before


# -- what a network is -------------------------------------------------------------------------------------------------
def test_a_multimodal_configuration_is_read_through_its_text_model(tmp_path: Path) -> None:
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = size | {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 300, "max_position_embeddings": 96, "sliding_window": 16}
    vision = size | {"image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config=text | {"bos_token_id": 0, "eos_token_id": 0}, vision_config=vision, mm_tokens_per_image=4, eos_token_id=[0, 1]
    )
    network = Gemma3ForConditionalGeneration(config)
    network.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_text(small.tokenizer_json())
    (row,) = rows_of(tmp_path, tmp_path / "m")
    assert row["parameters"] == sum(p.numel() for p in network.parameters())
    model = opened(tmp_path / "m")
    assert (model.vocabulary, model.context, model.hidden, model.start, model.ends, model.masks) == (300, 96, 16, 0, {0, 1}, False)
    made = requests(model, [(p, s, "Torin") for p, s in PROMPTS], [""] * 6)
    for request, values in zip(made, score(model, made, 512), strict=True):
        expected = alone(network.eval(), request.ids[:-1])
        targets = range(request.first, len(request.ids))
        assert values == pytest.approx([float(expected[i - 1, request.ids[i]]) for i in targets], abs=1e-4)
    assert generate(model, PROMPTS, 3, (), 512)[0]


def test_what_is_counted_is_what_is_in_memory(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "m", "llama", num_key_value_heads=1, tie_word_embeddings=False)
    edit(folder, tie_word_embeddings=True)  # the weights have an lm_head of their own, which transformers keeps
    (row,) = rows_of(tmp_path, folder)
    network = opened(folder).network
    assert row["parameters"] == sum(p.numel() for p in network.parameters())
    assert row["parameters"] - row["parameters_non_embedding"] == 2 * 300 * 16
    folder = small.save_random(tmp_path / "tied", "llama", num_key_value_heads=1, tie_word_embeddings=True)
    (tied,) = rows_of(tmp_path, folder)
    assert row["parameters"] - tied["parameters"] == 300 * 16


def decoder_only(folder: Path, family: str, kind: str, **more: Any) -> Path:
    """A saved network of a class of its own."""
    import transformers

    sizes = {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 32, "vocab_size": 300, "pad_token_id": 1}
    sizes |= {
        f"{side}_{n}": v for side in ("encoder", "decoder") for n, v in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
    }
    sizes |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "embedding_size": 16}
    sizes |= {"decoder_start_token_id": 1, "eos_token_id": 0, "num_key_value_heads": 1}
    network = getattr(transformers, kind)(transformers.AutoConfig.for_model(family, **sizes | more))
    network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(small.tokenizer_json())
    return folder


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("t5", "T5ForConditionalGeneration"),
        ("bart", "BartForConditionalGeneration"),
        ("marian", "MarianMTModel"),
        ("bert", "BertForSequenceClassification"),
        ("llama", "LlamaForSequenceClassification"),
        ("electra", "ElectraForMaskedLM"),
        ("bert", "BertLMHeadModel"),  # no decoder: only a probe shows it
    ],
)
def test_what_is_not_a_causal_language_model_is_said_so_in_one_line(family: str, kind: str, tmp_path: Path) -> None:
    folder = decoder_only(tmp_path / "m", family, kind)
    with pytest.raises(StudyError, match="not a causal language model") as raised:
        opened(folder)
    assert "\n" not in str(raised.value)
    if kind != "BertLMHeadModel":
        with pytest.raises(StudyError, match=f"{kind} (is an encoder-decoder|was trained for another task)"):
            rows_of(tmp_path, folder)  # before any weights are loaded


def test_a_network_that_sees_one_token_ahead_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    import torch

    model = opened(small.save_random(tmp_path / "m", context=64))
    probe = probes.Probe(model.network, model.network.config, 300, 64, "cpu")
    probe.check_causal("o")
    ahead = lambda module, given, out: out + 0.01 * torch.roll(out, -1, dims=1)  # noqa: E731
    model.network.get_input_embeddings().register_forward_hook(ahead)
    with pytest.raises(StudyError, match="'o' .gpt_neox. is not a causal language model"):
        probe.check_causal("o")


QUANTIZED = {
    "fbgemm_fp8": ({}, "GPU"),
    "bitsandbytes": ({"load_in_4bit": True}, "bitsandbytes"),
    "gptq": ({"bits": 4}, "optimum|gptqmodel"),
    "awq": ({"bits": 4, "group_size": 128}, "gptqmodel|autoawq"),
    "compressed-tensors": ({}, "compressed-tensors"),
}


@pytest.mark.parametrize("method", QUANTIZED)
def test_a_package_or_device_that_is_missing_is_named_in_one_line(method: str, tmp_path: Path) -> None:
    more, missing = QUANTIZED[method]
    folder = small.save_random(tmp_path / "m", "llama", num_key_value_heads=1)
    edit(folder, quantization_config={"quant_method": method, **more})
    with pytest.raises(StudyError, match=f"cannot be loaded: .*({missing})") as raised:
        opened(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["fp8", "unheard-of", ""])
def test_eight_bit_weights_are_scaled_or_refused_never_read_without_their_scales(method: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = small.save_random(tmp_path / "m", "llama", num_key_value_heads=1)
    tensors, name = load_file(folder / "model.safetensors"), "model.layers.0.self_attn.q_proj.weight"
    for key in [k for k in tensors if "proj" in k]:
        value = tensors[key]
        tensors |= {key: (2 * value).to(torch.float8_e4m3fn), f"{key}_scale_inv": torch.full((1, 1), 0.5)}
    expected = tensors[name].float() / 2
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder, **({"quantization_config": {"quant_method": method, "weight_block_size": [128, 128]}} if method else {}))
    if method == "fp8":
        assert rows_of(tmp_path, folder)
        assert torch.allclose(dict(opened(folder).network.named_parameters())[name].float(), expected, atol=0.01)
    else:
        with pytest.raises(StudyError, match="do not fit config.json: .*weight_scale_inv"):
            opened(folder)


def test_layers_that_the_configuration_does_not_count_are_an_error_and_a_further_head_is_none(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = small.save_random(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        tensors | {"v_head.weight": tensors["gpt_neox.final_layer_norm.bias"].clone()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    opened(folder)
    with pytest.raises(StudyError, match="do not fit config.json: gpt_neox.layers.1"):
        opened(edit(folder, num_hidden_layers=1))


CODE = """import transformers
class Config(transformers.LlamaConfig):
    model_type = "own"
class Network(transformers.LlamaForCausalLM):
    config_class = Config
    def __init__(self, config):
        super().__init__(config)
        {built}
    def forward(self, *args, **given):
        {run}
        return super().forward(*args, **given)
"""
RAISED = (
    "KeyError('a')",
    "AttributeError('a')",
    "NotImplementedError()",
    "AssertionError()",
    "ImportError('no a')",
    "OSError('a')",
)


@pytest.mark.parametrize("error", RAISED)
def test_whatever_a_library_raises_about_a_model_is_not_called_an_error_of_the_program(error: str, tmp_path: Path) -> None:
    for place in ("built", "run"):
        folder = small.save_random(tmp_path / place, "llama", num_key_value_heads=1)
        edit(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Network"})
        lines = {"built": "pass", "run": "pass"} | {place: f"raise {error}"}
        (folder / "own.py").write_text(CODE.format(**lines))
        with pytest.raises(StudyError, match=error.split("(")[0]) as raised:
            opened(folder, trust_remote_code=True)
        assert "\n" not in str(raised.value)


# -- a text and its batch ----------------------------------------------------------------------------------------------
MIXED = [("Torin " * n, " ", "Belado Torin") for n in (1, 9, 2, 30, 40, 3)]


def values_of(model: LanguageModel) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The scores of MIXED in batches, and one at a time."""
    made = requests(model, MIXED, [""] * len(MIXED))
    return score(model, made, 4096), [score(model, [r], 1)[0] for r in made]


def apart(pairs: tuple[list[np.ndarray], list[np.ndarray]]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(*pairs, strict=True))


@pytest.fixture
def long_rope(tmp_path: Path) -> Path:
    return small.save_random(tmp_path / "phi3", "phi3", 128, **LONG, original_max_position_embeddings=24)


def test_a_switch_that_no_configuration_names_is_found_by_trying(long_rope: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = opened(long_rope)
    assert named.switches == [24]
    assert apart(values_of(named)) < 1e-5
    assert apart(values_of(replace(named, switches=()))) > 0.01, "the batches must matter for this test to say something"
    monkeypatch.setattr(probes, "_originals", lambda values: iter(()))
    tried = opened(long_rope)
    assert list(tried.switches) == list(range(1, 129)), "each length has batches of its own"
    assert apart(values_of(tried)) < 1e-5
    answers = [generate(m, [(p, s) for p, s, _ in MIXED], 20, (), 4096)[0] for m in (named, tried)]
    assert [a.tokens for a in answers[0]] == [a.tokens for a in answers[1]]


def mix_rows(model: LanguageModel) -> LanguageModel:
    """A network whose logits depend on the other rows of a batch."""
    model.network.get_input_embeddings().register_forward_hook(lambda module, given, out: out + 0.1 * out.mean(0, keepdim=True))
    return model


def test_a_network_that_mixes_the_rows_of_a_batch_gets_one_at_a_time(tmp_path: Path) -> None:
    model = mix_rows(opened(small.save_random(tmp_path / "m", context=128)))
    found = probes.Probe(model.network, model.network.config, 300, 128, "cpu").behavior("o")
    assert found.alone and not found.masks
    assert apart(values_of(model)) > 1e-3
    assert apart(values_of(replace(model, **vars(found)))) < 1e-5


@pytest.mark.parametrize("step", [SCORE, GENERATE])
def test_a_part_whose_rows_depend_on_their_batch_fails_with_words(
    step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small.save_random(tmp_path / "m", context=96)
    assert rows_of(tmp_path / "right", folder, step)
    real: Callable[..., LanguageModel] = slices.open_checkpoint
    monkeypatch.setattr(slices, "open_checkpoint", lambda work: mix_rows(real(work)))
    with pytest.raises(StudyError, match="what model 'o' says depends on the batch: token .* nats apart, allowed are 0.001"):
        rows_of(tmp_path / "wrong", folder, step)


def test_a_hundredth_is_drawn_by_the_key_and_at_least_one() -> None:
    assert [len(drawn("k", 0, n)) for n in (0, 1, 99, 250, 1000)] == [0, 1, 1, 2, 10]
    assert drawn("k", 0, 1000) == drawn("k", 0, 1000) != drawn("l", 0, 1000) != drawn("l", 512, 1000)


def test_what_rounding_explains_grows_with_the_width_of_numbers(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "m", context=128)
    for dtype, most in ALLOWED.items():
        model = opened(folder, dtype=dtype)
        assert apart(values_of(model)) < most
        compare(model, "it", [-1.0], np.array([-1.0 - 0.9 * most]))
        for other in (-1.0 - 1.1 * most, float("nan")):
            with pytest.raises(StudyError, match="it: what model 'o' says depends on the batch"):
                compare(model, "it", [-1.0], np.array([other]))


def test_the_files_that_name_end_tokens_are_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, revision, allow_patterns: asked.extend(allow_patterns) or "x"
    )
    hub_folder("a/b", "0" * 40)
    assert {"generation_config.json", "tokenizer_config.json", "special_tokens_map.json"} <= set(asked)
