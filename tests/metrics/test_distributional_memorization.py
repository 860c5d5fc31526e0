"""Mem_n, Mem_Δ and Mem_∞ over tables made by hand."""

import numpy as np
import pytest
from scipy import stats

from tasks.metrics.measure import MEASURE
from tests.metrics.alone import run_measures, which
from tests.metrics.world import World, world
from tests.support import read_rows, span_sums, write_part


def measured(tmp_path, w: World, measure: str = "distributional_memorization", **task) -> dict[tuple, dict]:
    """All metrics of one measure, by (measure, model, unit, statistic, what tells them apart)."""
    rows = read_rows(tmp_path, run_measures(w.study(**task), tmp_path, w.tables(tmp_path), measure)["metrics"])
    return {(r["measure"], r["model"], r["unit"], r["statistic"], which(r)): r for r in rows}


def excluded(tmp_path, w: World, **task) -> dict[tuple, int]:
    tables = run_measures(w.study(**task), tmp_path, w.tables(tmp_path), "distributional_memorization")
    return {(r["measure"], r["model"], r["reason"]): r["rows"] for r in read_rows(tmp_path, tables["exclusions"])}


def test_a_planted_correlation_is_recovered_and_a_null_gives_about_zero(tmp_path):
    w = world(noise=0.5)
    found = measured(tmp_path, w)
    row = found["mem_n", "m", "pair", "spearman", ""]
    assert row["estimate"] == pytest.approx(
        stats.spearmanr(w.count / w.inputs, w.log_p["m"].astype(np.float32)).statistic, abs=1e-6
    )
    assert row["low"] < row["estimate"] < row["high"]
    assert found["mem_n", "m", "pair", "spearman", "interval=two_way"]["p_value"] < 1e-6
    assert row["rows"] == row["examples"] == 120
    null = found["mem_n", "null", "pair", "spearman", ""]
    assert abs(null["estimate"]) < 0.25
    assert null["low"] < 0 < null["high"]
    assert found["mem_n", "null", "pair", "spearman", "interval=two_way"]["p_value"] > 0.01
    assert found["mem_n", "m", "pair", "kendall", ""]["estimate"] == pytest.approx(
        stats.kendalltau(w.count / w.inputs, w.log_p["m"].astype(np.float32)).statistic, abs=1e-6
    )
    # Mem is of log P and not of the count alone
    assert found["mem_ablation", "m", "pair", "spearman", "detail=log_count"]["estimate"] < row["estimate"] - 0.1


def test_the_score_of_an_n_gram_ends_where_it_ends(tmp_path):
    """A mask that is never reset would add what follows, whose variance drowns the signal."""
    w = world()
    w.tails = -30.0 * np.random.default_rng(1).random(len(w))
    assert measured(tmp_path, w)["mem_n", "m", "pair", "spearman", ""]["estimate"] == pytest.approx(1, abs=1e-9)
    never_reset = w.log_p["m"] + w.tails
    assert stats.spearmanr(w.count / w.inputs, never_reset).statistic < 0.3  # the mistake would be seen


def test_tokens_belong_to_a_span_if_they_overlap_it():
    starts, ends = np.array([-1, 3, 5, 9]), np.array([3, 5, 9, 12])
    values = np.array([1.0, 10, 100, 1000])
    spans = np.array([[0, 3], [4, 6], [9, 10], [12, 14], [2, 12]])
    assert span_sums(starts, ends, values, spans[:, 0], spans[:, 1]) == pytest.approx([1, 110, 1000, np.nan, 1111], nan_ok=True)


def test_gamma_is_strict_and_zero_counts_are_left_out_and_counted(tmp_path):
    w = world(n=40)
    w.count[:7] = 0
    found = excluded(tmp_path, w)
    assert found["mem_n", "", "zero corpus count"] == 7
    assert found["mem_n", "m", "kept"] == 33
    assert found["mem_n", "", "pair not mined above γ"] == 0
    (tmp_path / "b").mkdir()
    strict = excluded(tmp_path / "b", w, gamma_default=0.9)
    assert strict["mem_n", "", "pair not mined above γ"] == 40
    assert strict["mem_n", "m", "kept"] == 0


