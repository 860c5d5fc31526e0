"""Step `ensemble`: trains one network for each run of `[membership]`, and scores every sequence at several checkpoints.

A row of a batch is one sequence behind an end-of-document token, so that each is always read from its beginning. All runs of a
model have the same number of steps; their initial weights, the order of their data and what they are trained on differ. A part has
the runs that belong together in the design. It keeps what each finished run gave, so that a killed part goes on where it was,
within a run too. Runs whose loss is no longer finite are rows without scores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import Study, StudyError
from schemas.settings.ensemble_settings import EnsembleModel
from schemas.tables.ensembles import ENSEMBLE_RUNS, ENSEMBLE_SCORES
from tasks.cost import Cost, ModelSize, Rate, Sizes, training_flops
from tasks.models.ladder import checkpoint_folder, device_settings, resources
from tasks.models.shapes import Shape
from tasks.models.training import Training, is_kept
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.layout import file_of_part
from tasks.storage.writing import whole_file
from tasks.text.split import seeded_hash

SCORED_AT_ONCE = 64  # sequences of one forward pass
NETWORK = {"hidden", "layers", "heads", "batch", "learning_rate", "weight_decay", "warmup", "save_every", "seed"}


def applies(study: Study) -> bool:
    """A study with models in `[membership]`."""
    return study.membership is not None and bool(study.membership.models)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model and part of `membership`."""
    membership, controlled = study.membership, study.corpus.controlled
    if membership is None or controlled is None:
        return []
    jobs = []
    for model in membership.models:
        steps = model.steps(membership.instances(controlled))
        settings = model.model_dump(include=NETWORK, mode="json") | {"steps": steps, "context": controlled.window}
        settings |= {"kept": sorted({max(1, round(share * steps)) for share in model.checkpoints}), **device_settings(study)}
        for part in inputs["membership"]:
            first, last = map(int, part.labels["runs"].split("-"))
            shared = {name: inputs[name] for name in ("controlled_sequences", "tokenizer")}
            jobs.append(
                Job(
                    {"ensemble": model.name, **part.labels},
                    settings | {"keep": list(range(first, min(last + 1, model.keep)))},
                    {"membership": (part,), **shared},
                    cost=float(parameters_of(model, controlled.words + 1) * steps * model.batch),
                    resources=resources(study),
                )
            )
    return jobs


def parameters_of(model: EnsembleModel, vocabulary: int) -> int:
    """Trainable numbers of a network."""
    return Shape(model.hidden, model.layers, vocabulary, tied=True).parameters


class RunData:
    """What a run is trained on: rows of tokens behind an end-of-document token, each epoch in its own order."""

    def __init__(self, ids: np.ndarray, copies: np.ndarray, end_of_document: int, seed: int) -> None:
        """ids: int64 [sequences, tokens]; copies: int64 [sequences]."""
        rows = np.repeat(ids, copies, axis=0)
        self.instances = np.concatenate([np.full((len(rows), 1), end_of_document, np.int64), rows], axis=1)
        self.seed, self._epoch, self._order = seed, -1, np.empty(0, np.int64)

    def windows(self, step: int, batch: int, context: int) -> np.ndarray:
        """int64 [batch, 1 + tokens]: the instances of a step, counted from 0."""
        at, out = step * batch, list[int]()
        while len(out) < batch:
            epoch, place = divmod(at + len(out), len(self.instances))
            if epoch != self._epoch:
                self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.instances))
            out += self._order[place : place + batch - len(out)].tolist()
        return self.instances[out]


class Diverged(StudyError):
    """A training whose loss or scores are not finite."""


