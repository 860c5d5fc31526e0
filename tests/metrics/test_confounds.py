"""The table of confounds: each remedy against rows that are filtered, repeated or centred by hand."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from schemas import Study, StudyError
from schemas.settings.study_file import load_study
from schemas.settings.task_settings import PROMPTED
from tasks.measures import ModelCheckpoint
from tasks.metrics.confounds import Check
from tasks.pair_evidence import TaskEvidence
from tasks.pair_measures import MEM_DELTA, MEM_N, SpanScores
from tests.metrics.alone import taken
from tests.metrics.world import world
from tests.statistics.test_partial import reference, residuals
from tests.support import read_rows, write_part

N = 240
SETTINGS = {"draws": 200, "seed": 3, "windows": [5], "equal_rows": 100, "gamma": {"1": 0.5, "2": 0.5}, "other_prompt": True}
DETAILS = {
    "within s_y",
    "within group",
    "without templates",
    "window=5",
    "each example weighs 1",
    "mined elsewhere",
    "common examples",
    "equal N",
    "reliability",
    "partial: length of s_y",
    "partial: frequency of s_y",
    "partial: tokens of s_y",
    "partial: all",
}


@pytest.fixture(scope="module", params=[MEM_N, MEM_DELTA], ids=["mem_n", "mem_delta"])
def check(request) -> Check:
    """240 rows of 60 examples in 3 groups, 30 outputs that occur in several examples each, one s_x that is everywhere."""
    rng = np.random.default_rng(5)
    example = np.sort(rng.integers(0, 60, N))
    output = (example + rng.integers(0, 2, N)) % 30
    df = rng.integers(50, 60, N) * (output + 1)
    inputs = rng.integers(200, 900, N)
    count = np.minimum(rng.integers(2, 190, N), df)
    names = [f"s{i}" for i in rng.integers(3, 80, N)]
    names[:80] = ["template"] * 80
    spans, index = np.unique(np.column_stack([example, output]), axis=0, return_inverse=True)
    own = rng.normal(size=len(spans)) - 0.02 * spans[:, 1]
    found = pl.DataFrame(
        {
            "example": example,
            "span": index.ravel(),
            "input_ngram": names,
            "output_ngram": ["a" * (1 + o % 7) + " b" * (o % 2) for o in output],
            "order": 1,
            "pair_documents": count,
            "input_documents": inputs,
            "output_documents": df,
            "window_documents": [[int(c)] for c in count * rng.integers(0, 2, N)],
        }
    )
    held = pl.DataFrame({"example": example, "order": 1, "input_ngram": names})
    examples = pl.DataFrame({"example": [f"e{i}" for i in range(60)], "group": [f"g{i % 3}" for i in range(60)]})
    number = np.arange(len(spans))
    after, nothing = 0.3 * own**2, np.full(len(spans), -np.inf)  # one other input each, without a partner
    scores = SpanScores(own, 1 + spans[:, 1] % 3, number, number, after, nothing, np.zeros(len(spans)))
    model = ModelCheckpoint("m", 1)
    task = TaskEvidence(
        examples, held, pl.DataFrame({"span": number}), found, spans[:, 1], [model], {("m", 1): scores}, frozenset()
    )
    again = {name: own + rng.normal(size=len(own)) for name in ("mem_n", "mem_delta")}
    again["mem_n"][spans[:, 0] == 4] = np.nan  # an example that was not asked under the other prompt
    return Check(SETTINGS, task, request.param, task.supported(1), scores, again[request.param.name], set(range(0, 60, 2)))


def remedies(check: Check) -> dict:
    return {(f"{d}={w:g}" if w >= 0 else d): (estimate, rows) for d, w, estimate, rows in check.remedies()}


def rho(x, y) -> float:
    return float(stats.spearmanr(x, y).statistic)


def test_every_remedy_is_there_and_the_interval_holds_the_number(check):
    found = remedies(check)
    assert set(found) == DETAILS
    for detail, (estimate, rows) in found.items():
        if detail == "mined elsewhere":
            assert "repeat_of" in estimate.note
        else:
            assert estimate.low < estimate.value < estimate.high, detail
            assert len(rows) > 30


def test_rows_are_taken_away_as_the_remedy_says(check):
    found, rows, table = remedies(check), check.rows, check.pairs
    share = table.group_by("input_ngram").agg(pl.col("example").n_unique()).filter(pl.col("example") > 3)["input_ngram"]
    rare = ~table["input_ngram"].is_in(share.implode()).to_numpy()
    assert 50 < rare.sum() < N
    assert found["without templates"][0].value == pytest.approx(rho(rows.x[rare], rows.y[rare]))
    even = rows.example % 2 == 0
    assert found["common examples"][0].value == pytest.approx(rho(rows.x[even], rows.y[even]))
    within = table["window_documents"].list.first()
    near = within.to_numpy() > 0
    per = table["input_documents"] * (1 if check.measure == MEM_N else table["output_documents"])
    assert found["window=5"][0].value == pytest.approx(rho((within / per).to_numpy()[near], rows.y[near]))


def test_partials_are_correlations_of_residuals_of_ranks(check):
    found, rows, table = remedies(check), check.rows, check.pairs
    characters, words = table["output_ngram"].str.len_chars(), 1 + table["output_ngram"].str.count_matches(" ")
    controls = {
        "length of s_y": [characters, words],
        "frequency of s_y": [table["output_documents"]],
        "tokens of s_y": [check.scores.tokens[check.span]],
    }
    controls["all"] = [c for columns in controls.values() for c in columns]
    for name, columns in controls.items():
        wanted = stats.pearsonr(residuals(rows.x, columns), residuals(rows.y, columns)).statistic
        assert found[f"partial: {name}"][0].value == pytest.approx(wanted, abs=1e-8)


def test_ranks_within_outputs_and_groups_are_those_of_rows_centred_by_hand(check):
    found, rows = remedies(check), check.rows
    one = np.ones(len(rows), dtype=int)
    assert found["within group"][0].value == pytest.approx(reference(rows.x, rows.y, rows.example % 3, one, ranked_inside=True))
    stands_in = {o: len(set(rows.example[rows.output == o])) for o in set(rows.output)}
    kept = np.array([stands_in[o] > 1 for o in rows.output])
    wanted = reference(rows.x[kept], rows.y[kept], rows.output[kept], one[kept], ranked_inside=False)
    assert found["within s_y"][0].value == pytest.approx(wanted)


def test_an_example_that_weighs_one_is_as_rows_repeated_until_all_examples_have_as_many(check):
    rows = check.rows
    sizes = np.bincount(rows.example)[rows.example]
    copies = np.lcm.reduce(sizes) // sizes
    wanted = rho(np.repeat(rows.x, copies), np.repeat(rows.y, copies))
    assert remedies(check)["each example weighs 1"][0].value == pytest.approx(wanted, abs=1e-9)


def test_reliability_divides_by_what_two_prompts_share(check):
    estimate, rows = remedies(check)["reliability"]
    again = check.repeated[check.span]
    both = np.isfinite(again)
    assert len(rows) == both.sum()
    agreement = rho(check.rows.y[both], again[both])
    assert estimate.value == pytest.approx(rho(rows.x, rows.y) / np.sqrt(agreement))
    assert estimate.note == f"reliability {agreement:.4f}"


def test_draws_of_equal_n_lie_around_the_correlation_and_spread_more(check):
    found = remedies(check)
    estimate, _ = found["equal N"]
    assert estimate.value == pytest.approx(rho(check.rows.x, check.rows.y), abs=0.03)
    plain = found["partial: frequency of s_y"][0]
    assert estimate.high - estimate.low > 1.2 * (plain.high - plain.low)  # 100 rows of 240: √2.4 times


# -- through the step -----------------------------------------------------------------------------------------------
def twin(root, w, name: str, pairs: slice = slice(None)) -> dict:
    """The world's tables again for another task of the same examples, mined for some of the pairs alone."""
    folder = root / name
    folder.mkdir()
    found = w.tables(folder)
    tables = {}
    for table in ("examples", "example_ngrams", "task_grams", "token_scores"):
        parts = []
        for part in found[table]:
            rows = read_rows(folder, (part,))[pairs if table == "task_grams" else slice(None)]
            content = {k: [r[k] for r in rows] for k in rows[0]} | {"task": [name] * len(rows)}
            parts.append(write_part(root, table, content, part.labels | {"task": name}))
        tables[table] = tuple(parts)
    return tables