@pytest.mark.parametrize(("gamma", "kept"), [("p50", 40), ("p90.1", 0)])
def test_a_percentile_is_taken_from_all_candidates_of_the_task(tmp_path, gamma, kept):
    """The pairs stored lie at .9; nine times as many were candidates and lie at .5."""
    w = world(n=40)
    study, tables = w.study(gamma_default=gamma), w.tables(tmp_path)
    spread = {"task": ["t"] * 2, "order": [1] * 2, "at_most": [0.5, w.similarity], "candidates": [9 * 40, 40]}
    tables["similarities"] = (write_part(tmp_path, "similarities", spread, {"task": "t"}),)
    found = read_rows(tmp_path, run_measures(study, tmp_path, tables, "distributional_memorization")["exclusions"])
    assert {r["rows"] for r in found if (r["measure"], r["model"], r["reason"]) == ("mem_n", "m", "kept")} == {kept}


@pytest.mark.parametrize("how", ["zero counts", "nothing mined"])
def test_no_support_is_no_evidence_and_never_zero(tmp_path, how):
    w = world(n=20)
    if how == "zero counts":
        w.count[:] = 0
    else:
        w.similarity = 0.4
    found = measured(tmp_path, w) | measured(tmp_path, w, "distributional_generalization")
    for key in [
        ("mem_n", "m", "pair", "spearman", ""),
        ("mem_delta", "m", "example_output", "spearman", ""),
        ("mem_infinity", "m", "example_output", "spearman", ""),
        ("generalization", "m", "pair", "kendall_distance", ""),
    ]:
        assert found[key]["estimate"] is None
        assert found[key]["note"].startswith("no evidence: no pair of this task has support")


@pytest.mark.parametrize("case", ["one example", "constant", "never asked", "no model"])
def test_what_cannot_be_measured_is_a_row_with_a_reason(tmp_path, case):
    w = world(n=1 if case == "one example" else 12)
    if case == "constant":
        w.log_p = {"m": np.full(12, -2.0)}
    tables = w.tables(tmp_path)
    if case == "never asked":
        tables["token_scores"] = ()
    if case == "no model":
        tables["token_scores"] = tables["models"] = ()
    rows = read_rows(tmp_path, run_measures(w.study(), tmp_path, tables, "distributional_memorization")["metrics"])
    mem = [r for r in rows if r["measure"] == "mem_n" and r["statistic"] == "spearman"]
    assert all(r["estimate"] is None and r["note"] for r in mem)
    assert bool(mem) == (case != "no model")
    notes = {"one example": "fewer than 3 rows", "constant": "log P_LLM is the same in all rows", "never asked": "no score"}
    assert all(notes[case] in r["note"] for r in mem if not which(r))


def test_a_model_that_knows_the_answer_whatever_the_question_has_no_mem_delta(tmp_path):
    """log P_LLM is the answer's frequency: Mem_n sees it, Mem_Δ is null, for Δ is 0 everywhere (docs/method.md §6a)."""
    w = world()
    w.others = lambda i, o: float(w.log_p["m"][i])
    w.log_p = {"m": w.log_p["m"]}
    found = measured(tmp_path, w)
    assert found["mem_n", "m", "pair", "spearman", ""]["estimate"] > 0.99
    assert found["mem_delta", "m", "pair", "spearman", ""]["note"] == "Δ is the same in all rows"