class ScoredTraining(Training):
    """A training that scores all sequences at its checkpoints, and keeps its weights only if it is asked to, at its end."""

    sequences: np.ndarray = np.empty((0, 0), np.int64)  # [sequences, 1 + tokens]
    prefix, keeps = 1, False

    def _keep(self) -> None:
        if self.keeps and self.step == self.steps:
            super()._keep()
        log_p, hits = self._score()
        if not np.isfinite(log_p).all():
            raise Diverged(f"{self.name}: a score is not finite at step {self.step}")
        with whole_file(self.folder / f"scores-{self.step}.npz") as out:
            np.savez(out, log_p=log_p, hits=hits)

    def _check_finite(self) -> None:
        try:
            super()._check_finite()
        except StudyError as error:
            raise Diverged(str(error)) from None

    def _score(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 [sequences], the log p of each suffix; bool [sequences, suffix tokens], which are hits."""
        import torch

        sums, hits = [], []
        with torch.inference_mode():
            for rows in torch.from_numpy(self.sequences).split(SCORED_AT_ONCE):
                inputs, targets = self.inputs_and_targets(rows.to(self.device))
                targets = targets[:, self.prefix :]
                logits = self.model(input_ids=inputs, use_cache=False).logits[:, self.prefix :].float()
                log_p = torch.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0]
                sums.append(log_p.double().sum(-1).cpu().numpy())
                hits.append((logits.argmax(-1) == targets).cpu().numpy())
        return np.concatenate(sums), np.concatenate(hits)


def run(work: Work) -> None:
    """Train some runs, one after the other, and write their scores."""
    table = work.frame("controlled_sequences", "sequence", "ids", "prefix").sort("sequence")
    ids, prefix = np.array(table["ids"].to_list(), np.int64), int(table["prefix"][0])
    membership = work.frame("membership", "run", "sequence", "copies").sort("run", "sequence")
    runs = {run: rows["copies"].to_numpy().astype(np.int64) for (run,), rows in membership.group_by("run", maintain_order=True)}
    train_runs(work, {"sequence": table["sequence"].to_list()}, ids, prefix, runs)


def train_runs(
    work: Work,
    names: Mapping[str, Any],
    ids: np.ndarray,
    prefix: int,
    runs: Mapping[Any, np.ndarray],
    training: type[ScoredTraining] = ScoredTraining,
) -> None:
    """Train some runs, and write the rows of the runs and of their scores. names: columns of the key of each row of ids; runs: the
    copies of each row that a run, by its number, is trained on."""
    from tasks.models.load import repeatable

    to_runs, tokenizer, folder = work.stage.writes[0], work.read("tokenizer").to_pylist()[0], work.folder()
    parameters = Shape(work.settings["hidden"], work.settings["layers"], tokenizer["vocabulary_size"], tied=True).parameters
    with repeatable(work.settings.get("device", "cpu")):
        for number, copies in runs.items():
            row = _train(work, number, copies, ids, prefix, tokenizer, training)
            row |= {"model": work.labels["ensemble"], "parameters": parameters}
            work.write(to_runs.name, {name: [row[name]] for name in to_runs.schema.names})
            for step in [] if row["diverged"] else work.settings["kept"]:
                _write_scores(work, row, step, {**names, "copies": copies})
    for path in folder.glob("run-*/*"):
        if not path.is_dir():
            path.unlink()
    for path in folder.glob("run-*"):
        if not any(path.iterdir()):
            path.rmdir()


def _train(
    work: Work,
    number: int,
    copies: np.ndarray,
    ids: np.ndarray,
    prefix: int,
    tokenizer: Mapping[str, Any],
    kind: type[ScoredTraining],
) -> dict[str, Any]:
    """The row of one run, trained unless its files are here; its scores are in its folder."""
    settings, name, folder = work.settings, f"{work.labels['ensemble']}, run {number}", work.folder() / f"run-{number:05d}"
    seeds = [seeded_hash(settings["seed"], kind, str(number)) >> 31 for kind in ("weights", "order")]
    finished = folder / "finished.json"
    if finished.is_file():
        row: dict[str, Any] = json.loads(finished.read_text(encoding="utf-8"))
        if row["path"] == "" or is_kept(folder, settings["steps"], row["sha256"]):
            return row
        shutil.rmtree(folder)
    if not copies.any():
        raise StudyError(f"{name} is trained on nothing: no sequence is in it; use more sequences in [corpus.controlled]")
    folder.mkdir(parents=True, exist_ok=True)
    training = kind(name, {**settings, "seed": seeds[0]}, folder, tokenizer, settings.get("device", "cpu"))
    end = tokenizer["end_of_document"]
    training.sequences = np.concatenate([np.full((len(ids), 1), end, np.int64), ids], axis=1)
    training.prefix, training.keeps = prefix, number in settings["keep"]
    row = {"run": number, "steps": settings["steps"], "instances": int(copies.sum()), "seed": seeds[0], "order_seed": seeds[1]}
    row |= {"loss": None, "diverged": True, "path": "", "sha256": ""}
    try:
        training.run(RunData(ids, copies, end, seeds[1]))
    except Diverged as error:
        work.note(f"{error}; the run and its complement are left out")
        work.add("diverged")
    else:
        row |= {"loss": training.log()[-1]["loss"], "diverged": False}
        if training.keeps:
            place = f"run-{number:05d}/{checkpoint_folder(settings['steps'])}"
            row |= {"path": file_of_part("ensemble_runs", work.planned.key, place), "sha256": training.hashes[settings["steps"]]}
    with whole_file(finished) as out:
        out.write(json.dumps(row).encode())
    return row


def _write_scores(work: Work, row: Mapping[str, Any], step: int, names: Mapping[str, Any]) -> None:
    scores = np.load(work.folder() / f"run-{row['run']:05d}" / f"scores-{step}.npz", allow_pickle=False)
    contract = work.stage.writes[1]
    hits, n = scores["hits"], len(scores["log_p"])
    columns = {
        **names,
        "model": [row["model"]] * n,
        "run": np.full(n, row["run"], np.int32),
        "checkpoint": np.full(n, step, np.int64),
        "log_p": scores["log_p"],
        "hits": pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * hits.shape[1], pa.array(hits.ravel())),
        "accuracy": hits.mean(axis=1),
        "extracted": hits.all(axis=1),
    }
    arrays = [pa.array(columns[f.name]).cast(f.type) for f in contract.schema]
    work.write(contract.name, pa.table(arrays, schema=contract.schema))


RATES = {"optimizer step": Rate(3e-3, "s for each step, whatever the size", "16 sequences of 32 tokens, widths of 16 to 64")}


def cost(sizes: Sizes) -> Cost:
    """Training all runs; scoring adds a forward pass of each sequence at each checkpoint."""
    membership, controlled = sizes.study.membership, sizes.study.corpus.controlled
    if membership is None or controlled is None:
        return Cost(unit="tokens")
    total, parts = Cost(unit="tokens"), membership.runs // membership.block
    for model in membership.models:
        parameters, steps = parameters_of(model, controlled.words + 1), model.steps(membership.instances(controlled))
        tokens = float(membership.runs * steps * model.batch * controlled.window)
        scored = float(membership.runs * sum(controlled.groups.values()) * controlled.window * len(model.checkpoints))
        speed, guesses = sizes.machine.speed([ModelSize(model.name, parameters)])
        seconds = training_flops(parameters, tokens + scored / 3) / speed + membership.runs * steps * RATES["optimizer step"]
        total += Cost(
            parts=parts,
            work=tokens,
            unit="tokens",
            written=scored / controlled.window * 12,
            core=0.0 if sizes.machine.gpu else seconds,
            gpu=seconds if sizes.machine.gpu else 0.0,
            longest=seconds / parts,
            memory=0.6e9 + parameters * 16.0,
            guesses=guesses,
            rates=RATES,
        )
    return total


ENSEMBLE = Step(
    "ensemble",
    version=1,
    about="train the runs of an ensemble, each on its share of a controlled corpus, and score every sequence",
    reads=("controlled_sequences", "membership", "tokenizer"),
    stages=(Stage(writes=(ENSEMBLE_RUNS, ENSEMBLE_SCORES), plan=plan, run=run),),
    cost=cost,
    applies=applies,
)
