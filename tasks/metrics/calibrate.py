"""The step `calibrate`: our own inference, tried out on worlds whose truth is known (docs/method.md §16).

    coverage      share of planted worlds whose 95 % interval holds ρ*                            should be .95
    rejections    share of null worlds with p < .05, or with 0 outside the pigeonhole interval    should be .05, or less
    detections    share of planted worlds in which a mistake lands outside the correct interval   should be 1
The table has the numbers of each world. It depends on nothing that a study reads, only on how many worlds it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import CALIBRATION, Study
from tasks.cost import Cost, Rate, Sizes
from tasks.metrics.universe import DESIGNS, MISTAKES, null_world, planted_world, truth_of
from tasks.statistics.correlation import Rows, spearman
from tasks.statistics.intervals import bootstrap_correlation, correlate, effective_clusters, percentile_interval, two_way_p
from tasks.step import Inputs, Job, Stage, Step, Work

DRAWS = 1_000
WORLDS_PER_JOB = 100
SEED = 0  # not the study's: the same worlds everywhere, so that results can be compared


def try_world(design: str, world: int, draws: int = DRAWS, seed: int = SEED) -> dict[str, Any]:
    """One row of `calibration`."""
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
        p_value, _ = two_way_p(rows, spearman(rows.x, rows.y))
        low, high, _ = percentile_interval(bootstrap_correlation(rows, draws, world, new_outputs=True))
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
            d: sum(not r["pigeonhole_low"] <= 0 <= r["pigeonhole_high"] for r in rows if r["design"] == d)
            for d in DESIGNS[1:]
        },
        "naive": {d: sum(r["naive_p"] < 0.05 for r in rows if r["design"] == d) for d in DESIGNS[1:]},
    }


def plan_calibrate(study: Study, inputs: Inputs) -> list[Job]:
    """Jobs of 100 worlds of one design; none where the study asks for no worlds."""
    asked = study.measures.calibration_worlds
    jobs = []
    for design in DESIGNS:
        for first in range(0, asked, WORLDS_PER_JOB):
            settings = {
                "design": design,
                "first": first,
                "worlds": min(WORLDS_PER_JOB, asked - first),
                "draws": DRAWS,
                "seed": SEED,
            }
            jobs.append(Job({"design": design, "worlds": f"{first:06d}"}, settings, cost=3.0))
    return jobs


def run_calibrate(work: Work) -> None:
    """Try the worlds of one job."""
    s = work.settings
    rows = [try_world(s["design"], s["first"] + i, s["draws"], s["seed"]) for i in range(s["worlds"])]
    work.write("calibration", pa.Table.from_pylist(rows, schema=CALIBRATION.schema))


RATES = {"calibrate": Rate(0.04, "s for a world of one design", "docs/benchmarks.md")}


def cost(sizes: Sizes) -> Cost:
    """Every world of every design."""
    each = sizes.study.measures.calibration_worlds
    worlds, parts = len(DESIGNS) * each, len(DESIGNS) * -(-each // WORLDS_PER_JOB)
    written, core = 25.0 * worlds, worlds * RATES["calibrate"]
    return Cost(parts, worlds, "worlds", written=written, core=core, memory=0.4e9, rates=RATES)


CALIBRATE = Step(
    "calibrate",
    version=1,
    about="The statistics tried out on worlds whose truth is known.",
    reads=(),
    stages=(Stage(writes=(CALIBRATION,), plan=plan_calibrate, run=run_calibrate),),
    cost=cost,
)
