"""Held-out windows in a training: put into the batches that were meant, remembered, and compared with a training without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas import Study, StudyError
from schemas.settings.model_settings import Injection, Pretrain
from tasks.memorization import MEASURES
from tasks.metrics.measure import MEASURE, with_measures
from tasks.models.inject import INJECT, InjectedTokens, choose, schedule, scored_steps
from tasks.models.packing import PackedTokens
from tasks.models.pretrain import MODELS
from tasks.models.score_sequences import SCORE_SEQUENCES
from tasks.text.training_order import steps_of
from tests.models import small
from tests.support import read_rows, run_step, write_part

PREFIX, SUFFIX, WINDOWS, STEPS = 4, 8, 8, 240
SHAPE = small.SHAPE | {"hidden": 48, "layers": 2, "tokens": STEPS * 4 * 32, "learning_rate": 1e-2}
SHAPE |= {"checkpoints": [*(step / STEPS for step in (2, 4, 6, 8, 10)), 0.25, 0.5, 1.0]}
INJECTED = [{"at": 0.4, "windows": WINDOWS, "repetitions": 40, "every": 2}, {"at": 0.4, "windows": WINDOWS}]
OFTEN, ONCE = "8 windows ×40 every 2 at 0.4", "8 windows ×1 at 0.4"


def test_repetitions_are_so_many_steps_apart() -> None:
    pretrain = Pretrain(tokens=100 * 4 * 32, batch=4, context=32)
    one = Injection(at=0.5, windows=8)
    assert schedule(one, pretrain, 12, "m") == {50: range(8)}, "two windows in each of four rows"
    twice = Injection(at=0.1, windows=11, repetitions=2, every=5)
    assert schedule(twice, pretrain, 12, "m") == {10: range(8), 11: range(8, 11), 16: range(8), 17: range(8, 11)}
    assert scored_steps({10: range(8), 16: range(8)}, 100) == [10, 17, 20, 22, 27, 38, 59, 100]
    assert scored_steps({99: range(8)}, 100) == [99, 100]


@pytest.mark.parametrize(
    ("injection", "window", "says"),
    [
        ({"at": 0.9, "repetitions": 11}, 12, "×11 every 1 at 0.9 would end with step 101, and the training has 100; lower at"),
        ({}, 33, "context = 32 has no room for an injected window of 33 tokens"),
    ],
)
def test_an_injection_that_does_not_fit_is_an_error_with_a_remedy(injection: dict, window: int, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        schedule(Injection(windows=8, **injection), Pretrain(tokens=100 * 4 * 32, batch=4, context=32), window, "m")


def test_a_study_with_an_injection_needs_twice_as_many_phantoms_and_says_so() -> None:
    for memorization in (None, {"samples": {"phantoms": 100}}):
        with pytest.raises(ValidationError, match=r"model 'm': inject needs 128 windows of held-out text.*phantoms to 128 or more"):
            small.study([{"name": "m", "pretrain": SHAPE | {"inject": [{}]}}], memorization=memorization)
    with pytest.raises(ValidationError, match="duplicate injection '64 windows ×1 at 0.5'"):
        small.study([{"name": "m", "pretrain": SHAPE | {"inject": [{}, {}]}}], memorization={})


def test_windows_of_the_same_document_or_cluster_are_no_comparison() -> None:
    windows = [
        {"sample": "phantoms", "source": "s", "document": d, "near_cluster": c} for d, c in (("a", 0), ("b", 1), ("a", 2), ("c", 1))
    ]
    windows += [{"sample": "uniform", "source": "s", "document": "z", "near_cluster": 9}]
    rest = [{"sample": "phantoms", "source": "s", "document": d, "near_cluster": c} for d, c in (("e", 5), ("f", 6))]
    assert choose(windows + rest, 2) == (windows[:2], rest)
    with pytest.raises(StudyError, match=r"of 5 phantoms 1 are left. Raise memorization.samples.phantoms"):
        choose(windows + rest[:1], 2)


def test_windows_take_the_place_of_rows_and_change_nothing_else(tmp_path: Path) -> None:
    batch = pa.record_batch({"ids": pa.array([list(range(i, i + 30)) for i in range(1, 200, 2)], pa.list_(pa.int32()))})
    plain, injected = (kind([batch], 300, 0, 3, tmp_path) for kind in (PackedTokens, InjectedTokens))
    assert isinstance(injected, InjectedTokens)
    injected.injected, injected.planned = np.arange(5 * 6).reshape(5, 6) + 200, {2: range(1, 5)}
    for step in range(4):
        before, after = (of.windows(step, 4, 15) for of in (plain, injected))
        if step == 2:
            assert after[0, :14].tolist() == [0, *range(206, 212), 0, *range(212, 218)]
            assert after[1, :14].tolist() == [0, *range(218, 224), 0, *range(224, 230)]
            before[:2, :14] = after[:2, :14]
        assert (before == after).all()


# -- trainings of some seconds ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Study]:
    """A model of random letters, trained with and without windows of other random letters."""
    root, draw, count = tmp_path_factory.mktemp("injected"), np.random.default_rng(3), 2 * WINDOWS
    documents = draw.integers(1, 41, (60, 24))
    members = [(d, int(draw.integers(0, 24 - PREFIX - SUFFIX + 1))) for d in range(40)]
    windows = [("phantoms", f"held-{i:02d}", 0, draw.integers(1, 41, PREFIX + SUFFIX), 0) for i in range(count)]
    windows += [("uniform", f"d{d}", o, documents[d, o : o + PREFIX + SUFFIX], 1) for d, o in members]
    rows = [
        {"sequence": f"{sample}-{document}", "sample": sample, "document": document, "source": "s", "offset": offset, "group": ""}
        | {
            "ids": ids.tolist(),
            "prefix": PREFIX,
            "split": "member" if times else "phantom",
            "cluster": i,
            "near_cluster": i,
            "entropy": None,
        }
        | dict.fromkeys(("occurrences", "documents", "suffix_occurrences", "suffix_documents"), times)
        for i, (sample, document, offset, ids, times) in enumerate(windows)
    ]
    rows.sort(key=lambda row: str(row["sequence"]))
    names: dict[str, list[Any]] = {"document": list(range(60)), "id": [f"d{i}" for i in range(60)], "row": list(range(1, 61))}
    names |= {name: [value] * 60 for name, value in (("source", "s"), ("language", ""), ("text", "x"))}
    labels = {"source": "s", "file": "0"}
    tables: dict[str, Any] = {
        "tokenizer": small.corpus(root)["tokenizer"],
        "sequences": (write_part(root, "sequences", {n: [r[n] for r in rows] for n in rows[0]}),),
        "tokens": (write_part(root, "tokens", {"document": list(range(60)), "ids": documents.tolist()}, labels, "letters"),),
        "documents": (write_part(root, "documents", names, labels),),
    }
    memorization = {"prefix": PREFIX, "suffix": SUFFIX, "samples": {"phantoms": count}}
    study = small.study(
        [{"name": "m", "pretrain": SHAPE | {"inject": INJECTED}}], memorization=memorization, measures={"bootstrap": 300}
    )
    wanted = [m for m in MEASURES if m.name in ("dynamics", "memorization_profile", "forgetting")]
    for step in (MODELS, INJECT, SCORE_SEQUENCES, with_measures(MEASURE, wanted)):
        tables |= run_step(step, study, root, {t: tables.get(t, ()) for t in step.reads})
    return root, tables, study


@pytest.mark.slow
def test_the_twin_is_the_model_itself_and_an_injection_changes_no_key_of_it(trained: tuple[Path, dict[str, Any], Study]) -> None:
    root, tables, study = trained
    rows = read_rows(root, tables["injections"])
    twin = {r["sequence"]: r for r in rows if not r["injection"] and r["checkpoint"] == STEPS}
    scores = [s for s in read_rows(root, tables["sequence_scores"]) if s["checkpoint"] == STEPS and s["sequence"] in twin]
    assert len(scores) == len(twin) == 2 * WINDOWS
    for score in scores:
        of = twin[score["sequence"]]
        assert of["hits"] == sum(score["hits"][PREFIX:]) and of["tokens"] == SUFFIX
        assert of["log_probability"] == pytest.approx(sum(score["log_probabilities"][PREFIX:]), rel=1e-6)
    assert study.memorization is not None
    plain = small.study([{"name": "m", "pretrain": SHAPE}], memorization=study.memorization.model_dump())
    inputs = {t: tables[t] for t in MODELS.reads}
    assert [j.settings for j in MODELS.stages[0].plan(plain, inputs)] == [j.settings for j in MODELS.stages[0].plan(study, inputs)]
    before = {i: [r for r in rows if r["injection"] == i and r["since"] == -1] for i in (OFTEN, ONCE)}
    assert [len(of) for of in before.values()] == [2 * WINDOWS, 2 * WINDOWS]
    same = {(r["sequence"], r["checkpoint"]): r["log_probability"] for r in rows if not r["injection"]}
    assert all(r["log_probability"] == same[r["sequence"], r["checkpoint"]] for of in before.values() for r in of), (
        "to the last bit"
    )
    kept = [p for part in tables["injections"] for p in (root / "injections" / "files" / part.key).glob("*")]
    assert not kept, "weights are removed once they are scored"


@pytest.mark.slow
def test_injected_windows_are_remembered_and_the_others_are_not(trained: tuple[Path, dict[str, Any], Study]) -> None:
    root, tables, _ = trained
    metrics = [r for r in read_rows(root, tables["metrics"]) if r["measure"] == "forgetting"]
    rows = {(r["statistic"], r["group"], r["detail"], r["x"]): r for r in metrics}
    since_often = sorted(k[3] for k in rows if k[:3] == ("retention", "injected", OFTEN))
    for detail in (OFTEN, ONCE):
        since = sorted(k[3] for k in rows if k[:3] == ("retention", "injected", detail))
        for x in since:
            never = rows["retention", "never injected", detail, x]
            assert never["low"] <= 0 <= never["high"], "what is never injected is not retained"
        assert rows["retention", "injected", detail, -1]["estimate"] == 0, "before, both are one training"
        assert rows["retention", "injected", detail, 0]["estimate"] >= 0
        assert rows["log_p_retention", "injected", detail, 0]["low"] > 0
    start = {detail: rows["excess_log_p_retention", "injected", detail, 0] for detail in (OFTEN, ONCE)}
    assert start[OFTEN]["low"] > 0.2 and start[OFTEN]["estimate"] > start[ONCE]["estimate"]
    assert rows["retention", "injected", OFTEN, 0]["estimate"] > 0
    shares = [rows["retained_log_p_share", "injected", OFTEN, x] for x in since_often if x >= 0]
    assert shares[0]["estimate"] == 1 and shares[-1]["estimate"] < 0.6, "what is not repeated is forgotten"
    lowest = {k[0]: r["estimate"] for k, r in rows.items() if "lowest" in k[0] and k[1:3] == ("injected", OFTEN)}
    after = [rows["accuracy", "injected", OFTEN, x]["estimate"] for x in since_often if x >= 0]
    assert lowest["lowest_accuracy"] == min(after) and lowest["lowest_twin_accuracy"] < lowest["lowest_accuracy"] + 0.1


@pytest.mark.slow
def test_the_profile_has_the_windows_that_the_epoch_trained_on_between_checkpoints(
    trained: tuple[Path, dict[str, Any], Study],
) -> None:
    root, tables, study = trained
    lengths, checkpoints = np.full(60, 24), [2, 4, 6, 8, 10]  # an epoch is 60 · 25 tokens, 11 steps of 128
    members = [r for r in read_rows(root, tables["sequences"]) if r["sample"] == "uniform"]
    at = np.array([[int(r["document"][1:]), r["offset"]] for r in members])
    first, last = steps_of(at[:, 0], at[:, 1], PREFIX + SUFFIX, lengths, study.seed, 128)
    cohort, begun = np.searchsorted(checkpoints, last), np.searchsorted(checkpoints, first)
    excluded = {e["reason"]: e["rows"] for e in read_rows(root, tables["exclusions"]) if e["measure"] == "memorization_profile"}
    assert excluded["after the first epoch, when windows are trained on again"] == 3
    kept = (cohort == begun) & (cohort > 0) & (cohort < 5)
    assert excluded["uniform: kept"] == kept.sum() > 10
    assert sum(n for reason, n in excluded.items() if reason.startswith("uniform: ")) == len(members)
    metrics = [r for r in read_rows(root, tables["metrics"]) if r["measure"] == "memorization_profile" and r["detail"] == "log p"]
    sizes = {r["bin"]: r["rows"] for r in metrics if r["statistic"] == "effect"}
    assert sizes == {int(g): int(n) for g, n in zip(*np.unique(cohort[kept], return_counts=True), strict=True)}
    scores = {
        (s["checkpoint"], s["sequence"]): np.mean(s["log_probabilities"][PREFIX:])
        for s in read_rows(root, tables["sequence_scores"])
    }
    phantoms = [r["sequence"] for r in read_rows(root, tables["sequences"]) if r["sample"] == "phantoms"]
    g = max(sizes, key=lambda n: sizes[n])
    names = [m["sequence"] for m, of, k in zip(members, cohort, kept, strict=True) if of == g and k]
    gains = [np.mean([scores[checkpoints[g], n] - scores[checkpoints[g - 1], n] for n in of]) for of in (names, phantoms)]
    row = next(r for r in metrics if (r["statistic"], r["bin"], r["checkpoint"]) == ("effect", g, checkpoints[g]))
    assert row["estimate"] == pytest.approx(gains[0] - gains[1], abs=1e-6) and "fewer than 100" in row["note"]
