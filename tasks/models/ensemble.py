"""Step `ensemble`: trains one network for each run of `[membership]`, and scores every sequence at several checkpoints.

A row of a batch is one sequence behind an end-of-document token, so that each is always read from its beginning. All runs of a
model have the same number of steps; their initial weights, the order of their data and what they are trained on differ. A part has
the runs that belong together in the design. It keeps what each finished run gave, so that a killed part goes on where it was,
within a run too. Runs whose loss is no longer finite are rows without scores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import Study, StudyError
from schemas.settings.ensemble_settings import EnsembleModel
from schemas.tables.ensembles import ENSEMBLE_RUNS, ENSEMBLE_SCORES
from tasks.cost import Cost, ModelSize, Rate, Sizes, training_flops
from tasks.models.ladder import checkpoint_folder, device_settings, resources
from tasks.models.shapes import Shape
from tasks.models.training import RESUME, Training, is_kept
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.layout import file_of_part
from tasks.storage.store import Part
from tasks.storage.writing import whole_file
from tasks.text.split import seeded_hash

SCORED_AT_ONCE = 64  # sequences of one forward pass
STACKED_ON = "cuda"
STACK, STACK_PARAMETERS = 64, 100_000_000  # most runs of a stack, and of the numbers of their networks
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
        parameters, shared = (
            parameters_of(model, controlled.words + 1),
            {n: inputs[n] for n in ("controlled_sequences", "tokenizer")},
        )
        for parts in in_stacks(inputs["membership"], parameters * membership.block, settings):
            first, last = runs_of(parts[0]).start, runs_of(parts[-1]).stop
            jobs.append(
                Job(
                    {"ensemble": model.name, "runs": f"{first}-{last - 1}"},
                    settings | {"keep": list(range(first, min(last, model.keep)))},
                    {"membership": parts, **shared},
                    cost=float(parameters * steps * model.batch),
                    resources=resources(study),
                )
            )
    return jobs


def runs_of(part: Part) -> range:
    """The runs of a part of `membership` or of `ensemble`."""
    first, last = map(int, part.labels["runs"].split("-"))
    return range(first, last + 1)


def in_stacks(parts: Sequence[Part], parameters: int, settings: Mapping[str, Any]) -> list[tuple[Part, ...]]:
    """The parts of each job: one, or where runs are stacked as many as fill a GPU. parameters: of all runs of a part."""
    size = max(1, min(STACK // len(runs_of(parts[0])), STACK_PARAMETERS // parameters)) if parts and stacked(settings) else 1
    return [tuple(parts[i : i + size]) for i in range(0, len(parts), size)]


def stacked(settings: Mapping[str, Any]) -> bool:
    """Whether the runs of a job are trained at once."""
    return settings.get("device", "cpu") == STACKED_ON


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
        at = {number: _Run(work, number, copies, ids, prefix, tokenizer, training) for number, copies in runs.items()}
        if stacked(work.settings) and not all(run.finished() for run in at.values()):
            _train_in_a_stack(list(at.values()), folder)
        for number, copies in runs.items():
            row = at[number].finished() or at[number].train()
            row |= {"model": work.labels["ensemble"], "parameters": parameters}
            work.write(to_runs.name, {name: [row[name]] for name in to_runs.schema.names})
            for step in [] if row["diverged"] else work.settings["kept"]:
                _write_scores(work, row, step, {**names, "copies": copies})
    for path in (folder / RESUME, *folder.glob("run-*/*")):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    for path in folder.glob("run-*"):
        if not any(path.iterdir()):
            path.rmdir()


@dataclass
class _Run:
    """One run of a part. Its files are in a folder of its own; `finished.json` has its row, and is written last."""

    work: Work
    number: int
    copies: np.ndarray
    ids: np.ndarray
    prefix: int
    tokenizer: Mapping[str, Any]
    kind: type[ScoredTraining]

    @property
    def folder(self) -> Path:
        return self.work.folder() / f"run-{self.number:05d}"

    def finished(self) -> dict[str, Any]:
        """Its row, or {} if it has to be trained."""
        path, row = self.folder / "finished.json", dict[str, Any]()
        if path.is_file():
            row = json.loads(path.read_text(encoding="utf-8"))
            if row["path"] and not is_kept(self.folder, self.work.settings["steps"], row["sha256"]):
                shutil.rmtree(self.folder)
                row = {}
        return row

    def begin(self) -> tuple[ScoredTraining, RunData]:
        """The training, and what it is on."""
        settings, name = self.work.settings, f"{self.work.labels['ensemble']}, run {self.number}"
        if not self.copies.any():
            raise StudyError(f"{name} is trained on nothing: no sequence is in it; use more sequences in [corpus.controlled]")
        self.folder.mkdir(parents=True, exist_ok=True)
        seed, end = self._seed("weights"), self.tokenizer["end_of_document"]
        training = self.kind(name, {**settings, "seed": seed}, self.folder, self.tokenizer, settings.get("device", "cpu"))
        training.sequences = np.concatenate([np.full((len(self.ids), 1), end, np.int64), self.ids], axis=1)
        training.prefix, training.keeps = self.prefix, self.number in settings["keep"]
        return training, RunData(self.ids, self.copies, end, self._seed("order"))

    def _seed(self, what: str) -> int:
        return seeded_hash(self.work.settings["seed"], what, str(self.number)) >> 31

    def train(self) -> dict[str, Any]:
        """Train it to its end, and return its row."""
        training, data = self.begin()
        try:
            training.run(data)
        except Diverged as error:
            return self.end(training, error)
        return self.end(training)

    def end(self, training: ScoredTraining, error: StudyError | None = None) -> dict[str, Any]:
        """Write its row. error: why it did not end well."""
        steps, row = training.steps, {"run": self.number, "steps": training.steps, "instances": int(self.copies.sum())}
        row |= {"seed": self._seed("weights"), "order_seed": self._seed("order"), "path": "", "sha256": ""}
        row |= {"loss": None if error else training.log()[-1]["loss"], "diverged": error is not None}
        if error:
            self.work.note(f"{error}; the run and its complement are left out")
            self.work.add("diverged")
        elif training.keeps:
            place = f"{self.folder.name}/{checkpoint_folder(steps)}"
            row |= {"path": file_of_part("ensemble_runs", self.work.planned.key, place), "sha256": training.hashes[steps]}
        with whole_file(self.folder / "finished.json") as out:
            out.write(json.dumps(row).encode())
        return row


def _train_in_a_stack(runs: Sequence[_Run], folder: Path) -> None:
    """Train all runs at once to their end, also those that are finished: a kill came between the ends of two."""
    from tasks.models.stacked_training import StackedData, StackedTraining

    trainings, data = zip(*(run.begin() for run in runs), strict=True)
    stack = StackedTraining(trainings, folder)
    stack.run(StackedData(data))
    for number, (run, training) in enumerate(zip(runs, trainings, strict=True)):
        run.end(training, stack.failed.get(number))


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
