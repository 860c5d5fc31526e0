"""Step `capacity`: a grid of trainings of several sizes on controlled corpora of several sizes (docs/capacity.md).

grid            a share of the members of each group, nested: what a smaller corpus has, a larger one has too. All runs are scored
                on the same phantoms. Weight decay, epochs and copies change what is memorized at a fixed size.
removal         the first model of [membership], without the sequences that it memorizes most by M^LGO of `counterfactual`, without
                as many random ones, without as many that are as likely as these to runs without them, and without none. They have
                one copy each, so that all of these lose equally many instances. Steps are those of the ensemble.
random tokens   sequences of uniformly random words, whose bits are known: what a parameter holds (arXiv 2505.24832)

A part is one run, so that another size, seed or corpus computes its own runs alone; a killed one goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from schemas import Study, StudyError
from schemas.settings.capacity_settings import REMOVALS
from schemas.settings.model_settings import TrainedNetwork
from schemas.tables.capacity_table import CAPACITY_RUNS
from tasks.cost import Cost, ModelSize, Sizes, training_flops
from tasks.models.ensemble import NETWORK, RATES, Diverged, RunData, ScoredTraining
from tasks.models.ladder import device_settings, resources
from tasks.models.shapes import Shape
from tasks.models.training import remove_files
from tasks.statistics import Floats, Ints
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.store import Part
from tasks.text.split import seeded_hash

LEARNABLE = ("dense", "dense_copies", "ring", "rule")  # groups whose phantoms have a topic, ring or rule with members
RANDOM_PHANTOMS = 128  # random sequences that no run is trained on
OF_RUN = ("kind", "cell", "hidden", "corpus", "weight_decay", "dedup", "removed", "steps")  # columns that are settings
LN2 = math.log(2)
Rows = dict[str, Any]


@dataclass(frozen=True)
class CapacityCorpus:
    """Sequences that a run is trained on or compared with. ids: int64 [sequences, tokens]; copies: 0 of phantoms; entropy: bits
    of what is scored, the tokens after `prefix`."""

    ids: Ints
    copies: Ints
    entropy: Floats
    groups: np.ndarray
    prefix: int


def applies(study: Study) -> bool:
    """A study with `[capacity]`."""
    return study.capacity is not None


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per run."""
    return [
        Job(
            {"kind": run["kind"], "cell": run["cell"], "seed": str(run["number"])},
            run | device_settings(study),
            {table: _parts(inputs[table], run) for table in CAPACITY.reads if table != "counterfactual" or "share" in run},
            cost=cost,
            resources=resources(study),
        )
        for run, cost in _runs(study)
    ]


def _parts(parts: tuple[Part, ...], run: Rows) -> tuple[Part, ...]:
    """Of `counterfactual` those that rank what a run is trained without; of other tables all."""
    return tuple(p for p in parts if p.labels.get("ensemble", run.get("model")) in (run.get("model"), run.get("reference")))


def _runs(study: Study) -> Iterator[tuple[Rows, float]]:
    """(settings of a run, optimizer steps × batch × parameters: its weight) of each run."""
    capacity, controlled, membership = study.capacity, study.corpus.controlled, study.membership
    if capacity is None or controlled is None:
        return
    copies, cells = controlled.member_copies, list[tuple[Rows, TrainedNetwork, float]]()
    of_all = {"data_seed": capacity.seed, "context": controlled.window, "removed": "", "corpus": 1.0, "dedup": False}
    for c in capacity.cells:
        name = f"width {c.hidden}, corpus {c.corpus:g}, epochs {c.epochs:g}, decay {c.weight_decay:g}"
        name += ", one copy" if c.dedup else ", copies"
        more = c._asdict() | {"kind": "grid", "cell": name, "checkpoints": capacity.checkpoints}
        seen = c.epochs * c.corpus * (len(copies) if c.dedup else sum(copies))
        cells.append((more, capacity.network(c.hidden), seen))
    if capacity.removed and membership:
        model = membership.models[0]
        steps, reference = model.steps(membership.instances(controlled)), membership.networks[model.name][-1]
        ranked = {"share": capacity.removed, "model": model.name, "reference": reference}
        for removed in REMOVALS:
            more = {"kind": "removal", "cell": removed, "removed": removed, "checkpoints": [1.0], "steps": steps}
            cells.append((more | (ranked if removed != "none" else {}), model, float(steps * model.batch)))
    for hidden, number in product(capacity.random_hidden, capacity.random_sequences):
        more = {"kind": "random tokens", "cell": f"width {hidden}, sequences {number}", "dedup": True, "random": number}
        more |= {"checkpoints": [1.0], "steps": capacity.random_steps, "words": controlled.words, "weight_decay": 0.0}
        cells.append((more, capacity.network(hidden), float(capacity.random_steps * capacity.batch)))
    for cell, network, instances in cells:
        of = network.model_dump(include=NETWORK, mode="json") | of_all | cell
        parameters = Shape(of["hidden"], of["layers"], controlled.words + 1, tied=True).parameters
        for seed in range(capacity.removal_seeds if of["removed"] else capacity.seeds):
            yield of | {"number": seed}, instances * parameters


