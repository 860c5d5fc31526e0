"""Step `redraw`: redraws suffix targets, and trains further runs on them (docs/counterfactual.md, "Redrawn targets").

Would a sequence whose targets were a matter of chance be memorized as much? The inputs stay as they are, and each target of the
suffix is drawn from the mean p̄ of at least 32 kept runs of `ensemble` that are not trained on the sequence. Drawn targets have to
be as likely as the sequence's own, by V, the mean of these runs' log p, and by log p̄. A token w is drawn in place of one with

    p̄(w) · exp(−½ Σ (running sum of the original targets − that of the drawn ones, w included)² / WIDTH²)

where Σ is over both. Draw 1 is made in place of the original targets, draw 2 by the same rule in place of draw 1. A further run
repeats one of `membership` with other initial weights and another order. Of the two runs of a block of four that have a sequence,
one has its original targets and one a draw, draw 1 and 2 in turn: it is out of half of the runs, with its original targets in a
quarter, and with each draw in an eighth. Canaries with two copies have their draws once: taken for sequences with one, they must
stand out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study, StudyError
from schemas.settings.ensemble_settings import OUT_MODELS, PAIRED
from schemas.tables.redrawn import REDRAWN_RUNS, REDRAWN_SCORES, REDRAWN_TARGETS
from tasks.cost import Cost, ModelSize, Sizes, forward_flops
from tasks.models import ensemble
from tasks.models.ladder import device_settings, resources
from tasks.models.training import WEIGHTS, build
from tasks.statistics import Floats, Ints
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.layout import below_files
from tasks.storage.store import Part
from tasks.text.split import seeded_hash

WIDTH = 1.0  # nats, of both sums: with half of it, little but the original targets is left to draw where text is regular
CONTROL = ("canary_copies", 2)  # group and copies of the sequences that have to stand out
BYTES = 250e6  # of the distributions that are held at once


def applies(study: Study) -> bool:
    """A study with `redrawn` runs."""
    return study.membership is not None and study.membership.redraws


def plan_targets(study: Study, inputs: Inputs) -> list[Job]:
    """One job: all targets of the first model."""
    membership, controlled = study.membership, study.corpus.controlled
    if membership is None or controlled is None:
        return []
    model = membership.models[0]
    settings = model.model_dump(include={"hidden", "layers", "heads"}) | {"context": controlled.window, "seed": membership.seed}
    kept = {name: _first(inputs[name], model.keep) for name in ("membership", "ensemble_runs")}
    kept["ensemble_runs"] = tuple(p for p in kept["ensemble_runs"] if p.labels["ensemble"] == model.name)
    shared = {name: inputs[name] for name in ("controlled_sequences", "tokenizer")}
    return [Job({"ensemble": model.name}, settings | device_settings(study), kept | shared, resources=resources(study))]


def _first(parts: tuple[Part, ...], runs: int) -> tuple[Part, ...]:
    """The parts of the first so many runs."""
    return tuple(p for p in parts if int(p.labels["runs"].split("-")[0]) < runs)


def draw_targets(work: Work) -> None:
    """Write the original targets of each sequence and two draws."""
    table = work.frame("controlled_sequences").sort("sequence").filter(_redrawn())
    if table.is_empty():
        raise StudyError("[membership] redrawn: no sequence that is trained on has one copy; plant dense, rare or canaries")
    ids, prefix = np.array(table["ids"].to_list(), np.int64), int(table["prefix"][0])
    absent = _absent(work, table["sequence"])
    for rows, log_mixture, log_p in _distributions(work, ids, prefix, absent):
        for row, mixture, mean in zip(rows, log_mixture, log_p, strict=True):
            random = np.random.default_rng(
                [work.settings["seed"], seeded_hash(work.settings["seed"], "redraw", table["sequence"][row])]
            )
            draws, at = [ids[row, prefix:]], np.arange(ids.shape[1] - prefix)
            for _ in range(2):
                draws.append(draw_alike(mixture, mean, draws[-1], random))
            columns = {
                "model": [work.labels["ensemble"]] * 3,
                "sequence": [table["sequence"][row]] * 3,
                "draw": [0, 1, 2],
                "out_models": [int(absent[:, row].sum())] * 3,
                "targets": [d.tolist() for d in draws],
                "log_p": [float(mean[at, d].sum()) for d in draws],
                "log_mixture": [float(mixture[at, d].sum()) for d in draws],
                "differing": [float((d != draws[max(0, n - 1)]).mean()) for n, d in enumerate(draws)],
            }
            work.write("redrawn_targets", columns)


def _redrawn() -> pl.Expr:
    """Whether a sequence is redrawn."""
    group, copies = CONTROL
    member, control = pl.col("split") == "member", (pl.col("group") == group) & (pl.col("copies") == copies)
    return member & ((pl.col("copies") == 1) | control)


def draw_alike(log_mixture: Floats, log_p: Floats, targets: Ints, random: np.random.Generator) -> Ints:
    """int [suffix]: targets drawn in place of others. log_mixture, log_p: float [suffix, vocabulary], for each token the log of
    the mean of the runs and the mean of their logs; the end of a document, token 0, is never drawn."""
    drawn, missing = np.empty(len(targets), np.int64), np.zeros(2)
    for at, target in enumerate(targets):
        gains = np.stack([log_mixture[at], log_p[at]])
        rest = missing[:, None] + gains[:, [target]] - gains
        weights = log_mixture[at] - 0.5 * (rest**2).sum(axis=0) / WIDTH**2
        weights[0] = -np.inf
        chances = np.exp(weights - weights.max())
        drawn[at] = random.choice(len(chances), p=chances / chances.sum())
        missing = rest[:, drawn[at]]
    return drawn


def _absent(work: Work, names: pl.Series) -> NDArray[np.bool_]:
    """bool [kept runs, sequences]: whether a run is trained without a sequence. Raises StudyError for too few such runs."""
    runs = _kept(work)["run"].to_list()
    table = work.frame("membership", "run", "sequence", "copies").filter(pl.col("run").is_in(runs), pl.col("sequence").is_in(names))
    absent = table.sort("run", "sequence")["copies"].to_numpy().reshape(len(runs), -1) == 0
    if absent.size and (fewest := absent.sum(axis=0)).min() < OUT_MODELS:
        which = names[int(fewest.argmin())]
        problem = (
            f"sequence {which!r} is out of {fewest.min()} runs with kept weights that did not diverge; {OUT_MODELS} are needed"
        )
        raise StudyError(f"{problem}: raise runs and keep in [membership], or leave out redrawn")
    return absent


def _kept(work: Work) -> pl.DataFrame:
    """The rows of `ensemble_runs` whose weights are kept."""
    return work.frame("ensemble_runs", "run", "path").filter(pl.col("path") != "").sort("run")


def _distributions(work: Work, ids: Ints, prefix: int, absent: NDArray[np.bool_]) -> Iterator[tuple[range, Floats, Floats]]:
    """(rows, log of the mean, mean of the logs) of the runs without each, float [rows, suffix, vocabulary]; some rows at a time."""
    import torch
    from safetensors.torch import load_model

    from tasks.models.load import repeatable

    tokenizer, device = work.read("tokenizer").to_pylist()[0], work.settings.get("device", "cpu")
    end, vocabulary, suffix = tokenizer["end_of_document"], tokenizer["vocabulary_size"], ids.shape[1] - prefix
    inputs = np.concatenate([np.full((len(ids), 1), end, np.int64), ids[:, :-1]], axis=1)
    folders, at_once = (
        {p.key: work.folder_of(p) for p in work.parts("ensemble_runs")},
        max(1, int(BYTES / (24 * suffix * vocabulary))),
    )
    with repeatable(device), torch.inference_mode():
        model = build(work.settings, vocabulary, end).to(device)
        for first in range(0, len(ids), at_once):
            rows = range(first, min(first + at_once, len(ids)))
            mixture, logs = np.zeros((2, len(rows), suffix, vocabulary))
            for without, path in zip(absent[:, rows], _kept(work)["path"], strict=True):
                key, *below = below_files(path)
                load_model(model, folders[key].joinpath(*below, WEIGHTS), device=device)
                here = np.flatnonzero(without)
                for some in np.split(here, range(ensemble.SCORED_AT_ONCE, len(here), ensemble.SCORED_AT_ONCE)):
                    logits = model(input_ids=torch.from_numpy(inputs[first + some]).to(device), use_cache=False).logits[:, prefix:]
                    log_p = torch.log_softmax(logits.double(), -1).cpu().numpy()
                    logs[some] += log_p
                    mixture[some] += np.exp(log_p)
            count = absent[:, rows].sum(axis=0)[:, None, None]
            yield rows, np.log(mixture / count), logs / count


# -- the further runs --------------------------------------------------------------------------------------------------
class RedrawnTraining(ensemble.ScoredTraining):
    """A training on rows of a sequence and, after it, what is to be predicted of its suffix."""

    def inputs_and_targets(self, rows: Any) -> tuple[Any, Any]:
        """Inputs are the sequence's own tokens; targets those of the prefix, and then the given ones."""
        import torch

        length = self.settings["context"]
        return rows[:, :length], torch.cat([rows[:, 1 : 1 + self.prefix], rows[:, 1 + length :]], dim=1)