def test_mem_delta_compares_with_inputs_that_hold_no_partner_of_the_answer(tmp_path):
    """Examples 0-2 give the other inputs. Example 3 shares its answer with example 0, whose s_x is therefore a partner."""
    w = world(n=30)
    w.answer[3] = 0
    w.log_p = {"m": np.full(30, -1.0)}
    w.others = lambda i, o: -1.0 - [1000.0, float(i), float(i)][o] if i == 3 else -1.0 - i
    found = measured(tmp_path, w)["mem_delta", "m", "pair", "spearman", ""]
    pmi = w.count / (w.inputs * 600.0)
    assert found["rows"] == 30  # the excluded input's -1001 would have made Δ of example 3 the largest
    assert found["estimate"] == pytest.approx(stats.spearmanr(pmi, np.arange(30)).statistic, abs=1e-9)


def test_units_merge_the_pairs_of_an_output(tmp_path):
    from tasks.pair_measures import by_output
    from tasks.statistics import Rows

    rows = Rows(np.array([1.0, 3, 5]), np.array([-1.0, -1, -2]), np.array([0, 0, 1]), np.array([4, 4, 4]))
    merged = by_output(rows)
    assert (merged.x.tolist(), merged.y.tolist(), merged.example.tolist()) == ([2, 5], [-1, -2], [0, 1])


def test_mem_infinity_stands_on_the_rows_of_mem_n(tmp_path):
    w = world(n=50)
    w.infinity = np.where(np.arange(50) < 5, 0, 100 + np.arange(50))
    w.count[:10] = 0
    found = measured(tmp_path, w)
    assert found["mem_infinity", "m", "example_output", "spearman", ""]["rows"] == 40
    assert found["mem_n", "m", "example_output", "spearman", "detail=common with mem_infinity"]["rows"] == 40
    wanted = stats.spearmanr(w.infinity[10:], w.log_p["m"][10:].astype(np.float32)).statistic
    assert found["mem_infinity", "m", "example_output", "spearman", ""]["estimate"] == pytest.approx(wanted, abs=1e-6)


def test_a_model_with_other_tokens_has_no_mem_infinity_and_all_else(tmp_path):
    import json

    from tasks.text.bpe.tokenizer import identity, load_tokenizer, train

    text, other = (train(["to be or not to be"] * 3, size, "<|endoftext|>") for size in (258, 259))
    laid_out_otherwise = json.dumps(json.loads(load_tokenizer(text).to_str()), indent=2)
    assert identity(text) == identity(laid_out_otherwise) != identity(other)
    w = world(n=50)
    w.infinity = 100 + np.arange(50)
    tables = w.tables(tmp_path) | {
        "tokenizer": (
            write_part(tmp_path, "tokenizer", {"name": ["t"], "vocabulary_size": [258], "end_of_document": [0], "json": [text]}),
        ),
        "models": tuple(
            write_part(
                tmp_path,
                "models",
                {
                    "model": [name],
                    "checkpoint": [9],
                    "source": ["folder"],
                    "revision": [""],
                    "path": [""],
                    "sha256": [""],
                    "tokenizer": [identity(tokens)],
                    "parameters": [2],
                    "parameters_non_embedding": [1],
                    "tokens_seen": [-1],
                    "loss": [None],
                    "seed": [-1],
                    "membership": [""],
                },
                {"model": f"{name} again"},
            )
            for name, tokens in (("m", laid_out_otherwise), ("null", other))
        ),
    }
    rows = read_rows(tmp_path, run_measures(w.study(), tmp_path, tables, "distributional_memorization")["metrics"])
    found = {
        (r["measure"], r["model"]): r
        for r in rows
        if r["statistic"] == "spearman" and r["unit"] == "example_output" and not which(r)
    }
    assert found["mem_infinity", "m"]["estimate"] is not None and found["mem_infinity", "m"]["rows"] == 50
    assert found["mem_infinity", "null"]["estimate"] is None and "[tokenizer]" in found["mem_infinity", "null"]["note"]
    assert found["mem_n", "null"]["estimate"] is not None


