"""The logistic fit of extraction: known coefficients come back, statsmodels agrees, and what has no answer has a reason."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tasks.memorization.extraction_laws import TERMS, FitTable, fit

TRUTH = np.array([-3.0, 0.8, 0.5, 0.7, -0.05])  # intercept, then TERMS


def world(seed: int, windows: int = 120, models: int = 3, clusters: int = 60) -> FitTable:
    """Windows in clusters of equal copies and entropy, seen by models of growing size after prefixes of 1, 4 and 16 tokens."""
    draw = np.random.default_rng(seed)
    of, copies, bits = np.arange(windows) % clusters, draw.integers(0, 7, clusters), draw.uniform(5, 40, clusters)
    rows = [
        (float(copies[of[w]]), length, 4.0 + m, bits[of[w]], of[w])
        for w in range(windows)
        for m in range(models)
        for length in (0, 2, 4)
    ]
    terms, code = np.array([r[:4] for r in rows]), np.array([r[4] for r in rows])
    p = 1 / (1 + np.exp(-(TRUTH[0] - 3 + terms @ TRUTH[1:])))
    return FitTable(draw.random(len(p)) < p, terms, code)


def test_intervals_cover_known_coefficients_in_95_of_100_worlds() -> None:
    covered = np.zeros(len(TERMS), int)
    for seed in range(200):
        found = fit(world(seed, windows=80, models=2))
        estimates = [found.coefficient(term) for term in range(len(TERMS))]
        covered += [e.low < truth < e.high for e, truth in zip(estimates, TRUTH[1:], strict=True)]
    assert all(180 <= c <= 198 for c in covered), covered


def test_coefficients_and_errors_are_those_of_statsmodels() -> None:
    """Its formula interface, on a frame of names and groups; curves by moving each row and differences of coefficients."""
    import pandas as pd
    import statsmodels.formula.api as smf

    table = world(7)
    frame = pd.DataFrame(table.terms, columns=list(TERMS)).assign(y=table.extracted.astype(int))
    by_cluster = {"cov_type": "cluster", "cov_kwds": {"groups": table.clusters}}
    theirs = smf.logit(f"y ~ {' + '.join(TERMS)}", frame).fit(disp=0, **by_cluster)
    found = fit(table)
    for term, name in [(-1, "Intercept"), *enumerate(TERMS)]:
        mine, ends = found.coefficient(term), theirs.conf_int().loc[name]
        assert (mine.value, mine.standard_error) == pytest.approx((theirs.params[name], theirs.bse[name]), rel=1e-4)
        assert (mine.low, mine.high) == pytest.approx(tuple(ends), rel=1e-3)
        assert mine.p_value == pytest.approx(theirs.pvalues[name], rel=1e-2, abs=1e-12)
    p, error = found.curve(table.terms, 0, 3.0)
    assert p == pytest.approx(theirs.predict(frame.assign(log2_occurrences=3.0)).mean(), rel=1e-4)
    gradient = []
    for i in range(5):
        moved = type(found)(**{**vars(found), "coefficients": found.coefficients + 1e-5 * np.eye(5)[i]})
        gradient.append((moved.curve(table.terms, 0, 3.0)[0] - p) / 1e-5)
    assert error == pytest.approx(np.sqrt(np.array(gradient) @ np.asarray(theirs.cov_params()) @ gradient), rel=1e-3)


def changed(**columns: np.ndarray) -> FitTable:
    return FitTable(**{**vars(world(1)), **columns})


@pytest.mark.parametrize("value", [True, False])
def test_without_variance_there_is_no_fit(value: bool) -> None:
    found = fit(changed(extracted=np.full(1080, value)))
    assert [found.coefficient(t).note for t in (-1, 0)] == ["no fit: all windows are extracted, or none is"] * 2


def test_terms_that_separate_are_no_coefficients() -> None:
    """Complete and quasi-complete separation, in which one value of a term decides and others do not."""
    terms, draw = world(1).terms, np.random.default_rng(0)
    complete = terms[:, 0] > 2
    quasi = (terms[:, 0] > 2) & (draw.random(len(terms)) < 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for extracted in (complete, complete | (terms[:, 0] == 2) & (draw.random(len(terms)) < 0.5), quasi & (terms[:, 0] == 6)):
            estimate = fit(changed(extracted=extracted)).coefficient(0)
            assert estimate.value is None and "separate" in estimate.note
        assert fit(changed(extracted=quasi ^ (draw.random(len(terms)) < 0.1))).coefficient(0).value is not None


@pytest.mark.parametrize(
    ("term", "column", "note"),
    [(2, 5.0, "one model"), (3, np.nan, "not known of every window"), (1, 2.0, "equal in all rows"), (3, None, "follows from")],
)
def test_a_term_that_cannot_be_told_is_left_out_and_the_others_stay(term: int, column: float | None, note: str) -> None:
    table = world(1)
    terms = table.terms.copy()
    terms[:, term] = column if column is not None else 3 * terms[:, 0] + 1
    found = fit(changed(terms=terms))
    assert note in found.coefficient(term).note and found.coefficient(term).value is None
    assert found.coefficient(0).low is not None and term not in found.terms


def test_few_clusters_give_numbers_and_no_intervals() -> None:
    for clusters in (1, 9):
        estimate = fit(changed(clusters=np.arange(1080) % clusters)).coefficient(0)
        assert (estimate.low, estimate.p_value) == (None, None) and estimate.value is not None
        assert estimate.note == "no interval: fewer than 10 clusters"
    assert fit(changed(clusters=np.arange(1080) % 10)).coefficient(0).low is not None
