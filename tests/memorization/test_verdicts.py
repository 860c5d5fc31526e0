"""The step `verdicts` on runs whose scores are written here: it says what is true of them, of all runs and of half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas import CONTRACTS, Study
from schemas.settings.ensemble_settings import Controlled
from tasks.corpus.planted.controlled import ControlledCorpus
from tasks.memorization import claim_rules
from tasks.memorization.decide_claims import VERDICTS_STEP, over_seeds
from tasks.memorization.ensemble_panel import EnsemblePanel
from tasks.memorization.membership import fold_block, paired_block
from tasks.memorization.run_halves import half_of_runs, halves
from tasks.storage.store import Part
from tests import support

SIZES = {"dense": 40, "rare": 0, "rings": 6, "twins": (1, 2), "canaries": 40, "mismatches": 10, "rule": 0}
CONTROLLED = Controlled(**SIZES, dense_copies=10, canary_copies=10, copies=(2, 4, 8), prefix=8, suffix=8, words=64)
SEQUENCES = pl.DataFrame([asdict(s) for s in ControlledCorpus(CONTROLLED, 0).sequences]).sort("sequence")
GROUP, COPIES = SEQUENCES["group"].to_numpy(), SEQUENCES["copies"].to_numpy()
MEMBER = (SEQUENCES["split"] == "member").to_numpy()


def study(**membership: object) -> Study:
    models = [{"name": name, "hidden": 16, "layers": 1, "seed": seed} for seed, name in enumerate(("a", "b"))]
    return Study.model_validate(
        {"name": "tiny", "corpus": {"controlled": CONTROLLED.model_dump()}, "membership": {"models": models} | membership}
    )


def assigned(runs: int) -> np.ndarray:
    return np.concatenate([paired_block(SEQUENCES["cluster"].to_numpy(), COPIES, block, 0) for block in range(runs // 4)])


def scores(z: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(log p, extracted), [runs, sequences]. M of a canary is 60, of dense text 18; copies add; a ring's members teach all."""
    trained = np.where(MEMBER, z, 0)
    gain = np.where(np.isin(GROUP, ("dense", "dense_copies")), 18.0, 60.0) * (trained > 0)
    gain *= 1 + 0.4 * np.log2(np.maximum(trained, 1))
    for family in np.unique(SEQUENCES["family"].to_numpy()[GROUP == "ring"]):
        here = (SEQUENCES["family"] == family).to_numpy()
        gain[:, here] = 15 * (trained[:, here] > 0) + 40 * (trained[:, here] > 0).any(axis=1)[:, None]
    own = np.random.default_rng(0).normal(1, 0.1, len(COPIES))
    extracted = random.random(z.shape) < np.where(trained > 1, 1 - 2.0 / np.maximum(trained, 2), 0)
    return -90 + gain * own + 3 * random.standard_normal(z.shape), extracted


