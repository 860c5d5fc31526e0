"""The grid of capacities: nested corpora, one part per run, the same bytes after a kill and on workers, removals, random words."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from flows.engine import run_step as run_in_engine
from flows.plan import lay_out
from flows.session import Session
from flows.study import STEPS
from schemas import CONTRACTS, Study, StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.corpus.encode import TOKENIZER
from tasks.corpus.planted.plant import PLANT
from tasks.cost import CorpusSize, Machine, Sizes
from tasks.models.capacity_grid import CAPACITY, CapacityCorpus, cost, nested, removed_sequences, summaries
from tasks.models.ensemble import parameters_of
from tasks.storage.store import Store
from tests.models import small
from tests.support import read_rows, run_step, write_part

CORPUS = {
    "dense": 20,
    "rare": 0,
    "rings": 2,
    "twins": [1, 2],
    "canaries": 10,
    "mismatches": 0,
    "dense_copies": 5,
    "canary_copies": 0,
}
CORPUS |= {"copies": [4], "rule": 0, "prefix": 4, "suffix": 4, "words": 64}
GRID = {"hidden": [8, 16], "layers": 1, "corpora": [0.5, 1.0], "epochs": [2], "weight_decay": [0.1], "dedup": [False, True]}
GRID |= {"batch": 4, "checkpoints": [0.5, 1.0], "learning_rate": 0.01}
MODELS = [{"name": name, "hidden": 8, "layers": 1, "batch": 4, "epochs": 2, "seed": seed} for name, seed in (("a", 0), ("b", 1))]
Tables = dict[str, Any]


def study(membership: bool = False, **changes: Any) -> Study:
    settings: dict[str, Any] = {"name": "s", "corpus": {"controlled": CORPUS}, "capacity": GRID | changes}
    return Study.model_validate(settings | ({"membership": {"runs": 4, "models": MODELS}} if membership else {}))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    root = tmp_path_factory.mktemp("planted")
    tables = run_step(PLANT, study(), root, {})
    return root, tables | run_step(TOKENIZER, study(), root, {"documents": ()} | tables)


def capacity_runs(planted: tuple[Path, Tables], of: Study, tables: Tables | None = None) -> pl.DataFrame:
    made = run_step(CAPACITY, of, planted[0], planted[1] | (tables or {}))
    return pl.DataFrame(read_rows(planted[0], made["capacity_runs"]), infer_schema_length=None)


@pytest.fixture(scope="module")
def grid(planted: tuple[Path, Tables]) -> pl.DataFrame:
    return capacity_runs(planted, study(seeds=2))


def test_a_run_for_each_cell_and_seed_with_its_setting_in_columns(planted: tuple[Path, Tables], grid: pl.DataFrame) -> None:
    whole = grid.filter(group="")
    runs = Counter(whole.select("kind", "hidden", "corpus", "dedup", "seed").rows())
    assert runs == dict.fromkeys(
        [("grid", h, c, d, s) for h in (8, 16) for c in (0.5, 1.0) for d in (False, True) for s in (0, 1)], 2
    )
    for row in whole.to_dicts():
        parameters = parameters_of(study(True).membership.models[0].model_copy(update={"hidden": row["hidden"]}), 65)
        assert row["parameters"] == parameters and row["inner_parameters"] == parameters - 65 * row["hidden"]
        assert row["steps"] == max(1, round(2 * row["instances"] / 4)) and row["checkpoint"] in (
            row["steps"],
            round(row["steps"] / 2),
        )
    rows = read_rows(planted[0], planted[1]["controlled_sequences"])
    members, phantoms = ([r for r in rows if r["split"] == split] for split in ("member", "phantom"))
    of = {(r["corpus"], r["dedup"]): (r["sequences"], r["instances"], r["phantoms"]) for r in whole.to_dicts()}
    assert of[1.0, True] == (len(members), len(members), len(phantoms))
    assert of[1.0, False] == (len(members), sum(r["copies"] for r in members), len(phantoms))
    assert of[0.5, False][1] > of[0.5, True][1] == of[0.5, True][0] >= len(members) / 2 and of[0.5, False][2] == len(phantoms)
    groups = grid.filter(pl.col("group") != "").group_by("cell", "seed", "checkpoint").agg(pl.col("sequences").sum())
    assert groups.join(whole, on=["cell", "seed", "checkpoint", "sequences"]).height == len(whole)


def test_a_smaller_corpus_is_part_of_a_larger_one_with_the_same_share_of_each_group(planted: tuple[Path, Tables]) -> None:
    table = pl.DataFrame(read_rows(planted[0], planted[1]["controlled_sequences"])).sort("sequence")
    chosen = [nested(table, share, 0) for share in (0.25, 0.5, 1.0)]
    assert (chosen[0] <= chosen[1]).all() and (chosen[1] <= chosen[2]).all() and (chosen[0] != nested(table, 0.25, 1)).any()
    assert (chosen[2] == (table["split"] == "member").to_numpy()).all()
    for stratum, rows in table.with_row_index().filter(split="member").group_by("group", "copies", "twins"):
        assert chosen[1][rows["index"].to_numpy()].sum() == math.ceil(len(rows) / 2), stratum


def test_numbers_are_those_of_the_scores() -> None:
    """Two members, one of them in two copies, and two phantoms of two tokens; bits beyond the generator's are at least 0."""
    log_p, hits = np.log([0.5, 2**-8, 0.25, 2**-6]), np.array([[1, 1], [1, 0], [0, 0], [0, 1]], bool)
    corpus = CapacityCorpus(
        np.zeros((4, 3), np.int64), np.array([1, 2, 0, 0]), np.array([3.0, 6.0, 1.0, 7.0]), np.array(["dense", "canary"] * 2), 1
    )
    whole, canary, dense = summaries(corpus, log_p, hits)
    wanted = {"training_bits": 2.25, "validation_bits": 2.0, "training_accuracy": 0.75, "validation_accuracy": 0.25, "bits": 1.0}
    wanted |= {"training_extraction": 0.5, "validation_extraction": 0.0, "phantom_bits": 0.5, "generalization": -1.0}
    assert {name: whole[name] for name in wanted} == pytest.approx(wanted)
    assert (whole["sequences"], whole["instances"], whole["phantoms"]) == (2, 3, 2)
    assert (canary["group"], canary["bits"], canary["phantom_bits"], canary["generalization"]) == (
        "canary",
        0.0,
        pytest.approx(1.0),
        None,
    )
    assert (dense["bits"], dense["validation_bits"]) == pytest.approx((2.0, 1.0))


