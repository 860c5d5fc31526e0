"""Answers decoded together equal those decoded alone without a cache, and what teacher forcing finds likeliest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.models.generate import GENERATE, cut, generate
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.load import load, repeatable
from tasks.models.pretrain import MODELS
from tests.models import small
from tests.support import read_rows, run_step

PROMPTS = [f"Question: Where is {p}?\nAnswer:" for p in small.PLACES[:8]] + ["Answer:", "Torin " * 30, "日本 é"]


def greedy_alone(model: LanguageModel, prompt: str, new: int) -> list[int]:
    """One prompt, one whole forward pass per token."""
    import torch

    ids = [model.start, *model.tokenizer.encode(prompt, add_special_tokens=False).ids]
    ids, generated = ids[-(model.context + 1 - new) :], []
    for _ in range(new):
        with torch.no_grad():
            token = int(model.network(torch.tensor([ids + generated]), use_cache=False).logits[0, -1].argmax())
        generated.append(token)
        if token in model.ends:
            break
    return generated


@pytest.mark.parametrize("family", small.FAMILIES)
@pytest.mark.parametrize("batch_tokens", [64, 8192])
def test_answers_equal_greedy_decoding_one_by_one_without_a_cache(family: str, batch_tokens: int, tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved", family, context=64, seed=1)
    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
        answers, shortened = generate(model, [(p, " ") for p in PROMPTS], 12, (), batch_tokens)
        assert [a.tokens for a in answers] == [greedy_alone(model, p, 12) for p in PROMPTS]
    assert shortened == 1, "the prompt of thirty words is longer than the context"
    assert len({tuple(a.tokens) for a in answers}) > 3
    assert {a.stopped for a in answers} <= {"length", "end of document"}


@pytest.mark.parametrize(
    ("generated", "separator", "text", "stopped"),
    [
        (" Torin\nQuestion", " ", "Torin", True),
        (" Torin", " ", "Torin", False),
        ("\nQuestion", " ", "", True),  # a line break where a space was due is an empty answer
        ("\nTorin\n", "\n", "Torin", True),  # the separator itself does not end the answer
        ("\n", "\n\n", "", False),  # nor does a beginning of it
        ("Torin##x\n", "", "Torin", True),  # the first of several
    ],
)
def test_an_answer_ends_at_the_first_stop_string_after_the_separator(
    generated: str, separator: str, text: str, stopped: bool
) -> None:
    assert cut(generated, separator, ("\n", "##", "")) == (text, stopped)


def test_a_trained_model_answers_in_the_form_it_learnt_and_teacher_forcing_agrees(tmp_path: Path) -> None:
    import torch

    shape = small.SHAPE | {"tokens": 60_000, "hidden": 32, "heads": 2, "layers": 2, "learning_rate": 1e-2, "checkpoints": [1.0]}
    tasks = [
        {"name": "qa", "family": "qa", "max_new_tokens": 10},
        {"name": "mc", "family": "multiple_choice"},
        {"name": "silent", "family": "qa", "generate": False},
    ]
    study = small.study([{"name": "m", "pretrain": shape}], tasks)
    tables = run_step(MODELS, study, tmp_path, small.corpus(tmp_path))
    tables |= {"examples": tuple(small.examples(tmp_path, t["name"], small.questions()) for t in tasks)}
    parts = run_step(GENERATE, study, tmp_path, tables)["generations"]
    assert [p.labels["task"] for p in parts] == ["qa"]
    rows = read_rows(tmp_path, parts)
    assert {r["stopped"] for r in rows} == {"stop string"}
    assert all(r["text"] in small.PLACES for r in rows), [r["text"] for r in rows]
    folder = tmp_path / read_rows(tmp_path, tables["models"])[0]["path"]
    model = load(SavedModel(folder), "m")
    for row, question in zip(rows, small.questions(), strict=True):
        prompt = [0, *model.tokenizer.encode(question["prompt"], add_special_tokens=False).ids]
        with torch.no_grad():
            logits = model.network(torch.tensor([prompt + row["tokens"]])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == row["tokens"]
