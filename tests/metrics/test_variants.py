"""A variant answers what a study with its setting in place of the own answers: from n-grams through counts to Mem_n and Mem_Δ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import Study
from tasks.evidence.evidence_step import EVIDENCE
from tasks.metrics.measure import MEASURE
from tasks.ngrams.query.query import QUERY
from tasks.step import Step
from tasks.storage.store import Part
from tasks.taskgrams.align import ALIGN
from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT
from tests.metrics.alone import only
from tests.ngrams.corpus import write_corpus
from tests.support import read_rows, run_step, write_part
from tests.taskgrams.world import examples_part

STEPS: tuple[Step, ...] = (EXTRACT, EMBED, ALIGN, QUERY, EVIDENCE, only("sweeps", "coverage", "distributional_memorization"))
N = 24
COLUMNS = ("order", "unit", "statistic", "model", "estimate", "low", "high", "p_value", "rows", "examples", "note")


def sentences(seed: int) -> list[tuple[str, str]]:
    """Inputs and outputs with stop words in many places; word i of an input often comes with word i of an output."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(N):
        words = rng.choice(8, 5, p=np.arange(8, 0, -1) / 36)
        answer = [w if rng.random() < 0.7 else rng.integers(8) for w in words]
        pair = ([f"{side}{w}{rng.choice(['', '', ' the', ' of'])}" for w in own] for side, own in (("x", words), ("y", answer)))
        examples.append((" ".join(next(pair)), " ".join(next(pair))))
    return examples


def inputs(root: Path) -> dict[str, tuple[Part, ...]]:
    """Examples that are mined and evaluated, a corpus of the same kind, and one model's scores."""
    texts, rng = sentences(1), np.random.default_rng(2)
    corpus = [f"{x} {y}".split() for x, y in [*texts, *(s for i in range(3, 8) for s in sentences(i))]]
    examples = examples_part(root, [(split, *t) for split in ("mine", "evaluate") for t in texts])
    named = [r for r in read_rows(root, (examples,)) if r["split"] == "evaluate"]
    rows = []
    for i, example in enumerate(named):
        places, at = [], 0
        for word in example["output"].split():
            places.append((at, at + len(word)))
            at += len(word) + 1
        for other in {i, (i + 5) % N, (i + 9) % N}:
            values = rng.normal(-3 - 0.3 * (i != other), 1, len(places))
            rows.append((example["example"], named[other]["example"], places, np.minimum(values, 0).tolist()))
    rows.sort(key=lambda r: r[:2])
    n = len(rows)
    scores = write_part(
        root,
        "token_scores",
        {
            "model": ["m"] * n,
            "checkpoint": [9] * n,
            "task": ["t"] * n,
            "example": [r[0] for r in rows],
            "input_example": [r[1] for r in rows],
            "option": [-1] * n,
            "tokens": [[0] * len(r[2]) for r in rows],
            "starts": [[s for s, _ in r[2]] for r in rows],
            "ends": [[e for _, e in r[2]] for r in rows],
            "log_probabilities": [r[3] for r in rows],
            "truncated": [0] * n,
            "straddles": [False] * n,
        },
        {"model": "m", "checkpoint": "9", "task": "t"},
    )
    models = write_part(
        root,
        "models",
        {
            "model": ["m"],
            "checkpoint": [9],
            "source": ["folder"],
            "revision": [""],
            "path": [""],
            "sha256": [""],
            "parameters": [100],
            "parameters_non_embedding": [50],
            "tokens_seen": [-1],
            "loss": [None],
            "seed": [-1],
            "membership": [""],
        },
        {"model": "m"},
    )
    return write_corpus(root, corpus, 2) | {"examples": (examples,), "token_scores": (scores,), "models": (models,)}


def measured(root: Path, **settings: Any) -> dict[str, tuple[Part, ...]]:
    """All tables of a study, from its n-grams to its measures."""
    task = {
        "name": "t",
        "family": "translation",
        "languages": ["en", "en"],
        "orders": [1, 2],
        "gamma_default": 0.2,
        "lowest_gamma": 0.05,
    }
    study = Study.model_validate(
        {
            "name": "s",
            "corpus": {"sources": [{"name": "c", "files": ["unused.jsonl"]}]},
            "measures": {"bootstrap": 100, "sweep_bootstrap": 100, "sweep_gammas": []},
            "tasks": [task | settings.pop("task", {})],
            **settings,
        }
    )
    tables = inputs(root)
    for step in STEPS:
        tables |= run_step(step, study, root, tables)
    return tables


def sweep_rows(root: Path, tables: dict[str, tuple[Part, ...]], of: str) -> list[tuple]:
    """The rows of `sweep` of the study itself ("") or of a variant, without its name."""
    rows = [r for r in read_rows(root, tables["metrics"]) if r["measure"] == "sweep" and not r["gamma"]]
    return sorted((r["of_measure"], *(r[c] for c in COLUMNS)) for r in rows if r["variant"] == of)


ENCODER = {"dimensions": 64, "iterations": 3}
CHANGES = {
    "stop_words=authors": ({"stop_words": "authors"}, {"counting": {"stop_words": "authors"}}),
    "encoder=small": ({"encoder": ENCODER}, {"encoder": ENCODER}),
    "variant=v": (
        {"stop_words": "none", "encoder": ENCODER, "gamma": "p90", "lowest_gamma": -0.2},
        {"encoder": ENCODER, "counting": {"stop_words": "none"}, "task": {"gamma_default": "p90", "lowest_gamma": -0.2}},
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Part, ...]]]:
    """A study without variants."""
    root = tmp_path_factory.mktemp("plain")
    return root, measured(root)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Part, ...]]]:
    """The same study with all variants of CHANGES at once."""
    root = tmp_path_factory.mktemp("varied")
    return root, measured(root, variants=[{"name": label.split("=")[1], **v} for label, (v, _) in CHANGES.items()])


@pytest.mark.parametrize("label", CHANGES)
def test_a_variant_has_the_numbers_of_a_study_with_its_setting(label: str, tmp_path: Path, varied: Any) -> None:
    """Every number of Mem_n, Mem_Δ, acceptance and rows, to the last bit, for every n."""
    root, tables = varied
    found = sweep_rows(root, tables, label)
    wanted = sweep_rows(tmp_path, measured(tmp_path, **CHANGES[label][1]), "")
    assert found == wanted
    values = [row[5] for row in found if row[3] == "spearman"]
    assert len(values) == 4, "two measures at two n"
    assert sum(v is not None for v in values) >= 3


def test_variants_differ_from_the_study(varied: Any) -> None:
    """Else the test above could not fail for a variant that takes the study's own settings."""
    root, tables = varied
    found = [sweep_rows(root, tables, of) for of in ("", *CHANGES)]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


def test_variants_leave_the_study_s_own_tables_and_numbers_as_they_are(plain: Any, varied: Any) -> None:
    (root, before), (other, after) = plain, varied
    for name in {c.name for step in STEPS for c in step.writes} - {"metric_family"}:
        own = [p for p in after[name] if not p.variant and "of" not in p.labels]
        assert [p.key for p in own] == [p.key for p in before[name]], name
        assert read_rows(other, tuple(own)) == read_rows(root, before[name]), name


def test_an_encoder_alone_makes_no_ngrams_of_its_own(varied: Any) -> None:
    labels = [p.variant for p in varied[1]["example_ngrams"]]
    assert labels == ["", "stop_words=authors", "stop_words=none"]
    assert MEASURE.variants