def two_tasks(**other: object) -> Study:
    task = {"family": "qa", "reader": "jsonl", "evaluate": ["a.jsonl"], "orders": [1]}
    return Study.model_validate(
        {
            "name": "s",
            "corpus": {"planted": {}},
            "measures": {"bootstrap": 100},
            "tasks": [{"name": "t", **task, "repeat_of": "u"}, {"name": "u", **task, **other}],
        }
    )


def test_a_second_prompt_tells_the_reliability_and_other_files_another_mining(tmp_path):
    w = world(noise=0.5)
    w.others = lambda i, o: -3.0 - 0.01 * i
    tables = w.tables(tmp_path)
    first = w.log_p["m"].astype(np.float32)
    w.log_p = {m: v - np.abs(np.random.default_rng(1).normal(size=len(w))) for m, v in w.log_p.items()}
    again = w.log_p["m"].astype(np.float32)
    for table, parts in twin(tmp_path, w, "u", slice(0, 60)).items():
        tables[table] += parts
    study = two_tasks(prompt="Q: {input}", mine=["b.jsonl"])
    found = {(r["task"], r["of_measure"], r["detail"]): r for r in taken(tmp_path, study, tables, "confounds") if r["model"] == "m"}
    log_p = w.count / w.inputs
    row = found["t", "mem_n", "reliability"]
    assert row["estimate"] == pytest.approx(rho(log_p, first) / np.sqrt(rho(first, again)), abs=1e-6)
    assert row["low"] < row["estimate"] < row["high"]
    pairs = sorted(range(len(w)), key=lambda i: (f"s{i}", f"a{i}"))[:60]
    row = found["t", "mem_n", "mined elsewhere"]
    assert row["rows"] == 60
    assert row["estimate"] == pytest.approx(rho(log_p[pairs], first[pairs]), abs=1e-6)
    assert found["t", "mem_delta", "mined elsewhere"]["rows"] == 60
    assert found["u", "mem_n", "reliability"]["note"].startswith("name under `repeat_of`")


