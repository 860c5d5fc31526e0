"""Φ and the number of candidate pairs equal a loop over all examples."""

from pathlib import Path

import numpy as np
import pytest

from tasks.evidence.evidence_step import plan_pairs
from tasks.metrics.measure import MEASURE, plan_measures
from tasks.pair_evidence import read_evidence
from tasks.step import Work, keyed
from tasks.storage.store import Store
from tests.metrics.alone import with_evidence
from tests.metrics.world import world
from tests.support import CONTRACTS, read_rows, write_part

EXAMPLES = 300  # more than are joined at once


def tables_of(root: Path, seed: int) -> tuple[dict, dict, set]:
    """N-grams of both sides of some examples, drawn from few, so that they are shared; and some of their pairs, mined."""
    rng = np.random.default_rng(seed)
    sides = {
        (i, side, order): sorted({f"{side[0]}{order} {n}" for n in rng.integers(0, 12, rng.integers(0, 5))})
        for i in range(EXAMPLES)
        for side in ("input", "output")
        for order in (1, 2)
    }
    ngrams = [(f"e{i:03d}", side, order, ngram) for (i, side, order), some in sides.items() for ngram in some]
    ngrams.sort()
    mined = sorted({(o, f"i{o} {a}", f"o{o} {b}") for o in (1, 2) for a, b in rng.integers(0, 12, (40, 2))})
    names, n = [f"e{i:03d}" for i in range(EXAMPLES)], len(ngrams)
    columns = {
        "example_ngrams": {
            **{"task": ["t"] * n, "split": ["evaluate"] * n, "length": [1] * n, "starts": [[0]] * n, "ends": [[1]] * n},
            **dict(zip(("example", "side", "order", "ngram"), zip(*ngrams, strict=True), strict=True)),
        },
        "task_grams": {
            **dict(zip(("order", "input_ngram", "output_ngram"), zip(*mined, strict=True), strict=True)),
            **{"task": ["t"] * len(mined), "similarity": [0.9] * len(mined)},
            **{"shares_word": [False] * len(mined), "examples": [1] * len(mined)},
        },
        "examples": {
            **{name: [""] * EXAMPLES for name in ("group", "input", "separator", "sha256")},
            **{"task": ["t"] * EXAMPLES, "split": ["evaluate"] * EXAMPLES, "example": names, "row": range(1, EXAMPLES + 1)},
            **{"output": ["y"] * EXAMPLES, "prompt": ["p"] * EXAMPLES, "answer": [-1] * EXAMPLES},
            **{"aliases": [[]] * EXAMPLES, "options": [[]] * EXAMPLES},
        },
    }
    parts = {t: (write_part(root, t, {k: list(v) for k, v in c.items()}, {"task": "t"}),) for t, c in columns.items()}
    return parts, sides, set(mined)


@pytest.mark.parametrize("seed", range(3))
def test_phi_equals_a_loop_over_examples_and_pairs(tmp_path: Path, seed: int) -> None:
    parts, sides, mined = tables_of(tmp_path, seed)
    study = world(n=1).study(orders=[1, 2])
    tables = with_evidence(study, tmp_path, parts)
    product = [
        (f"e{i:03d}", order, a, b)
        for order in (1, 2)
        for i in range(EXAMPLES)
        for a in sides[i, "input", order]
        for b in sides[i, "output", order]
    ]
    found = read_rows(tmp_path, tables["evidence_pairs"])
    key = ("example", "order", "input_ngram", "output_ngram")
    assert [tuple(r[k] for k in key) for r in found] == sorted(r for r in product if r[1:] in mined)
    (job,) = [j for j in plan_measures(study, tables) if j.labels["measure"] == "attribution"]
    work = Work(Store(str(tmp_path)), keyed(MEASURE, 0, job), MEASURE.stages[0], CONTRACTS)
    evidence = read_evidence(work, "t")
    for order in (1, 2):
        assert evidence.candidates(order) == sum(r[1] == order for r in product)
        assert len(evidence.phi(order)) == sum(r["order"] == order for r in found)


def test_a_tenth_model_and_another_gamma_leave_the_pairs_as_they_are(tmp_path: Path) -> None:
    """No part of the pairs depends on a model or on γ."""
    parts, _, _ = tables_of(tmp_path, 0)
    keys = [
        [keyed(MEASURE, 0, job).key for job in plan_pairs(world(n=1).study(gamma_default=gamma), parts | more)]
        for gamma, more in ((0.5, {}), (0.6, {}), (0.5, {"token_scores": parts["examples"]}))
    ]
    assert keys[0] == keys[1] == keys[2]
