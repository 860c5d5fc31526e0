"""Whatever is missing or degenerate, every measure answers: a number, or a null with its reason, and never a crash."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from schemas import CONTRACTS, Study
from tasks.evidence.evidence_step import EVIDENCE
from tasks.metrics import MEASURES, scores
from tasks.metrics.measure import MEASURE, plan_measures
from tasks.step import keyed, run_job
from tasks.storage.store import Part, Store
from tests.metrics.world import World, world
from tests.support import run_step, write_part

FAMILIES = ("qa", "math", "translation", "multiple_choice")
ANSWERING = (
    *("distributional_memorization", "distributional_generalization", "scores", "performance", "emergence", "paper_v1"),
    *("novelty", "coverage", "contamination", "planted_truth"),
)
JUDGING = ("scores", "performance", "planted_truth")  # of these it matters how a family's answers are judged


def planted(n: int = 12) -> World:
    w = world(n=n, noise=0.3)
    w.planted, w.infinity = True, np.arange(n) + 1
    w.others = (lambda i, o: -4.0 - 0.1 * ((7 * i + o) % 11)) if n > 2 else None
    w.generations = {m: [f"a{i}" for i in range(n)] for m in ("m", "null")}
    return w


def zero_counts(w: World) -> World:
    w.count = np.zeros(len(w), dtype=int)
    return w


def equal(w: World) -> World:
    """All probabilities equal, the corpus's and the models'."""
    w.count[:], w.inputs[:] = 8, 64
    w.log_p = {m: np.full(len(w), -2.0) for m in w.log_p}
    return w


def infinite(w: World) -> World:
    w.log_p = {"m": np.full(len(w), -np.inf), "null": np.where(np.arange(len(w)) % 2, -np.inf, -1.0)}
    return w


def one_model(w: World) -> World:
    del w.log_p["null"], w.generations["null"]
    return w


WORLDS = {
    "nothing wrong": lambda: planted(),
    "one example": lambda: planted(1),
    "two examples": lambda: planted(2),
    "one model": lambda: one_model(planted()),
    "no pair in the corpus": lambda: zero_counts(planted()),
    "all probabilities equal": lambda: equal(planted()),
    "infinite logs": lambda: infinite(planted()),
}
ABSENT = {
    "no examples": ("examples", "example_ngrams", "token_scores", "generations", "infinigram", "task_grams", "generation_counts"),
    "no models": ("models", "token_scores", "generations"),
    "models that answered nothing": ("token_scores", "generations", "generation_counts"),
    "no n-grams": ("example_ngrams", "task_grams"),
    "no pair mined": ("task_grams",),
    "nothing was counted": ("pair_counts", "ngram_stats", "contamination", "infinigram"),
    "no contamination and no ∞-gram": ("contamination", "infinigram"),
}
CASES = (*WORLDS, *ABSENT, "no references", "a model that is not known", "every example contaminated")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables of a case and family, written once for all measures."""

    @cache
    def make(case: str, family: str) -> tuple[Path, dict[str, tuple[Part, ...]]]:
        root = tmp_path_factory.mktemp("case")
        w = WORLDS.get(case, WORLDS["nothing wrong"])()
        found = w.tables(root) | _others(root, w)
        if family == "multiple_choice":
            change(root, found, "examples", lambda r: r | {"options": ["no", r["output"]], "answer": 1})
            change(root, found, "token_scores", lambda r: [r | {"option": o} for o in (-1, 0, 1)])
        if case == "no references":
            change(root, found, "examples", lambda r: r | {"output": "", "aliases": [], "options": [], "answer": -1})
            change(root, found, "example_ngrams", lambda r: r if r["side"] == "input" else [])
            found["task_grams"] = found["token_scores"] = ()
        if case == "a model that is not known":
            found["models"] = found["models"][:1]
        given = {t: () for t in EVIDENCE.reads} | {t: p for t, p in found.items() if t not in ABSENT.get(case, ())}
        return root, run_step(EVIDENCE, study(case, family), root, given)

    return make


def _others(root: Path, w: World) -> dict[str, tuple[Part, ...]]:
    n, names = len(w), [f"e{i:04d}" for i in range(len(w))]
    return {
        "generation_counts": (
            write_part(
                root,
                "generation_counts",
                {
                    "model": ["m"] * n,
                    "checkpoint": [9] * n,
                    "task": ["t"] * n,
                    "example": names,
                    "kind": ["ngram"] * n,
                    "order": [2] * n,
                    "total": [i % 3 for i in range(n)],
                    "novel": [0] * n,
                },
                {"task": "t"},
            ),
        ),
        "contamination": (
            write_part(
                root,
                "contamination",
                {
                    "task": ["t"] * n,
                    "example": names,
                    "order": [8] * n,
                    "side": ["input"] * n,
                    "ngram": ["w"] * n,
                    "shared": [1] * n,
                    "documents": [1] * n,
                    "source": ["c"] * n,
                    "id": ["d"] * n,
                },
            ),
        ),
    }


