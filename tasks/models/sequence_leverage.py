"""Step `leverage`: how much each sequence determines what a run says about it, and how far it is from the others.

Three leverages, self-influence and the one-step leave-one-out of the sequences that a run is trained on, for five dampings, and
outlierness of all sequences, which leverage has to be compared with (docs/counterfactual.md). Only runs whose weights are kept.
Formulas and sources: `tasks/statistics/fisher.py`; gradients: `sequence_gradients.py`. On one thread of a CPU: bytes repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from schemas import Study
from schemas.tables.leverage import LEVERAGE, OUTLIERNESS
from tasks.cost import Cost, Rate, Sizes
from tasks.models.ensemble import applies as has_runs
from tasks.models.ensemble import parameters_of, runs_of
from tasks.models.ladder import parts_with
from tasks.models.sequence_gradients import Projection, SequenceGradients, drawn_labels, real_labels
from tasks.statistics.fisher import Fisher, kronecker_leverage, leverage, mahalanobis, one_step, self_influence, sparsity
from tasks.step import MODEL, Inputs, Job, Stage, Step, Work
from tasks.storage.layout import below_files
from tasks.text.split import seeded_hash

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DAMPINGS = (0.1, 1.0, 10.0, 100.0, 1000.0)
SETTINGS: dict[str, Any] = {"dampings": [*DAMPINGS], "width": 1024, "draws": 4}  # draws: of labels, for each projection
PROJECTIONS = 2  # each with its own labels: what differs between them is noise
AT_ONCE = 64  # sequences of one forward pass


def applies(study: Study) -> bool:
    """A study that keeps the weights of runs of `[membership]`."""
    return has_runs(study) and study.membership is not None and any(m.keep for m in study.membership.models)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model and part of `ensemble_runs` that has kept weights."""
    jobs = []
    for model in study.membership.models if study.membership else ():
        for part in parts_with(inputs["ensemble_runs"], ensemble=model.name):
            runs = runs_of(part)
            if runs.start < model.keep:
                given = {"ensemble_runs": (part,), "controlled_sequences": inputs["controlled_sequences"]}
                given["membership"] = tuple(p for p in inputs["membership"] if runs_of(p).start in runs)
                jobs.append(Job(dict(part.labels), SETTINGS, given, cost=float(model.hidden), resources={MODEL: 1}))
    return jobs


def run(work: Work) -> None:
    """Write the leverages and the outlierness of each kept run."""
    from tasks.models.language_model import SavedModel
    from tasks.models.load import load, repeatable

    (part,) = work.parts("ensemble_runs")
    sequences = work.frame("controlled_sequences", "sequence", "cluster", "ids", "prefix").sort("sequence")
    membership = work.frame("membership", "run", "sequence", "copies").sort("run", "sequence")
    ids, prefix = np.array(sequences["ids"].to_list(), np.int64), int(sequences["prefix"][0])
    runs = work.frame(part, "model", "run", "seed", "path").sort("run").to_dicts()
    with repeatable("cpu"):
        for row in (r for r in runs if r["path"]):
            folder = work.folder_of(part).joinpath(*below_files(row["path"])[1:])
            model = load(SavedModel(folder, key=part.key), f"{row['model']}, run {row['run']}")
            copies = membership.filter(run=row["run"])["copies"].to_numpy().astype(np.int64)
            behind = np.concatenate([np.full((len(ids), 1), model.start, np.int64), ids], axis=1)
            seed = seeded_hash(row["seed"], "leverage") >> 1
            gradients = gradients_of_run(model.network, behind, prefix, copies, seed, work.settings)
            same = {"model": row["model"], "run": row["run"]}
            for chosen, contract, columns in (
                *((copies > 0, LEVERAGE, columns) for columns in leverages(gradients, work.settings["dampings"])),
                (copies >= 0, OUTLIERNESS, outlierness(gradients, sequences["cluster"].to_numpy())),
            ):
                columns |= same | {"sequence": sequences["sequence"].to_numpy()[chosen], "copies": copies[chosen]}
                whole = {name: np.broadcast_to(np.asarray(of), int(chosen.sum())) for name, of in columns.items()}
                arrays = [pa.array(whole[f.name]).cast(f.type) for f in contract.schema]
                work.write(contract.name, pa.table(arrays, schema=contract.schema))


@dataclass(frozen=True)
class RunGradients:
    """Of one run, float64. norms: of gradients, [sequences]; means: of the suffix's last states, [sequences, hidden]; copies:
    [sequences]. Of the sequences that it is trained on: states [sequences, suffix, hidden], log_p [sequences, suffix, labels], and
    for each projection gradients `real` [sequences, width] and `drawn` [sequences, draws, width]."""

    norms: Tensor
    means: Tensor
    copies: Tensor
    states: Tensor
    log_p: Tensor
    real: list[Tensor]
    drawn: list[Tensor]


