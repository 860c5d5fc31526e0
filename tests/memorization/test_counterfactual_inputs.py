"""Runs that have too little to say: estimates are null or fall back, and are no wrong numbers. Only the scores are scripted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas import Study
from tasks.corpus.planted.plant import PLANT
from tasks.measures import MetricRows
from tasks.memorization import counterfactual_memorization
from tasks.memorization.counterfactual import COUNTERFACTUAL_STEP
from tasks.memorization.membership import MEMBERSHIP_STEP
from tasks.step import Job, Work, keyed
from tests.support import CONTRACTS, Store, read_rows, run_step, write_part

CORPUS = {"dense": 10, "rare": 5, "rings": 1, "twins": [1, 4], "canaries": 10, "mismatches": 5, "dense_copies": 5}
CORPUS |= {"canary_copies": 5, "copies": [2, 4], "rule": 15, "prefix": 4, "suffix": 4, "words": 64}
Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]


def scripted(
    root: Path, scores: Scores, runs: int = 16, corpus: dict | None = None, changed: Callable | None = None, **design: Any
):
    """(rows of counterfactual with those of the sequences, metrics) of runs whose log p are `scores(assigned, copies)`, at two
    checkpoints. changed: what becomes of the membership [runs, sequences] of the design."""
    membership = {"runs": runs, "models": [{"name": "m", "checkpoints": [0.5, 1.0]}], **design}
    study = Study.model_validate({"name": "s", "corpus": {"controlled": CORPUS}, "membership": membership})
    tables = run_step(PLANT, study, root, {})
    tables = run_step(MEMBERSHIP_STEP, study, root, tables)
    sequences = pl.DataFrame(read_rows(root, tables["controlled_sequences"])).sort("sequence")
    table = pl.DataFrame(read_rows(root, tables["membership"])).sort("run", "sequence")
    assigned, number = table["assigned"].to_numpy().reshape(runs, -1), len(sequences)
    if changed is not None:
        assigned = changed(assigned.copy(), sequences["group"].to_numpy())
        member = (sequences["split"] == "member").to_numpy()
        columns = {"assigned": assigned.ravel(), "copies": np.where(member, assigned, 0).ravel()}
        table = table.with_columns(**{n: pl.Series(v, dtype=pl.Int32) for n, v in columns.items()})
        tables["membership"] = (write_part(root, "membership", table.to_dict(as_series=False), {"runs": "all"}, "changed"),)
    y, ended = scores(assigned, sequences["copies"].to_numpy()), {"ensemble": "m", "runs": "all"}
    rows = {"model": ["m"] * runs, "run": list(range(runs)), "parameters": [1] * runs, "steps": [2] * runs, "instances": [1] * runs}
    rows |= {"seed": [0] * runs, "order_seed": [0] * runs, "loss": [1.0] * runs, "diverged": [False] * runs}
    rows |= {"path": [""] * runs, "sha256": [""] * runs}
    tables["ensemble_runs"] = (write_part(root, "ensemble_runs", rows, ended),)
    one = pl.DataFrame(
        {"run": np.repeat(range(runs), number), "sequence": sequences["sequence"].to_list() * runs, "log_p": y.ravel()}
    )
    made = pl.concat([one.with_columns(checkpoint=pl.lit(step, pl.Int64), model=pl.lit("m")) for step in (1, 2)])
    sure = made["log_p"].to_numpy() > -1
    made = made.with_columns(accuracy=sure * 1.0, extracted=sure, hits=pl.Series([[bool(s)] * 4 for s in sure]))
    made = made.sort("run", "checkpoint", "sequence").select(CONTRACTS["ensemble_scores"].schema.names)
    tables["ensemble_scores"] = (write_part(root, "ensemble_scores", made.to_dict(as_series=False), ended),)
    out = run_step(COUNTERFACTUAL_STEP, study, root, tables)
    inputs = {t: out[t] for t in counterfactual_memorization.READS}
    job = keyed(COUNTERFACTUAL_STEP, 0, Job({"measure": "m"}, {"seed": 0}, inputs))
    metrics = MetricRows("")
    counterfactual_memorization.run(Work(Store(str(root)), job, COUNTERFACTUAL_STEP.stages[0], CONTRACTS), metrics)
    shown = pl.DataFrame(read_rows(root, out["counterfactual"])).filter(checkpoint=2).join(sequences, on="sequence")
    return shown, pl.DataFrame(metrics.metrics, infer_schema_length=None)


def additive(assigned: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """20 nats for all copies, 15 for one less, and 3 of noise."""
    share = np.where(assigned == copies, 1.0, np.where(assigned > 0, 0.75, 0.0))
    return -60 + 20 * share + np.random.default_rng(0).normal(0, 3, assigned.shape)


def test_one_copy_has_no_middle_arm_and_few_runs_are_noted(tmp_path: Path) -> None:
    rows, metrics = scripted(tmp_path, additive)
    single, copied = rows.filter(copies=1), rows.filter(pl.col("copies") > 1)
    assert (single["leave_one_out"] == single["leave_group_out"]).all() and set(single["in_runs"]) == {8}
    assert (single["leave_one_out_exp"] == single["leave_group_out_exp"]).all()
    assert set(copied["in_runs"]) == set(copied["out_runs"]) == {4}
    assert copied["leave_group_out"].mean() == pytest.approx(20, abs=2) and copied["leave_one_out"].mean() == pytest.approx(
        5, abs=2
    )
    noted = metrics.filter(pl.col("note").str.contains("fewer than 8 runs in an arm"))["group"].unique()
    assert sorted(noted) == ["canary_copies", "dense_copies"]


def test_a_sequence_in_no_run_or_in_all_has_no_estimate(tmp_path: Path) -> None:
    def change(assigned: np.ndarray, group: np.ndarray) -> np.ndarray:
        assigned[:, group == "rare"], assigned[:, group == "mismatch"] = 0, 1
        return assigned

    rows, metrics = scripted(tmp_path, additive, runs=30, changed=change, design="clusters", folds=10)
    assert set(rows.filter(group="rare")["in_runs"]) == {0} and set(rows.filter(group="mismatch")["out_runs"]) == {0}
    columns = ("leave_group_out", "leave_group_out_se", "leave_group_out_exp", "leave_group_out_published", "leave_one_out")
    for column in (*columns, "contextual", "memorization", "extraction", "lira", "bits", "specificity"):
        assert rows.filter(pl.col("group").is_in(["rare", "mismatch"]))[column].is_null().all(), column
    assert rows.filter(group="canary")["leave_group_out"].is_not_null().all()
    row = metrics.filter(group="rare", statistic="mean", detail="leave_group_out").to_dicts()[0]
    assert row["estimate"] is None and "an arm has too few runs" in row["note"]


def test_single_copies_left_out_leave_no_group_out(tmp_path: Path) -> None:
    rows, _ = scripted(tmp_path, additive, runs=20, design="examples", folds=10)
    four = rows.filter(copies=4)
    assert four["leave_group_out"].is_null().any() and four["leave_one_out"].is_not_null().all()


def test_a_family_of_more_members_than_runs_is_a_difference_of_means(tmp_path: Path) -> None:
    """Twelve members in eight runs do not determine a regression; a ring of one member does."""
    rows, _ = scripted(tmp_path, additive, runs=8)
    rule = rows.filter(group="rule", split="member")
    assert len(rule) == 12 and rule["leave_group_out"].to_numpy() == pytest.approx(
        (rule["in_log_p"] - rule["out_log_p"]).to_numpy()
    )
    assert rule["leave_group_out_se"].is_not_null().all()


@pytest.mark.parametrize("log_p", [0.0, -40.0])
def test_constant_scores_say_nothing(log_p: float, tmp_path: Path) -> None:
    """Also where each suffix has probability one: no division by a variance of nothing, and no bits."""
    rows, metrics = scripted(tmp_path, lambda assigned, copies: np.full(assigned.shape, log_p))
    for column in ("leave_group_out", "leave_group_out_se", "leave_group_out_exp", "contextual", "extraction", "bits", "spill"):
        assert rows[column].drop_nulls().abs().max() < 1e-9, column
    assert rows["specificity"].is_null().all() and set(rows["lira"]) == {0.5}
    reliable = metrics.filter(statistic="reliability", group="canary").to_dicts()[0]
    assert reliable["estimate"] is None and "all are alike" in reliable["note"]
    assert set(metrics.filter(statistic="auc", group="canary")["estimate"]) == {0.5}
    assert metrics.filter(statistic="significant", group="canary")["estimate"].max() == 0


def test_certain_suffixes_have_finite_estimates(tmp_path: Path) -> None:
    """Probability one in every run with a sequence."""
    rows, _ = scripted(tmp_path, lambda assigned, copies: np.where(assigned > 0, 0.0, additive(assigned, copies)))
    canary = rows.filter(group="canary", split="member")
    assert set(canary["extracted_in"]) == {1.0} and set(canary["extracted_out"]) == {0.0} and set(canary["lira"]) == {1.0}
    assert canary["generator_bits"].to_numpy() == pytest.approx(canary["entropy"].to_numpy())
    assert np.isfinite(canary["leave_group_out_se"].to_numpy()).all() and canary["leave_group_out"].min() > 50


@pytest.mark.parametrize("design", [{}, {"design": "clusters", "folds": 4}])
def test_columns_equal_loops_over_runs(design: dict, tmp_path: Path) -> None:
    """Of every group in which runs are compared by means; twins are the phantoms of a family."""
    seen: dict[str, np.ndarray] = {}

    def scores(assigned: np.ndarray, copies: np.ndarray) -> np.ndarray:
        seen.update(assigned=assigned, y=np.minimum(0, np.random.default_rng(1).normal(-1 + (assigned > 0), 1)))
        return seen["y"]

    rows = scripted(tmp_path, scores, **design)[0].sort("sequence")
    assigned, y, sure = seen["assigned"], seen["y"], seen["y"] > -1
    for i, row in enumerate(rows.to_dicts()):
        if row["group"] == "ring":
            continue
        inside = np.flatnonzero(assigned[:, i] == row["copies"])
        outside = inside ^ 1 if not design else np.flatnonzero(assigned[:, i] == 0)
        a, b = y[inside, i], y[outside, i]
        twins = [j for j, r in enumerate(rows.to_dicts()) if r["family"] == row["family"] and r["split"] == "phantom"]
        wanted = {"in_log_p": a.mean(), "out_log_p": b.mean(), "leave_group_out": a.mean() - b.mean()}
        wanted |= {"extracted_in": sure[inside, i].mean(), "extracted_out": sure[outside, i].mean()}
        wanted |= {"memorization": sure[inside, i].mean() - sure[outside, i].mean(), "contextual": a.mean() - b.mean()}
        wanted |= {"simplicity": sure[inside, i].mean() + sure[outside, i].mean(), "extraction": wanted["memorization"]}
        wanted |= {"bits": max(0, a.mean() - b.mean()) / np.log(2)}
        wanted |= {"generator_bits": max(0, a.mean() / np.log(2) + row["entropy"])}
        if row["split"] == "member" and twins:
            wanted["spill"] = np.mean([y[inside, j].mean() - y[outside, j].mean() for j in twins])
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value, abs=1e-9), (row["sequence"], name)