def plan_runs(study: Study, inputs: Inputs) -> list[Job]:
    """The jobs of the first model in `ensemble`, as far as they are repeated; scored at their end only."""
    membership = study.membership
    if membership is None:
        return []
    model, of = membership.models[0], {**inputs, "membership": _first(inputs["membership"], membership.redrawn)}
    changed = {"keep": [], "seed": seeded_hash(model.seed, "redraw"), "design": membership.seed}
    return [
        replace(
            job,
            settings={**job.settings, **changed, "kept": [job.settings["steps"]]},
            inputs={**job.inputs, "redrawn_targets": inputs["redrawn_targets"]},
        )
        for job in ensemble.plan(study, of)
        if job.labels["ensemble"] == model.name
    ]


def draw_in(run: int, cluster: int, seed: int) -> int:
    """Which targets a run that has a cluster is trained on: 0 for the original ones, or a draw."""
    block, pair = run // PAIRED, run % PAIRED // 2
    if seeded_hash(seed, "own targets", str(block), str(cluster)) & 1 == pair:
        return 0
    return 1 + (block + seeded_hash(seed, "draws", str(cluster))) % 2


def run(work: Work) -> None:
    """Train some of the further runs, and write their scores."""
    sequences = work.frame("controlled_sequences", "sequence", "cluster", "copies", "ids", "prefix")
    prefix, drawn = int(sequences["prefix"][0]), work.frame("redrawn_targets", "sequence", "draw", "targets")
    actual = sequences.select("sequence", draw=pl.lit(0, pl.Int32), targets=pl.col("ids").list.slice(prefix))
    rows = pl.concat([actual, drawn.filter(pl.col("draw") > 0)]).join(sequences, on="sequence").sort("sequence", "draw")
    ids = np.array([a + b for a, b in zip(rows["ids"].to_list(), rows["targets"].to_list(), strict=True)], np.int64)
    cluster, draw, copies = (rows[name].to_numpy() for name in ("cluster", "draw", "copies"))
    redrawn, runs = rows["sequence"].is_in(drawn["sequence"].unique()).to_numpy(), {}
    for (number,), members in (
        work.frame("membership", "run", "sequence", "copies").sort("run").group_by("run", maintain_order=True)
    ):
        assigned = rows.select("sequence").join(members, on="sequence", how="left", maintain_order="left")["copies"].to_numpy()
        chosen = np.array([draw_in(int(number), c, work.settings["design"]) for c in cluster.tolist()])  # type: ignore[call-overload]
        alone = np.where((draw == chosen) & (assigned > 0), np.where(draw == 0, copies, 1), 0)
        runs[number] = np.where(redrawn, alone, assigned).astype(np.int64)
    ensemble.train_runs(work, {name: rows[name] for name in ("sequence", "draw")}, ids, prefix, runs, RedrawnTraining)