def gradients_of_run(
    network: torch.nn.Module, ids: np.ndarray, prefix: int, copies: np.ndarray, seed: int, settings: Mapping[str, Any]
) -> RunGradients:
    """ids: int64 [sequences, 1 + tokens], each behind an end-of-document token; copies: int64 [sequences]."""
    import torch

    gradients = SequenceGradients(network, prefix)
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    projections = [Projection(gradients.parameters, settings["width"], random) for _ in range(PROJECTIONS)]
    norms, means = torch.zeros(len(ids)), torch.zeros(len(ids), int(network.config.hidden_size))  # type: ignore[union-attr, arg-type]
    kept: list[list[Tensor]] = [[] for _ in range(2 + 2 * PROJECTIONS)]
    for trained in (True, False):
        rows_of = torch.from_numpy(np.flatnonzero((copies > 0) == trained))
        for rows in rows_of.split(AT_ONCE) if len(rows_of) else ():
            batch = torch.from_numpy(ids)[rows]
            log_p, states = gradients.forward(batch)
            real = gradients.backward(real_labels(log_p, batch[:, 1 + prefix :]))
            norms[rows], means[rows] = torch.linalg.vector_norm(real, dim=1), states.mean(1)
            if not trained:
                continue
            made = [states, log_p, *(projection(real) for projection in projections)]
            for projection in projections:
                drawn = [projection(gradients.backward(drawn_labels(log_p, generator))) for _ in range(settings["draws"])]
                made.append(torch.stack(drawn, 1) / settings["draws"] ** 0.5)
            for to, of in zip(kept, made, strict=True):
                to.append(of.double())
    states, log_p, *projected = (torch.cat(of) for of in kept)
    whole = norms.double(), means.double(), torch.from_numpy(copies).double()
    return RunGradients(*whole, states, log_p, projected[:PROJECTIONS], projected[PROJECTIONS:])


def leverages(of: RunGradients, dampings: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Columns of `leverage` for each damping."""
    import torch

    copies = of.copies[of.copies > 0]

    def fisher(rows: Tensor) -> Fisher:
        return Fisher(rows.flatten(0, 1), copies.repeat_interleave(rows.shape[1]))

    of_states, projected = fisher(of.states), [(fisher(drawn), real, drawn) for real, drawn in zip(of.real, of.drawn, strict=True)]
    for damping in dampings:
        white = [(one.white(real, damping), one.white(drawn, damping)) for one, real, drawn in projected]
        pair = [leverage(labels) for _, labels in white]
        columns = {
            "feature": leverage(of_states.white(of.states, damping)),
            "last_layer": kronecker_leverage(of.states, of.log_p, copies, damping),
            "gauss_newton": torch.stack(pair).mean(0),
            "gauss_newton_gap": pair[0] - pair[1],
            "self_influence": torch.stack([self_influence(gradient) for gradient, _ in white]).mean(0),
            "one_step": torch.stack([one_step(*both, torch.ones_like(copies)) for both in white]).mean(0),
            "one_step_group": torch.stack([one_step(*both, copies) for both in white]).mean(0),
        }
        yield {"damping": damping} | {name: values.numpy() for name, values in columns.items()}


def outlierness(of: RunGradients, clusters: np.ndarray) -> dict[str, Any]:
    """Columns of `outlierness`. clusters: int [sequences]."""
    import torch

    near = sparsity(of.means, torch.from_numpy(clusters.astype(np.int64)), of.copies > 0)
    columns = {"gradient_norm": of.norms, "mahalanobis": mahalanobis(of.means, of.copies), "sparsity": near}
    return {name: values.numpy() for name, values in columns.items()}


RATES = {"leverage": Rate(1e-8, "s for each parameter and gradient of a sequence of 32 tokens", "width 64, a core among others")}


def cost(sizes: Sizes) -> Cost:
    """A gradient of each sequence, and eight more of those that a run is trained on, with two inverses of width 1,024."""
    membership, controlled = sizes.study.membership, sizes.study.corpus.controlled
    if membership is None or controlled is None:
        return Cost(unit="gradients")
    total, number = Cost(unit="gradients"), sum(controlled.groups.values())
    trained = len(controlled.member_copies) / 2 if membership.design == "pairs" else len(controlled.member_copies)
    for model in (m for m in membership.models if m.keep):
        gradients = model.keep * (number + PROJECTIONS * SETTINGS["draws"] * trained)
        seconds = (
            gradients * parameters_of(model, controlled.words + 1) * RATES["leverage"] * controlled.window / 32 + model.keep * 2.0
        )
        parts = -(-model.keep // membership.block)
        total += Cost(
            parts=parts,
            work=gradients,
            unit="gradients",
            written=model.keep * (number * 30.0 + trained * 200.0),
            core=seconds,
            longest=seconds / parts,
            memory=0.6e9 + trained * SETTINGS["width"] * 8.0 * 30,
            rates=RATES,
        )
    return total


LEVERAGE_STEP = Step(
    "leverage",
    version=1,
    about="how much each sequence of a controlled corpus determines what runs say about it, and how far it is from others",
    reads=("controlled_sequences", "membership", "ensemble_runs"),
    stages=(Stage(writes=(LEVERAGE, OUTLIERNESS), plan=plan, run=run),),
    cost=cost,
    applies=applies,
)