# -- the corpora -----------------------------------------------------------------------------------------------------------
def nested(table: pl.DataFrame, share: float, seed: int) -> np.ndarray:
    """bool [sequences]: the members of a corpus, the same share of each group, number of copies and of twins."""
    chosen, strata = np.zeros(len(table), bool), table["group"] + table["copies"].cast(str) + "." + table["twins"].cast(str)
    member, names = (table["split"] == "member").to_numpy(), table["sequence"].to_list()
    for stratum in strata.unique():
        at = np.flatnonzero(member & (strata == stratum).to_numpy())
        order = sorted(at.tolist(), key=lambda i: seeded_hash(seed, "corpora", names[i]))
        chosen[order[: math.ceil(share * len(at))]] = True
    return chosen


def removed_sequences(kind: str, names: list[str], m: Floats, v: Floats, share: float, seed: int) -> list[str]:
    """The sequences that are left out, of `names`. m, v: float [names], M^LGO and the mean log p without a sequence."""
    number = max(1, round(share * len(names)))
    most = np.argsort(-m, kind="stable")[:number].tolist()
    if kind == "memorized":
        chosen = most
    elif kind == "random":
        chosen = sorted(range(len(names)), key=lambda i: seeded_hash(seed, "removed", names[i]))[:number]
    else:
        rest, chosen = sorted(set(range(len(names))) - set(most)), []
        for i in most:
            nearest = min(rest, key=lambda j: (abs(v[j] - v[i]), j))
            rest.remove(nearest)
            chosen.append(nearest)
    return [names[i] for i in chosen]


def _without(work: Work, table: pl.DataFrame) -> pl.DataFrame:
    """The sequences with those that the run is trained without marked as no members."""
    s = work.settings
    rows = work.frame("counterfactual", "model", "checkpoint", "sequence", "leave_group_out", "out_log_p")
    rows = rows.filter(pl.col("checkpoint") == pl.col("checkpoint").max().over("model"))
    single = table.filter(split="member", copies=1).select("sequence")
    for model, column in ((s["model"], "leave_group_out"), (s["reference"], "out_log_p")):
        single = single.join(rows.filter(model=model).select("sequence", column), on="sequence")
    single = single.drop_nulls().sort("sequence")
    if len(single) < 2:
        raise StudyError("capacity.removed: too few sequences with one copy have a leave-group-out estimate; train more runs")
    m, v = (single[name].to_numpy() for name in ("leave_group_out", "out_log_p"))
    out = removed_sequences(s["removed"], single["sequence"].to_list(), m, v, s["share"], s["data_seed"] + s["number"])
    return table.with_columns(split=pl.when(pl.col("sequence").is_in(out)).then(pl.lit("removed")).otherwise("split"))


def _corpus(work: Work) -> CapacityCorpus:
    s = work.settings
    if "random" in s:
        random = np.random.default_rng([s["data_seed"], s["number"], s["random"]])
        n = s["random"] + RANDOM_PHANTOMS
        ids = random.integers(1, s["words"] + 1, (n, s["context"]), np.int64)
        copies = (np.arange(n) < s["random"]).astype(np.int64)
        return CapacityCorpus(ids, copies, np.full(n, s["context"] * math.log2(s["words"])), np.full(n, "random"), 0)
    table = work.frame("controlled_sequences").sort("sequence")
    if s["removed"] not in ("", "none"):
        table = _without(work, table)
    chosen = nested(table, s["corpus"], s["data_seed"])
    copies = np.where(chosen, 1 if s["dedup"] else table["copies"].to_numpy(), 0).astype(np.int64)
    scored = chosen | (table["split"] == "phantom").to_numpy()
    ids, entropy = np.array(table["ids"].to_list(), np.int64), table["entropy"].to_numpy()
    return CapacityCorpus(ids[scored], copies[scored], entropy[scored], table["group"].to_numpy()[scored], int(table["prefix"][0]))


