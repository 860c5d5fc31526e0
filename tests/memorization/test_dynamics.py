"""Curves over the checkpoints of a training: levels, overfitting, classes of tokens, and the reasons where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import StudyError
from schemas.tables.sequences import SEQUENCE_SCORES
from tasks.memorization import MEASURES
from tasks.memorization.dynamics import class_of_token, first_reached, overfitting
from tasks.memorization.training_runs import reached, runs_of
from tasks.metrics.measure import MEASURE, with_measures
from tests.models import small
from tests.support import read_rows, run_step, write_part

T, PREFIX, STEPS = 8, 3, (10, 20, 40, 80)
SHAPE = small.SHAPE | {"tokens": 80 * 4 * 32, "checkpoints": [0.125, 0.25, 0.5, 1.0]}


def test_a_level_is_reached_on_the_line_between_two_checkpoints() -> None:
    steps = np.array([10.0, 20.0, 40.0])
    curves = np.array([[0.0, 0.4, 0.8], [0.5, 0.9, 0.9], [0.1, 0.2, 0.3], [0.0, 0.6, 0.1]])
    assert first_reached(steps, curves, 0.5).tolist() == pytest.approx([25.0, 10.0, np.inf, 10 + 10 * 5 / 6])
    assert first_reached(steps, curves, 0.4).tolist()[0] == 20.0
    estimate = reached(25.0, np.array([20.0] * 50 + [30.0] * 48 + [np.inf] * 2), "never")
    assert (estimate.value, estimate.low, estimate.high) == (25.0, 20.0, 30.0)
    estimate = reached(25.0, np.array([20.0] * 90 + [np.inf] * 10), "never")
    assert (estimate.low, estimate.high) == (20.0, None) and "not reached in some resamples" in estimate.note
    assert (reached(np.inf, np.array([20.0, 30.0]), "never").value, reached(np.inf, np.ones(2), "never").note) == (None, "never")


def test_noise_below_the_tolerance_is_no_overfitting() -> None:
    losses = np.log(np.array([[30.0, 20.0, 20.03, 19.0, 19.5], [5.0, 4.0, 3.0, 2.0, 1.0]]))
    assert [overfitting(losses, d).tolist() for d in (0.0, 0.002, 0.05)] == [[2, 5], [4, 5], [5, 5]]
    slow = np.log(np.array([10.0, 10.015, 10.03]))
    assert overfitting(slow, 0.002) == 2, "compared with the lowest before, not with the last"


def test_classes_of_tokens() -> None:
    tokens = (" 1984", "3rd", " Torin", "\nQ", "ado", " the", ".", "", "Éa")
    kinds = "number number capitalised capitalised other other other other capitalised"
    assert [class_of_token(t) for t in tokens] == kinds.split()


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (
            [{"revision": "step10"}, {"revision": "main"}],
            r"model 'b' is one of 2 checkpoints of 'x/y' and has no training step; set its",
        ),
        ([{"revision": "step0"}, {"checkpoint": 7}], ""),
        ([{"checkpoint": 5}, {"revision": "step5"}], r"models 'a' and 'b' are both step 5 of 'x/y'; correct the `checkpoint`"),
        ([{"hub": "", "path": "p"}, {"hub": "", "path": "p"}], ""),
        ([{"hub": "", "path": "p", "run": "r"}, {"hub": "", "path": "p", "run": "r", "checkpoint": 3}], "model 'a' is one of 2"),
        ([{"hub": "", "pretrain": {}, "run": "r"}, {"run": "r", "checkpoint": 3}], "is trained here; give it another"),
    ],
)
def test_a_checkpoint_without_its_step_is_an_error_that_says_what_to_set(models: list[dict], says: str) -> None:
    named = [{"name": name, "hub": "x/y"} | of for name, of in zip("ab", models, strict=True)]
    study = small.study(named, memorization={})
    if says:
        with pytest.raises(StudyError, match=says):
            runs_of(study)
        with pytest.raises(StudyError, match=says):
            with_measures(MEASURE, MEASURES).stages[0].plan(study, {})
    else:
        assert len(runs_of(study)) == 2


def curves(root: Path, phantoms: bool = True) -> tuple[dict[tuple, dict], list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Members whose suffix is memorized little by little; phantoms whose loss is lowest at the second checkpoint."""
    draw, count = np.random.default_rng(4), 40
    is_member = np.arange(count) < (25 if phantoms else 40)
    windows = [
        {"sequence": f"w{i:02d}", "sample": "uniform" if m else "phantoms", "group": "", "document": f"d{i}", "source": "s"}
        | {"offset": 0, "ids": draw.integers(1, 300, T).tolist(), "split": "member" if m else "phantom", "prefix": PREFIX}
        | dict.fromkeys(("occurrences", "documents", "suffix_occurrences", "suffix_documents"), int(m))
        | {"cluster": max(i, 2), "near_cluster": max(i, 2), "entropy": None}
        for i, m in enumerate(is_member.tolist())
    ]
    at, loss = draw.random((count, T)), np.array([3.0, 2.0, 2.5, 3.5])
    hits = np.stack([np.where(is_member[:, None], at < share, at < 0.1) for share in (0.1, 0.3, 0.7, 1.0)])
    tables = {"sequences": (write_part(root, "sequences", {n: [w[n] for w in windows] for n in windows[0]}),)}
    parts, models = [], []
    for model, steps in (("o", STEPS), ("single", (9,))):
        row = {"model": [model] * len(steps), "checkpoint": list(steps), "source": ["folder"] * len(steps)}
        row |= {n: [""] * len(steps) for n in ("revision", "membership")} | {n: ["/x"] * len(steps) for n in ("path", "sha256")}
        row |= {n: [v] * len(steps) for n, v in (("parameters", 1000), ("parameters_non_embedding", 10), ("seed", 0))}
        models.append(
            write_part(
                root, "models", row | {"tokens_seen": [s * 128 for s in steps], "loss": [1.0] * len(steps)}, {"model": model}
            )
        )
        for c, step in enumerate(steps):
            ranks = np.where(hits[c], 1, 3).astype(np.int32)
            values = {"ranks": ranks, "hits": hits[c], "log_probabilities": np.full((count, T), -loss[c], np.float32)}
            values["likeliest"] = np.where(hits[c], np.array([w["ids"] for w in windows]), 0).astype(np.int32)
            values |= {n: np.ones((count, T), np.float32) for n in ("margins", "means", "variances")}
            columns: dict[str, Any] = {n: list(v) for n, v in values.items()} | {
                "sampled": [[v] for v in values["log_probabilities"]]
            }
            columns |= {
                "unrelated": [[]] * count,
                "model": [model] * count,
                "checkpoint": [step] * count,
                "sequence": [w["sequence"] for w in windows],
            }
            ordered = {n: columns[n] for n in SEQUENCE_SCORES.schema.names}
            parts.append(write_part(root, "sequence_scores", ordered, {"model": model, "checkpoint": str(step)}))
    tables |= {"models": tuple(models), "sequence_scores": tuple(parts)} | {"tokenizer": small.corpus(root)["tokenizer"]}
    tables["tokens"] = small.corpus(root)["tokens"]
    named = [{"name": "o", "pretrain": SHAPE}, {"name": "single", "pretrain": SHAPE | {"checkpoints": [1.0]}}]
    study = small.study(named, memorization={"prefix": PREFIX, "suffix": T - PREFIX}, measures={"bootstrap": 200})
    measure = with_measures(MEASURE, [m for m in MEASURES if m.name == "dynamics"])
    made = run_step(measure, study, root, {t: tables.get(t, ()) for t in measure.reads})
    keys = ("statistic", "detail", "checkpoint", "level")
    rows = {tuple(r[k] for k in keys): r for r in read_rows(root, made["metrics"])}
    return rows, read_rows(root, made["exclusions"]), hits[:, :, PREFIX:], is_member


