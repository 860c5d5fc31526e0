"""The size at which a ladder begins to follow the corpus is found where it was planted, and is not claimed where it cannot be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics.emergence import Ladder, onset
from tasks.statistics import draw_counts
from tasks.statistics.hinge import fit_hinges
from tests.metrics.alone import measured
from tests.metrics.world import World

SIZES = np.log(np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]) * 1e6)
DRAWS = {"draws": 200, "seed": 3}


def planted(rng, start: float, rise: float = 0.3, *, examples: int = 150, sizes=SIZES, noise: float = 1.0) -> Ladder:
    """Two rows an example; log P_LLM follows log C from `start` on, with noise that rows and models share in part."""
    n = 2 * examples
    x, example = rng.normal(3, 1.5, n), np.repeat(np.arange(examples), 2)
    shared = rng.normal(0, noise, n) + rng.normal(0, noise, examples)[example]
    slope = np.maximum(0, rise * (sizes - start))
    y = np.array([s * x + shared + rng.normal(0, noise, n) - 8 for s in slope])
    return Ladder(x, y, example, sizes)


def squares(sizes, slopes, start, b):
    return ((slopes - b * np.maximum(sizes - start, 0)) ** 2).sum()


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_no_hinge_on_a_fine_grid_fits_better(slopes, ties):
    """Up to the last step of the ladder, where any onset fits as well, and to the flat line, the limit of far onsets."""
    sizes = np.array([0.0, 1.0, 2.5, 3.0, 4.5, 6.0])
    sizes[1 : 1 + ties] = sizes[1]
    s = np.array(slopes)
    (start,), (b,) = fit_hinges(sizes, s[None, :])
    knots = np.unique(sizes)
    if start == np.inf:
        found = min(squares(sizes, s, knots[-2], max(0.0, s[sizes == knots[-1]].mean() / (knots[-1] - knots[-2]))), (s**2).sum())
    elif start == -np.inf:
        line = np.polyfit(sizes, s, 1)
        found = ((s - np.polyval(line, sizes)) ** 2).sum() if line[0] > 0 else ((s - s.mean()) ** 2).sum()
    else:
        assert b > 0
        found = squares(sizes, s, start, b)
    for at in np.concatenate([np.linspace(-20, knots[-2], 400), knots[:-1]]):
        height = np.maximum(sizes - at, 0)
        best = max(0.0, float(s @ height / (height @ height)))
        assert found <= squares(sizes, s, at, best) + 1e-9


def test_exact_ladders_give_their_onset_and_rise():
    starts = np.linspace(SIZES[0] + 0.1, SIZES[-2] - 0.1, 23)
    slopes = 0.3 * np.maximum(0, SIZES - starts[:, None])
    found, rise = fit_hinges(SIZES, slopes)
    assert found == pytest.approx(starts)
    assert rise == pytest.approx(np.full(23, 0.3))


def test_slopes_and_intervals_equal_a_slow_bootstrap_that_draws_the_same_examples_for_all_models():
    rng = np.random.default_rng(1)
    table = planted(rng, np.log(2e7), examples=40)
    found = onset(table, {"draws": 60, "seed": 3})
    slopes, source = [], draw_counts(40, 60, 3)
    while (weights := source()) is not None:
        for weight in weights:
            rows = np.repeat(np.arange(80), weight[table.example])
            slopes.append([np.polyfit(table.log_count[rows], y[rows], 1)[0] for y in table.log_p])
    for k, estimate in enumerate(found.slopes):
        assert estimate.value == pytest.approx(np.polyfit(table.log_count, table.log_p[k], 1)[0])
        assert [estimate.low, estimate.high] == pytest.approx(np.percentile(np.array(slopes)[:, k], [2.5, 97.5]))
    starts, _ = fit_hinges(SIZES, np.array(slopes))
    ends = np.sort(starts)[[int(np.floor(0.025 * 59)), int(np.ceil(0.975 * 59))]]
    assert [found.parameters.low, found.parameters.high] == pytest.approx(np.exp(ends))


def test_a_planted_onset_is_recovered_with_its_rise():
    found = onset(planted(np.random.default_rng(0), np.log(2e7), examples=600), DRAWS)
    assert found.parameters.low < 2e7 < found.parameters.high
    assert found.parameters.value == pytest.approx(2e7, rel=0.4)
    assert found.rise.low < 0.3 < found.rise.high
    assert not found.parameters.note


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (np.log(1e4), "reaches the smallest model (1e+06 parameters)"),
        (np.log(9e8), "the last step of the ladder (from 3e+08 parameters)"),
        (np.log(1e12), "the last step of the ladder"),
    ],
)
def test_an_onset_beyond_the_ladder_is_not_identified(start, says):
    found = onset(planted(np.random.default_rng(0), start), DRAWS)
    assert found.parameters.value is None
    assert found.parameters.low is None
    assert found.parameters.note.startswith("not identified")
    assert says in found.parameters.note
    assert (found.rise.value is None) == (start > SIZES[-2]), "how fast it rises is known where all models are past the onset"


def test_noise_alone_has_no_onset_that_is_identified():
    """No model follows the corpus: in at most 5 of 60 worlds is an onset claimed."""
    rng, claimed = np.random.default_rng(5), 0
    for _ in range(60):
        claimed += onset(planted(rng, np.log(1e15), examples=60), {"draws": 100, "seed": 1}).parameters.value is not None
    assert claimed <= 5


def test_the_interval_covers_the_planted_onset():
    """150 worlds: 95 % coverage would give 135 to 148 with probability .99."""
    rng, start, inside, width = np.random.default_rng(8), np.log(2e7), 0, []
    for seed in range(150):
        found = onset(planted(rng, start, examples=120), {"draws": 200, "seed": seed}).parameters
        assert found.value is not None
        inside += found.low <= 2e7 <= found.high
        width.append(np.log(found.high / found.low))
    assert 132 <= inside <= 149
    assert np.median(width) < 2


def test_fewer_than_five_sizes_one_example_or_one_count_have_a_reason():
    rng = np.random.default_rng(0)
    few = onset(planted(rng, np.log(5e6), sizes=SIZES[[0, 1, 2, 3, 3]]), DRAWS)
    assert few.parameters.note == few.rise.note == "the ladder has 4 sizes; 5 are needed"
    assert few.slopes[0].low < few.slopes[0].high
    table = planted(rng, np.log(5e6))
    one = onset(Ladder(table.log_count, table.log_p, np.zeros(300, dtype=np.int64), SIZES), DRAWS)
    assert one.parameters.value is None
    assert "one example" in one.parameters.note
    same = onset(Ladder(np.ones(300), table.log_p, table.example, SIZES), DRAWS)
    assert same.parameters.note == "log C is the same in all rows"


def test_the_rows_of_a_study(tmp_path):
    """Six models in the study's tables: one row per slope, the onset where it was planted, and rows without a score counted."""
    rng = np.random.default_rng(4)
    n, sizes = 200, np.log(100.0 * np.arange(1, 7))  # the sizes that the little world gives its models
    count = rng.integers(1, 400, n)
    start = np.log(240.0)
    log_p = {f"m{k}": -9 + max(0.0, 0.9 * (t - start)) * np.log(count) + 0.1 * rng.normal(size=n) for k, t in enumerate(sizes)}
    w = World(count, np.full(n, 500), np.full(n, 600), np.arange(n), log_p)
    w.count[:20] = 0
    found = measured(tmp_path, w, "emergence")
    row = found["emergence", "", 1, "onset_parameters", ""]
    assert row["low"] < 240 < row["high"]
    assert row["rows"] == row["examples"] == 180
    assert row["unit"] == "example_output"
    assert found["emergence", "", 1, "slope", ""]["estimate"] == pytest.approx(0.9, rel=0.2)
    assert found["emergence", "m5", 1, "log_count_slope", ""]["x"] == 600
    assert found["emergence", "m5", 1, "log_count_slope", ""]["estimate"] == pytest.approx(0.9 * np.log(2.5), rel=0.1)