# -- a run -----------------------------------------------------------------------------------------------------------------
def run(work: Work) -> None:
    """Train one network and write what it memorizes and how well it generalizes, at each checkpoint."""
    from tasks.models.load import repeatable

    corpus, settings, name = _corpus(work), dict(work.settings), f"{work.labels['kind']}, {work.labels['cell']}"
    instances = int(corpus.copies.sum())
    if not instances:
        raise StudyError(f"capacity: {name} is trained on nothing; use more sequences in [corpus.controlled]")
    steps = settings.get("steps") or max(1, round(settings["epochs"] * instances / settings["batch"]))
    settings |= {"steps": steps, "kept": sorted({max(1, round(share * steps)) for share in settings["checkpoints"]})}
    alike = "removal" if settings["removed"] else settings["cell"]  # with other data only, or a run of its own
    weights, order = (seeded_hash(settings["seed"], kind, alike, str(settings["number"])) >> 31 for kind in ("weights", "order"))
    tokenizer, folder, device = work.read("tokenizer").to_pylist()[0], work.folder(), settings.get("device", "cpu")
    end, vocabulary = tokenizer["end_of_document"], tokenizer["vocabulary_size"]
    parameters = Shape(settings["hidden"], settings["layers"], vocabulary, tied=True).parameters
    of_run = {column: settings[column] for column in OF_RUN}
    of_run |= {"seed": settings["number"], "epochs": settings.get("epochs", steps * settings["batch"] / instances)}
    of_run |= {"parameters": parameters, "inner_parameters": parameters - vocabulary * settings["hidden"], "diverged": False}
    with repeatable(device):
        training = ScoredTraining(name, {**settings, "seed": weights}, folder, tokenizer, device)
        training.sequences = np.concatenate([np.full((len(corpus.ids), 1), end, np.int64), corpus.ids], axis=1)
        training.prefix = corpus.prefix
        try:
            training.run(RunData(corpus.ids, corpus.copies, end, order))
        except Diverged as error:
            work.note(f"{error}; the run is left out")
            work.add("diverged")
            none = dict.fromkeys(CAPACITY_RUNS.schema.names) | of_run | {"diverged": True, "checkpoint": 0, "group": ""}
            _write(work, [none | _sizes(corpus, np.full(len(corpus.ids), True))])
        else:
            for step in settings["kept"]:
                scores = np.load(folder / f"scores-{step}.npz", allow_pickle=False)
                _write(work, [of_run | {"checkpoint": step} | row for row in summaries(corpus, scores["log_p"], scores["hits"])])
    remove_files(folder)


def summaries(corpus: CapacityCorpus, log_p: Floats, hits: np.ndarray) -> Iterator[Rows]:
    """What one checkpoint memorizes and predicts, over all sequences and by group. log_p: float [sequences], nats of the suffixes;
    hits: bool [sequences, suffix tokens]."""
    beyond = np.maximum(log_p / LN2 + corpus.entropy, 0.0)
    per_token, accuracy, extracted = -log_p / LN2 / hits.shape[1], hits.mean(axis=1), hits.all(axis=1)
    columns = {"bits": per_token, "accuracy": accuracy, "extraction": extracted}
    groups = sorted(set(corpus.groups.tolist()))
    for group in ("", *(groups if len(groups) > 1 else ())):
        here = corpus.groups == group if group else np.full(len(log_p), True)
        sides = {"training": here & (corpus.copies > 0), "validation": here & (corpus.copies == 0)}
        row = {f"{side}_{name}": _mean(of, at) for side, at in sides.items() for name, of in columns.items()}
        learnable = sides["validation"] & np.isin(corpus.groups, LEARNABLE)
        row |= {"bits": _mean(beyond, sides["training"]), "phantom_bits": _mean(beyond, sides["validation"]), "group": group}
        row["generalization"] = -float(per_token[learnable].mean()) if not group and learnable.any() else None
        yield row | _sizes(corpus, here)


def _mean(values: Floats, at: np.ndarray) -> float | None:
    return max(0.0, float(values[at].mean())) if at.any() else None  # rounding alone could make it less than 0


def _sizes(corpus: CapacityCorpus, at: np.ndarray) -> Rows:
    copies = corpus.copies[at]
    return {"sequences": int((copies > 0).sum()), "instances": int(copies.sum()), "phantoms": int((copies == 0).sum())}


def _write(work: Work, rows: list[Rows]) -> None:
    work.write("capacity_runs", {name: [row[name] for row in rows] for name in CAPACITY_RUNS.schema.names})


def cost(sizes: Sizes) -> Cost:
    """Training all runs; scoring adds a forward pass of each sequence at each checkpoint."""
    controlled, total = sizes.study.corpus.controlled, Cost(unit="tokens")
    if controlled is None:
        return total
    for run, weight in _runs(sizes.study):
        parameters = Shape(run["hidden"], run["layers"], controlled.words + 1, tied=True).parameters
        instances, checkpoints = weight / parameters, len(run["checkpoints"])
        tokens, scored = instances * controlled.window, sum(controlled.groups.values()) * controlled.window * checkpoints
        speed, guesses = sizes.machine.speed([ModelSize("", parameters)])
        seconds = training_flops(parameters, tokens + scored / 3) / speed + instances / run["batch"] * RATES["optimizer step"]
        core, gpu, memory = (0.0, seconds, 1.6e9) if sizes.machine.gpu else (seconds, 0.0, 0.6e9 + parameters * 16.0)
        total += Cost(1, tokens, "tokens", 0.0, checkpoints * 540.0, core, gpu, seconds, memory, guesses, RATES)
    return total


CAPACITY = Step(
    "capacity",
    version=1,
    about="train a grid of sizes on corpora of several sizes, to tell memorization from capacity",
    reads=("controlled_sequences", "counterfactual", "tokenizer"),
    stages=(Stage(writes=(CAPACITY_RUNS,), plan=plan, run=run),),
    cost=cost,
    applies=applies,
)
