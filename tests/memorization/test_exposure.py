"""Exposure of canaries, on scores that are drawn from known distributions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tasks.memorization.canary_exposure import exposure, exposures, extrapolated


def test_the_exposure_of_unseen_canaries_is_uniform() -> None:
    """2^−exposure is rank / |R|: uniform over 20 seeds for canaries like the references, and not for learned ones."""
    failures, found = 0, 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        references, unseen = (stats.skewnorm.rvs(-3, -80, 9, size, random_state=draw) for size in (4_000, 100))
        failures += stats.kstest(2 ** -exposure(unseen, references), "uniform").pvalue <= 0.01
        found += stats.kstest(2 ** -exposure(unseen + 6, references), "uniform").pvalue <= 0.01
    assert failures <= 2 and found >= 18


def test_exposure_is_the_definition_and_ties_count_against_a_canary() -> None:
    draw = np.random.default_rng(1)
    references, scores = draw.integers(0, 9, 50).astype(float), draw.integers(0, 12, 20).astype(float)
    for score, bits in zip(scores, exposure(scores, references), strict=True):
        assert bits == pytest.approx(np.log2(51 / (1 + sum(r >= score for r in references))))
    assert exposure(np.zeros(1), np.zeros(50)).tolist() == [0.0], "a model to which all are alike exposes none"
    for i, bits in enumerate(exposure(references, references, among=True)):
        others = np.delete(references, i)
        assert bits == pytest.approx(exposure(references[i : i + 1], others)[0]), "a phantom is ranked among the others"


def test_extrapolation_is_the_tail_of_a_skew_normal() -> None:
    """Equal to scipy's where scipy has digits; to the normal tail far beyond; to ranks where references are many."""
    draw = np.random.default_rng(2)
    for shape in (-4.0, 0.0, 3.0):
        references = stats.skewnorm.rvs(shape, -90, 8, 100_000, random_state=draw)
        scores = np.quantile(references, [0.2, 0.5, 0.9, 0.999])
        tail = extrapolated(scores, references)
        assert tail == pytest.approx(-np.log2(stats.skewnorm.sf(scores, shape, -90, 8)), abs=0.35)
        assert tail == pytest.approx(exposure(scores, references), abs=0.35)
    symmetric = stats.norm.ppf(np.arange(1, 1000) / 1000)
    far = extrapolated(np.array([3.0, 40.0]) * symmetric.std(), symmetric)
    assert far == pytest.approx(-stats.norm.logsf([3.0, 40.0]) / np.log(2), rel=1e-3)
    assert extrapolated(np.zeros(1), np.zeros(50)) is None and extrapolated(np.zeros(1), np.arange(9.0)) is None


def test_a_window_is_ranked_among_phantoms_of_its_group() -> None:
    samples = ["planted"] * 3 + ["planted_phantoms"] * 4 + ["uniform", "phantoms"]
    groups = ["canary", "sentence", "rule"] + ["canary"] * 2 + ["sentence"] * 2 + ["", ""]
    scores = np.array([-1.0, -9.0, -1.0, -2.0, -3.0, -8.0, -7.0, -1.0, -1.0])
    found = exposures(pl.DataFrame({"sample": samples, "group": groups}), scores)
    bits = np.log2(3)
    assert found["exposure"].to_list() == pytest.approx([bits, 0, None, 1, 0, 0, 1, None, None])
    assert found["exposure_extrapolated"].null_count() == 9, "two references are no distribution"
