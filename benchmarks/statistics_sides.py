"""The cluster bootstrap of a rank correlation: ours against NumPy."""

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


def numpy_weights(corpora: Corpora, case: Case) -> BenchmarkSide:
    """NumPy: both columns are sorted once; in each draw the weights of the rows give their ranks."""
    from tasks.statistics.bootstrap import draw_counts

    columns, example = rows(case)
    codes = np.unique(example, return_inverse=True)[1]
    counts = draw_counts(int(codes.max()) + 1, case["draws"], SEED)()
    assert counts is not None

    def one(orders: np.ndarray, draw: np.ndarray) -> float:
        weights, ranks = draw[codes].astype(np.float64), np.empty_like(columns)
        for rank, order in zip(ranks, orders, strict=True):
            sorted_weights = weights[order]
            rank[order] = np.cumsum(sorted_weights) - sorted_weights / 2
        x, y = ranks - weights.sum() / 2
        wx, wy = weights * x, weights * y
        return float(wx @ y / np.sqrt((wx @ x) * (wy @ y)))

    def work(_: object) -> np.ndarray:
        orders = np.argsort(columns, axis=1)
        return np.array([one(orders, draw) for draw in counts[: case["peers"]]])

    return BenchmarkSide(work=work, items=case["peers"], answer=lambda result: {"rho": result})


def nearly_equal(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """The same draws, up to rounding."""
    return "" if np.abs(ours["rho"][: len(peers["rho"])] - peers["rho"]).max() < 1e-9 else "correlations differ"
