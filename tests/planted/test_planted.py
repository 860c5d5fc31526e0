"""Our inference on worlds whose truth is known: a tenth of what `make test-planted` runs, within binomial bands."""

import numpy as np
import pytest
from scipy import stats

from tests.planted import universe, worlds
from tests.planted.acceptance import MISTAKES, verdicts

SEED = worlds.SEED


def test_every_cell_is_equally_full_and_p_is_uncorrelated_with_both_frequencies():
    facts = [(p, d, r) for p in universe.SHARES for d in universe.INPUT_DOCUMENTS for r in universe.OUTPUT_RATIOS]
    p, inputs, ratios = np.array(facts).T
    assert len(facts) == 96 and len(facts) * universe.FACTS_PER_CELL == 38_400
    assert (p * inputs == np.round(p * inputs)).all() and (p * inputs <= inputs * ratios).all()  # whole, and C ≤ df(s_y)
    for other in (inputs, ratios, inputs * ratios):
        assert stats.spearmanr(p, other).statistic == pytest.approx(0, abs=1e-12)


def test_the_truth_is_scipys_over_the_universe_and_every_mistake_is_far_from_it():
    sides = universe.universe(SEED)
    assert universe.truth_of(SEED) == pytest.approx(stats.spearmanr(sides.log_p, sides.log_llm).statistic, abs=1e-12)
    assert 0.6 < universe.truth_of(SEED) < 0.7
    for mistake in universe.MISTAKES:
        assert abs(sides.rho(mistake) - universe.truth_of(SEED)) > 3 * universe.half_width(sides)
    assert abs(sides.rho("min_count")) < 0.01
    assert abs(sides.rho("added")) < 0.1
    assert 0.03 * len(np.unique(sides.example)) > universe.SAMPLED
    assert (sides.never_reset - sides.log_llm).var() > 8 * sides.log_llm.var()
    assert sides.log_llm.max() < 0


def test_a_pair_stands_in_as_many_examples_as_one_half_by_its_p():
    sides = universe.universe(SEED)
    holders = np.bincount(sides.output)[sides.output]
    wanted = np.maximum(1, np.round(0.5 / np.exp(sides.log_p)))
    assert (holders <= wanted).all() and (holders == wanted).mean() > 0.99  # but for the few that met themselves
    assert np.allclose(np.exp(sides.added), holders * np.exp(sides.log_p))
    assert len(np.unique(sides.example * 1_000_000 + sides.output)) == len(sides.example)


def test_a_world_is_whole_examples_and_the_same_again():
    first, again, other = (universe.planted_world(SEED, w) for w in (3, 3, 4))
    assert np.array_equal(first.log_llm, again.log_llm)
    assert not np.array_equal(first.example, other.example)
    assert len(np.unique(first.example)) == universe.SAMPLED
    everything = universe.universe(SEED)
    assert np.isin(everything.example, first.example).sum() == len(first.example)


@pytest.mark.parametrize("design", universe.DESIGNS[1:])
def test_rows_of_a_null_world_are_not_independent_but_rho_is_0(design):
    estimates = []
    for world in range(60):
        rows = universe.null_world(design, SEED, world)
        estimates.append(stats.spearmanr(rows.x, rows.y).statistic)
        assert len(set(zip(rows.example, rows.output, strict=True))) == len(rows)
    assert rows.examples == universe.SAMPLED
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(60)
    assert np.std(estimates) > 1.15 / np.sqrt(len(rows))  # of independent rows it would be 1 / √N
    if design == "shared_output":
        from tasks.statistics import effective_clusters

        assert effective_clusters(rows.output) >= 200


def test_where_rows_are_many_where_p_llm_is_high_they_are():
    rows = universe.null_world("tied_block", SEED, 0)
    sizes = np.bincount(rows.example)
    means = np.bincount(rows.example, weights=rows.y) / sizes
    assert stats.spearmanr(sizes, means).statistic > 0.7


@pytest.mark.slow
def test_a_tenth_of_the_worlds_comes_out_as_it_should():
    found = worlds.summary(worlds.try_world(d, w) for d in universe.DESIGNS for w in range(200))
    wrong = [claim for claim, holds in verdicts(found) if not holds]
    assert not wrong, "\n".join(wrong)
    assert set(MISTAKES) < set(found["detected"])


def test_the_bands_catch_what_is_wrong():
    good = {
        "worlds": 2000,
        "covered": 1900,
        "half_width": 0.03,
        "detected": dict.fromkeys(universe.MISTAKES, 2000),
        "rejected": dict.fromkeys(universe.DESIGNS[1:], 100),
        "pigeonhole": dict.fromkeys(universe.DESIGNS[1:], 5),
        "naive": dict.fromkeys(universe.DESIGNS[1:], 700),
    }
    assert all(holds for _, holds in verdicts(good))
    assert not all(holds for _, holds in verdicts(good | {"covered": 1840}))  # a true .92
    assert not all(holds for _, holds in verdicts(good | {"rejected": {**good["rejected"], "tied_block": 131}}))
    assert not all(holds for _, holds in verdicts(good | {"pigeonhole": {**good["pigeonhole"], "tied_block": 131}}))
    assert not all(holds for _, holds in verdicts(good | {"naive": {**good["naive"], "shared_output": 599}}))
    assert not all(holds for _, holds in verdicts(good | {"detected": {**good["detected"], "added": 1979}}))
