"""The analysis of a grid of capacities: on scripted worlds whose truth is known, and where something does not vary."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from schemas import METRICS
from tasks.measures import MetricRows
from tasks.memorization.capacity import _before, _random_tokens, _removal, _together, fixed_effects, mediation
from tasks.memorization.capacity_claims import slopes, t2, t4
from tasks.memorization.capacity_runs import CapacityRuns, before_overfitting, correlations, runs_of, undefined, within

GRID = np.array(list(product((1e4, 3e4, 1e5, 4e5), (0.25, 0.5, 1.0), (4.0, 12.0), range(4))))


def world(seed: int, own: float = 0.0, slope: float = 0.03, sizes: int = 4, memorized: float = 1.0) -> CapacityRuns:
    """96 runs. Capacity raises memorization and generalization; `own`: what memorization itself adds; `slope`: memorization before
    overfitting per doubling of the parameters, different between settings. Weight decay and copies change memorization alone."""
    draw, grid = np.random.default_rng(seed), GRID[np.isin(GRID[:, 0], (1e4, 3e4, 1e5, 4e5)[:sizes])]
    size, corpus, epochs = (np.log2(grid[:, i]) - np.log2(grid[:, i]).mean() for i in range(3))
    variant = grid[:, 3].astype(np.int64)
    memorization = memorized * (
        0.6 * size - 0.7 * corpus + 0.6 * epochs + draw.normal(0, 0.8, 4)[variant] + draw.normal(0, 0.5, len(grid))
    )
    generalization = 0.5 * size + 0.8 * corpus + 0.3 * epochs + draw.normal(0, 0.5, len(grid))
    strata = np.unique(grid[:, 1:], axis=0, return_inverse=True)[1].ravel()
    before = 0.1 + (slope + draw.normal(0, 0.02, strata.max() + 1)[strata]) * size + draw.normal(0, 0.03, len(grid))
    of = {"bits": memorization, "extraction": memorization, "accuracy": memorization}
    generalization = generalization + own * memorization
    columns = (grid[:, 0], grid[:, 1], grid[:, 2], np.arange(len(grid)), of, generalization, before, before > 0.1, variant)
    return CapacityRuns(*columns, seed=seed)


@pytest.mark.parametrize(("claim", "truth"), [("T2", True), ("T2", False), ("T4", True), ("T4", False)])
def test_at_most_four_of_200_scripted_worlds_get_the_wrong_verdict(claim: str, truth: bool) -> None:
    """The truth of T2: memorization adds nothing. False: it adds as much as capacity, or all there is."""
    wrong, right = ("refuted", "supported") if truth else ("supported", "refuted")
    verdicts = []
    for seed in range(200):
        if claim == "T2":
            verdicts.append(t2(world(seed, own=0.0 if truth else (0.8, 1.5, 3.0)[seed % 3])).verdict)
        else:
            verdicts.append(t4(world(seed, slope=(0.02, 0.05)[seed % 2] if truth else (0.0, -0.02)[seed % 2])).verdict)
    assert verdicts.count(wrong) <= 4, verdicts.count(wrong)
    assert verdicts.count(right) >= 60, verdicts.count(right)


def test_partial_correlations_and_fixed_effects_are_those_of_least_squares() -> None:
    runs = world(1, own=0.3)
    found, x, y = correlations(runs, "bits"), runs.memorization["bits"], runs.generalization
    assert found["raw"].value == pytest.approx(stats.spearmanr(x, y).statistic)
    ranks = [stats.rankdata(of) for of in (x, y, runs.parameters, runs.corpus, runs.epochs)]
    design = np.column_stack([np.ones(len(x)), *ranks[2:]])
    rest = [of - design @ np.linalg.lstsq(design, of)[0] for of in ranks[:2]]
    assert found["partial"].value == pytest.approx(np.corrcoef(*rest)[0, 1])
    assert found["half"].value == pytest.approx(found["raw"].value / 2 - found["partial"].value)
    import statsmodels.formula.api as smf
    from pandas import DataFrame

    frame = DataFrame({"x": x, "y": y, "n": runs.parameters, "d": runs.corpus, "e": runs.epochs})
    theirs = smf.ols("y ~ x + C(n) + C(d) + C(e)", frame).fit(cov_type="cluster", cov_kwds={"groups": runs.cell}, use_t=True)
    mine = fixed_effects(runs, "bits")["coefficient"]
    assert (mine.value, mine.standard_error, mine.p_value) == pytest.approx(
        (theirs.params["x"], theirs.bse["x"], theirs.pvalues["x"])
    )


def test_mediation_is_the_product_of_two_slopes() -> None:
    runs = world(2, own=0.5)
    size, x, y = np.log2(runs.parameters), runs.memorization["bits"], runs.generalization
    more = [np.ones(len(x)), np.log(runs.corpus), np.log(runs.epochs)]
    a = np.linalg.lstsq(np.column_stack([size, *more]), x)[0][0]
    direct, b = np.linalg.lstsq(np.column_stack([size, x, *more]), y)[0][:2]
    found = mediation(runs, "bits")
    assert found["mediated"].value == pytest.approx(a * b, abs=0.02) and found["mediated"].low > 0
    assert found["direct"].value == pytest.approx(direct, abs=0.02)
    assert found == mediation(runs, "bits"), "the draws have a seed"


def test_permutation_inside_strata_does_not_see_what_differs_between_them() -> None:
    """Sizes shift both sides alike: the raw correlation is high, that inside sizes is nothing, and its p is uniform."""
    p = []
    for seed in range(40):
        draw, size = np.random.default_rng(seed), GRID[:, 0].argsort().argsort() // 24
        x, y = (10.0 * size + draw.normal(0, 1, 96) for _ in range(2))
        runs = replace(world(seed), memorization={"bits": x}, generalization=y, parameters=10.0 ** (size + 3))
        assert correlations(runs, "bits")["raw"].value > 0.8
        p.append(within(runs, "bits", runs.strata(runs.parameters)).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert within(world(0, own=2.0), "bits", world(0).capacity).p_value < 0.01


def test_runs_of_a_cell_are_one_cluster() -> None:
    once, four = world(3), np.repeat(np.arange(96), 4)
    narrow, wide = (correlations(r, "bits")["partial"] for r in (replace(once.take(four), cell=np.arange(384)), once.take(four)))
    single = correlations(once, "bits")["partial"]
    assert wide.low == pytest.approx(single.low, abs=1e-9) and wide.high == pytest.approx(single.high, abs=1e-9)
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low)


def test_where_something_does_not_vary_there_is_a_reason_and_no_number() -> None:
    one, constant = world(1, sizes=1), world(1, memorized=0.0)
    assert [name for name, _ in one.controls] == ["log corpus", "log epochs"] and correlations(one, "bits")[
        "partial"
    ].value is not None
    assert all("one size only" in claim.note and claim.verdict == "inconclusive" for claim in (t2(one), t4(one)))
    assert mediation(one, "bits")["mediated"].note == "one size only"
    same = "memorization is the same in all runs"
    assert t2(constant).note == same and within(constant, "bits", constant.capacity).note == same
    assert {e.note for e in (*fixed_effects(constant, "bits").values(), *mediation(constant, "bits").values())} == {same}
    none = world(1).take(np.arange(0))
    assert undefined(none.memorization["bits"], none.generalization) == "fewer than four runs ended"
    assert t2(none).verdict == t4(none).verdict == "inconclusive"
    one_each = world(1).take(np.arange(0, 96, 4))  # one cell for each size, corpus and epochs
    assert "one cell in each stratum" in within(one_each, "bits", one_each.capacity).note
    decided = replace(world(1), memorization={"bits": np.log(world(1).parameters)})
    assert correlations(decided, "bits")["partial"].value is None and "decide" in fixed_effects(decided, "bits")["coefficient"].note
    assert "fewer than 3 settings" in t4(world(1).take(GRID[:, 1] == 1.0).take(np.arange(0, 32, 4))).note


def test_the_checkpoint_before_overfitting() -> None:
    assert before_overfitting(np.array([5.0, 4.0, 4.001, 4.5, 3.0])) == (2, True), "the first rise is less than .2 %"
    assert before_overfitting(np.array([5.0, 4.0, 4.001, 4.5]), 0.0) == (1, True)
    assert before_overfitting(np.array([5.0, 4.0, 3.0])) == (2, False)
    assert len(slopes(world(0))) == 24 and slopes(world(0, slope=0.0)).mean() < 0.02


RUN = {"kind": "grid", "cell": "a", "seed": 0, "checkpoint": 10, "steps": 10, "hidden": 8, "parameters": 1000, "corpus": 1.0}
RUN |= {
    "epochs": 4.0,
    "weight_decay": 0.1,
    "dedup": False,
    "removed": "",
    "diverged": False,
    "group": "",
    "sequences": 10,
    "instances": 20,
}
RUN |= {"phantoms": 5, "bits": 8.0, "phantom_bits": 0.5, "generalization": -3.0, "validation_bits": 3.0, "training_bits": 1.0}
RUN |= {"training_accuracy": 0.9, "validation_accuracy": 0.5, "training_extraction": 0.5, "validation_extraction": 0.0}


def test_memorization_is_beyond_phantoms_of_the_same_group() -> None:
    """Of two groups one has three quarters of the members and a fifth of the phantoms; diverged runs are counted."""
    a = RUN | {"group": "dense", "sequences": 30, "phantoms": 5, "training_accuracy": 0.8, "validation_accuracy": 0.6}
    b = RUN | {"group": "ring", "sequences": 10, "phantoms": 20, "training_accuracy": 0.5, "validation_accuracy": 0.1}
    lost = RUN | {"seed": 1, "diverged": True, "checkpoint": 0} | dict.fromkeys(("bits", "validation_bits", "generalization"))
    runs = runs_of(pl.DataFrame([RUN, a, b, lost], infer_schema_length=None).sort("cell", "seed", "checkpoint", "group"))
    assert (len(runs), runs.diverged, runs.epochs[0]) == (1, 1, 8.0), "with two copies of each, four epochs are eight views"
    assert (
        runs.memorization["accuracy"] == pytest.approx((30 * 0.2 + 10 * 0.4) / 40) and runs.before == runs.memorization["accuracy"]
    )
    nothing = runs_of(pl.DataFrame([lost], schema=pl.DataFrame([RUN]).schema))
    assert len(nothing) == 0 and nothing.diverged == 1 and t2(nothing).verdict == "inconclusive"


def test_each_number_is_a_row_of_its_own() -> None:
    rows = MetricRows("")
    _together(world(0), "bits", rows)
    _before(world(0), 0.002, rows)
    keys = [tuple(r[k] for k in METRICS.key if k != "task") for r in rows.metrics]
    assert len(set(keys)) == len(keys) == 9 + 4
    assert all(r["estimate"] is not None for r in rows.metrics)


def test_removals_are_compared_in_runs_of_the_same_seed() -> None:
    rows, random = MetricRows(""), np.random.default_rng(0)
    start, effect = random.normal(3, 1, 4), {"none": 0.0, "memorized": 0.5, "random": 0.1, "matched": 0.3}
    table = [
        RUN | {"kind": "removal", "seed": s, "removed": kind, "validation_bits": start[s] + more + 0.01 * random.random()}
        for kind, more in effect.items()
        for s in range(4)
    ]
    _removal(pl.DataFrame(table), rows)
    by = {(r["detail"], r["against"]): r for r in rows.metrics}
    pairs = {("memorized", "none"), ("random", "none"), ("matched", "none"), ("memorized", "random"), ("memorized", "matched")}
    assert set(by) == pairs
    for (first, second), row in by.items():
        assert row["estimate"] == pytest.approx(effect[first] - effect[second], abs=0.02) and row["low"] > 0


def test_bits_per_parameter_are_the_most_of_any_corpus_beyond_phantoms() -> None:
    rows = MetricRows("")
    cases = [(10, 8.5), (100, 20.5), (1000, 1.5)]
    table = [RUN | {"kind": "random tokens", "sequences": n, "bits": bits, "seed": s} for n, bits in cases for s in range(2)]
    _random_tokens(pl.DataFrame(table), rows)
    assert [r["estimate"] for r in rows.metrics] == pytest.approx([0.08, 2.0, 1.0, 2.0])
    assert (rows.metrics[-1]["statistic"], rows.metrics[-1]["level"]) == ("plateau", 100)
    assert "a lower bound: 10 steps; a larger corpus gives no more" in rows.metrics[-1]["note"]
