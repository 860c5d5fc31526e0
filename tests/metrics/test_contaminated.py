"""With the switch on, a study says what it would say if the contaminated examples had never been in it."""

import numpy as np
import pytest

from schemas import CONTRACTS, Study
from schemas.tables.metrics import QUALIFIERS
from tasks.metrics import MEASURES
from tasks.metrics.measure import MEASURE, plan_measures
from tasks.storage.store import Store
from tests.metrics.alone import run_measures
from tests.metrics.world import world
from tests.support import read_rows, write_part

BAD = ("e0001", "e0004", "e0007")


def study(exclude: int = 0, **task: object) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "corpus": {"planted": {}},
            "counting": {"contamination_orders": [8, 13]},
            "measures": {"bootstrap": 60, "bins": 2, "exclude_contaminated": exclude},
            "tasks": [{"name": "t", "family": "qa", "reader": "planted", "orders": [1], **task}],
        }
    )


def tables_of(root, *, without: tuple[str, ...] = ()):
    """A planted task of 40 questions; `without` takes examples out of every table that knows examples."""
    w = world(n=40, noise=0.5)
    w.planted, w.others = True, lambda i, o: -4.0 - 0.1 * ((7 * i + o) % 11)
    w.generations = {"m": [f"a{i}" if i % 3 else "no idea" for i in range(40)]}
    w.infinity = np.arange(40) * 7 % 50
    tables = w.tables(root)
    names = [f"e{i:04d}" for i in range(40)]
    tables["generation_counts"] = (
        write_part(
            root,
            "generation_counts",
            {
                "model": ["m"] * 40,
                "checkpoint": [9] * 40,
                "task": ["t"] * 40,
                "example": names,
                "kind": ["ngram"] * 40,
                "order": [2] * 40,
                "total": [5] * 40,
                "novel": [i % 4 for i in range(40)],
            },
            {"task": "t"},
        ),
    )
    shared = [*((name, 13) for name in BAD), ("e0009", 8)]
    shared += [(name, 8) for name in BAD]
    shared.sort()
    n = len(shared)
    tables["contamination"] = (
        write_part(
            root,
            "contamination",
            {
                "task": ["t"] * n,
                "example": [e for e, _ in shared],
                "order": [o for _, o in shared],
                "side": ["input"] * n,
                "ngram": ["w"] * n,
                "shared": [1] * n,
                "documents": [1] * n,
                "source": ["c"] * n,
                "id": ["d"] * n,
            },
        ),
    )
    store = Store(str(root))
    for table, parts in tables.items():
        schema = CONTRACTS[table].schema
        if without and "example" in schema.names:
            for part in parts:
                kept = [r for r in store.read([part], schema).to_pylist() if r["example"] not in without]
                write_part(root, table, {c: [r[c] for r in kept] for c in schema.names}, dict(part.labels))
    return tables


def measured(root, exclude: int, *, without: tuple[str, ...] = (), **task: object):
    root.mkdir()
    tables = run_measures(study(exclude, **task), root, tables_of(root, without=without))
    parts = tuple(p for p in tables["metrics"] if p.labels["measure"] != "contamination")
    keyed = {tuple(r[k] for k in CONTRACTS["metrics"].key): r for r in read_rows(root, parts)}
    # acceptance is a share of all examples: the switch does not mine again
    return {k: r for k, r in keyed.items() if r["statistic"] != "acceptance"}, read_rows(root, tables["exclusions"])


@pytest.mark.parametrize("family", ["qa", "translation"])
def test_results_equal_those_of_a_study_without_the_contaminated_examples(tmp_path, family):
    task = {"family": family} | ({"languages": ["en", "de"]} if family == "translation" else {})
    with_switch, _ = measured(tmp_path / "a", 13, **task)
    without, _ = measured(tmp_path / "b", 0, without=BAD, **task)
    untouched, _ = measured(tmp_path / "c", 0, **task)
    assert with_switch == without
    assert with_switch != untouched
    score = ("main_score", "t", "m", 9, 0, "example", {"qa": "exact_match"}.get(family, "bleu"), *QUALIFIERS.values())
    assert with_switch[score]["rows"] == 37


def test_a_shorter_n_leaves_out_more_and_each_measure_says_how_many(tmp_path):
    for order, examples in ((13, 3), (8, 4)):
        _, exclusions = measured(tmp_path / str(order), order)
        excluded = {r["measure"]: r["rows"] for r in exclusions if r["reason"].startswith("contaminated")}
        assert excluded == {m.name: examples for m in MEASURES if m.name not in ("contamination", "placebo")}


def test_the_switch_enters_keys_only_when_it_is_on(tmp_path):
    tables = {t: () for t in MEASURE.reads} | tables_of(tmp_path)
    off, on = plan_measures(study(), tables), plan_measures(study(13), tables)
    for job, other in zip(off, on, strict=True):
        assert "exclude_contaminated" not in job.settings
        contamination = job.labels["measure"] == "contamination"
        assert ("contamination" in job.inputs) == contamination
        assert (dict(job.settings) == dict(other.settings)) == contamination
        assert "contamination" in other.inputs


def test_an_n_that_is_not_looked_for_is_an_error_that_says_what_to_add():
    with pytest.raises(ValueError, match=r"add 10 to counting.contamination_orders = \[8, 13\]"):
        study(10)