def change(root: Path, tables, table: str, of) -> None:
    """Rewrite a table row by row, each into one row or a list of rows."""
    schema = CONTRACTS[table].schema
    for part in tables[table]:
        made = [of(r) for r in Store(str(root)).read([part], schema).to_pylist()]
        rows = [r for m in made for r in (m if isinstance(m, list) else [m])]
        write_part(root, table, {c: [r[c] for r in rows] for c in schema.names}, dict(part.labels))


def study(case: str, family: str) -> Study:
    languages = {"languages": ["en", "de"]} if family == "translation" else {}
    exclude = {"exclude_contaminated": 8} if case == "every example contaminated" else {}
    return Study.model_validate(
        {
            "name": "s",
            "corpus": {"planted": {}},
            "measures": {"bootstrap": 50, "bins": 2, **exclude},
            "tasks": [{"name": "t", "family": family, "reader": "planted", "orders": [1, 2], **languages}],
        }
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("measure", [m.name for m in MEASURES])
def test_every_measure_answers_with_numbers_or_reasons(tables, measure, case):
    for family in FAMILIES if measure in JUDGING else FAMILIES[:1]:
        root, given = tables(case, family)
        inputs = {t: () for t in MEASURE.reads} | given
        jobs = [j for j in plan_measures(study(case, family), inputs) if j.labels["measure"] == measure]
        planned = [keyed(MEASURE, 0, job) for job in jobs]
        for job in planned:
            result = run_job(Store(str(root)), job, MEASURE.stages[0], CONTRACTS)
            assert "error" not in result, f"{family}: {result.get('traceback') or result['error']}"
            metrics, exclusions = job.parts(MEASURE.stages[0])
            rows = Store(str(root)).read([metrics], CONTRACTS["metrics"].schema).to_pylist()
            keys = [tuple(r[k] for k in CONTRACTS["metrics"].key) for r in rows]
            assert len(set(keys)) == len(keys), f"{family}: two rows have one key"
            for row in rows:
                assert row["estimate"] is not None or row["note"], f"{family}: no number and no reason: {row}"
                assert all(row[c] is None or math.isfinite(row[c]) for c in ("estimate", "low", "high", "x", "p_value"))
                assert row["low"] is None or row["high"] is None or row["low"] <= row["high"]
            left_out = Store(str(root)).read([exclusions], CONTRACTS["exclusions"].schema).to_pylist()
            keys = [tuple(r[k] for k in CONTRACTS["exclusions"].key) for r in left_out]
            assert len(set(keys)) == len(keys), f"{family}: two exclusions have one key"


def metrics(root: Path, given, measure: str, asked: Study) -> list[dict]:
    """The rows of one measure."""
    inputs = {t: () for t in MEASURE.reads} | given
    (job,) = [j for j in plan_measures(asked, inputs) if j.labels["measure"] == measure]
    planned = keyed(MEASURE, 0, job)
    assert "error" not in run_job(Store(str(root)), planned, MEASURE.stages[0], CONTRACTS)
    return Store(str(root)).read(planned.parts(MEASURE.stages[0])[:1], CONTRACTS["metrics"].schema).to_pylist()


@pytest.mark.parametrize("measure", [m for m in ANSWERING if m not in ("coverage", "contamination", "planted_truth")])
def test_a_model_that_answered_nothing_is_named_with_the_reason(tables, measure):
    root, given = tables("models that answered nothing", "qa")
    rows = metrics(root, given, measure, study("", "qa"))
    for model in ("m", "null"):
        own = [r for r in rows if r["model"] == model]
        assert own
        assert all(r["estimate"] is None and r["note"] for r in own)


def test_every_measure_has_rows_for_what_is_there(tables):
    """The cases above prove little if a measure answers nothing where nothing is wrong."""
    for measure in ANSWERING:
        root, given = tables("nothing wrong", "qa")
        rows = metrics(root, given, measure, study("", "qa"))
        assert any(r["estimate"] is not None for r in rows), measure


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_reference_nothing_is_right_or_wrong(tables, family):
    """Not 0, as if every answer had been judged and found wrong; and saying nothing is not right either."""
    root, given = tables("no references", family)
    for measure in ("scores", "performance"):
        rows = metrics(root, given, measure, study("", family))
        assert rows
        assert all(r["estimate"] is None for r in rows)
        if family != "multiple_choice" and measure == "scores":
            assert {r["note"] for r in rows if r["measure"] == "main_score"} == {scores.NO_REFERENCES}


def test_when_every_example_is_excluded_the_reason_is_not_the_model(tables):
    root, given = tables("every example contaminated", "qa")
    rows = metrics(root, given, "scores", study("every example contaminated", "qa"))
    assert {r["note"] for r in rows if r["measure"] == "main_score"} == {scores.NO_EXAMPLES}
