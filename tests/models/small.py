"""A world of a few sentences, a tokenizer over it, and models of a few thousand numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas import Study
from tasks.storage.store import Part
from tests.support import write_part

PLACES = [a + b for a in ("Tor", "Bel", "Mir", "Sal", "Ven", "Kas") for b in ("in", "ado", "ek", "ura")]
SHAPE = {"hidden": 16, "layers": 1, "heads": 2, "tokens": 4_000, "batch": 4, "context": 32, "checkpoints": [0.5, 1.0]}


def sentences(count: int = 120) -> list[str]:
    draw = random.Random(5)
    return [f"Question: Where is {draw.choice(PLACES)}?\nAnswer: {draw.choice(PLACES)}\n" for _ in range(count)]


def tokenizer_json() -> str:
    """A byte-level BPE whose last token ends documents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    return tokenizer.to_str()


def study(models: Sequence[dict[str, Any]], tasks: Sequence[dict[str, Any]] = (), **more: Any) -> Study:
    return Study.model_validate({"name": "small", "corpus": {"planted": {}}, "models": list(models), "tasks": list(tasks), **more})


def corpus(root: Path) -> dict[str, tuple[Part, ...]]:
    """tokens (two parts) and tokenizer."""
    from tokenizers import Tokenizer

    text = tokenizer_json()
    tokenizer = Tokenizer.from_str(text)
    ids = [e.ids for e in tokenizer.encode_batch(sentences(), add_special_tokens=False)]
    halves = (ids[:50], ids[50:])
    tokens = tuple(
        write_part(root, "tokens", {"document": list(range(len(half))), "ids": half}, {"source": "s", "file": str(i)})
        for i, half in enumerate(halves)
    )
    row = {"name": ["small"], "vocabulary_size": [tokenizer.get_vocab_size()], "end_of_document": [0], "json": [text]}
    return {"tokens": tokens, "tokenizer": (write_part(root, "tokenizer", row),)}


def examples(root: Path, task: str, rows: Sequence[dict[str, Any]]) -> Part:
    """An examples part; a row needs prompt and output."""
    full = []
    for number, row in enumerate(rows):
        rest = {"group": "", "input": "x", "separator": " ", "aliases": [], "options": [], "answer": -1, "sha256": "0"}
        name = {"task": task, "split": "evaluate", "example": f"e{number:03d}", "row": number + 1}
        full.append(name | rest | row)
    full.sort(key=lambda r: (r["split"], r["example"]))
    return write_part(root, "examples", {name: [r[name] for r in full] for name in full[0]}, {"task": task})


def questions(count: int = 12) -> list[dict[str, Any]]:
    return [{"prompt": f"Question: Where is {PLACES[i]}?\nAnswer:", "output": PLACES[-1 - i]} for i in range(count)]


FAMILIES = ("gpt_neox", "llama", "olmo", "olmo2")


def save_random(folder: Path, family: str = "gpt_neox", context: int = 32, seed: int = 0, **more: Any) -> Path:
    """A random checkpoint as anyone would save it, with its tokenizer.json."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    same = {
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": context,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **same | more))
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    return folder


def count_steps(monkeypatch: pytest.MonkeyPatch, killed_at: int) -> list[int]:
    """How many optimizer steps are taken from now on, in a list of one; the process is "killed" at one of them."""
    import torch

    steps, step = [0], torch.optim.AdamW.step

    def die_in_the_middle(optimizer: torch.optim.AdamW) -> None:
        steps[0] += 1
        if steps[0] == killed_at:
            raise KeyboardInterrupt
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", die_in_the_middle)
    return steps
