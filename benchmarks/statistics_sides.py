"""The cluster bootstrap of a rank correlation: ours against a loop over scipy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case

SEED = 1


def rows(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Two correlated columns without ties (the most expensive case), and the example of each row: 20 rows an example."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=case["rows"])
    columns = np.stack([x, 0.3 * x + rng.normal(size=case["rows"])])
    return columns, rng.integers(0, case["rows"] // 20, case["rows"])


def bootstrap(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: every draw, sorting included."""
    from tasks.statistics.bootstrap import bootstrap_many

    columns, example = rows(case)
    return BenchmarkSide(
        work=lambda _: bootstrap_many(columns, example, None, case["draws"], SEED),
        items=case["draws"],
        answer=lambda result: {"rho": result[:, 0, 1]},
    )


def scipy_loop(corpora: Corpora, case: Case) -> BenchmarkSide:
    """scipy.stats.spearmanr of each resample; gathering its rows is not timed."""
    from scipy import stats

    from tasks.statistics.bootstrap import draw_counts

    columns, example = rows(case)
    counts = draw_counts(len(np.unique(example)), case["draws"], SEED)()
    assert counts is not None
    codes = np.unique(example, return_inverse=True)[1]
    resamples = [np.repeat(columns, counts[d][codes], axis=1) for d in range(case["peers"])]
    return BenchmarkSide(
        work=lambda _: np.array([stats.spearmanr(x, y).statistic for x, y in resamples]),
        items=case["peers"],
        answer=lambda result: {"rho": result},
    )


def nearly_equal(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """The same draws, up to rounding."""
    return "" if np.abs(ours["rho"][: len(peers["rho"])] - peers["rho"]).max() < 1e-9 else "correlations differ"
