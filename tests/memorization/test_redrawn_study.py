"""A tiny study with redrawn targets: who is trained on what, the positive control, and the same bytes whatever
computes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas import StudyError, load_study
from tasks.models.redraw import REDRAW
from tests import support
from tests.memorization.test_counterfactual_study import bring_up_to_date, bytes_of, parts, table

pytestmark = pytest.mark.slow
STUDY = """
name = "redrawn"
workers = 0
[corpus.controlled]
dense = 8
rare = 0
rings = 1
twins = [1]
canaries = 20
mismatches = 0
dense_copies = 0
canary_copies = 5
copies = [2, 4]
rule = 0
prefix = 4
suffix = 8
words = 64
[membership]
runs = 64
redrawn = 16
[[membership.models]]
name = "width-16"
hidden = 16
layers = 1
batch = 8
epochs = 14
learning_rate = 0.01
checkpoints = [1.0]
keep = 64
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def root(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    computed = bring_up_to_date(study, root)
    assert (computed["ensemble"], computed["redraw"]) == (16, 1 + 4)
    return root


def without_redrawn(root: Path, to: Path) -> Path:
    """A copy of a root as it is before the step `redraw`."""
    shutil.copytree(root, to, ignore=shutil.ignore_patterns("redrawn_*", ".dask", ".leases"), dirs_exist_ok=True)
    return to


def test_each_run_has_own_or_drawn_targets_of_the_sequences_that_it_has(study: Path, root: Path) -> None:
    scores, members = table(study, root, "redrawn_scores"), table(study, root, "membership")
    sequences, targets = table(study, root, "controlled_sequences"), table(study, root, "redrawn_targets")
    names = targets["sequence"].unique()
    redrawn = sequences.filter(pl.col("sequence").is_in(names.to_list()))
    single, twice = (pl.col("copies") == 1, (pl.col("group") == "canary_copies") & (pl.col("copies") == 2))
    assert set(redrawn["sequence"]) == set(sequences.filter((pl.col("split") == "member") & (single | twice))["sequence"])
    trained = scores.filter(pl.col("copies") > 0).select("run", "sequence", "draw", trained="copies")
    joined = members.join(trained, on=["run", "sequence"], how="left").join(sequences.select("sequence", d="copies"), on="sequence")
    joined = joined.filter(pl.col("run") < 16)
    assert ((joined["copies"] > 0) == joined["trained"].is_not_null()).all(), "the same runs have a sequence, once"
    others = joined.filter(~pl.col("sequence").is_in(names.to_list()), pl.col("copies") > 0)
    assert (others["trained"] == others["copies"]).all() and (others["draw"] == 0).all()
    for (_, d), rows in joined.filter(pl.col("sequence").is_in(names.to_list()), pl.col("copies") > 0).group_by("sequence", "d"):
        assert rows["draw"].sort().to_list() == [0] * 4 + [1] * 2 + [2] * 2
        assert rows.filter(draw=0)["trained"].to_list() == [d] * 4 and set(rows.filter(pl.col("draw") > 0)["trained"]) == {1}
    instances = table(study, root, "redrawn_runs").sort("run")["instances"].to_list()
    assert instances == scores.group_by("run").agg(pl.col("copies").sum()).sort("run")["copies"].to_list()
    seeds = {s for t in ("redrawn_runs", "ensemble_runs") for s in table(study, root, t)["seed"]}
    assert len(seeds) == 64 + 16, "further runs have initial weights of their own"


def test_runs_learn_the_targets_that_they_are_given(study: Path, root: Path) -> None:
    """Log p of a draw is higher in the runs that are trained on it than in those with other targets, for the same inputs."""
    scores = table(study, root, "redrawn_scores").filter(pl.col("sequence").str.starts_with("canary-"))
    drawn = table(study, root, "redrawn_targets")["sequence"].unique().to_list()
    scores = scores.filter(pl.col("sequence").is_in(drawn))
    for draw in (0, 1, 2):
        here = scores.filter(draw=draw)
        gain = here.filter(pl.col("copies") > 0)["log_p"].mean() - here.filter(copies=0)["log_p"].mean()
        assert gain > 4, (draw, gain)


def test_canaries_with_two_copies_stand_out(study: Path, root: Path) -> None:
    """The positive control: they are compared with drawn canaries, which have one copy."""
    rows = table(study, root, "metrics").filter(measure="label_resampling", group="canary_copies", level=2.0)
    z = rows.filter(statistic="z", detail="own")
    assert z["low"][0] > 0.5, z
    alone = table(study, root, "metrics").filter(measure="label_resampling", group="canary", statistic="z", detail="own")
    assert z["estimate"][0] > 2 * abs(alone["estimate"][0])
    testable = table(study, root, "metrics").filter(measure="label_resampling", statistic="testable")
    assert len(testable) == 4 and (testable["note"].str.len_chars() > 0).all(), (
        "no group of this size is testable, and each says why"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_workers(study: Path, root: Path, workers: int, tmp_path: Path) -> None:
    assert bring_up_to_date(study, without_redrawn(root, tmp_path), workers)["redraw"] == 5
    assert bytes_of(tmp_path) == bytes_of(root)


def test_a_killed_part_goes_on_to_the_same_bytes(study: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    steps, step, (first, *_) = [0], torch.optim.AdamW.step, table(study, root, "redrawn_runs")["steps"]

    def die_in_the_third_run(optimizer: torch.optim.AdamW) -> None:
        steps[0] += 1
        if steps[0] == 2 * first + 5:
            raise KeyboardInterrupt
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", die_in_the_third_run)
    without_redrawn(root, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        support.run_step(REDRAW, load_study(study), tmp_path, parts(study))
    bring_up_to_date(study, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(root)
    assert steps[0] == 16 * first + 5, "finished runs were not trained again"


def test_too_few_runs_without_a_sequence_are_named(study: Path, root: Path, tmp_path: Path) -> None:
    """As where a run that kept its weights diverged."""
    tables, without_redrawn_parts = parts(study), without_redrawn(root, tmp_path)
    rows = pl.DataFrame(support.read_rows(without_redrawn_parts, tables["ensemble_runs"][:1]))
    lost = pl.when(pl.col("run") > 1)
    rows = rows.with_columns(diverged=pl.col("run") == 1, loss=lost.then("loss"), path=lost.then("path").otherwise(pl.lit("")))
    rows = rows.with_columns(sha256=lost.then("sha256").otherwise(pl.lit("")), loss=pl.when(~pl.col("diverged")).then(pl.lit(1.0)))
    part = support.write_part(tmp_path, "ensemble_runs", rows.to_dict(as_series=False), tables["ensemble_runs"][0].labels, "lost")
    tables["ensemble_runs"] = (part, *tables["ensemble_runs"][1:])
    with pytest.raises(StudyError, match="is out of 31 runs with kept weights that did not diverge; 32 are needed"):
        support.run_step(REDRAW, load_study(study), tmp_path, tables)


def test_out_models_have_not_seen_the_sequence_and_score_it_as_they_did(study: Path, root: Path) -> None:
    """V of the original targets is the mean of the scores of `ensemble`."""
    scores = table(study, root, "ensemble_scores").join(table(study, root, "membership"), on=["run", "sequence"])
    mean = scores.filter(copies=0).group_by("sequence").agg(pl.col("log_p").mean().alias("mean"), pl.len().alias("runs"))
    own = table(study, root, "redrawn_targets").filter(draw=0).join(mean, on="sequence")
    assert (
        np.allclose(own["log_p"], own["mean"], atol=1e-4) and (own["out_models"] == own["runs"]).all() and (own["runs"] == 32).all()
    )
