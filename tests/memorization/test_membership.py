"""Designs of runs: every cluster is in exactly half of paired runs, copies in three arms; folds are balanced; runs can be added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Study
from tasks.corpus.planted.plant import PLANT
from tasks.memorization.membership import MEMBERSHIP_STEP, fold_block, paired_block
from tests.support import read_rows, run_step

Copies = st.lists(st.integers(1, 16), min_size=1, max_size=40)


@given(copies=Copies, blocks=st.integers(1, 16), seed=st.integers(0, 9))
def test_each_cluster_is_in_half_of_the_runs_in_complementary_pairs(copies: list[int], blocks: int, seed: int) -> None:
    d = np.array(copies)
    z = np.concatenate([paired_block(np.arange(len(d)), d, b, seed) for b in range(blocks)])
    pairs = z.reshape(-1, 2, len(d)) > 0
    assert (pairs.sum(axis=1) == 1).all(), "of two complementary runs one has it"
    for count, arm in ((2 * blocks, np.zeros_like(d)), (blocks, d - 1), (blocks, d)):
        at = d > 1
        assert ((z == arm).sum(axis=0)[at] == count).all()
    assert ((z == 1).sum(axis=0)[d == 1] == 2 * blocks).all(), "without a middle arm both runs have it"


@given(copies=Copies, folds=st.integers(2, 12), by_example=st.booleans())
def test_folds_leave_out_each_copy_once(copies: list[int], folds: int, by_example: bool) -> None:
    d = np.array(copies)
    z = fold_block(np.arange(len(d)), d, 0, 3, folds, by_example)
    assert ((d - z).sum(axis=0) == d).all() and (z >= 0).all()
    if by_example:
        assert np.ptp((d - z).sum(axis=1)) <= 1, "folds of single copies are as equal as can be"
    else:
        assert np.isin(d - z, (0, *d)).all() and ((z < d).sum(axis=0) == 1).all()
        assert np.ptp((z < d).sum(axis=1)) <= 1


def test_a_fold_leaves_out_all_sequences_of_a_cluster_and_may_be_smaller_than_one() -> None:
    """Three sequences of one cluster, and a cluster of more copies than the fold of all others together has."""
    clusters, d = np.array([0, 0, 1, 2, 0, 3]), np.array([1, 3, 1, 2, 1, 1_000])
    for block in range(20):
        z = fold_block(clusters, d, block, 1, 3, False)
        assert (((z == 0) | (z == d)).all(axis=1)).all() and ((z == 0).sum(axis=0) == 1).all()
        assert ((z == 0)[:, 0] == (z == 0)[:, 1]).all() and ((z == 0)[:, 0] == (z == 0)[:, 4]).all()
        single = fold_block(clusters, d, block, 1, 3, True)
        assert ((d - single).sum(axis=0) == d).all() and np.ptp((d - single).sum(axis=1)) <= 1
        pairs = paired_block(clusters, d, block, 1) > 0
        assert (pairs[:, 0] == pairs[:, 1]).all() and (pairs[:, 0] == pairs[:, 4]).all()


def test_memberships_of_clusters_are_independent() -> None:
    z = np.concatenate([paired_block(np.arange(300), np.ones(300, int), b, 0) for b in range(64)])[::2]
    r = np.corrcoef(z.T)[np.triu_indices(300, 1)]
    assert abs(r.mean()) < 0.005 and r.std() == pytest.approx(128**-0.5, rel=0.05)


def test_more_runs_change_no_part_and_phantoms_are_never_trained_on(tmp_path: Path) -> None:
    corpus = {"controlled": {"dense": 20, "copies": [2, 4], "rings": 1}}
    few, many = (Study.model_validate({"name": "s", "corpus": corpus, "membership": {"runs": runs}}) for runs in (8, 12))
    tables = run_step(PLANT, few, tmp_path, {})
    parts = [run_step(MEMBERSHIP_STEP, study, tmp_path, tables)["membership"] for study in (few, many)]
    assert [p.key for p in parts[0]] == [p.key for p in parts[1][:2]]
    rows, split = read_rows(tmp_path, parts[1]), {}
    for s in read_rows(tmp_path, tables["controlled_sequences"]):
        split[s["sequence"]] = s["split"]
    assert {r["copies"] for r in rows if split[r["sequence"]] == "phantom"} == {0}
    fake = [r["assigned"] > 0 for r in rows if split[r["sequence"]] == "phantom"]
    assert np.mean(fake) == 0.5