def test_curves_of_a_training_equal_their_definitions(tmp_path: Path) -> None:
    rows, excluded, hits, is_member = curves(tmp_path)
    assert [(e["model"], e["checkpoint"], e["rows"], e["of"]) for e in excluded] == [("single", 9, 1, "models")]
    m, q = (hits[:, of].mean(axis=(1, 2)) for of in (is_member, ~is_member))
    for c, step in enumerate(STEPS):
        for name, value in (("accuracy", m[c]), ("phantoms", q[c]), ("excess", m[c] - q[c])):
            row = rows["share", name, step, -1]
            assert row["estimate"] == pytest.approx(value) and row["x"] == step
            assert row["low"] <= row["estimate"] <= row["high"]
        assert rows["held_out_loss", "", step, -1]["estimate"] == pytest.approx((3.0, 2.0, 2.5, 3.5)[c])
    for name, curve in (("accuracy", m), ("excess", m - q)):
        for level in (0.25, 0.5, 0.75):
            row = rows["steps_to_reach", name, 80, level]
            assert row["estimate"] == pytest.approx(np.interp(level, curve, STEPS)) and row["low"] < row["estimate"] < row["high"]
    assert rows["steps_to_reach", "accuracy", 80, 0.1]["note"].startswith("at most") or m[0] < 0.1
    stream = 120 + sum(len(ids) for p in ("0", "1") for ids in _ids(tmp_path, p))
    ratio = rows["epochs_to_reach", "accuracy", 80, 0.5]["estimate"] / rows["steps_to_reach", "accuracy", 80, 0.5]["estimate"]
    assert ratio == pytest.approx(4 * 32 / stream)
    missing = rows["steps_to_reach", "excess", 80, 0.9] if m[-1] - q[-1] < 0.9 else None
    assert missing is None or (missing["estimate"] is None and "not reached by step 80" in missing["note"])
    late = rows["overfitting_step", "", 80, 0.002]
    assert (late["estimate"], late["group"]) == (40, "phantoms"), "held-out text decides, whatever the sample"
    for name, curve in (("accuracy", m), ("excess", m - q)):
        assert rows["before_overfitting", name, 80, 0.002]["estimate"] == pytest.approx(curve[1])
        assert rows["at_overfitting", name, 80, 0.002]["estimate"] == pytest.approx(curve[2])
    by_class = [rows["share", f"accuracy {k}", 80, -1] for k in ("number", "capitalised", "other")]
    assert all(row["estimate"] == 1.0 for row in by_class), "all suffixes are known in the end, whatever the token"


def _ids(root: Path, file: str) -> list[list[int]]:
    return [r["ids"] for r in read_rows(root, (p for p in small.corpus(root)["tokens"] if p.labels["file"] == file))]  # type: ignore[arg-type]


def test_without_phantoms_there_is_accuracy_alone_and_a_reason(tmp_path: Path) -> None:
    rows, _, _, _ = curves(tmp_path, phantoms=False)
    assert rows["steps_to_reach", "accuracy", 80, 0.5]["estimate"] is not None
    for key in (("steps_to_reach", "excess", 80, 0.5), ("overfitting_step", "", 80, 0.002), ("held_out_loss", "", 80, -1)):
        assert rows[key]["estimate"] is None and rows[key]["note"] == "no phantoms to compare with", key