def parts(root: Path, z: np.ndarray, log_p: np.ndarray | None = None, weights: bool = True) -> dict[str, tuple[Part, ...]]:
    """Tables as steps write them, of two models."""
    runs, n = z.shape
    names, of_run = SEQUENCES["sequence"].to_list(), np.repeat(np.arange(runs, dtype=np.int32), n)
    made: dict[str, list[Part]] = {t: [] for t in VERDICTS_STEP.reads}

    def write(table: str, rows: Mapping[str, object], labels: dict[str, str]) -> None:
        made[table].append(support.write_part(root, table, rows, labels))

    write("controlled_sequences", SEQUENCES.to_dict(as_series=False), {})
    by = {"run": of_run, "sequence": names * runs, "assigned": z.ravel().astype(np.int32)}
    trained = np.where(MEMBER, z, 0).astype(np.int32)
    write("membership", by | {"copies": trained.ravel(), "pair": of_run // 2}, {"runs": "all"})
    for seed, model in enumerate(("a", "b")):
        random, labels = np.random.default_rng(seed), {"ensemble": model, "runs": "all"}
        of, rows = scores(z, random), {"model": [model] * runs * n, "run": of_run, "sequence": names * runs}
        ended = {"model": [model] * runs, "run": np.arange(runs), "parameters": [1_000] * runs, "steps": [9] * runs}
        ended |= {"instances": [99] * runs, "seed": range(runs), "order_seed": range(runs), "loss": [1.0] * runs}
        write("ensemble_runs", ended | {"diverged": [False] * runs, "path": ["files"] * runs, "sha256": ["0"] * runs}, labels)
        shown = rows | {"checkpoint": [9] * runs * n, "log_p": (of[0] if log_p is None else log_p).ravel()}
        hits = {"hits": [[bool(e)] for e in of[1].ravel()], "accuracy": of[1].ravel().astype(float), "extracted": of[1].ravel()}
        write("ensemble_scores", shown | hits, labels)
        if weights:
            h = np.select([GROUP == "canary", np.isin(GROUP, ("dense", "dense_copies"))], [0.5, 0.3], 0.55)
            h = h / np.maximum(trained, 1) * np.exp(0.02 * random.standard_normal(z.shape))
            has, copies = trained.ravel() > 0, {"copies": trained.ravel()}
            kinds = dict.fromkeys(
                ("feature", "last_layer", "gauss_newton", "self_influence", "one_step", "one_step_group"), h.ravel()
            )
            frame = pl.DataFrame(rows | copies | kinds | {"gauss_newton_gap": 0 * h.ravel(), "damping": [1.0] * runs * n})
            write("leverage", frame.filter(pl.Series(has)).to_dict(as_series=False), labels)
            far = {"gradient_norm": h.ravel(), "mahalanobis": h.ravel(), "sparsity": random.random(runs * n)}
            write("outlierness", rows | copies | far, labels)
    return {t: tuple(of) for t, of in made.items()}


def decided(root: Path, z: np.ndarray, **of: object) -> dict[str, pl.DataFrame]:
    made = support.run_step(VERDICTS_STEP, study(runs=len(z)), root, parts(root, z, **of))  # type: ignore[arg-type]
    tables = ("claims", "verdicts", "claim_points")
    return {t: pl.DataFrame(support.read_rows(root, made[t]), infer_schema_length=None) for t in tables}


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_rules, "DRAWS", 60)


def test_verdicts_of_all_runs_and_of_half_of_them(tmp_path: Path, few_draws: None) -> None:
    tables = decided(tmp_path, assigned(64))
    claims, over = tables["claims"], {row["claim"]: row for row in tables["verdicts"].to_dicts()}
    wanted = {"T7": "supported", "T8 leave-one-out": "supported", "T8 leave-group-out": "refuted"}
    for claim, verdict in wanted.items():
        assert over[claim]["verdict"] == verdict and (over[claim]["seeds"], over[claim]["agree"]) == (2, 2)
        both = claims.filter(claim=claim)
        assert set(both["verdict"]) == set(both["half"]) == {verdict} and set(both["model"]) == {"a", "b"}
        assert over[claim]["low"] == both["low"].min() and over[claim]["estimate"] == pytest.approx(both["estimate"].mean())
    assert over["T6 strong"]["estimate"] is not None and over["T6 in expectation"]["rule"] and over["T9"]["null"] is not None
    assert over["T2"]["note"] == "the study has no [capacity]" and set(tables["verdicts"]["network"]) == {"a"}
    points = tables["claim_points"].filter(model="a")
    assert set(points["figure"]) == {
        "agreement",
        "best leverage",
        "highly memorized",
        "sparsity",
        "in log p",
        "densest third by sparsity",
        "densest third by in log p",
    }
    null = points.filter(figure="highly memorized", series="leverage alone")
    assert len(null) == 10 and null["y"].mean() == pytest.approx(0.05, abs=0.02)
    assert points.filter(figure="sparsity", series="score").sort("point")["x"].is_sorted()


def test_without_weights_or_runs_or_scores_that_differ_claims_say_why(tmp_path: Path, few_draws: None) -> None:
    z, reasons = assigned(64), {}
    for name, of in (("weights", {"weights": False}), ("runs", {}), ("scores", {"log_p": np.zeros(z.shape)})):
        runs = 16 if name == "runs" else 64
        rows = decided(tmp_path / name, z[:runs], **of)["claims"].filter(model="a")
        reasons[name] = {row["claim"]: (row["verdict"], row["note"]) for row in rows.to_dicts()}
    assert reasons["weights"]["T7"][0] == "supported" and reasons["weights"]["T6 strong"][0] == "inconclusive"
    assert reasons["weights"]["T9"] == ("inconclusive", "leverage is not defined for each sequence")
    assert reasons["runs"]["T7"][0] == "supported", "its arms have eight"
    for claim, of in {"T8 leave-group-out": "copies", "T8 leave-one-out": "one copy less", "T9": "one copy less"}.items():
        assert reasons["runs"][claim] == ("inconclusive", f"an arm of sequences with {of} has 4 runs; it takes 8")
    few = decided(tmp_path / "few", z[:12])["claims"].filter(pl.col("model") == "a")
    assert set(few["note"]) == {"an arm of sequences with one copy has 6 runs; it takes 8"}
    assert {verdict for verdict, _ in reasons["scores"].values()} == {"inconclusive"}
    assert reasons["scores"]["T8 leave-one-out"][1] == "score is the same for all sequences"


def panel(z: np.ndarray, log_p: np.ndarray, paired: bool) -> EnsemblePanel:
    runs = np.arange(len(z))
    values = {name: log_p[None] for name in ("log_p", "accuracy", "extracted")}
    return EnsemblePanel("a", 0, [1], SEQUENCES, runs, z, np.where(MEMBER, z, 0), paired, values, {})


def test_halves_share_no_noise_of_runs_and_no_bias_of_their_number() -> None:
    """Nothing is memorized. M has the noise of its own V, which V of the other half has not; with nine runs on one side for one on
    the other, M is 0 on average, as the published estimator is not."""
    none = {t: pl.DataFrame(CONTRACTS[t].schema.empty_table()) for t in ("leverage", "outlierness")}
    random = np.random.default_rng(0)
    z = assigned(64)
    of = halves(panel(z, 14.5 * random.standard_normal(z.shape), True), none, 0, 20)
    own, other = (np.corrcoef(of.group_out.ravel(), v.ravel())[0, 1] for v in (of.outside, of.outside[:, ::-1]))
    assert own < -0.5 and abs(other) < 0.15
    z = np.concatenate([fold_block(np.arange(len(COPIES)), COPIES, block, 0, 10, False) for block in range(8)])
    of = halves(panel(z, 14.5 * random.standard_normal(z.shape), False), none, 0, 4)
    assert abs(of.group_out[..., COPIES[MEMBER] == 1].mean()) < 1.5


def test_seeds_that_disagree_are_inconclusive() -> None:
    row = {"claim": "T7", "estimate": 1.0, "low": 0.5, "high": 1.5, "null": 0.0, "rule": "r", "note": "n", "verdict": "supported"}
    same = over_seeds([row, row | {"estimate": 2.0, "low": 0.4}])
    assert (same["verdict"], same["agree"], same["estimate"], same["low"], same["high"]) == ("supported", 2, 1.5, 0.4, 1.5)
    for other in ("refuted", "inconclusive"):
        found = over_seeds([row, row | {"verdict": other, "low": None}])
        assert (
            found["verdict"] == "inconclusive" and found["note"] == f"seeds disagree: supported, {other}" and found["low"] is None
        )
        assert found["agree"] == (other == "inconclusive")


def test_half_of_the_runs_are_whole_blocks() -> None:
    assert half_of_runs(panel(assigned(64), np.zeros((64, len(COPIES))), True)).tolist() == list(range(32))
