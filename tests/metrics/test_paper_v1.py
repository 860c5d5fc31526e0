"""R² of the first version of the paper: planted lines are found, splits are fixed by a hash, bins of counts lose no pair."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics.paper_v1 import explained, in_training, output_shares
from tests.metrics.alone import measured, run_alone
from tests.metrics.world import World


def test_q_is_the_share_of_an_output_in_the_counts_of_the_table():
    counted = pl.DataFrame(
        {"input_ngram": ["a", "b", "c", "d"], "output_ngram": ["x", "x", "y", "z"], "pair_documents": [3, 1, 4, 0]}
    )
    found = dict(output_shares(counted).iter_rows())
    assert found == pytest.approx({"x": np.log(0.5), "y": np.log(0.5)})


def test_the_split_is_four_to_one_and_a_new_example_moves_no_other():
    names = [f"e{i}" for i in range(5000)]
    training = in_training(7, "t", names)
    assert abs(training.mean() - 0.8) < 4 * np.sqrt(0.16 / 5000)
    assert (in_training(7, "t", names[::-1])[::-1] == training).all()
    assert (in_training(7, "t", names[:10]) == training[:10]).all()
    for other in (in_training(8, "t", names), in_training(7, "u", names)):
        assert abs((other == training).mean() - 0.68) < 0.05, "another seed or task: another split"


@given(st.integers(0, 10_000), st.floats(0.1, 3))
@settings(deadline=None, max_examples=25)
def test_r_squared_equals_that_of_a_regression_library(seed, noise):
    from scipy import stats

    rng = np.random.default_rng(seed)
    x, training = rng.normal(size=60), np.arange(60) < 45
    y = 2 * x + noise * rng.normal(size=60)
    found = {name: e for name, e, _ in explained(x, y, training, {"draws": 80, "seed": 1})}
    line = stats.linregress(x[training], y[training])
    assert found["train"].value == pytest.approx(line.rvalue**2)
    rest = y[~training] - line.slope * x[~training] - line.intercept
    assert found["test"].value == pytest.approx(1 - (rest**2).sum() / ((y[~training] - y[~training].mean()) ** 2).sum())
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_the_interval_of_the_test_examples_is_that_of_resampling_them():
    rng = np.random.default_rng(3)
    x, training = rng.normal(size=300), np.arange(300) < 200
    y = x + rng.normal(size=300)
    found = explained(x, y, training, {"draws": 2000, "seed": 1})[1][1]
    slope, intercept = np.polyfit(x[:200], y[:200], 1)
    draws = 200 + rng.integers(0, 100, (2000, 100))
    rest = y[draws] - slope * x[draws] - intercept
    slow = 1 - (rest**2).sum(1) / ((y[draws] - y[draws].mean(1, keepdims=True)) ** 2).sum(1)
    assert [found.low, found.high] == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.03)


def test_a_model_that_knows_the_counts_is_told_from_one_that_does_not(tmp_path):
    """A model that answers in proportion to q has R² = 1 on both sides; one that says anything has none on the test side."""
    rng = np.random.default_rng(0)
    n = 300
    count, null = rng.integers(1, 500, n), -3 + 0.5 * rng.normal(size=n)
    w = World(count, np.full(n, 500), np.full(n, 600), np.arange(n), {"m": np.log(count / 1000.0), "null": np.minimum(null, 0)})
    found = measured(tmp_path, w, "paper_v1")
    for split in ("train", "test", "train detail=per s_y", "test detail=per s_y"):
        assert found["v1", "m", 1, "r_squared", f"group={split}"]["estimate"] == pytest.approx(1, abs=1e-4)
        assert found["v1", "null", 1, "r_squared", f"group={split}"]["estimate"] < 0.05
    sizes = [found["v1", "m", 1, "r_squared", f"group={d}"]["examples"] for d in ("train", "test")]
    assert sum(sizes) == n
    assert 0.7 < sizes[0] / n < 0.9


def test_an_output_that_two_questions_share_has_the_counts_of_both(tmp_path):
    """q adds over s_x: 40 answers, ten questions each; a model that knows q, not the single pair, is explained by it."""
    rng = np.random.default_rng(1)
    count, answer = rng.integers(1, 90, 400), np.arange(400) % 40
    q = np.bincount(answer, weights=count)
    w = World(count, np.full(400, 500), np.full(400, 6000), answer, {"m": np.log(q / q.sum())[answer]})
    found = measured(tmp_path, w, "paper_v1")
    assert found["v1", "m", 1, "r_squared", "group=test"]["estimate"] == pytest.approx(1, abs=1e-4)


def test_every_pair_is_in_one_doubling_bin(tmp_path):
    count = np.array([0, 0, 1, 2, 3, 4, 7, 8, 1000, 1024])
    n = len(count)
    w = World(count, np.full(n, 2000), np.full(n, 2000), np.arange(n), {"m": -np.arange(1.0, n + 1)})
    rows, exclusions = run_alone("paper_v1", w.study(), tmp_path, w.tables(tmp_path))
    bins = {r["bin"]: r for r in rows if r["statistic"] == "count_histogram"}
    assert {d: int(r["estimate"]) for d, r in bins.items() if r["estimate"]} == {0: 2, 1: 1, 2: 2, 3: 2, 4: 1, 10: 1, 11: 1}
    assert sum(r["estimate"] for r in bins.values()) == n
    assert bins[3]["note"] == "C is 4 to 7"
    assert bins[3]["x"] == 4
    assert len(bins) == 12, "empty bins between are there, with 0"
    left_out = {r["reason"]: r["rows"] for r in exclusions if r["measure"] == "v1" and r["of"] == "examples"}
    assert left_out == {"no scored s_y with a pair in the corpus": 2, "kept": 8}


def test_what_is_constant_or_missing_has_a_reason():
    training = np.arange(20) < 16
    same = explained(np.ones(20), np.arange(20.0), training, {"draws": 50, "seed": 1})
    assert [e.note for _, e, _ in same] == ["log q is the same in all training examples"] * 2
    flat = explained(np.arange(20.0), np.ones(20), training, {"draws": 50, "seed": 1})
    assert [e.note for _, e, _ in flat] == [f"log P_LLM is the same in all {n} examples" for n in ("train", "test")]
    few = explained(np.arange(10.0), np.arange(10.0), np.arange(10) < 9, {"draws": 50, "seed": 1})
    assert few[0][1].value == pytest.approx(1)
    assert few[1][1].note == "fewer than 3 test examples"
