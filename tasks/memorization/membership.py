"""Step `membership`: which run is trained on which sequence, by seeded hashes of its cluster (docs/counterfactual.md).

pairs      Runs 4q … 4q + 3 are two pairs. Of each pair one run has a cluster and the other, its complement, has not; of the two
           runs that have it, one has d copies and the other d − 1. So with 64 runs each cluster is out of 32, in 16 with d − 1
           copies and in 16 with d: d against 0 leaves a group out, d against d − 1 leaves one out, from the same runs.
clusters   Runs K·q … K·q + K − 1 are a K-fold: run k lacks the clusters of fold k (arXiv 2106.03216, Algorithm 1).
examples   The same for single copies, so that most runs lack one copy of a sequence at most.

A part has the runs that belong together and knows of no other: with 16 more runs, all others stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas import Study
from schemas.tables.ensembles import MEMBERSHIP
from tasks.cost import Cost, Sizes
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text.split import seeded_hash

Ints = NDArray[np.int64]


def applies(study: Study) -> bool:
    """A study with `[membership]`."""
    return study.membership is not None


def paired_block(clusters: Ints, copies: Ints, block: int, seed: int) -> Ints:
    """int64 [4, sequences]: copies in each of four runs, two complementary pairs. clusters, copies: int64 [sequences]."""
    bits = np.array([seeded_hash(seed, "pairs", str(block), str(c)) for c in clusters.tolist()], np.int64)
    middle, out, at = bits >> 2 & 1, np.zeros((4, len(clusters)), np.int64), np.arange(len(clusters))
    for pair in (0, 1):
        out[2 * pair + (bits >> pair & 1), at] = np.where(middle == pair, np.maximum(1, copies - 1), copies)
    return out


def fold_block(clusters: Ints, copies: Ints, block: int, seed: int, folds: int, by_example: bool) -> Ints:
    """int64 [folds, sequences]: copies in each run of a K-fold of clusters, or of single copies. Folds are as equal as can be."""
    at, each = (np.repeat(of, copies) for of in (np.arange(len(clusters)), clusters))  # the sequence and the cluster of each copy
    order = np.argsort(each, kind="stable")
    number = np.empty_like(each)  # of a copy in its cluster
    number[order] = np.arange(len(each)) - np.searchsorted(each[order], each[order])
    cluster, unit = np.unique(np.stack([each, number if by_example else 0 * each]), axis=1, return_inverse=True)
    hashes = [seeded_hash(seed, "folds", str(block), str(c), str(n)) for c, n in cluster.T.tolist()]
    fold = np.empty(len(hashes), np.int64)
    fold[np.argsort(np.array(hashes, np.int64), kind="stable")] = np.arange(len(hashes)) % folds
    held_out = np.zeros((folds, len(clusters)), np.int64)
    np.add.at(held_out, (fold[unit], at), 1)
    return copies - held_out


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job for the runs that belong together."""
    membership = study.membership
    if membership is None:
        return []
    settings = membership.model_dump(include={"design", "seed"})
    if membership.design != "pairs":
        settings["folds"] = membership.folds
    return [
        Job({"runs": f"{first}-{first + membership.block - 1}"}, settings | {"first": first}, dict(inputs))
        for first in range(0, membership.runs, membership.block)
    ]


def run(work: Work) -> None:
    """Write who is trained on what in some of the runs."""
    sequences = work.frame("controlled_sequences", "sequence", "cluster", "split", "copies").sort("sequence")
    clusters, copies = (sequences[name].to_numpy().astype(np.int64) for name in ("cluster", "copies"))
    first, seed, design = (work.settings[name] for name in ("first", "seed", "design"))
    if design == "pairs":
        block = paired_block(clusters, copies, first // 4, seed)
    else:
        folds = work.settings["folds"]
        block = fold_block(clusters, copies, first // folds, seed, folds, design == "examples")
    member = (sequences["split"] == "member").to_numpy()
    for run, assigned in enumerate(block, first):
        work.write(
            "membership",
            {
                "run": np.full(len(assigned), run, np.int32),
                "sequence": sequences["sequence"].to_list(),
                "assigned": assigned.astype(np.int32),
                "copies": np.where(member, assigned, 0).astype(np.int32),
                "pair": np.full(len(assigned), run // 2 if design == "pairs" else -1, np.int32),
            },
        )


def cost(sizes: Sizes) -> Cost:
    """A hash for each sequence and block of runs."""
    membership, controlled = sizes.study.membership, sizes.study.corpus.controlled
    if membership is None or controlled is None:
        return Cost(unit="runs")
    rows = membership.runs * sum(controlled.groups.values())
    return Cost(membership.runs / membership.block, membership.runs, "runs", written=rows * 3.0, core=rows * 2e-6)


MEMBERSHIP_STEP = Step(
    "membership",
    version=1,
    about="which run of an ensemble is trained on which sequences of a controlled corpus",
    reads=("controlled_sequences",),
    stages=(Stage(writes=(MEMBERSHIP,), plan=plan, run=run),),
    cost=cost,
    applies=applies,
)
