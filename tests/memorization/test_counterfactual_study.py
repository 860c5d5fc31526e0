"""A small study of runs, from plant to measures: what memorization must look like, and the same bytes whatever computes it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows.commands import run_trace
from flows.commands.trace_choice import trace
from flows.engine import run_step
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import CONTRACTS, StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.memorization.counterfactual import COUNTERFACTUAL_STEP
from tasks.step import parts_of
from tasks.storage.store import Part, Store
from tests import support
from tests.memorization.planted_truth import CLAIMS, Claim, PlantedTruth, panel_of
from tests.studies import REPOSITORY

pytestmark = pytest.mark.slow
RUN = ("plant", "ingest", "tokenizer", "tokens", "membership", "ensemble", "leverage", "counterfactual", "redraw")
RUN += ("verdicts", "measure")
STUDY = """
name = "tiny"
workers = 0
[corpus.controlled]
dense = 30
rare = 5
rings = 4
twins = [1, 4]
canaries = 30
mismatches = 10
dense_copies = 8
canary_copies = 8
copies = [2, 8]
rule = 32
prefix = 8
suffix = 8
words = 64
[membership]
runs = 16
[[membership.models]]
name = "width-32"
hidden = 32
layers = 1
epochs = 18
learning_rate = 0.01
checkpoints = [0.05, 1.0]
keep = 4
"""


def bring_up_to_date(study: Path, root: Path, workers: int = 0) -> dict[str, int]:
    """How many parts of each step were computed."""
    settings = load_study(study)
    cluster = Cluster(workers, "2GB", str(root / ".dask") if workers else "", address="")
    session = Session(settings, study.name, Store(str(root)), cluster)
    try:
        return {p.step.name: run_step(p, session).computed for p in lay_out(STEPS, settings) if p.step.name in RUN}
    finally:
        session.leases.close()
        cluster.close()


def bytes_of(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (*root.glob("*/parts/*.parquet"), *root.glob("ensemble_runs/files/*/run-*/*/*"))
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def root(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    computed = bring_up_to_date(study, root)
    assert (computed["membership"], computed["ensemble"], computed["counterfactual"]) == (4, 4, 1)
    return root


def parts(study: Path) -> dict[str, tuple[Part, ...]]:
    return {t: of for p in lay_out(STEPS, load_study(study)) for t, of in parts_of(p.outputs).items()}


def table(study: Path, root: Path, name: str) -> pl.DataFrame:
    return pl.DataFrame(Store(str(root)).read(parts(study)[name], CONTRACTS[name].schema))


@pytest.fixture(scope="module")
def truth(study: Path, root: Path) -> PlantedTruth:
    return PlantedTruth(panel_of(load_study(study), str(root), "width-32"))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.name)
def test_a_small_study_shows_what_was_planted(claim: Claim, truth: PlantedTruth) -> None:
    """What 16 runs can show: the side of each number; of the shipped study, tests/memorization/test_planted_truth.py."""
    value, error = claim.number(truth)
    assert claim.holds(value, error, shipped=False), (value, error)


def test_measures_are_next_to_phantoms_with_errors_from_runs(study: Path, root: Path) -> None:
    rows = table(study, root, "metrics").filter(measure="counterfactual_memorization", group="canary", detail="leave_group_out")
    by = {r["statistic"]: r for r in rows.to_dicts()}
    assert by["mean"]["low"] > by["phantoms"]["high"] and by["excess"]["low"] > 0
    assert by["excess"]["estimate"] == pytest.approx(by["mean"]["estimate"] - by["phantoms"]["estimate"])
    reliable = table(study, root, "metrics").filter(measure="counterfactual_memorization", statistic="reliability", group="")
    assert 0.5 < reliable["estimate"][0] <= 1


def test_a_trace_shows_a_sequence_with_and_without_it(study: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traced = trace(str(study), str(root), "canary_copies-00001")
    row = table(study, root, "controlled_sequences").filter(sequence="canary_copies-00001").to_dicts()[0]
    (of,) = traced["models"]
    assert {k: traced[k] for k in row} == row and [len(text.split()) for text in traced["text"]] == [8, 8]
    final = table(study, root, "counterfactual").filter(sequence=row["sequence"])
    assert of["leave_group_out"] == final.filter(checkpoint=final["checkpoint"].max())["leave_group_out"][0]
    full, none = ([r["log_p"] for r in of["runs"] if r["assigned"] == d] for d in (row["copies"], 0))
    assert len(of["runs"]) == 16 and len(none) == 8
    pairs = [r["run"] // 2 for r in of["runs"] if r["assigned"] == row["copies"]]
    outside = [r["log_p"] for r in of["runs"] if r["assigned"] == 0 and r["run"] // 2 in pairs]
    assert of["leave_group_out"] == pytest.approx(np.mean(full) - np.mean(outside)), "M is what its runs say"
    run_trace.show(traced)
    shown = capsys.readouterr().out
    assert shown.startswith("canary_copies-00001 canary_copies, member") and shown.count(of["model"]) == 1 + 3
    with pytest.raises(StudyError, match=r"sequences begin with 'canary'.*\n  canary-00000"):
        trace(str(study), str(root), "canary")
    with pytest.raises(StudyError, match="no sequence is named 'canary-99999'; did you mean canary-0"):
        trace(str(study), str(root), "canary-99999")
    with pytest.raises(StudyError, match="is not there or not up to date. Run: taskgram run"):
        trace(str(study), str(root / "elsewhere"), "canary-00001")


def test_leverage_is_shared_by_copies_and_ranks_groups_as_memorization_does(study: Path, root: Path) -> None:
    rows = table(study, root, "leverage").filter(damping=1.0).join(table(study, root, "controlled_sequences"), on="sequence")
    rows = rows.filter(pl.col("copies") == pl.col("copies_right"))

    def mean(column: str, **of: object) -> float:
        return float(rows.filter(**of)[column].mean())  # type: ignore[arg-type]

    copied = {"group": "canary_copies", "copies": 8}
    for column in ("last_layer", "gauss_newton", "self_influence", "one_step"):
        assert mean(column, group="canary") > 1.5 * mean(column, **copied) > 0, column
        assert mean(column, group="canary") > mean(column, group="rule"), column
    agreement = table(study, root, "metrics").filter(measure="leverage_agreement")
    of_all = {(r["statistic"], r["detail"]): r["estimate"] for r in agreement.filter(group="").to_dicts()}
    assert 0.3 < of_all["spearman", "gauss_newton, 1"] < 1 and of_all["projections", "gauss_newton, 1"] > 0.5
    assert of_all["reliability", "gauss_newton, 1"] < 1 and of_all["spearman", "sparsity"] > 0
    assert set(agreement["group"]) == {"", *table(study, root, "controlled_sequences")["group"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_workers(study: Path, root: Path, workers: int, tmp_path: Path) -> None:
    bring_up_to_date(study, tmp_path, workers)
    assert bytes_of(tmp_path) == bytes_of(root)


def test_a_killed_ensemble_goes_on_inside_a_part(study: Path, root: Path, tmp_path: Path) -> None:
    name = "tests.memorization.test_counterfactual_study"
    program = f"import sys, pathlib as p, {name} as t; t.bring_up_to_date(*map(p.Path, sys.argv[1:]))"
    words = [sys.executable, "-c", program, str(study), str(tmp_path)]
    finished = "ensemble_runs/files/*/run-*/finished.json"
    with subprocess.Popen(words, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as run:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob(finished)) and time.monotonic() < deadline:
            assert run.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        run.kill()
    assert run.returncode == -signal.SIGKILL
    (kept,) = list(tmp_path.glob(finished))[:1]
    inode = kept.stat().st_ino
    seen = []
    remove = Path.unlink

    def watch(path: Path, missing_ok: bool = False) -> None:
        seen.extend([path.stat().st_ino] if path == kept and path.exists() else [])
        remove(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", watch)
        bring_up_to_date(study, tmp_path)
    assert seen == [inode], "the finished run was not trained again"
    assert bytes_of(tmp_path) == bytes_of(root)


def test_sixteen_more_runs_compute_sixteen_runs(study: Path, root: Path) -> None:
    more = study.with_name("more.toml")
    more.write_text(STUDY.replace("runs = 16", "runs = 32").replace('"tiny"', '"another"'))  # studies share runs, too
    assert {p.key for p in parts(study)["ensemble_runs"]} < {p.key for p in parts(more)["ensemble_runs"]}
    assert len(parts(more)["ensemble_runs"]) == 8


def test_runs_that_diverged_are_left_out_with_their_complements(study: Path, root: Path, tmp_path: Path) -> None:
    """Two scripted divergences, of one pair and of another: four runs are left out, and two complements are named."""
    tables = {name: parts(study)[name] for name in COUNTERFACTUAL_STEP.reads}
    store, inputs = Store(str(root)), dict[str, tuple[Part, ...]]()
    for name, of in tables.items():
        made = []
        for part in of:
            rows = pl.DataFrame(store.read([part], CONTRACTS[name].schema))
            lost = pl.col("run").is_in([2, 9])
            if name == "ensemble_runs":
                rows = rows.with_columns(diverged=lost, loss=pl.when(~lost).then("loss"))
            rows = rows.filter(~lost) if name == "ensemble_scores" else rows
            made.append(support.write_part(tmp_path, name, rows.to_dict(as_series=False), part.labels))
        inputs[name] = tuple(made)
    settings = load_study(study)
    made_of = support.run_step(COUNTERFACTUAL_STEP, settings, tmp_path, inputs)
    rows = pl.DataFrame(support.read_rows(tmp_path, made_of["counterfactual"])).join(
        table(study, root, "controlled_sequences"), on="sequence"
    )
    assert set(rows.filter(copies=1)["in_runs"]) == set(rows.filter(copies=1)["out_runs"]) == {6}
    assert np.isfinite(rows["leave_group_out"].to_numpy()).all()
    trained = pl.DataFrame(store.read(tables["membership"], CONTRACTS["membership"].schema)).with_columns(copies="assigned")
    part = support.write_part(tmp_path, "membership", trained.to_dict(as_series=False), {"runs": "0-15"}, "trained")
    with pytest.raises(StudyError, match="was trained on a phantom"):
        support.run_step(COUNTERFACTUAL_STEP, settings, tmp_path, inputs | {"membership": (part,)})
    every = [
        support.write_part(tmp_path, "ensemble_runs", _diverged(store, part).to_dict(as_series=False), part.labels, part.key + "x")
        for part in tables["ensemble_runs"]
    ]
    with pytest.raises(StudyError, match="no run ended whose complement did"):
        support.run_step(COUNTERFACTUAL_STEP, settings, tmp_path, inputs | {"ensemble_runs": tuple(every)})


def _diverged(store: Store, part: Part) -> pl.DataFrame:
    rows = pl.DataFrame(store.read([part], CONTRACTS["ensemble_runs"].schema))
    return rows.with_columns(diverged=pl.lit(True), loss=pl.lit(None, pl.Float64))
