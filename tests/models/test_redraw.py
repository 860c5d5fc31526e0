"""Drawn targets are as likely as those in whose place they are drawn; further runs have them in the arms of the design."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from schemas import Study
from tasks.models.redraw import WIDTH, draw_alike, draw_in


@pytest.mark.parametrize("runs", [8, 64])
def test_half_of_the_runs_that_have_a_cluster_have_its_own_targets_and_a_quarter_each_draw(runs: int) -> None:
    """Whichever of two complementary runs have it."""
    for cluster in range(50):
        which = np.random.default_rng(cluster).integers(0, 2, runs // 2)
        inside = [2 * pair + int(run) for pair, run in enumerate(which)]
        assert Counter(draw_in(run, cluster, 7) for run in inside) == {0: runs // 4, 1: runs // 8, 2: runs // 8}


def distributions(tokens: int, words: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Log of the mean, and mean of the logs, of 32 scripted runs, [tokens, words]."""
    scores = spread * np.random.default_rng(seed).standard_normal((1, tokens, words))
    scores = scores + np.random.default_rng(seed + 1).standard_normal((32, tokens, words))
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return np.log(np.exp(log_p).mean(axis=0)), log_p.mean(axis=0)


def test_drawn_targets_are_as_likely_as_the_own_ones() -> None:
    at, off, differing = np.arange(16), [], []
    for seed in range(200):
        mixture, log_p = distributions(16, 200, seed)
        random = np.random.default_rng(seed)
        own = random.integers(1, 200, 16)
        drawn = draw_alike(mixture, log_p, own, random)
        assert (drawn > 0).all(), "the end of a document is never drawn"
        off.append([of[at, drawn].sum() - of[at, own].sum() for of in (mixture, log_p)])
        differing.append((drawn != own).mean())
    assert np.abs(off).max() < 5 * WIDTH and np.abs(np.mean(off, axis=0)).max() < 1.5 * WIDTH
    assert np.mean(differing) > 0.9


def test_targets_that_are_all_as_likely_are_drawn_from_the_mean_and_a_certain_one_stays() -> None:
    uniform = np.full((1, 11), -np.log(11.0))
    random = np.random.default_rng(0)
    counts = Counter(int(draw_alike(uniform, uniform, np.array([3]), random)[0]) for _ in range(5_000))
    assert set(counts) == set(range(1, 11)) and all(abs(c - 500) < 5 * 450**0.5 for c in counts.values())
    certain = np.log(np.where(np.arange(11) == 4, 1 - 1e-6, 1e-7))[None]
    assert all(draw_alike(certain, certain, np.array([4]), random)[0] == 4 for _ in range(100))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keep": 62}, "half of keep = 62 are fewer; set keep = 64"),
        ({"redrawn": 66}, "not a multiple of 4 up to runs = 64"),
        ({"redrawn": 68}, "not a multiple of 4 up to runs = 64"),
        ({"design": "clusters", "folds": 8}, 'is for design = "pairs"'),
    ],
)
def test_settings_that_cannot_be_redrawn_are_named(changes: dict[str, Any], reason: str) -> None:
    keep = changes.pop("keep", 64)
    membership = {"runs": 64, "redrawn": 64, "models": [{"name": "w", "keep": keep}], **changes}
    with pytest.raises(ValueError, match="redrawn") as error:
        Study.model_validate({"name": "s", "corpus": {"controlled": {}}, "membership": membership})
    assert reason in str(error.value)