def test_an_item_whose_tokens_are_all_unseen_is_left_out_of_the_papers_infinity(tmp_path):
    """The authors' script turns it into P = 1."""
    w = world(n=50)
    w.infinity = np.where(np.arange(50) < 5, 0, 100 + np.arange(50))
    found = measured(tmp_path, w)
    assert found["mem_infinity", "m", "example_output", "spearman", "detail=paper"]["rows"] == 45
    assert found["mem_infinity", "m", "example_output", "spearman", ""]["rows"] == 50


def test_every_candidate_row_is_kept_or_has_a_reason(tmp_path):
    w = world(n=50)
    w.count[:10] = 0
    w.infinity = np.where(np.arange(50) < 15, 0, 100)
    found = excluded(tmp_path, w)
    before = [n for (measure, model, reason), n in found.items() if measure == "mem_n" and not model and "output" not in reason]
    assert sum(before) + sum(found["mem_n", "m", reason] for reason in ("no score", "kept")) == 50
    paper = "paper: all tokens of s_y unseen after their longest suffix"
    assert (found["mem_infinity", "m", paper], found["mem_infinity", "m", "paper: kept"]) == (5, 35)


def test_generalization_counts_discordant_pairs(tmp_path):
    w = world(n=30, noise=1.0)
    found = measured(tmp_path, w, "distributional_generalization")
    x, y = w.count / w.inputs, w.log_p["m"].astype(np.float32)
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i in range(30) for j in range(i)]
    assert found["generalization", "m", "pair", "discordant_share", ""]["estimate"] == pytest.approx(signs.count(-1) / len(signs))
    assert found["generalization", "m", "pair", "kendall_distance", ""]["estimate"] == pytest.approx(
        (1 - stats.kendalltau(x, y).statistic) / 2, abs=1e-9
    )


def test_the_truth_of_a_planted_world_is_the_generators_own_correlation(tmp_path):
    w = world(n=60, noise=0.3)
    w.planted = True
    row = measured(tmp_path, w)["mem_n", "m", "pair", "spearman", ""]
    assert row["truth"] == pytest.approx(1, abs=1e-9)
    assert 0.5 < row["estimate"] < 1


def test_the_same_tables_give_the_same_bytes(tmp_path):
    bytes_of = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tables = run_measures(world().study(), tmp_path / name, world().tables(tmp_path / name))
        bytes_of.append(
            [
                (tmp_path / name / p.table / "parts" / f"{p.key}.parquet").read_bytes()
                for p in (*tables["metrics"], *tables["exclusions"], *tables["metric_family"])
            ]
        )
    assert bytes_of[0] == bytes_of[1]


def test_the_family_holds_the_primary_tests_of_all_models(tmp_path):
    w = world(noise=0.5)
    w.others = lambda i, o: -3.0
    tables = run_measures(w.study(), tmp_path, w.tables(tmp_path))
    family = {(r["measure"], r["model"]): r for r in read_rows(tmp_path, tables["metric_family"])}
    assert set(family) == {(m, k) for m in ("mem_n", "mem_delta") for k in ("m", "null")}
    p = np.array([r["p_value"] for r in family.values()])
    assert [r["q_value"] for r in family.values()] == pytest.approx(stats.false_discovery_control(p))


def test_a_measure_declares_only_the_settings_it_uses():
    """γ decides the measures of pairs, and no score."""
    low, high = world(n=3).study(gamma_default=0.4), world(n=3).study(gamma_default=0.6)
    changed = {
        a.labels["measure"]
        for a, b in zip(*(MEASURE.stages[0].plan(s, {}) for s in (low, high)), strict=True)
        if a.settings != b.settings
    }
    assert changed >= {"distributional_memorization", "distributional_generalization", "comparisons", "confounds"}
    assert changed >= {"attribution", "count_response", "coverage", "performance"}
    assert changed >= {"emergence", "paper_v1", "sweeps"}
    assert not changed & {"scores", "novelty", "contamination", "planted_truth"}
