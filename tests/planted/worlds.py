"""The project's inference, tried on worlds whose truth is known (docs/method.md §16).

coverage      share of planted worlds whose 95 % interval holds ρ*                            should be .95
rejections    share of null worlds with p < .05, or with 0 outside the pigeonhole interval    should be .05, or less
detections    share of planted worlds in which a mistake lands outside the correct interval   should be 1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tasks.statistics.bootstrap import bootstrap_many
from tasks.statistics.correlation import Rows, spearman
from tasks.statistics.intervals import correlate, effective_clusters, percentile_interval, two_way
from tests.planted.universe import DESIGNS, MISTAKES, null_world, planted_world, truth_of

DRAWS = 1_000
SEED = 0  # the same worlds everywhere, so that results can be compared


def try_world(design: str, world: int, draws: int = DRAWS, seed: int = SEED) -> dict[str, Any]:
    """The numbers of one world: what the inference says of it, and what common mistakes would."""
    if design == "planted":
        sides = planted_world(seed, world)
        rows = sides.rows()
        found = correlate(rows, draws, world)
        about = {
            "truth": truth_of(seed),
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "pigeonhole_low": None,
            "pigeonhole_high": None,
            **{name: sides.rho(name) for name in MISTAKES},
        }
    else:
        rows = null_world(design, seed, world)
        p_value = two_way(rows, spearman(rows.x, rows.y)).p_value
        drawn = bootstrap_many(np.stack([rows.x, rows.y]), rows.example, rows.output, draws, world)
        low, high, _ = percentile_interval(drawn[:, 0, 1])
        about = {
            "truth": 0.0,
            "low": None,
            "high": None,
            "p_value": p_value,
            "pigeonhole_low": low,
            "pigeonhole_high": high,
            **dict.fromkeys(MISTAKES),
        }
    return {
        "design": design,
        "world": world,
        "rows": len(rows),
        "examples": rows.examples,
        "effective_outputs": effective_clusters(rows.output),
        "estimate": spearman(rows.x, rows.y),
        "naive_p": _naive_p(rows),
        **about,
    }


def _naive_p(rows: Rows) -> float:
    """scipy's, from the t distribution with N - 2 degrees of freedom."""
    from scipy import stats

    rho, free = spearman(rows.x, rows.y), len(rows) - 2
    return float(2 * stats.t.sf(abs(rho) * np.sqrt(free / max(1 - rho * rho, 1e-300)), free))


def summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over worlds: coverage and the mean half-width, rejections by design, detections by mistake."""
    rows = list(rows)
    planted = [r for r in rows if r["design"] == "planted"]
    return {
        "worlds": len(planted),
        "covered": sum(r["low"] <= r["truth"] <= r["high"] for r in planted),
        "half_width": sum(r["high"] - r["low"] for r in planted) / 2 / len(planted),
        "detected": {m: sum(r[m] is None or not r["low"] <= r[m] <= r["high"] for r in planted) for m in MISTAKES},
        "rejected": {d: sum(r["p_value"] < 0.05 for r in rows if r["design"] == d) for d in DESIGNS[1:]},
        "pigeonhole": {
            d: sum(not r["pigeonhole_low"] <= 0 <= r["pigeonhole_high"] for r in rows if r["design"] == d) for d in DESIGNS[1:]
        },
        "naive": {d: sum(r["naive_p"] < 0.05 for r in rows if r["design"] == d) for d in DESIGNS[1:]},
    }
