"""`sweeps`: a γ of the curve gives what a study with that γ gives; what is not defined is null with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import Study
from tasks.metrics.sweeps import Level
from tasks.pair_measures import SpanScores
from tasks.storage.store import Part
from tests.metrics.alone import run_measures, taken, which
from tests.metrics.world import World, world
from tests.support import read_rows, write_part

GAMMAS = [0.3, 0.45, 0.6, 0.75, "p80"]
DRAWS = 100


class Alike(World):
    """A world in which most questions have a second word, "w", so that inputs hold partners of one another's answers at low γ:
    the pair (w, answer) has its own similarity and count."""

    alike: np.ndarray
    common: np.ndarray

    def _ngrams(self, root: Path, names: list[str], label: dict[str, str]) -> Part:
        rows = []
        for i, name in enumerate(names):
            inputs = ["s" + str(i), *(["w"] if i % 3 else [])]  # two of three questions
            rows += [(name, "input", x, 9) for x in inputs] + [(name, "output", f"a{self.answer[i]}", 0)]
        return write_part(
            root,
            "example_ngrams",
            {
                "task": ["t"] * len(rows),
                "split": ["evaluate"] * len(rows),
                "example": [r[0] for r in rows],
                "side": [r[1] for r in rows],
                "order": [1] * len(rows),
                "ngram": [r[2] for r in rows],
                "length": [1] * len(rows),
                "starts": [[r[3]] for r in rows],
                "ends": [[r[3] + len(r[2])] for r in rows],
            },
            label,
        )

    def _pairs(self) -> list[tuple[str, str, float, int]]:
        own = [(f"s{i}", f"a{self.answer[i]}", float(self.alike[i]), int(self.count[i])) for i in range(len(self))]
        return sorted(
            own
            + [
                ("w", f"a{j}", float(1 - self.alike[i]), int(self.common[i]))
                for i, j in enumerate(self.answer)
                if self.alike[i] < 0.7
            ]
        )

    def _task_grams(self, root: Path, label: dict[str, str]) -> Part:
        rows = self._pairs()
        return write_part(
            root,
            "task_grams",
            {
                "task": ["t"] * len(rows),
                "order": [1] * len(rows),
                "input_ngram": [r[0] for r in rows],
                "output_ngram": [r[1] for r in rows],
                "similarity": [r[2] for r in rows],
                "shares_word": [False] * len(rows),
                "examples": [1] * len(rows),
            },
            label,
        )

    def _pair_counts(self, root: Path) -> Part:
        rows = self._pairs()
        return write_part(
            root,
            "pair_counts",
            {"input_ngram": [r[0] for r in rows], "output_ngram": [r[1] for r in rows], "documents": [r[3] for r in rows]},
        )

    def _stats(self, root: Path) -> Part:
        df = {f"s{i}": int(v) for i, v in enumerate(self.inputs)} | {f"a{j}": 600 for j in self.answer} | {"w": 5000}
        rows = sorted(df.items())
        return write_part(
            root,
            "ngram_stats",
            {
                "ngram": [r[0] for r in rows],
                "length": [1] * len(rows),
                "occurrences": [2 * r[1] for r in rows],
                "documents": [r[1] for r in rows],
            },
        )


def alike(seed: int = 3, n: int = 60) -> Alike:
    """Similarities from .3 to 1 that have nothing to do with the counts."""
    plain, rng = world(seed, n, noise=0.5), np.random.default_rng(seed)
    made = Alike(**vars(plain))
    made.alike, made.common = np.float32(rng.uniform(0.31, 1, n)), rng.integers(0, 30, n)
    made.others = lambda i, o: float(-3 - ((i * 7 + o * 13) % 11) / 5)
    return made


def tables_of(w: World, root: Path) -> dict[str, tuple[Part, ...]]:
    """The world's tables, and how the similarities of candidates are spread: half of them below what was mined."""
    found = w.tables(root)
    similar = sorted(r["similarity"] for r in read_rows(root, found["task_grams"]))
    steps = np.unique(np.ceil(np.array([-0.5, *similar]) * 2**14) / 2**14, return_counts=True)
    spread = write_part(
        root,
        "similarities",
        {
            "task": ["t"] * len(steps[0]),
            "order": [1] * len(steps[0]),
            "at_most": steps[0].tolist(),
            "candidates": [len(similar), *steps[1][1:].tolist()],
        },
        {"task": "t"},
    )
    return found | {"similarities": (spread,)}


