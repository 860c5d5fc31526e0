"""Measures of windows, on windows whose hits and probabilities are written by hand or drawn, and computed again another way."""

from __future__ import annotations

import itertools
import math
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Study
from schemas.tables.sequences import NULLS, SAMPLES, SEQUENCE_SCORES
from tasks.measures import Measure
from tasks.memorization import MEASURES
from tasks.memorization.discoverable import chance
from tasks.memorization.extraction import extracted_from, longest_run, strength
from tasks.memorization.membership_inference import auc, lowest_mean, standardised, true_positives
from tasks.memorization.memorize import MEMORIZE
from tasks.metrics.measure import MEASURE, with_measures
from tasks.statistics import difference
from tests.memorization.generations import write_generations
from tests.models import small
from tests.support import read_rows, run_step, write_part

OF_A_TRAINING = {
    "dynamics",
    "memorization_profile",
    "forgetting",
    "counterfactual_memorization",
    "leverage_agreement",
    "label_resampling",
    "capacity",
}  # one checkpoint says nothing of them
HITS = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5).map(np.array)


# -- extraction -------------------------------------------------------------------------------------------------------
@given(HITS)
def test_runs_strengths_and_extraction_equal_their_definitions(hits: np.ndarray) -> None:
    tokens = hits.shape[1]
    for row, run, share in zip(hits.tolist(), longest_run(hits), strength(hits), strict=True):
        assert run == max((len(list(g)) for hit, g in itertools.groupby(row) if hit), default=0)
        shortest = next(k for k in range(tokens + 1) if all(row[k:]))
        assert share == pytest.approx(1 - shortest / tokens)
        assert row[-1] or share == 0, "a window whose last token is wrong has no strength"
    for prefix in range(1, tokens):
        expected = [[all(row[k : k + tokens - prefix]) for k in range(1, prefix + 1)] for row in hits.tolist()]
        assert extracted_from(hits, prefix).tolist() == expected


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 is 0.0524 to 0.3339; 9/10 - 3/10 is 0.1705 to 0.8090."""
    for counts, ends in (
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
    ):
        found = difference(*counts)
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-4)
    assert difference(1, 2, 0, 0).value is None


# -- (n, p) -----------------------------------------------------------------------------------------------------------
@given(st.floats(-690, 0), st.integers(0, 6))
def test_the_chance_of_a_suffix_is_right_however_small(log_p: float, power: int) -> None:
    n = 10**power
    p = Fraction(math.exp(log_p))
    exact = float(1 - (1 - p) ** n) if n <= 100 else None
    found = float(chance(np.array([log_p]), n)[0])
    if exact is not None:
        assert found == pytest.approx(exact, rel=1e-9)
    assert 0 <= found <= 1
    if n * p < Fraction(1, 10**12):
        assert found == pytest.approx(float(n * p), rel=1e-9)


def test_chances_at_the_ends() -> None:
    log_p = np.array([0.0, -np.inf, -200.0, -1e-12, math.log(0.5)])
    assert chance(log_p, 1).tolist() == pytest.approx([1.0, 0.0, math.exp(-200), 1 - 1e-12, 0.5], rel=1e-9)
    assert chance(log_p, 1e6)[2] == pytest.approx(1e6 * math.exp(-200), rel=1e-9)
    assert chance(log_p, 10)[4] == pytest.approx(1 - 0.5**10, rel=1e-12)


# -- membership inference -----------------------------------------------------------------------------------------------
def test_min_k_is_finite_where_the_model_is_certain_and_windows_are_short() -> None:
    certain, short = np.zeros((2, 4)), np.array([[-1.0, -3.0, -2.0]])
    assert standardised(certain, certain, certain).tolist() == certain.tolist()
    assert lowest_mean(short, 0.2).tolist() == [-3.0], "T · k < 1 is one token"
    assert lowest_mean(np.arange(10.0)[None], 0.2).tolist() == [0.5]


def test_auc_counts_pairs_and_weights_are_copies() -> None:
    draw = np.random.default_rng(2)
    scores, members = draw.integers(0, 6, 40).astype(float), draw.random(40) < 0.5
    weights = draw.integers(0, 3, (5, 40))
    for row, found in zip(weights, auc(scores, members, weights), strict=True):
        s, m = np.repeat(scores, row), np.repeat(members, row)
        pairs = [(a > b) + (a == b) / 2 for a in s[m] for b in s[~m]]
        assert found == pytest.approx(np.mean(pairs))


def test_no_more_phantoms_than_allowed_are_above_the_threshold() -> None:
    phantoms, members = np.arange(100.0), np.arange(100.0) + 2.5
    for rate in (0.001, 0.01, 0.05):
        found = true_positives(members, phantoms, rate)
        allowed = round(rate * 100 - 0.4)
        threshold = 99 - allowed
        assert found.value == np.mean(members > threshold)
        assert ("no false positive" in found.note) == (rate == 0.001)
    assert true_positives(np.ones(3), np.ones(5), 0.05).value == 0, "ties are on one side"


# -- the step ---------------------------------------------------------------------------------------------------------
T, PREFIX, COUNT = 8, 3, 60


def tables(
    root: Path, phantoms: bool = True, one_text: bool = False, planted: bool = False, one_document: bool = False
) -> tuple[dict, list[dict], list[dict]]:
    """Members with 1 … 16 occurrences, more of which are hits, and phantoms; two of the members are one text."""
    draw = np.random.default_rng(5)
    windows, scores = [], []
    for i in range(COUNT):
        phantom = phantoms and i % 3 == 2
        count = 0 if phantom else 2 ** (i % 5)
        ids = draw.integers(1, 300, T).tolist()
        log_p = -draw.exponential(0.5 + phantom, T).astype(np.float32)
        log_p = log_p * (i != 4)  # a model that is certain
        ranks = np.where(draw.random(T) < (0.2 if phantom else 0.6 + count / 50), 1, 4).astype(np.int32)
        same = {name: count for name in ("occurrences", "documents", "suffix_occurrences", "suffix_documents")}
        same |= {"documents": 1, "suffix_documents": 1} if one_document and count else {}
        kind = {"sample": "phantoms" if phantom else "uniform", "split": "phantom" if phantom else "member", "entropy": None}
        if planted and i >= COUNT // 2:
            kind |= {"sample": "planted_phantoms" if phantom else "planted", "entropy": 8.0}
        group = ("canary", "sentence")[i // 2 % 2] if "planted" in kind["sample"] else ""
        place = {"group": group, "document": f"d{i}", "source": "s", "offset": i, "ids": ids, "prefix": PREFIX}
        cluster = int(phantom) if one_text else 0 if i in (0, 1) else i
        windows.append({"sequence": f"w{i:03d}", "cluster": cluster, "near_cluster": cluster, **kind, **place, **same})
        sampled = [log_p, np.where(draw.random(T) < 0.05, -np.inf, log_p).astype(np.float32)]
        likeliest = np.where(ranks == 1, ids, 300).astype(np.int32)
        more = {"unrelated": log_p[:3] * (T - PREFIX) if i % 7 else log_p[:0]}
        more |= {"likeliest": likeliest, "ranks": ranks, "hits": ranks == 1, "margins": log_p}
        more |= {"means": log_p - 1, "variances": np.abs(log_p)}
        scores.append(
            {"model": "o", "checkpoint": 7, "sequence": f"w{i:03d}", "log_probabilities": log_p, "sampled": sampled, **more}
        )
    model = {"model": ["o"], "checkpoint": [7], "source": ["folder"], "revision": [""], "path": ["/x"], "sha256": ["0"]}
    model |= {"parameters": [1000], "parameters_non_embedding": [10], "tokens_seen": [-1], "loss": [None], "seed": [-1]}
    made = {
        "sequences": write_part(root, "sequences", {n: [w[n] for w in windows] for n in windows[0]}),
        "models": write_part(root, "models", {**model, "membership": [""]}, {"model": "o"}),
        "tokenizer": small.corpus(root)["tokenizer"][0],
        "sequence_scores": write_part(
            root,
            "sequence_scores",
            {n: [s[n] for s in scores] for n in SEQUENCE_SCORES.schema.names},
            {"model": "o", "checkpoint": "7"},
        ),
    }
    made |= write_generations(root, windows, scores)[0]
    return {name: (part,) for name, part in made.items()}, windows, scores


def asked() -> Study:
    memorization = {"prefix": PREFIX, "suffix": T - PREFIX, "sampling": [{}, {"top_k": 5}]}
    return small.study([], memorization=memorization, measures={"bootstrap": 50})


def measured(root: Path, **which: bool) -> tuple[dict[tuple, dict], list[dict], list[dict]]:
    made, windows, scores = tables(root, **which)
    step, made = with_measures(MEASURE, MEASURES), made | run_step(MEMORIZE, asked(), root, made)
    rows = read_rows(root, run_step(step, asked(), root, {t: made.get(t, ()) for t in step.reads})["metrics"])
    named = ("measure", "statistic", "group", "detail", "level", "bin")
    return {tuple(r[n] for n in named): r for r in rows}, windows, scores


def test_every_measure_equals_its_definition_on_the_same_windows(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path)
    rows = list(zip(windows, scores, strict=True))
    assert {m.name for m in MEASURES} - OF_A_TRAINING - {"canary_exposure"} == {key[0] for key in found}
    of_checkpoint = [r for r in found.values() if r["measure"] != "extraction_laws"]
    assert {(r["task"], r["model"], r["checkpoint"], r["unit"], r["x"] is None) for r in of_checkpoint} == {
        ("", "o", 7, "sequence", False)
    }
    hits = {name: [s["hits"] for w, s in rows if w["sample"] == name] for name in ("uniform", "phantoms")}
    rates = {name: np.mean([h[PREFIX:].all() for h in some]) for name, some in hits.items()}
    for name, rate in rates.items():
        assert found["extraction", "rate", name, "", -1, -1]["estimate"] == pytest.approx(rate)
        assert found["extraction", "rate_by_prefix", name, "", 2, -1]["estimate"] == np.mean([h[2:7].all() for h in hits[name]])
        assert found["extraction", "strength", name, "", -1, -1]["estimate"] == pytest.approx(
            np.mean(strength(np.array(hits[name])))
        )
    assert sorted(k[4] for k in found if k[:3] == ("extraction", "rate_by_prefix", "uniform")) == [1, 2, 3]
    assert found["extraction", "excess", "uniform", "", -1, -1]["estimate"] == pytest.approx(rates["uniform"] - rates["phantoms"])
    for n, count in ((0, 1), (4, 2), (8, 4), (12, 8), (16, 16)):
        row = found["extraction", "rate_by_duplicates", "uniform", "", -1, n]
        exact = [s["hits"][PREFIX:].all() for w, s in rows if w["occurrences"] == count]
        assert (row["estimate"], row["x"], row["rows"]) == (pytest.approx(np.mean(exact)), count, len(exact))
    assert found["extraction", "rate", "uniform", "", -1, -1]["examples"] == 39, "two windows are one text"

    for number, scheme in enumerate(("T=1", "T=1 k=5")):
        p = [math.exp(np.float64(s["sampled"][number][PREFIX:]).sum()) for w, s in rows if w["sample"] == "uniform"]
        assert found["discoverable", "cut_share", "uniform", scheme, -1, -1]["estimate"] == np.mean(np.array(p) == 0)
        for power, level in itertools.product(range(4), (0.1, 0.5, 0.999)):
            rate = np.mean([1 - (1 - q) ** 10**power >= level for q in p])
            assert found["discoverable", "rate", "uniform", scheme, level, power]["estimate"] == pytest.approx(rate)
    best = found["discoverable", "n_of_largest_excess", "uniform", "T=1", 0.5, -1]["estimate"]
    gaps = [found["discoverable", "excess", "uniform", "T=1", 0.5, power]["estimate"] for power in range(7)]
    assert gaps[round(math.log10(best))] == max(gaps)

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(small.tokenizer_json())

    def of_zlib(window: dict, score: dict) -> float:
        text = tokenizer.decode(window["ids"], skip_special_tokens=False).encode()
        return np.float64(score["log_probabilities"]).sum() / len(zlib.compress(text))

    values = {"loss": [s["log_probabilities"].mean() for _, s in rows], "zlib": [of_zlib(w, s) for w, s in rows]}
    for name, of in values.items():
        members, others = ([v for v, (w, _) in zip(of, rows, strict=True) if w["split"] == kind] for kind in ("member", "phantom"))
        expected = np.mean([(a > b) + (a == b) / 2 for a in members for b in others])
        row = found["membership_inference", "auc", "uniform", name, -1, -1]
        assert row["estimate"] == pytest.approx(expected, abs=1e-3)
        assert row["low"] < row["estimate"] < row["high"]
    assert {k[3] for k in found if k[0] == "membership_inference"} == {"loss", "zlib", "min-k", "min-k++"}


def test_a_sample_is_compared_with_phantoms_that_were_drawn_like_it(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path, planted=True)
    rows = list(zip(windows, scores, strict=True))
    exact = {name: [s["hits"][PREFIX:].all() for w, s in rows if w["sample"] == name] for name in SAMPLES}
    loss = {name: [s["log_probabilities"].mean() for w, s in rows if w["sample"] == name] for name in SAMPLES}
    assert not NULLS.keys() & {"phantoms", "planted_phantoms"}
    for name, null in (("planted", "planted_phantoms"), ("uniform", "phantoms")):
        assert NULLS[name] == null
        excess = np.mean(exact[name]) - np.mean(exact[null])
        assert found["extraction", "excess", name, "", -1, -1]["estimate"] == pytest.approx(excess)
        auc_of = np.mean([(a > b) + (a == b) / 2 for a in loss[name] for b in loss[null]])
        assert found["membership_inference", "auc", name, "loss", -1, -1]["estimate"] == pytest.approx(auc_of, abs=1e-3)
        cut = {n: found["discoverable", "rate", n, "T=1", 0.1, 6]["estimate"] for n in (name, null)}
        assert found["discoverable", "excess", name, "T=1", 0.1, 6]["estimate"] == pytest.approx(cut[name] - cut[null])
    assert {k[3] for k in found if k[1] == "rate_by_duplicates" and k[2] == "planted"} == {"", "canary", "sentence"}
    for kind in ("canary", "sentence"):
        of_kind = [(w, s["hits"][PREFIX:].all()) for w, s in rows if w["group"] == kind]
        once, *shares = (
            np.mean([hit for w, hit in of_kind if w["sample"] == sample and (count is None or w["occurrences"] == count)])
            for sample, count in (("planted", 1), ("planted", None), ("planted_phantoms", None))
        )
        row = found["extraction", "excess", "planted", kind, -1, -1]
        assert row["estimate"] == pytest.approx(shares[0] - shares[1]) and row["rows"] == sum(
            w["sample"] == "planted" for w, _ in of_kind
        )
        assert found["extraction", "rate", "planted_phantoms", kind, -1, -1]["estimate"] == pytest.approx(shares[1])
        assert found["extraction", "rate_by_duplicates", "planted", kind, -1, 0]["estimate"] == pytest.approx(once)
    assert not [k for k in found if k[1] in ("excess", "auc") and "phantoms" in k[2]], "nothing is compared with itself"


def test_without_phantoms_there_is_no_comparison_and_a_reason(tmp_path: Path) -> None:
    found, _, _ = measured(tmp_path, phantoms=False)
    for key in (("extraction", "excess", "uniform", "", -1, -1), ("membership_inference", "auc", "uniform", "loss", -1, -1)):
        assert found[key]["estimate"] is None and found[key]["note"]
    assert found["extraction", "rate", "uniform", "", -1, -1]["estimate"] is not None


def test_windows_of_one_text_have_no_interval_and_a_reason(tmp_path: Path) -> None:
    found, _, _ = measured(tmp_path, one_text=True)
    row = found["extraction", "strength", "uniform", "", -1, -1]
    assert (row["low"], row["note"], row["examples"]) == (None, "no interval: one example", 1)
    auc_row = found["membership_inference", "auc", "uniform", "loss", -1, -1]
    assert auc_row["estimate"] is not None and auc_row["examples"] == 2


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.name)
def test_a_study_without_memorization_has_none_of_it(measure: Measure) -> None:
    assert not measure.applies(small.study([]))
    assert measure.applies(asked()) or measure.name in OF_A_TRAINING
