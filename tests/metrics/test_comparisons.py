"""Models compared with each other: differences and slopes against a loop over resamples of whole examples."""

import numpy as np
import pytest
from scipy import stats

from tasks.statistics.bootstrap import draw_counts
from tests.metrics.alone import taken, which
from tests.metrics.world import World, world

DRAWS = 100  # what `world` asks for


def ladder(n: int = 60, models: int = 3) -> World:
    """Models a, b, c … with 100, 200, 300 … parameters, of which each knows more than the one before."""
    w = world(n=n)
    log_p = np.log(w.count / w.inputs) - 3
    rng = np.random.default_rng(2)
    w.log_p = {name: np.minimum(log_p + rng.normal(size=n) * 2 / (k + 1), 0) for k, name in enumerate("abcd"[:models])}
    return w


def compared(tmp_path, w: World) -> dict[tuple, dict]:
    rows = taken(tmp_path, w.study(), w.tables(tmp_path), "comparisons")
    return {(r["unit"], r["statistic"], r["model"], which(r)): r for r in rows}


def rhos(w: World, chosen: np.ndarray) -> np.ndarray:
    """ρ of every model on these rows, repeated as they are."""
    x = w.count / w.inputs
    values = [w.log_p[m].astype(np.float32) for m in sorted(w.log_p)]
    return np.array([stats.spearmanr(x[chosen], y[chosen]).statistic for y in values])


def drawn_rhos(w: World, rows: np.ndarray) -> np.ndarray:
    """The same for resamples of examples, one row each, with the draws every measure of these examples shares."""
    source, found = draw_counts(len(rows), DRAWS, 0), []
    while (weights := source()) is not None:
        found += [rhos(w, np.repeat(rows, counts)) for counts in weights]
    return np.array(found)


def test_differences_and_slope_have_the_intervals_of_joint_draws(tmp_path):
    w = ladder()
    found, everything = compared(tmp_path, w), np.arange(60)
    point, drawn = rhos(w, everything), drawn_rhos(w, everything)
    for model, other, i, j in (("b", "a", 1, 0), ("c", "b", 2, 1), ("c", "a", 2, 0)):
        row = found["pair", "spearman_difference", model, f"of_measure=mem_n against={other}"]
        assert row["estimate"] == pytest.approx(point[i] - point[j], abs=1e-6)
        ends = np.percentile(drawn[:, i] - drawn[:, j], [2.5, 97.5])
        assert [row["low"], row["high"]] == pytest.approx(ends, abs=1e-6)
        assert row["x"] == 100 * (i + 1)
    assert ("pair", "spearman_difference", "a", "of_measure=mem_n against=a") not in found
    slopes = [np.polyfit(np.log10([100, 200, 300]), r, 1)[0] for r in drawn]
    row = found["pair", "slope_per_decade", "", "of_measure=mem_n"]
    assert row["estimate"] == pytest.approx(np.polyfit(np.log10([100, 200, 300]), point, 1)[0], abs=1e-6)
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(slopes, [2.5, 97.5]), abs=1e-6)
    assert row["low"] > 0


def test_what_models_share_drops_out_of_their_difference(tmp_path):
    """Two models that say nearly the same: each ρ is uncertain, their difference is not."""
    w = ladder(models=1)
    w.log_p["b"] = w.log_p["a"] - 0.001 * (np.arange(60) % 2)
    row = compared(tmp_path, w)["pair", "spearman_difference", "b", "of_measure=mem_n against=a"]
    alone = np.percentile(drawn_rhos(w, np.arange(60))[:, 0], [2.5, 97.5])
    assert row["high"] - row["low"] < 0.1 * (alone[1] - alone[0])


def test_models_are_compared_on_the_rows_all_of_them_scored(tmp_path):
    w = ladder()
    w.log_p["b"][:20] = np.nan
    w.log_p["d"] = np.full(60, np.nan)
    found = compared(tmp_path, w)
    row = found["pair", "spearman_difference", "c", "of_measure=mem_n against=a"]
    del w.log_p["d"]
    point = rhos(w, np.arange(20, 60))
    assert row["rows"] == 40
    assert row["estimate"] == pytest.approx(point[2] - point[0], abs=1e-6)
    assert found["pair", "spearman_difference", "d", "of_measure=mem_n"]["note"].startswith("no score")


def test_mem_n_and_mem_infinity_are_compared_on_common_rows(tmp_path):
    w = ladder()
    w.infinity = np.where(np.arange(60) < 9, 0, 20 + np.arange(60) % 7)
    row = compared(tmp_path, w)["example_output", "spearman_difference", "b", "of_measure=mem_n against=mem_infinity"]
    y = w.log_p["b"].astype(np.float32)
    wanted = stats.spearmanr(w.count / w.inputs, y).statistic
    wanted -= stats.spearmanr(np.maximum(w.infinity, 1), y).statistic  # full back-off gives the unseen a count of 1 here
    assert row["rows"] == 60
    assert row["estimate"] == pytest.approx(wanted, abs=1e-6)
    assert row["low"] < row["estimate"] < row["high"]


def test_one_model_has_nothing_to_compare_with_and_two_sizes_no_slope(tmp_path):
    row = compared(tmp_path, ladder(models=1))["pair", "spearman_difference", "a", "of_measure=mem_n"]
    assert row["note"] == "one model: nothing to compare with"
    (tmp_path / "b").mkdir()
    row = compared(tmp_path / "b", ladder(models=2))["pair", "slope_per_decade", "", "of_measure=mem_n"]
    assert row["note"] == "fewer than 3 sizes"