def rows_of(w: World, root: Path, measures: dict[str, Any] | None = None, only_: str = "sweeps", **task: Any) -> list[dict]:
    """Rows of `metrics` of one measure, with γ of GAMMAS."""
    settings = {"bootstrap": DRAWS, "sweep_bootstrap": DRAWS, "sweep_gammas": GAMMAS} | (measures or {})
    study = Study.model_validate(w.study(**task).model_dump() | {"measures": settings})
    return taken(root, study, tables_of(w, root), only_)


def by(rows: list[dict], *names: str) -> dict[tuple, dict]:
    return {tuple(r[n] for n in names): r for r in ({**r, "which": which(r)} for r in rows)}


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_point_of_the_curve_is_the_answer_of_a_study_set_to_that_gamma(tmp_path: Path, gamma: float | str) -> None:
    """Mem_n and Mem_Δ, value, interval and p; Δ too, whose other inputs depend on which pairs lie above γ."""
    w = alike()
    swept = by(rows_of(w, tmp_path), "model", "statistic", "which")
    own = rows_of(w, tmp_path, only_="distributional_memorization", gamma_default=gamma)
    set_to = by([r for r in own if r["unit"] == "pair" and not which(r)], "model", "statistic", "measure")
    for model in ("m", "null"):
        for measure in ("mem_n", "mem_delta"):
            found, wanted = (swept[model, "spearman", f"of_measure={measure} gamma={gamma}"], set_to[model, "spearman", measure])
            same = ("estimate", "low", "high", "p_value", "rows", "examples", "note", "order", "unit")
            assert {n: found[n] for n in same} == {n: wanted[n] for n in same}
            assert wanted["estimate"] is not None
            assert 0.3 <= found["x"] <= 1


def test_delta_is_taken_from_the_inputs_that_hold_no_partner_at_this_gamma() -> None:
    """By hand: -5 is compared with -6 and -8; the input of -8 holds an n-gram of similarity 0.6 to s_y."""
    own, after = np.array([-5.0, -1.0]), np.array([-6.0, -8.0, -2.0])
    similarity = np.array([-np.inf, np.float32(0.6), 0.4])
    scores = SpanScores(own, np.ones(2, int), np.array([0, 0, 1]), np.arange(3), after, similarity, np.zeros(2))

    def delta(gamma: float) -> np.ndarray:
        return scores.at_gamma(Level("", gamma).rounded).delta

    assert delta(0.6).tolist() == [2.0, 1.0], "strictly above"
    assert delta(0.5).tolist() == [1.0, 1.0]
    np.testing.assert_equal(delta(0.3), [1.0, np.nan])


def test_the_row_of_the_study_is_its_own_answer(tmp_path: Path) -> None:
    w = alike()
    swept = by(rows_of(w, tmp_path, gamma_default=0.5), "model", "which")
    own = by(
        rows_of(w, tmp_path, only_="distributional_memorization", gamma_default=0.5),
        "measure",
        "model",
        "unit",
        "which",
        "statistic",
    )
    assert swept["m", "of_measure=mem_n"]["estimate"] == own["mem_n", "m", "pair", "", "spearman"]["estimate"]
    assert swept["m", "of_measure=mem_n"]["x"] == 100, "parameters: a curve over size"


def test_acceptance_and_rows_stand_beside_each_gamma(tmp_path: Path) -> None:
    """The acceptance rate is that of `coverage`, and 80 percent of the candidates do not exceed γ = p80."""
    w = alike()
    found = by(rows_of(w, tmp_path), "model", "statistic", "which")
    pairs = w._pairs()
    for gamma in (0.3, 0.45, 0.6, 0.75):
        row = found["", "acceptance", f"gamma={gamma:g}"]
        assert row["estimate"] == sum(np.float32(p[2]) > np.float32(gamma) for p in pairs) / (2 * len(pairs))
        assert row["x"] == gamma
        assert row["rows"] == 2 * len(pairs)
        assert (
            found["m", "spearman", f"of_measure=mem_n gamma={gamma:g}"]["rows"]
            == found["", "rows_found", f"gamma={gamma:g}"]["estimate"]
        )
    assert 0.18 < found["", "acceptance", "gamma=p80"]["estimate"] <= 0.2


