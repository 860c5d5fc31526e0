"""Architectures of all kinds with random weights: scores and answers are those of transformers alone, one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.models.generate import generate
from tasks.models.language_model import SavedModel
from tasks.models.load import load, repeatable
from tasks.models.model_inputs import requests
from tasks.models.score import score
from tests.models import small

CONTEXT = 96
ONE = {"num_key_value_heads": 1}
LONG_ROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.2], "long_factor": [2.0, 8.0], "original_max_position_embeddings": 24}
LONG = {"rope_scaling": LONG_ROPE, "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
MSCALE = {"short_mscale": 1.0, "long_mscale": 1.3}
SWITCHING = ("phi3", "phimoe")
ZOO: dict[str, dict[str, Any]] = {
    "gpt_neox": {},
    "gpt2": {},
    "gpt_neo": {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 4},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16, "pad_token_id": 1},
    "bloom": {},
    "mpt": {"max_seq_len": 96},
    "falcon": {"alibi": True, "new_decoder_architecture": False},
    "llama": ONE | {"tie_word_embeddings": True},
    "mistral": ONE | {"sliding_window": 12},
    "mixtral": {"num_local_experts": 4, "num_key_value_heads": 1},
    "phi": {},
    "phi3": LONG | {"original_max_position_embeddings": 24},
    "phimoe": LONG | {"num_local_experts": 2, "rope_scaling": LONG_ROPE | MSCALE},
    "qwen3": ONE | {"head_dim": 8},
    "gemma3_text": ONE | {"head_dim": 8, "sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma2": ONE | {"head_dim": 8, "sliding_window": 12},
    "stablelm": {"num_key_value_heads": 2},
    "cohere": {},
    "olmo2": {},
    "roformer": {"is_decoder": True, "embedding_size": 16},
    "roberta": {"is_decoder": True, "pad_token_id": 1, "max_position_embeddings": 98},
    "bert": {"is_decoder": True},
    "mamba": {"state_size": 4, "expand": 2, "conv_kernel": 4},
    "mamba2": {"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "rwkv": {"context_length": 96, "attention_hidden_size": 16},
    "jamba": ONE | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 3, "attn_layer_offset": 2, "num_key_value_heads": 2},
    "recurrent_gemma": ONE | {"lru_width": 16, "block_types": ["recurrent", "attention"], "attention_window_size": 12},
    "falcon_h1": ONE | {"head_dim": 8, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 4},
    "lfm2": ONE | {"layer_types": ["conv", "full_attention"]},
}
PLACES = small.PLACES
PROMPTS = [f"Question: Where is {p}?\nAnswer:" for p in PLACES[:3]] + ["Answer:", "Torin " * 10, "Torin " * 9 + "Belado", "日本 é"]
TEXTS = [(prompt, " ", output) for prompt in PROMPTS for output in ("Torin", "Belado Belado Torin")]
NEW = 12


def alone(network: Any, ids: Sequence[int]) -> Any:
    """float64[tokens, vocabulary]: what transformers says of one text, without a cache."""
    import torch

    with torch.no_grad():
        return network(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].double().log_softmax(-1)


@pytest.mark.parametrize("family", ZOO)
def test_scores_and_answers_are_those_of_transformers_alone(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = small.save_random(tmp_path, family, CONTEXT, **ZOO[family])
    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
        made = requests(model, TEXTS, [""] * len(TEXTS))
        scores = score(model, made, 4096)
        answers, _ = generate(model, [(p, " ") for p in PROMPTS], NEW, (), 4096)
        network = AutoModelForCausalLM.from_pretrained(folder).eval()
        for request, values in zip(made, scores, strict=True):
            expected = alone(network, request.ids[:-1])
            targets = range(request.first, len(request.ids))
            assert values == pytest.approx([float(expected[i - 1, request.ids[i]]) for i in targets], abs=1e-4)
        for answer in answers:
            whole = [*answer.prompt, *answer.tokens]
            at = range(len(answer.prompt), len(whole))
            if family in SWITCHING:  # a pass over a long text says nothing of a short one
                best = [int(alone(network, whole[:n])[-1].argmax()) for n in at]
            else:
                best = alone(network, whole)[len(answer.prompt) - 1 : -1].argmax(-1).tolist()
            assert answer.tokens == best
    assert model.context == CONTEXT
    assert model.switches == ([24] if family in SWITCHING else [])
    assert len(answers[-1].tokens) == NEW or answers[-1].stopped == "end of document"
