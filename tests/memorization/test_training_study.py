"""Small networks, trained in seconds: larger ones memorize in fewer epochs; what there is much of is learnt, not memorized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.memorization.dynamics import first_reached
from tasks.models.load import repeatable
from tasks.models.packing import PackedTokens
from tasks.models.training import Training
from tests.models import small

pytestmark = pytest.mark.slow
LETTERS, LENGTH, PREFIX, BATCH, CONTEXT = 40, 24, 6, 4, 32
HITS = dict[str, np.ndarray]


def train(folder: Path, texts: np.ndarray, held_out: np.ndarray, hidden: int, seed: int, steps: int, every: int) -> list[HITS]:
    """Hits of windows of the texts and of held-out texts, [windows, tokens], after every so many steps."""
    import torch

    folder.mkdir(exist_ok=True)
    batch = pa.record_batch({"ids": pa.array(texts.tolist(), pa.list_(pa.int32()))})
    shape: dict[str, Any] = {"hidden": hidden, "layers": 2, "heads": 2, "batch": BATCH, "context": CONTEXT, "learning_rate": 1e-2}
    shape |= {"weight_decay": 0.0, "warmup": 0.05, "save_every": 1e9, "seed": seed, "steps": steps, "kept": []}
    tokenizer = {"vocabulary_size": LETTERS + 1, "end_of_document": 0, "json": small.tokenizer_json()}
    data, curve = PackedTokens([batch], LETTERS + 1, 0, 3, folder), list[HITS]()
    with repeatable("cpu"):
        training = Training("m", shape, folder, tokenizer, "cpu")
        training.model.train()
        while training.step < steps:
            training._advance(data)
            if training.step % every == 0:
                curve.append({})
                for name, of in (("members", texts[:200]), ("phantoms", held_out)):
                    ids = torch.from_numpy(np.concatenate([np.zeros((len(of), 1), np.int64), of], axis=1))
                    with torch.no_grad():
                        curve[-1][name] = (training.model(input_ids=ids[:, :-1]).logits.argmax(-1) == ids[:, 1:]).numpy()
    return curve


def test_larger_models_need_no_more_epochs_until_the_excess_is_reached(tmp_path: Path) -> None:
    """T(N, .9) of the excess over held-out text, of four sizes and three seeds of the weights."""
    draw = np.random.default_rng(0)
    texts, held_out = (draw.integers(1, LETTERS + 1, (count, LENGTH)) for count in (10, 60))
    sizes, steps, every = (16, 32, 48, 64), 250, 25
    when = np.empty((3, len(sizes)))
    for seed in range(3):
        for n, hidden in enumerate(sizes):
            curve = train(tmp_path / f"{seed}-{hidden}", texts, held_out, hidden, seed, steps, every)
            excess = np.array([h["members"][:, PREFIX:].mean() - h["phantoms"][:, PREFIX:].mean() for h in curve])
            when[seed, n] = first_reached(np.arange(every, steps + 1, every, dtype=float), excess, 0.9)
    epochs = when * BATCH * CONTEXT / (10 * (LENGTH + 1))
    assert (epochs[:, 1:] <= epochs[:, :-1]).all(), epochs
    assert np.isfinite(epochs[:, -2:]).all(), "the two largest reach it with every seed"


def test_extraction_of_texts_and_of_held_out_texts_converges_with_tokens_per_parameter(tmp_path: Path) -> None:
    """Texts with a rule: each letter is followed by one of two. Ten texts are memorized; of a thousand only the rule is."""
    draw = np.random.default_rng(1)
    follows = np.stack([draw.permutation(LETTERS) for _ in range(2)], axis=1)

    def texts(count: int) -> np.ndarray:
        letters = [draw.integers(0, LETTERS, count)]
        while len(letters) < LENGTH:
            letters.append(follows[letters[-1], (draw.random(count) < 0.25).astype(int)])
        return np.stack(letters, axis=1) + 1

    gaps, held_out_rates, held_out = list[float](), list[float](), texts(200)
    for count in (10, 100, 1000):
        (*_, last) = train(tmp_path / str(count), texts(count), held_out, 48, 0, 250, 250)
        rates = [float(last[name][:, PREFIX : PREFIX + 4].all(axis=1).mean()) for name in ("members", "phantoms")]
        gaps.append(rates[0] - rates[1])
        held_out_rates.append(rates[1])
    assert held_out_rates == sorted(held_out_rates) and held_out_rates[-1] > 0.1, "they meet because the rule is learnt"
    assert gaps[0] > 0.5 and gaps[0] > gaps[1] > gaps[2] and abs(gaps[2]) < 0.1
