"""Generations are counted wherever they occur in the corpus, those of all models together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tasks.ngrams.count_recitations import COUNT_RECITATIONS
from tasks.storage.store import Part, Store
from tests.ngrams.corpus import documents_with, make_study, occurrences
from tests.ngrams.test_sequences import SUFFIX, corpus, write
from tests.support import read_rows, run_step, write_part


def recitations(root: Path, model: str, generations: list[list[int]], ended: frozenset[int] = frozenset()) -> Part:
    n = len(generations)
    names = [hashlib.sha256(str(ids).encode()).hexdigest() for ids in generations]
    rows = {"model": [model] * n, "checkpoint": [0] * n, "sequence": [f"w{i}" for i in range(n)], "first_miss": [0] * n}
    rows |= {"ids": generations, "ended": [i in ended for i in range(n)], "generation": names}
    return write_part(root, "recitations", rows, {"model": model, "checkpoint": "0"})


def counted(root: Path, documents: list[list[int]], of_models: list[Part], parts: int = 3, memory: str = "1GB") -> dict[str, tuple]:
    """(occurrences, documents) by the name of the generation."""
    study = make_study(counting={"memory": memory}, memorization={"prefix": 3, "suffix": SUFFIX})
    tables = run_step(COUNT_RECITATIONS, study, root, write(root, documents, parts) | {"recitations": tuple(of_models)})
    sums = Store(str(root)).footer(tables["recited_suffixes"][0])["sums"]
    assert (len(tables["recited_suffixes"]), len(tables["recitation_partials"])) == (1, parts)
    rows = read_rows(root, tables["recitation_counts"])
    return {r["generation"]: (r["occurrences"], r["documents"]) for r in rows} | {"sums": sums}  # type: ignore[dict-item]


def test_counts_of_generations_equal_brute_force_and_each_is_counted_once(tmp_path: Path) -> None:
    documents, draw = corpus(), np.random.default_rng(3)
    generations = draw.integers(1, 5, (40, SUFFIX)).tolist()
    results = []
    for number, (parts, memory) in enumerate(((3, "1GB"), (1, "64MB"))):
        root = tmp_path / str(number)
        models = [recitations(root, "a", generations[:25]), recitations(root, "b", generations[15:])]
        results.append(counted(root, documents, models, parts, memory))
    assert results[0] == results[1]
    sums = results[0].pop("sums")
    assert sums == {"generations": 50, "ended": 0}
    distinct = {hashlib.sha256(str(ids).encode()).hexdigest(): ids for ids in generations}
    assert results[0] == {name: (occurrences(i, documents), len(documents_with(documents, i))) for name, i in distinct.items()}
    assert len(distinct) < 40 and (0, 0) in results[0].values() and max(results[0].values())[0] > 20


def test_other_text_of_the_corpus_is_found_and_ends_that_came_early_are_not_asked_for(tmp_path: Path) -> None:
    documents = [[9, 8, 7, 6], [5, 6], [9, 8, 5]]
    generations = [[8, 7], [7, 8], [9, 0]]
    found = counted(tmp_path, documents, [recitations(tmp_path, "a", generations, frozenset({2}))])
    names = [hashlib.sha256(str(ids).encode()).hexdigest() for ids in generations]
    assert found == {names[0]: (1, 1), names[1]: (0, 0), "sums": {"generations": 3, "ended": 1}}


def test_without_a_generation_nothing_is_counted(tmp_path: Path) -> None:
    assert counted(tmp_path, [[1, 2, 3]], [recitations(tmp_path, "a", [])], 1) == {"sums": {"generations": 0, "ended": 0}}