def test_even_steps_begin_at_the_lowest_gamma_and_end_where_pairs_are_rare(tmp_path: Path) -> None:
    found = [r for r in rows_of(alike(), tmp_path, {"sweep_gammas": "even"}) if r["statistic"] == "acceptance"]
    steps = sorted(r["x"] for r in found if r["gamma"])
    assert len(steps) == 5
    assert steps[0] == 0.3
    assert np.ptp(np.diff(steps)) < 0.011, "hundredths"
    assert 0 < min(r["estimate"] for r in found) < 0.05


@pytest.mark.parametrize("similarity", [0.3125, 0.9, 1.0])
def test_even_steps_end_where_there_are_still_pairs(tmp_path: Path, similarity: float) -> None:
    """Cosines of a few distinct words are often all one and the same."""
    w = world(1, 30)
    w.similarity = similarity
    found = [r for r in rows_of(w, tmp_path, {"sweep_gammas": "even"}, gamma_default=0.3) if r["statistic"] == "rows_found"]
    assert {r["estimate"] for r in found} == {30.0}
    assert max(r["x"] or 0 for r in found) == pytest.approx(similarity, abs=0.0126)


def test_no_sweep_where_none_is_asked_for(tmp_path: Path) -> None:
    found = {which(r) for r in rows_of(alike(), tmp_path, {"sweep_gammas": []})}
    assert found == {"", "of_measure=mem_n", "of_measure=mem_delta"}


@pytest.mark.parametrize(
    ("gammas", "named", "reason"),
    [
        ([0.1], "gamma=0.1", "γ = 0.1 is below lowest_gamma = 0.3"),
        (["p1"], "gamma=p1", "below lowest_gamma"),
        ([1.0], "gamma=1", "no evidence"),
    ],
)
def test_a_gamma_that_says_nothing_is_null_with_its_reason(tmp_path: Path, gammas: list, named: str, reason: str) -> None:
    found = by(rows_of(alike(), tmp_path, {"sweep_gammas": gammas}), "model", "statistic", "which")
    for measure in ("mem_n", "mem_delta"):
        row = found["m", "spearman", f"of_measure={measure} {named}"]
        assert row["estimate"] is None
        assert reason in row["note"]


def test_bad_input_is_null_with_its_reason(tmp_path: Path) -> None:
    """A model that was never asked, one example, no pair at all."""
    w = alike(n=12)
    tables = tables_of(w, tmp_path)
    study = Study.model_validate(w.study().model_dump() | {"measures": {"sweep_gammas": [0.3]}})
    unasked = run_measures(study, tmp_path, tables | {"token_scores": ()}, "sweeps")
    assert {r["note"] for r in read_rows(tmp_path, unasked["metrics"]) if r["model"] == "m"} == {
        "no score: the model has no finite log-probability of any of these outputs"
    }
    empty = write_part(
        tmp_path,
        "task_grams",
        {name: [] for name in ("task", "order", "input_ngram", "output_ngram", "similarity", "shares_word", "examples")},
        {"task": "none"},
    )
    empty = replace(empty, labels={"task": "t"})
    nothing = run_measures(study, tmp_path, tables | {"task_grams": (empty,)}, "sweeps")
    rows = read_rows(tmp_path, nothing["metrics"])
    assert all(r["estimate"] is None and "no evidence" in r["note"] for r in rows if r["statistic"] == "spearman")
    one = alike(n=1)
    one.others = None
    assert all(r["note"] for r in rows_of(one, tmp_path / "one") if r["statistic"] == "spearman")


def test_only_the_last_checkpoint_is_swept(tmp_path: Path) -> None:
    w = alike(n=20)
    tables = tables_of(w, tmp_path)
    early = write_part(
        tmp_path,
        "models",
        {
            "model": ["m"],
            "checkpoint": [3],
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
        {"model": "m", "checkpoint": "3"},
    )
    study = Study.model_validate(w.study().model_dump() | {"measures": {"sweep_gammas": [0.3]}})
    found = run_measures(study, tmp_path, tables | {"models": (*tables["models"], early)}, "sweeps")
    assert {(r["model"], r["checkpoint"]) for r in read_rows(tmp_path, found["metrics"])} == {("", -1), ("m", 9), ("null", 9)}