def cost(sizes: Sizes) -> Cost:
    """The further runs, and a forward pass of the sequences by each kept run."""
    study, membership, controlled = sizes.study, sizes.study.membership, sizes.study.corpus.controlled
    if membership is None or controlled is None or not membership.redraws:
        return Cost(unit="tokens")
    model, parameters = membership.models[0], ensemble.parameters_of(membership.models[0], controlled.words + 1)
    changed = {"runs": membership.redrawn, "models": (model.model_copy(update={"checkpoints": (1.0,)}),)}
    again = study.model_copy(update={"membership": membership.model_copy(update=changed)})
    tokens = model.keep * sum(controlled.groups.values()) * controlled.window / 2
    seconds = forward_flops(parameters, tokens) / sizes.machine.speed([ModelSize(model.name, parameters)])[0]
    core, gpu = (0.0, seconds) if sizes.machine.gpu else (seconds, 0.0)
    return ensemble.cost(replace(sizes, study=again)) + Cost(
        1, unit="tokens", core=core, gpu=gpu, longest=seconds, memory=0.6e9 + BYTES
    )


REDRAW = Step(
    "redraw",
    version=1,
    about="redraw the targets of suffixes, and train further runs in which half of those that have a sequence have drawn ones",
    reads=("controlled_sequences", "membership", "ensemble_runs", "tokenizer"),
    stages=(
        Stage(writes=(REDRAWN_TARGETS,), plan=plan_targets, run=draw_targets),
        Stage(writes=(REDRAWN_RUNS, REDRAWN_SCORES), plan=plan_runs, run=run),
    ),
    cost=cost,
    applies=applies,
)
