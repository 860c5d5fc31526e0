"""Label resampling on scripted worlds: nothing is found where original and drawn targets are alike, what is planted is found, and a
group that cannot be tested says why."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from tasks.memorization.label_resampling import Redrawn, estimate, redrawn, why_not, without_some_runs
from tasks.memorization.membership import paired_block
from tasks.models.redraw import draw_in
from tasks.statistics import Estimate

SD_RUNS, SD_TARGETS, RUNS = 8.0, 6.0, 64


@lru_cache
def design(n: int) -> np.ndarray:
    """Copies of the targets of each draw in each run, [runs, sequences, draws]."""
    clusters = np.arange(n)
    has = np.concatenate([paired_block(clusters, np.ones(n, np.int64), b, 5) for b in range(RUNS // 4)]) > 0
    chosen = np.array([[draw_in(run, int(c), 5) for c in clusters] for run in range(RUNS)])
    return (has[..., None] & (chosen[..., None] == np.arange(3))).astype(np.int64)


@lru_cache
def world(n: int, seed: int, effect: float = 0.0, v_of_own: float = 0.0) -> tuple[Redrawn, list[Redrawn]]:
    """n sequences in 64 runs. M falls with V and differs between targets; original targets gain `effect`, and are more likely by
    `v_of_own` without training."""
    draw, copies = np.random.default_rng(seed), design(n)
    v = -100 + 4 * draw.standard_normal((n, 1)) + draw.standard_normal((n, 3)) + v_of_own * np.array([1, 0, 0])
    m = 60 - 0.8 * (v + 100) + SD_TARGETS * draw.standard_normal((n, 3)) + effect * np.array([1, 0, 0])
    log_p = v + copies * m + SD_RUNS * draw.standard_normal((RUNS, n, 1)) + draw.standard_normal((RUNS, 1, 1))
    return redrawn(log_p, copies, v[..., None]), without_some_runs(log_p, copies, v[..., None], np.arange(RUNS) // 4)


def z_of(n: int, seed: int, draw: int = 0, **planted: float) -> tuple[Estimate, Estimate]:
    every = np.ones(n, bool)
    return estimate(*world(n, seed, **planted), draw, every, every)


def test_intervals_cover_nothing_where_targets_are_alike() -> None:
    z = [z_of(120, seed, draw)[0] for seed in range(60) for draw in (0, 1)]
    covered = sum(e.low <= 0 <= e.high for e in z)
    assert 102 <= covered <= 119, covered
    assert np.mean([e.standard_error for e in z]) == pytest.approx(np.std([e.value for e in z]), rel=0.2)
    assert abs(np.mean([e.value for e in z])) < 0.04


@pytest.mark.parametrize("v_of_own", [0.0, 3.0, -3.0])
def test_what_is_planted_is_found_given_v(v_of_own: float) -> None:
    """Own targets that are more likely without training gain less, which is no effect of theirs."""
    found = [z_of(160, seed, effect=8.0, v_of_own=v_of_own) for seed in range(10)]
    assert np.mean([excess.value for _, excess in found]) == pytest.approx(8.0, abs=0.8)
    assert all(z.low > 0 for z, _ in found)
    assert abs(np.mean([z_of(160, seed, v_of_own=v_of_own)[1].value for seed in range(20)])) < 0.8


def test_a_large_group_with_nothing_in_it_is_testable_and_a_small_one_is_not() -> None:
    def testable(n: int) -> int:
        return sum(not why_not(1.0, 1.0, z_of(n, seed, draw=1)[0]) for seed in range(20))

    assert testable(400) >= 18 and testable(30) == 0


@pytest.mark.parametrize(
    ("differing", "support", "null", "reason"),
    [
        (0.6, 0.9, Estimate(0.05, standard_error=0.1), ""),
        (0.49, 0.9, Estimate(0.05, standard_error=0.1), "49% of its tokens differ"),
        (0.6, 0.79, Estimate(0.05, standard_error=0.1), "79% of its sequences are in the common support"),
        (0.6, 0.9, Estimate(-0.2, standard_error=0.1), "= 0.36, less than 0.3 is needed"),
        (0.6, 0.9, Estimate(0.0, standard_error=np.nan), "less than 0.3 is needed"),
        (0.6, 0.9, Estimate(None), "have no z"),
    ],
)
def test_a_group_says_why_it_is_not_testable(differing: float, support: float, null: Estimate, reason: str) -> None:
    assert reason in (why := why_not(differing, support, null)) and bool(why) == bool(reason)


def test_support_is_the_share_with_as_likely_drawn_targets() -> None:
    v = np.column_stack([[0.0, 1.0, 2.0, 50.0], [0.1, 1.1, 1.9, 3.0], np.zeros(4)])
    every = np.ones(4, bool)
    assert Redrawn(v, v, v[..., None]).support(every, every) == 0.75


def test_too_few_sequences_have_no_z() -> None:
    assert z_of(3, 0)[0].value is None and z_of(3, 0)[0].note
