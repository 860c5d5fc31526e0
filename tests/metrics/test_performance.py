"""Scores against counts: no example is lost between bins, ties stay together, and each point rests on the pairs it names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import CONTRACTS
from tasks.statistics.bins import linear_bins, log_bins, mean_log_bins, quantile_bins
from tests.metrics.alone import measured, run_alone
from tests.metrics.test_measure import answering
from tests.support import read_rows, write_part

KINDS = {"log": log_bins, "linear": linear_bins, "quantile": quantile_bins}


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.integers(0, 400), max_size=60), st.integers(2, 9))
@settings(deadline=None, max_examples=60)
def test_zero_is_apart_equal_counts_stay_together_and_overflow_is_the_top_twentieth(kind, counts, bins):
    x = np.array(counts, dtype=float)
    found = KINDS[kind](x, bins)
    last = len(found.cover) - 1
    positive = x[x > 0]
    assert ((found.code == 0) == (x == 0)).all()
    assert (np.diff(found.code[np.argsort(x, kind="stable")]) >= 0).all(), "more counts, no lower bin"
    assert all(len(set(found.code[x == value])) == 1 for value in set(counts))
    over = int((found.code == last).sum())
    assert over <= 0.05 * len(positive) + 1e-9
    if len(positive):
        left = len(positive) - over
        largest = positive[found.code[x > 0] < last].max()
        assert left - (positive == largest).sum() < 0.95 * len(positive), "and as much of the twentieth as ties allow"
    assert last <= bins + 1
    assert (last == bins + 1) or kind == "quantile"
    ends = [found.end(code) for code in range(last + 1)]
    assert ends == ["zero", *[""] * (last - 1), "overflow"]


def test_bins_are_equal_in_ratio_width_and_number():
    x = np.concatenate([np.zeros(7), np.arange(1, 101), [10_000.0] * 5])
    assert linear_bins(x, 4).cover == ["0", "[1, 25.75)", "[25.75, 50.5)", "[50.5, 75.25)", "[75.25, 100]", "> 100"]
    edges = [float(c.split(",")[0].strip("[")) for c in log_bins(x, 4).cover[1:-1]]
    assert np.allclose(np.diff(np.log(edges)), np.log(100) / 4, rtol=1e-2)
    numbers = np.bincount(quantile_bins(x, 4).code)
    assert numbers[0] == 7
    assert numbers[-1] == 5
    assert (np.abs(numbers[1:-1] - 25) <= 1).all()


def test_heavy_ties_make_fewer_quantile_bins():
    x = np.array([1.0] * 60 + [2.0] * 20 + [3.0] * 20)
    found = quantile_bins(x, 8)
    assert found.cover == ["0", "[1, 2)", "[2, 3]", "> 3"]
    assert np.bincount(found.code, minlength=4).tolist() == [0, 60, 40, 0]


def test_logarithms_have_a_bin_for_examples_without_a_pair():
    found = mean_log_bins(np.array([np.nan, 0.0, 0.0, 2.0, 1.0]), 2)
    assert found.code.tolist()[:3] == [0, 1, 1]
    assert found.cover[0] == "no pair"
    assert mean_log_bins(np.full(3, np.nan), 2).code.tolist() == [0, 0, 0]


@pytest.mark.parametrize("measure", ["performance", "performance_linear", "performance_quantile"])
def test_every_scored_example_is_in_one_bin_with_an_interval(tmp_path, measure):
    w = answering(40)
    w.count[:5] = 0
    found = [r for k, r in measured(tmp_path, w, "performance").items() if k[:2] == (measure, "m")]
    assert sum(r["rows"] for r in found) == 40
    assert sum(r["estimate"] * r["rows"] for r in found if r["rows"]) == pytest.approx(20)
    assert [r["bin"] for r in found] == list(range(len(found)))
    assert (found[0]["detail"], found[-1]["detail"]) == ("zero", "overflow")
    assert all(r["low"] <= r["estimate"] <= r["high"] for r in found if r["rows"])
    assert all(r["note"] for r in found if not r["rows"])


def test_sums_also_have_the_log_likelihood_of_the_reference(tmp_path):
    w = answering(40)
    w.count[:5] = 0
    found = measured(tmp_path, w, "performance", family="math")
    row = found["performance", "m", 1, "log_likelihood", "bin=0 detail=zero"]
    assert row["rows"] == 5
    assert row["estimate"] == pytest.approx(w.log_p["m"][:5].mean() / 2, abs=1e-5), "two tokens each"
    assert row["low"] <= row["estimate"] <= row["high"]
    curve = [r for k, r in found.items() if k[0] == "performance" and k[1] == "m" and k[3] == "log_likelihood"]
    assert sum(r["rows"] for r in curve) == 40
    assert ("performance", "m", 1, "exact_match", "bin=0 detail=zero") in found


def test_a_language_pair_is_corpus_bleu_over_the_counts_of_its_distinct_pairs(tmp_path):
    """A pair that occurs in two examples counts once (docs/method.md §2); the interval resamples the group's own examples."""
    import sacrebleu

    w = answering(12)
    w.answer[:] = np.arange(12) % 4
    generated = [f"a{j} and then some {'words' if i % 2 else 'birds'} that follow" for i, j in enumerate(w.answer)]
    w.tails, w.generations = np.full(12, -1.0), {"m": generated}
    tables = w.tables(tmp_path)
    names = [f"e{i:04d}" for i in range(12)]
    # every example also holds the s_x of example 0 or 1, its group's first: (s0, a0) and (s1, a1) occur in three examples each
    rows = []
    for i, name in enumerate(names):
        rows += [(name, "input", f"s{i}", 9, 11), *([(name, "input", f"s{i % 2}", 0, 1)] if i > 1 else [])]
        rows += [(name, "output", f"a{i % 4}", 0, 2)]
    rows.sort()
    n = len(rows)
    tables["example_ngrams"] = (
        write_part(
            tmp_path,
            "example_ngrams",
            {
                "task": ["t"] * n,
                "split": ["evaluate"] * n,
                "example": [r[0] for r in rows],
                "side": [r[1] for r in rows],
                "order": [1] * n,
                "ngram": [r[2] for r in rows],
                "length": [1] * n,
                "starts": [[r[3]] for r in rows],
                "ends": [[r[4]] for r in rows],
            },
            {"task": "t"},
        ),
    )
    rows, _ = run_alone("performance", w.study(family="translation", answer="ngrams"), tmp_path, tables)
    found = {r["group"]: r for r in rows if r["measure"] == "performance_by_group" and r["model"] == "m"}
    for group, first in (("even", 0), ("odd", 1)):
        members = list(range(first, 12, 2))
        assert found[group]["x"] == w.count[members].sum()
        references = [[f"a{w.answer[i]} and then some words that follow" for i in members], [f"the alias {i}" for i in members]]
        wanted = sacrebleu.corpus_bleu([generated[i] for i in members], references).score
        assert found[group]["estimate"] == pytest.approx(wanted, abs=1e-9)
        assert found[group]["low"] <= found[group]["estimate"] <= found[group]["high"]
        assert found[group]["rows"] == 6


def test_a_task_whose_examples_name_no_group_is_one_point(tmp_path):
    w = answering(12)
    w.generations = {"m": [f"a{i} and more" for i in range(12)]}
    tables = w.tables(tmp_path)
    schema = CONTRACTS["examples"].schema
    rows = [r | {"group": ""} for r in read_rows(tmp_path, tables["examples"])]
    write_part(tmp_path, "examples", {c: [r[c] for r in rows] for c in schema.names}, {"task": "t"})
    found, _ = run_alone("performance", w.study(family="translation", languages=["en", "de"]), tmp_path, tables)
    (point,) = [r for r in found if r["measure"] == "performance_by_group" and r["model"] == "m"]
    assert point["group"] == ""
    assert point["x"] == w.count.sum()
    assert point["rows"] == 12