def test_a_task_repeated_with_the_same_prompt_tells_no_reliability(tmp_path):
    w = world(n=30)
    tables = w.tables(tmp_path)
    for table, parts in twin(tmp_path, w, "u").items():
        tables[table] += parts
    found = {(r["task"], r["of_measure"], r["detail"]): r for r in taken(tmp_path, two_tasks(), tables, "confounds")}
    assert found["t", "mem_n", "reliability"]["estimate"] is None
    assert found["t", "mem_n", "mined elsewhere"]["estimate"] is None


def test_a_window_is_counted_as_the_corpus_says(tmp_path):
    w = world(n=60, noise=0.3)
    tables = w.tables(tmp_path)
    near = np.where(np.arange(60) % 3 > 0, np.maximum(1, w.count // 2), 0)
    rows = sorted((f"s{i}", f"a{i}", int(near[i])) for i in range(60) if near[i])
    tables["pair_windows"] = (
        write_part(
            tmp_path,
            "pair_windows",
            {
                "input_ngram": [r[0] for r in rows],
                "output_ngram": [r[1] for r in rows],
                "window": [7] * len(rows),
                "documents": [r[2] for r in rows],
            },
        ),
    )
    study = Study.model_validate(w.study().model_dump() | {"counting": {"windows": [7]}})
    found = {(r["model"], r["of_measure"], r["detail"], r["level"]): r for r in taken(tmp_path, study, tables, "confounds")}
    kept = near > 0
    row = found["m", "mem_n", "window", 7]
    assert row["rows"] == 40
    wanted = rho((near / w.inputs)[kept], w.log_p["m"].astype(np.float32)[kept])
    assert row["estimate"] == pytest.approx(wanted, abs=1e-6)


MEASURES = ("confounds", "comparisons", "attribution", "count_response", "distributional_memorization")


@pytest.mark.parametrize(
    "case", ["one example", "constant", "never asked", "no model", "nothing mined", "zero counts", "infinite", "two examples"]
)
def test_what_cannot_be_said_is_a_row_with_a_reason_in_every_table(tmp_path, case):
    w = world(n={"one example": 1, "two examples": 2}.get(case, 12))
    w.others = (lambda i, o: -2.0) if len(w) > 2 else None
    if case == "constant":
        w.log_p = {"m": np.full(12, -2.0)}
    if case == "infinite":
        w.log_p = {"m": np.full(12, -np.inf)}
    if case == "nothing mined":
        w.similarity = 0.4
    if case == "zero counts":
        w.count[:] = 0
    tables = w.tables(tmp_path)
    if case == "never asked":
        tables["token_scores"] = ()
    if case == "no model":
        tables["token_scores"] = tables["models"] = ()
    rows = taken(tmp_path, w.study(), tables, *MEASURES)
    measures = {"confound", "comparison", "attribution", "exposure"}
    for measure in {"comparison"} if case == "no model" else measures:
        mine = [r for r in rows if r["measure"] == measure]
        assert mine
        if (measure, case) == ("exposure", "constant"):  # a curve can lie at 0, and then no number of documents is a nat
            assert {r["estimate"] for r in mine} == {0.0, None}
        else:
            assert all(r["estimate"] is None and r["note"] for r in mine)


def test_repeat_of_names_a_task_with_the_same_examples(tmp_path):
    text = """name = "s"
[corpus.planted]
[[tasks]]
name = "t"
family = "qa"
reader = "jsonl"
evaluate = ["a.jsonl"]
repeat_of = "u"
"""
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(StudyError, match="'u' is no other task"):
        load_study(path)
    path.write_text(text + '[[tasks]]\nname = "u"\nfamily = "qa"\nreader = "jsonl"\nevaluate = ["b.jsonl"]\n')
    with pytest.raises(StudyError, match="reads other evaluated examples"):
        load_study(path)
    path.write_text(text + '[[tasks]]\nname = "u"\nfamily = "qa"\nreader = "jsonl"\nevaluate = ["a.jsonl"]\nprompt = "{input}"\n')
    assert not load_study(path).task("t").agrees(load_study(path).task("u"), PROMPTED)
