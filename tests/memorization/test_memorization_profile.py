"""Difference in differences: known effects are found with the coverage they promise, and the order of training is the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.memorization.memorization_profile import profile
from tasks.models.packing import PackedTokens
from tasks.text.training_order import document_lengths, steps_of


def panel(seed: int, effect: float, decay: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes of clusters of one to three windows over five checkpoints: a common trend, noise, and an effect that decays."""
    draw = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(200), draw.integers(1, 4, 200))
    of_cluster = np.where(draw.random(200) < 0.4, -1, draw.integers(1, 5, 200))
    cohort = of_cluster[clusters]
    outcome = draw.normal(0, 0.5, 200)[clusters][:, None] + np.linspace(-3, -1, 5) + draw.normal(0, 0.3, (200, 5))[clusters]
    outcome += draw.normal(0, 0.3, (len(clusters), 5))
    after = np.arange(5) - cohort[:, None]
    outcome += np.where((cohort[:, None] > 0) & (after >= 0), effect * decay ** np.maximum(after, 0), 0.0)
    return outcome, cohort, clusters


def test_effects_are_covered_and_pre_trends_are_zero_on_200_panels() -> None:
    effect, covered, trends, errors = 0.4, dict.fromkeys(range(4), 0), dict.fromkeys((-4, -3, -2), 0), []
    for seed in range(200):
        _, means = profile(*panel(seed, effect), draws=300, seed=seed)
        for lag in covered:
            found = means["effect", lag]
            assert found.value is not None and found.low is not None and found.high is not None
            covered[lag] += found.low <= effect * 0.5**lag <= found.high
        errors.append((means["effect", 0].value or 0.0) - effect)
        for lag in trends:
            found = means["effect", lag]
            assert found.low is not None and found.high is not None
            trends[lag] += found.low <= 0 <= found.high
    assert all(180 <= count <= 197 for count in (*covered.values(), *trends.values())), (covered, trends)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(200), "no bias"


def test_an_effect_is_the_difference_of_differences() -> None:
    outcome, cohort, clusters = panel(3, 0.4)
    single, means = profile(outcome, cohort, clusters, draws=50, seed=1)
    size = {g: int((cohort == g).sum()) for g in range(1, 5)}
    by_hand = {}
    for g in range(1, 5):
        mine, never = outcome[cohort == g], outcome[cohort == -1]
        for c in set(range(5)) - {g - 1}:
            by_hand[g, c] = (mine[:, c] - mine[:, g - 1]).mean() - (never[:, c] - never[:, g - 1]).mean()
            assert single[g, c].value == pytest.approx(by_hand[g, c])
    assert single.keys() == by_hand.keys()
    assert means["residual", 0].value == pytest.approx(np.average([by_hand[g, 4] for g in size], weights=list(size.values())))
    lagged = [(g, g + 1) for g in (1, 2, 3)]
    assert means["effect", 1].value == pytest.approx(
        np.average([by_hand[at] for at in lagged], weights=[size[g] for g, _ in lagged])
    )
    assert ("effect", -1) not in means and profile(outcome, np.minimum(cohort, 0) - 1, clusters, 50, 1) == ({}, {})


def test_the_step_of_a_window_is_the_one_that_is_trained_on_it(tmp_path: Path) -> None:
    """Each window of a corpus, looked for in the very batches of a training."""
    draw, batch, context, tokens = np.random.default_rng(7), 3, 5, 4
    documents, base = [], 1
    for length in draw.integers(0, 12, 40).tolist():  # every token of the corpus is another id
        documents.append(list(range(base, base + length)))
        base += length
    lists = pa.record_batch({"ids": pa.array(documents, pa.list_(pa.int32()))})
    data = PackedTokens([lists.slice(0, 15), lists.slice(15)], 1000, 0, 5, tmp_path)
    lengths = document_lengths([lists.slice(0, 15), lists.slice(15)])
    assert lengths.tolist() == [len(d) for d in documents] == data.lengths.tolist()
    at = [(d, o) for d, ids in enumerate(documents) for o in range(len(ids) - tokens + 1)]
    places = np.array(at)
    first, last = steps_of(places[:, 0], places[:, 1], tokens, lengths, 5, batch * context)
    steps = data.epoch_length // (batch * context)
    targets = [set(data.windows(s, batch, context)[:, 1:].ravel().tolist()) for s in range(steps + 1)]
    for (d, o), one, other in zip(at, first.tolist(), last.tolist(), strict=True):
        for token, step in ((documents[d][o], one), (documents[d][o + tokens - 1], other)):
            assert token in targets[step - 1], "a checkpoint at this step has been trained on it, one before it has not"
            assert all(token not in earlier for earlier in targets[: step - 1])
    assert (last > first).any() and (last == first).any()
