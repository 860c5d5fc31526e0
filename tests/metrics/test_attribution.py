"""The attribution bar and the exposure curve, against regressions with a column per stratum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics.count_response import adjusted_means, largest_component, quantile_bins
from tests.metrics.alone import taken, which
from tests.metrics.world import World, world
from tests.statistics.test_partial import residuals


def rows_of(tmp_path, w: World, measure: str, **study: object) -> dict[tuple, dict]:
    rows = taken(tmp_path, w.study(**study), w.tables(tmp_path), measure)
    return {(r["model"], r["statistic"], which(r)): r for r in rows}


def varied(n: int = 200) -> World:
    """A world in which df(s_y) and the length of s_y vary, and C rises with df(s_y)."""
    w = world(n=n)
    rng = np.random.default_rng(9)
    w.outputs = rng.choice([300, 600, 1200, 2400], n)
    w.count = np.maximum(1, (w.outputs * rng.choice([1, 2, 4, 8, 16, 32], n)) // 300)
    w.inputs = w.count + rng.integers(0, 300, n)
    return w


def test_the_parts_add_up_and_are_those_of_nested_regressions(tmp_path):
    w = varied()
    noise = np.random.default_rng(1).normal(size=len(w))
    w.log_p = {"m": np.log(w.count) / 2 - np.log(w.outputs) / 3 + 0.3 * noise - 9}
    found = rows_of(tmp_path, w, "attribution")
    parts = {
        d: found["m", "unique_rank_variance", f"detail={d}"] for d in ("pair", "s_y", "s_x", "length", "shared", "unexplained")
    }
    assert sum(r["estimate"] for r in parts.values()) == pytest.approx(1)
    y = w.log_p["m"].astype(np.float32)
    columns = {"pair": w.count, "s_y": w.outputs, "s_x": w.inputs, "length": np.array([len(f"a{j}") for j in w.answer])}

    def explained(*names: str) -> float:
        rest = residuals(y, [columns[n] for n in names])
        return 1 - rest @ rest / (len(y) * (len(y) ** 2 - 1) / 12)

    for name in columns:
        wanted = explained(*columns) - explained(*(n for n in columns if n != name))
        assert parts[name]["estimate"] == pytest.approx(wanted, abs=1e-8)
        assert parts[name]["low"] < wanted < parts[name]["high"]
    assert parts["unexplained"]["estimate"] == pytest.approx(1 - explained(*columns), abs=1e-8)


def test_a_model_that_knows_how_frequent_the_answer_is_follows_s_y_and_not_the_pair(tmp_path):
    w = varied()
    w.log_p = {"m": np.log(w.outputs) - 9 + 0.01 * np.random.default_rng(0).normal(size=len(w))}
    found = rows_of(tmp_path, w, "attribution")
    assert found["m", "unique_rank_variance", "detail=pair"]["estimate"] < 0.01
    assert found["m", "unique_rank_variance", "detail=s_y"]["estimate"] > 0.3


def planted(slope: float, noise: float = 0.5) -> World:
    """Δ = slope · ln C + 2 · ln df(s_y) + noise: without strata, the curve of C would be steeper."""
    w = varied()
    own = slope * np.log(w.count) + 2 * np.log(w.outputs) + noise * np.random.default_rng(4).normal(size=len(w)) - 40
    w.log_p, w.others = {"m": own}, lambda i, o: -40.0
    return w


def test_the_slope_is_that_of_a_regression_with_strata_and_gives_documents_per_nat(tmp_path):
    w = planted(0.7)
    found = rows_of(tmp_path, w, "count_response")
    delta = w.log_p["m"].astype(np.float32).astype(float) + 40
    lengths = np.array([len(f"a{j}") for j in w.answer])
    strata = quantile_bins(w.outputs.astype(float), 4) * 3 + quantile_bins(lengths.astype(float), 3)
    dummies = (strata[:, None] == np.unique(strata)).astype(float)
    wanted = np.linalg.lstsq(np.column_stack([np.log(w.count), dummies]), delta, rcond=None)[0][0]
    row = found["m", "slope", ""]
    assert row["estimate"] == pytest.approx(wanted, abs=1e-5)
    assert row["low"] < 0.7 < row["high"]
    confounded = np.polyfit(np.log(w.count), delta, 1)[0]
    assert confounded > row["high"]
    per_nat, typical = found["m", "documents_per_nat", ""], np.exp(np.log(w.count).mean())
    assert per_nat["x"] == pytest.approx(typical)
    assert per_nat["estimate"] == pytest.approx(typical / wanted, rel=1e-5)
    assert per_nat["low"] < typical / 0.7 < per_nat["high"]


def test_the_curve_rises_by_bins_that_hold_every_row_once(tmp_path):
    w = planted(0.7)
    bins = [r for k, r in sorted(rows_of(tmp_path, w, "count_response").items()) if k[1] == "delta_mean"]
    assert sum(r["rows"] for r in bins) == len(w)
    assert [r["x"] for r in bins] == sorted(r["x"] for r in bins)
    assert all(r["low"] < r["estimate"] < r["high"] for r in bins)
    assert bins[-1]["estimate"] > bins[0]["estimate"]


def test_no_rise_has_no_documents_per_nat_and_a_doubtful_one_no_upper_end(tmp_path):
    falling = rows_of(tmp_path, planted(-0.7), "count_response")["m", "documents_per_nat", ""]
    assert falling["estimate"] is None
    assert falling["note"] == "not identified: Δ does not rise with C"
    (tmp_path / "b").mkdir()
    doubtful = rows_of(tmp_path / "b", planted(0.05, noise=4.0), "count_response")["m", "documents_per_nat", ""]
    assert (doubtful["high"] is None) and doubtful["note"].startswith("not identified")


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_adjusted_means_are_those_of_a_regression_on_strata_and_bins(seed):
    rng = np.random.default_rng(seed)
    strata, bins, y = rng.integers(0, 4, 80), rng.integers(0, 5, 80), rng.normal(size=80)
    rows, sums = np.zeros((1, 4, 5)), np.zeros((1, 4, 5))
    np.add.at(rows[0], (strata, bins), 1)
    np.add.at(sums[0], (strata, bins), y)
    found = adjusted_means(rows, sums)[0]
    design = np.column_stack([bins[:, None] == np.arange(5), strata[:, None] == np.arange(1, 4)]).astype(float)
    fit = np.linalg.lstsq(design, y, rcond=None)[0]
    effects = fit[:5]
    assert found == pytest.approx(y.mean() + effects - effects[bins].mean(), abs=1e-9)


def test_bins_that_share_no_stratum_are_not_compared():
    rows = np.array([[3.0, 1, 0], [2, 2, 0], [0, 0, 4]])
    assert list(largest_component(rows)) == [True, True, False]
    sums = rows * 2.0
    assert np.isnan(adjusted_means(rows[None], sums[None])).all()
    assert adjusted_means(rows[None, :, :2], sums[None, :, :2])[0] == pytest.approx([2, 2])


def test_equal_values_share_a_bin():
    assert quantile_bins(np.array([1.0, 1, 1, 1, 5, 9]), 3).tolist() == [0, 0, 0, 0, 1, 1]
    assert set(quantile_bins(np.ones(9), 4)) == {0}
    assert np.bincount(quantile_bins(np.arange(100.0), 4)).tolist() == [25, 25, 25, 25]
