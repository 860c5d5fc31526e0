"""Definitions of memorization beyond extraction, on the windows of test_measures.py, each computed again from its formula."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tasks.memorization.eidetic import MOST_DOCUMENTS
from tasks.memorization.memorize import MEMORIZE
from tasks.memorization.prior_aware import log_mean
from tasks.memorization.taxonomy import counts, kinds, repeats
from tasks.memorization.token_accuracy import frequency_classes, matched_difference
from tests.memorization.test_measures import PREFIX, T, asked, measured, tables
from tests.models import small
from tests.support import read_rows, run_step


# -- the row of a window ----------------------------------------------------------------------------------------------
def test_a_window_has_one_row_that_joins_with_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer

    decode = Tokenizer.from_str(small.tokenizer_json()).decode
    made, windows, scores = tables(tmp_path, planted=True)
    rows = read_rows(tmp_path, run_step(MEMORIZE, asked(), tmp_path, made)["sequence_measures"])
    assert [(r["model"], r["checkpoint"], r["sequence"]) for r in rows] == [("o", 7, w["sequence"]) for w in windows]
    for row, window, score in zip(rows, windows, scores, strict=True):
        hits, log_p = score["hits"].tolist(), score["log_probabilities"].astype(np.float64)
        assert row["extracted"] == all(hits[PREFIX:]) and row["accuracy"] == sum(hits) / T
        assert row["extracted_from"] == [all(hits[k : k + T - PREFIX]) for k in range(1, PREFIX + 1)]
        assert row["longest_run"] == max(map(len, "".join("x" if h else " " for h in hits).split()), default=0)
        assert row["suffix_log_p"] == pytest.approx(log_p[PREFIX:].sum())
        assert row["sampled_log_p"] == pytest.approx([s[PREFIX:].astype(np.float64).sum() for s in score["sampled"]])
        assert row["loss"] == pytest.approx(log_p.mean()) and row["min_k"] == pytest.approx(log_p.min())
        text = decode(window["ids"], skip_special_tokens=False).encode()
        assert row["zlib"] == pytest.approx(log_p.sum() / len(zlib.compress(text))), "of the sum: a mean favours long windows"
        z = (log_p - score["means"]) / np.sqrt(np.maximum(score["variances"], 1e-6))
        assert row["min_k_plus_plus"] == pytest.approx(z.min(), rel=1e-5)
        after = score["unrelated"].astype(np.float64)
        assert row["unrelated_log_p"] == (pytest.approx(math.log(np.exp(after).mean())) if len(after) else None)
        assert row["kind"] == ("recite" if window["occurrences"] > 5 else "recollect")
        assert (row["exposure"] is None) == (window["sample"] in ("uniform", "phantoms"))
    monkeypatch.setattr("tasks.memorization.memorize.WINDOWS_AT_ONCE", 7)
    assert (
        read_rows(
            tmp_path / "b",
            run_step(MEMORIZE, asked(), tmp_path / "b", tables(tmp_path / "b", planted=True)[0])["sequence_measures"],
        )
        == rows
    )


def test_a_window_without_a_last_hit_or_with_p_of_one_has_finite_numbers(tmp_path: Path) -> None:
    """Strength is 0 if the last token is wrong; where p is 1, so that the variance is 0, no score is infinite."""
    made, _, _ = tables(tmp_path)
    rows = read_rows(tmp_path, run_step(MEMORIZE, asked(), tmp_path, made)["sequence_measures"])
    assert all(np.isfinite(r[n]) for r in rows for n in ("loss", "zlib", "min_k", "min_k_plus_plus", "suffix_log_p"))
    assert [r["suffix_log_p"] == 0 for r in rows].count(True) == 1
    assert any(r["strength"] == 0 and r["accuracy"] > 0 for r in rows)


# -- M(f) ---------------------------------------------------------------------------------------------------------------
def test_accuracy_is_compared_with_phantoms_of_as_frequent_tokens(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path)
    count = Counter(token for w in windows for token in w["ids"])
    cells: dict[tuple[str, int], list[bool]] = {}
    for window, score in zip(windows, scores, strict=True):
        for token, hit in zip(window["ids"], score["hits"], strict=True):
            cells.setdefault((window["split"], int(math.log2(count[token]))), []).append(bool(hit))
    both = [c for kind, c in cells if kind == "member" and ("phantom", c) in cells]
    weights = [len(cells["member", c]) for c in both]
    null, mine = (np.average([np.mean(cells[kind, c]) for c in both], weights=weights) for kind in ("phantom", "member"))
    rows = {name: found["token_accuracy", name, "uniform", "", -1, -1] for name in ("mean", "matched", "excess")}
    assert rows["mean"]["estimate"] == pytest.approx(np.mean([h for (k, _), hits in cells.items() if k == "member" for h in hits]))
    assert (rows["matched"]["estimate"], rows["excess"]["estimate"]) == pytest.approx((null, mine - null))
    assert rows["excess"]["low"] < mine - null < rows["excess"]["high"]
    assert ("token_accuracy", "mean", "phantoms", "", -1, -1) in found


def test_matching_removes_a_difference_that_frequency_alone_makes() -> None:
    """Members have more frequent tokens; the model predicts by frequency and knows nothing else."""
    hits, sizes = np.array([[[90.0, 1.0, 5], [9.0, 10.0, 0]]]), np.array([[[100.0, 10.0, 5], [10.0, 100.0, 0]]])
    null, excess = matched_difference(hits, sizes)
    assert hits[0, 0, :2].sum() / 110 - hits[0, 1].sum() / 110 > 0.6
    assert excess == pytest.approx([0], abs=1e-12) and null == pytest.approx([91 / 110])
    assert np.isnan(matched_difference(hits[:, :, 2:], sizes[:, :, 2:])[1]).all()
    assert frequency_classes(np.array([[7, 7, 7], [7, 2, 2]])).tolist() == [[2, 2, 2], [2, 1, 1]]


# -- k-eidetic ----------------------------------------------------------------------------------------------------------
def test_eidetic_windows_are_those_in_few_documents_however_often_they_occur(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path)
    exact = [bool(s["hits"][PREFIX:].all()) for s in scores]
    for k in MOST_DOCUMENTS:
        for sample, kind in (("uniform", "member"), ("phantoms", "phantom")):
            few = [e for e, w in zip(exact, windows, strict=True) if w["split"] == kind and w["suffix_documents"] <= k]
            row = found["eidetic", "rate", sample, "", k, -1]
            assert (row["estimate"], row["rows"]) == (pytest.approx(np.mean(few)), len(few))
            assert found["eidetic", "windows", sample, "", k, -1]["estimate"] == sum(few)
        null = found["eidetic", "rate", "phantoms", "", k, -1]["estimate"]
        rate = found["eidetic", "rate", "uniform", "", k, -1]["estimate"]
        assert found["eidetic", "excess", "uniform", "", k, -1]["estimate"] == pytest.approx(rate - null)


def test_documents_count_for_k_and_not_occurrences(tmp_path: Path) -> None:
    """A hundred copies in one document are 1-eidetic."""
    found, windows, scores = measured(tmp_path, one_document=True)
    members = [s["hits"][PREFIX:].all() for w, s in zip(windows, scores, strict=True) if w["split"] == "member"]
    assert found["eidetic", "windows", "uniform", "", 1, -1]["estimate"] == sum(members)


# -- recite, reconstruct, recollect ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("1. a 2. b 3. c 4. d 5. e 6. f 7. g 8. h", True),
        (" 10 9 8 7 6 5 4 3 ", True),
        ("v1.5, v1.6, v1.7, v1.8, v1.9, v2.0, v2.1 ", True),
        ("x1=5 x2=5 x3=5 x4=5 x5=5 x6=5 ", True),  # every other number is constant
        ("(1, 20) (2, 18) (3, 16) (4, 14) ", True),
        ("7 7 7 7 7 7 7 7 7 ", False),  # repeats, but does not count
        ("a 1 b 2 c 3 d 4 e", False),  # four numbers
        (" 3 1 4 1 5 9 2 6 5 ", False),
        ("99 1, 2, 3, 4, 5, 6, 7 1", True),  # the window cuts the first and the last number
        ("in 1 of many words that are long and go on and on 2 so " * 1 + "x" * 300 + " 3 4 5 6 7 ", False),  # few digits
        ("", False),
    ],
)
def test_numbers_count(text: str, yes: bool) -> None:
    assert counts(text) == yes


def test_kinds_of_windows() -> None:
    ids = np.array(
        [[1, 2, 3, 1, 2, 3, 1, 2], [1, 2, 3, 4, 5, 1, 2, 3], [5] * 8, [9, 5, 5, 5, 5, 5, 5, 5], [1, 2, 3, 4, 1, 2, 3, 4]]
    )
    assert repeats(ids).tolist() == [True, False, True, False, True]
    for row, found in zip(ids.tolist(), repeats(ids), strict=True):
        assert found == any(all(row[t] == row[t - q] for t in range(q, 8)) for q in range(1, 5))
    assert kinds(ids, [""] * 5, np.array([5, 6, 6, 0, 1])) == ["reconstruct", "recite", "recite", "recollect", "reconstruct"]


def test_rates_of_kinds_are_next_to_phantoms_of_the_kind(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path)
    exact = {
        (kind, many): [
            s["hits"][PREFIX:].all()
            for w, s in zip(windows, scores, strict=True)
            if (w["split"], w["occurrences"] > 5) == (kind, many)
        ]
        for kind, many in (("member", True), ("member", False), ("phantom", False))
    }
    total = sum(map(sum, (exact["member", True], exact["member", False])))
    for name, many in (("recite", True), ("recollect", False)):
        mine = exact["member", many]
        assert found["taxonomy", "share", "uniform", name, -1, -1]["estimate"] == pytest.approx(sum(mine) / total)
        assert found["taxonomy", "rate", "uniform", name, -1, -1]["estimate"] == pytest.approx(np.mean(mine))
    excess = np.mean(exact["member", False]) - np.mean(exact["phantom", False])
    assert found["taxonomy", "excess", "uniform", "recollect", -1, -1]["estimate"] == pytest.approx(excess)
    assert "nothing to compare with" in found["taxonomy", "excess", "uniform", "recite", -1, -1]["note"]
    assert found["taxonomy", "share", "uniform", "reconstruct", -1, -1]["estimate"] == 0


# -- prior-aware ----------------------------------------------------------------------------------------------------------
def test_the_gain_of_a_prefix_is_over_unrelated_ones(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path)
    gains: dict[str, list[tuple[float, bool]]] = {"uniform": [], "phantoms": []}
    for window, score in zip(windows, scores, strict=True):
        if len(score["unrelated"]):
            own = score["log_probabilities"][PREFIX:].astype(np.float64).sum()
            gain = own - math.log(np.exp(score["unrelated"].astype(np.float64)).mean())
            gains[window["sample"]].append((gain, bool(score["hits"][PREFIX:].all())))
    threshold = np.quantile([g for g, _ in gains["phantoms"]], 0.95)
    for sample, some in gains.items():
        assert found["prior_aware", "gain", sample, "", -1, -1]["estimate"] == pytest.approx(np.mean([g for g, _ in some]))
        common = [g <= threshold for g, exact in some if exact]
        row = found["prior_aware", "common_share", sample, "", -1, -1]
        assert row["rows"] == len(common) and row["estimate"] == (pytest.approx(np.mean(common)) if common else None)
    expected = np.mean([g for g, _ in gains["uniform"]]) - np.mean([g for g, _ in gains["phantoms"]])
    assert found["prior_aware", "excess", "uniform", "", -1, -1]["estimate"] == pytest.approx(expected)


def test_the_mean_of_tiny_probabilities_is_not_zero() -> None:
    assert log_mean([[-2000.0, -2000.0 + math.log(3)]]) == [pytest.approx(-2000 + math.log(2))]


# -- exposure and laws through the step -------------------------------------------------------------------------------------
def test_planted_windows_are_exposed_among_phantoms_of_their_group(tmp_path: Path) -> None:
    rows, windows, scores = measured(tmp_path, planted=True)
    of: dict[tuple[str, str], list[float]] = {}
    for window, score in zip(windows, scores, strict=True):
        of.setdefault((window["sample"], window["group"]), []).append(score["log_probabilities"][PREFIX:].astype(np.float64).sum())
    for group in ("canary", "sentence"):
        planted, null = of["planted", group], np.array(of["planted_phantoms", group])
        bits = [math.log2((len(null) + 1) / (1 + (null >= score).sum())) for score in planted]
        among = [math.log2(len(null) / rank) for rank in stats.rankdata(-null)]
        row = {n: rows["canary_exposure", "mean", n, group, -1, -1] for n in ("planted", "planted_phantoms")}
        assert row["planted"]["estimate"] == pytest.approx(np.mean(bits)) and row["planted"]["rows"] == len(bits)
        assert row["planted_phantoms"]["estimate"] == pytest.approx(np.mean(among))
        excess = rows["canary_exposure", "excess", "planted", group, -1, -1]
        assert excess["estimate"] == pytest.approx(np.mean(bits) - np.mean(among))
        tail = rows.get(("canary_exposure", "extrapolated", "planted", group, -1, -1))
        assert (tail is not None) == (len(null) >= 10) and (tail is None or "fewer than 10000" in tail["note"])
        by_copies = [r for k, r in rows.items() if k[:4] == ("canary_exposure", "by_duplicates", "planted", group)]
        assert sum(r["rows"] for r in by_copies) == len(planted)


def test_laws_are_of_every_prefix_and_stand_next_to_phantoms(tmp_path: Path) -> None:
    found, windows, _ = measured(tmp_path)
    members = sum(w["split"] == "member" for w in windows)
    slope = found["extraction_laws", "coefficient", "uniform", "log2_prefix", -1, -1]
    assert slope["rows"] == 3 * members and slope["low"] < slope["estimate"] < slope["high"]
    reasons = {
        n: found["extraction_laws", "coefficient", "uniform", n, -1, -1]["note"] for n in ("log10_parameters", "entropy_bits")
    }
    assert reasons == {"log10_parameters": "one model", "entropy_bits": "not known of every window"}
    for number, k in enumerate((1, 2, 3)):
        key = ("uniform", "log2_prefix", -1, number)
        curve, null, excess = (found["extraction_laws", name, *key] for name in ("curve", "phantoms", "excess"))
        assert curve["x"] == pytest.approx(math.log2(k))
        assert null["estimate"] == pytest.approx(found["extraction", "rate_by_prefix", "phantoms", "", k, -1]["estimate"])
        assert excess["estimate"] == pytest.approx(curve["estimate"] - null["estimate"])
        assert 0 < curve["low"] < curve["estimate"] < curve["high"] < 1


def test_without_phantoms_every_comparison_has_a_reason(tmp_path: Path) -> None:
    found, _, _ = measured(tmp_path, phantoms=False, planted=True)
    compared = [r for k, r in found.items() if k[1] in ("excess", "matched", "common_share") or k[0] == "canary_exposure"]
    assert {r["measure"] for r in compared} >= {"token_accuracy", "eidetic", "taxonomy", "prior_aware", "canary_exposure"}
    assert all(r["estimate"] is None and r["note"] for r in compared if r["measure"] != "recitation")
