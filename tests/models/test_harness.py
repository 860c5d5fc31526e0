"""lm-evaluation-harness, on the same texts and model: log-probabilities, chosen options and answers agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.models.generate import generate
from tasks.models.language_model import SavedModel
from tasks.models.load import load, repeatable
from tasks.models.model_inputs import requests
from tasks.models.score import score
from tests.models import small

model_sides = pytest.importorskip("benchmarks.model_sides", reason="runs from a checkout, where benchmarks/ lies")
pytest.importorskip("lm_eval", reason="the peer is in the extra `test`: pip install -e '.[test]'")


@pytest.mark.parametrize("family", small.FAMILIES)
def test_scores_choices_and_answers_agree(family: str, tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "m", family, context=96, seed=3)
    draw = np.random.default_rng(0)
    prompts = [q["prompt"] for q in small.questions(8)] + ["Größe: 日本 é\nAnswer:", "Answer:"]
    options = [[" " + " ".join(draw.choice(small.PLACES, draw.integers(1, 4))) for _ in range(4)] for _ in prompts]
    texts = [(p, o) for p, choices in zip(prompts, options, strict=True) for o in choices]
    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
        ours = score(model, requests(model, [(p, "", o) for p, o in texts], [""] * len(texts)), 512)
        answers, _ = generate(model, [(p, " ") for p in prompts], 12, ("in",), 512)
    mine = np.array([v.astype(float).sum() for v in ours])
    peer = model_sides.harness(folder, 4)
    found = peer.loglikelihood(model_sides.instances("loglikelihood", texts), disable_tqdm=True)
    theirs = np.array([value for value, _ in found])
    assert np.abs(mine - theirs).max() < 1e-4
    lengths = np.array([len(o) for _, o in texts])  # acc and acc_norm choose by these
    for weight in (np.ones(len(texts)), lengths):
        assert np.array_equal((mine / weight).reshape(-1, 4).argmax(1), (theirs / weight).reshape(-1, 4).argmax(1))
    how = {"until": ["in"], "max_gen_toks": 12, "do_sample": False}
    generated = peer.generate_until(model_sides.instances("generate_until", [(p, dict(how)) for p in prompts]), disable_tqdm=True)
    cut = [model.tokenizer.decode(a.tokens, skip_special_tokens=True).split("in")[0] for a in answers]
    assert [s.strip() for s in generated] == [c.strip() for c in cut]
    assert len(set(generated)) > 3