def test_another_seed_or_size_computes_its_own_runs_alone(planted: tuple[Path, Tables]) -> None:
    keys = [
        {p.key for step in lay_out(STEPS, of) if step.step is CAPACITY for p in step.outputs["capacity_runs"]}
        for of in (study(), study(seeds=2), study(hidden=[8, 16, 32]))
    ]
    assert keys[0] < keys[1] and keys[0] < keys[2] and [len(k) for k in keys] == [8, 16, 12]


@pytest.mark.parametrize("killed_at", [3, 6])
def test_a_killed_run_goes_on_to_the_same_rows(
    killed_at: int, planted: tuple[Path, Tables], grid: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = study(hidden=[8], corpora=[0.5], dedup=[True], save_every=1e-6)
    tables = run_step(PLANT, one, tmp_path, {})
    tables |= run_step(TOKENIZER, one, tmp_path, {"documents": ()} | tables)
    steps = small.count_steps(monkeypatch, killed_at)
    with pytest.raises(KeyboardInterrupt):
        capacity_runs((tmp_path, tables), one)
    again = capacity_runs((tmp_path, tables), one)
    assert steps[0] <= again["steps"][0] + 2, "what was saved was not trained again"
    assert again.equals(grid.filter(cell=again["cell"][0], seed=0))
    assert not list(tmp_path.glob("capacity_runs/files/*/*"))


def test_a_diverged_run_is_one_row(planted: tuple[Path, Tables]) -> None:
    rows = capacity_runs(planted, study(hidden=[8], corpora=[1.0], dedup=[True], learning_rate=1e30))
    assert rows.select("checkpoint", "diverged", "bits", "group").rows() == [(0, True, None, "")]
    assert rows["sequences"][0] > 0 and rows["parameters"][0] > 0


def test_the_same_number_of_sequences_is_left_out_in_each_way() -> None:
    names, m = list("abcdefghij"), np.arange(10.0)
    v = np.array([5.0, 1.0, 7.0, 0.0, 2.0, 9.0, 3.0, 4.0, 6.9, 2.1])
    assert removed_sequences("memorized", names, m, v, 0.2, 0) == ["j", "i"]
    assert removed_sequences("matched", names, m, v, 0.2, 0) == ["e", "c"], "the likeliest to be alike of those that are left"
    random = {tuple(removed_sequences("random", names, m, v, 0.2, seed)) for seed in range(30)}
    assert len(random) > 10 and {len(of) for of in random} == {2}


def test_removal_leaves_out_sequences_with_one_copy_and_keeps_the_steps(planted: tuple[Path, Tables]) -> None:
    of, sequences = (
        study(True, removed=0.2, removal_seeds=2, hidden=[8], corpora=[1.0], dedup=[True]),
        read_rows(planted[0], planted[1]["controlled_sequences"]),
    )
    tables = {}
    for model, sign in (("a", 1.0), ("b", -1.0)):
        columns = {f.name: [None if f.nullable else 0] * len(sequences) for f in CONTRACTS["counterfactual"].schema}
        columns |= {
            "model": [model] * len(sequences),
            "checkpoint": [10] * len(sequences),
            "sequence": [s["sequence"] for s in sequences],
        }
        columns |= {
            "leave_group_out": [sign * i for i in range(len(sequences))],
            "out_log_p": [sign * -i for i in range(len(sequences))],
        }
        tables[model] = write_part(planted[0], "counterfactual", columns, {"ensemble": model}, model)
    rows = capacity_runs(planted, of, {"counterfactual": tuple(tables.values())}).filter(kind="removal", group="")
    assert (
        Counter(rows["removed"]) == dict.fromkeys(("none", "memorized", "random", "matched"), 2) and rows["steps"].n_unique() == 1
    )
    members = [s for s in sequences if s["split"] == "member"]
    single, copies = sum(s["copies"] == 1 for s in members), sum(s["copies"] for s in members)
    for row in rows.to_dicts():
        assert row["instances"] == copies - (0 if row["removed"] == "none" else round(0.2 * single))
    none: dict[str, list[Any]] = {name: [] for name in CONTRACTS["counterfactual"].schema.names}
    empty = write_part(planted[0], "counterfactual", none, {"ensemble": "a"}, "empty")
    with pytest.raises(StudyError, match="too few sequences with one copy have a leave-group-out"):
        capacity_runs(planted, study(True, removed=0.3, removal_seeds=1, hidden=[8]), {"counterfactual": (empty,)})


def test_random_words_are_memorized_up_to_their_bits(planted: tuple[Path, Tables]) -> None:
    of = study(hidden=[8], corpora=[1.0], dedup=[True], random_sequences=[8, 64], random_hidden=[16], random_steps=300)
    rows = capacity_runs(planted, of).filter(kind="random tokens").sort("sequences")
    assert rows["sequences"].to_list() == [8, 64] and rows["phantoms"].to_list() == [128, 128]
    entropy = 8 * math.log2(64)
    assert 0.8 * entropy < rows["bits"][0] <= entropy and rows["bits"][1] < rows["bits"][0]
    assert max(rows["phantom_bits"]) < 1 and rows["generalization"].null_count() == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 100}, "the grid has 800 runs, more than most_runs = 500; shorten hidden"),
        ({"removed": 0.1}, "capacity.removed leaves out what a model of"),
        ({"hidden": []}, "hidden needs values"),
        ({"corpora": [0.5, 0.5]}, "corpora needs values that differ"),
        ({"corpora": [1.5]}, "corpora are shares"),
        ({"epochs": [0]}, "epochs and random_sequences are more than 0"),
        ({"hidden": [17]}, "hidden = 17 cannot be divided among heads = 2"),
    ],
)
def test_a_grid_that_cannot_be_is_an_error_of_the_study(changes: Tables, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        study(**changes)
    with pytest.raises(ValidationError, match="capacity. needs .corpus.controlled"):
        Study.model_validate({"name": "s", "corpus": {"planted": {}}, "capacity": {}})


def test_its_cost_counts_the_tokens_of_all_runs(grid: pl.DataFrame) -> None:
    sizes = Sizes(study(seeds=2), CorpusSize(0, 0, 0, 0, 0, 0, 0), (), (), Machine(1, flops=1e9))
    found, whole = cost(sizes), grid.filter(group="").unique(["cell", "seed"])
    assert found.parts == len(whole) == 16 and found.gpu == 0 < found.longest < found.core
    assert found.work == pytest.approx(float((whole["steps"] * 4 * 8).sum()), rel=0.1)
    more = cost(Sizes(study(seeds=2, random_sequences=[8]), sizes.corpus, (), (), sizes.machine))
    assert more.work - found.work == 2 * 2 * 1_500 * 4 * 8


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_workers(tmp_path: Path) -> None:
    path, made = tmp_path / "s.toml", []
    lines = "\n".join(f"{k} = {str(v).lower()}" for k, v in CORPUS.items())
    path.write_text(
        f"name = 's'\n[corpus.controlled]\n{lines}\n[capacity]\n" + "\n".join(f"{k} = {str(v).lower()}" for k, v in GRID.items())
    )
    for workers in (0, 2):
        root, settings = tmp_path / str(workers), load_study(path)
        cluster = Cluster(workers, "2GB", str(root / ".dask") if workers else "", address="")
        session = Session(settings, path.name, Store(str(root)), cluster)
        try:
            for planned in lay_out(STEPS, settings):
                if planned.step.name in ("plant", "ingest", "tokenizer", "capacity", "measure"):
                    run_in_engine(planned, session)
        finally:
            session.leases.close()
            cluster.close()
        made.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in root.glob("*/parts/*.parquet")})
    assert made[0] == made[1] and len(made[0]) > 8
