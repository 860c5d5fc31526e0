"""Step `inject`: trains models again with held-out windows put into some batches, to see how long they are remembered.

The windows take the place of the first rows of a batch, one after the other, each behind an end-of-document token, as documents
are packed; everything else of the training is the same. Its twin is the training without them, with the same seed and batches,
to which the paper of arXiv 2205.10770 §5 does not compare. As many other windows of other documents are never injected: both
trainings are asked for these, too. Windows are phantoms of the study, in the order of their names, which are hashes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas import Study, StudyError
from schemas.settings.study_file import Injection, Model, Pretrain
from schemas.tables.injections import INJECTIONS
from tasks.cost import Cost, Sizes, training_flops
from tasks.models.ladder import check_shape, checkpoint_folder, device_settings, resources, size, total_steps
from tasks.models.packing import PackedTokens
from tasks.step import Inputs, Job, Stage, Step, Work

AFTER = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the steps after the last injection: when the windows are scored
TWIN = "twin"


# -- when which window is injected ------------------------------------------------------------------------------------
def windows_in_row(context: int, window: int) -> int:
    """How many windows a row of a batch has room for, each behind an end-of-document token."""
    return (context + 1) // (window + 1)


def schedule(injection: Injection, pretrain: Pretrain, window: int, name: str) -> dict[int, range]:
    """Step, counted from 0: the windows in its batch. Raises StudyError if they do not fit into a row, or into the training."""
    steps, in_row = total_steps(pretrain), windows_in_row(pretrain.context, window)
    if not in_row:
        raise StudyError(
            f"model {name!r}: context = {pretrain.context} has no room for an injected window of {window} tokens and "
            "the one before it; raise context, or lower memorization.prefix and memorization.suffix"
        )
    at_once = in_row * pretrain.batch
    passes = -(-injection.windows // at_once)
    first = max(1, round(injection.at * steps))
    starts = [first + r * (passes - 1 + injection.every) for r in range(injection.repetitions)]
    if starts[-1] + passes > steps:
        raise StudyError(
            f"model {name!r}: the injection of {injection.label} would end with step {starts[-1] + passes}, and the training has "
            f"{steps}; lower at, repetitions, every or windows"
        )
    return {start + p: range(p * at_once, min((p + 1) * at_once, injection.windows)) for start in starts for p in range(passes)}


def scored_steps(planned: Mapping[int, range], steps: int) -> list[int]:
    """Steps after which the windows are scored: just before the first injection, after the last, and then ever more rarely."""
    before, at = min(planned), max(planned) + 1
    return sorted({before, at, *(at + round(share * (steps - at)) for share in AFTER)})


class InjectedTokens(PackedTokens):
    """The tokens of a training with windows instead of some rows. `injected`: int64 [windows, tokens]."""

    injected: np.ndarray = np.empty((0, 0), np.int64)
    planned: Mapping[int, range] = {}

    def windows(self, step: int, batch: int, context: int) -> np.ndarray:
        """As without injection, but for the rows that the step's windows take."""
        rows, in_row = super().windows(step, batch, context), windows_in_row(context, self.injected.shape[1])
        for place, window in enumerate(self.planned.get(step, ())):
            row, slot = divmod(place, in_row)
            rows[row, slot * (self.injected.shape[1] + 1) :][: self.injected.shape[1] + 1] = [
                self.separator,
                *self.injected[window],
            ]
        return rows


# -- the step ---------------------------------------------------------------------------------------------------------
def plan(study: Study, inputs: Inputs) -> list[Job]:
    """For each model with injections one job for each of them, and one for the twin."""
    return [
        job for model in study.models if study.memorization and inputs["sequences"] for job in _plan_model(study, model, inputs)
    ]


def _plan_model(study: Study, model: Model, inputs: Inputs) -> list[Job]:
    if not model.pretrain or not model.pretrain.inject or study.memorization is None:
        return []
    check_shape(model)
    p, steps = model.pretrain, total_steps(model.pretrain)
    planned = {i.label: schedule(i, p, study.memorization.window, model.name) for i in p.inject}
    scored = {label: scored_steps(of, steps) for label, of in planned.items()}
    settings = p.model_dump(exclude={"tokens", "checkpoints", "inject"}, mode="json") | {"steps": steps, "data_seed": study.seed}
    settings |= {"batch_tokens": study.scoring.batch_tokens, "most": max(i.windows for i in p.inject), **device_settings(study)}
    every = sorted({step for of in scored.values() for step in of})
    jobs: list[tuple[str, dict[str, Any]]] = [(TWIN, {"kept": every, "windows": 0, "injected": []})]
    for i in p.inject:
        batches = [[step, of.start, of.stop] for step, of in sorted(planned[i.label].items())]
        jobs.append((i.label, {"kept": scored[i.label], "windows": i.windows, "injected": batches}))
    shared = {name: inputs[name] for name in ("tokens", "tokenizer", "sequences")}
    cost = size(model) * p.tokens
    return [
        Job({"model": model.name, "injection": label}, settings | chosen, shared, cost=cost, resources=resources(study))
        for label, chosen in jobs
    ]


def run(work: Work) -> None:
    """Train with the windows, or without any, and score them at each of the steps."""
    from tasks.models.language_model import SavedModel
    from tasks.models.load import load, repeatable
    from tasks.models.score_sequences import score_windows
    from tasks.models.training import Training

    settings, folder, device = work.settings, work.folder(), work.settings.get("device", "cpu")
    tokenizer = work.read("tokenizer").to_pylist()[0]
    injected, others = choose(work.read("sequences").to_pylist(), settings["most"])
    ids = [np.array(w["ids"], np.int64) for w in (*injected, *others)]
    batches = (b for part in work.parts("tokens") for b in work.batches(part, "ids", rows=4096))
    size_of, end = tokenizer["vocabulary_size"], tokenizer["end_of_document"]
    data = InjectedTokens(batches, size_of, end, settings["data_seed"], folder)
    data.injected, data.planned = np.stack(ids), {step: range(first, last) for step, first, last in settings["injected"]}
    with repeatable(device):
        Training(work.labels["model"], settings, folder, tokenizer, device).run(data)
        for step in settings["kept"]:
            model = load(SavedModel(folder / checkpoint_folder(step), device=device), work.labels["model"])
            scores = score_windows(model, ids, [], settings["batch_tokens"])
            work.write("injections", _rows(work, step, injected, others, scores))
    _empty(folder)


def choose(sequences: Sequence[Mapping[str, Any]], count: int) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The windows to inject, and as many of other documents and clusters, never injected. Raises StudyError for too few."""
    phantoms = [s for s in sequences if s["sample"] == "phantoms"]
    injected = phantoms[:count]
    taken = {(s["source"], s["document"]) for s in injected}, {s["near_cluster"] for s in injected}
    others = [s for s in phantoms[count:] if (s["source"], s["document"]) not in taken[0] and s["near_cluster"] not in taken[1]]
    if len(others) < count:
        raise StudyError(
            f"inject.windows = {count} needs as many windows of other held-out documents, which are never injected; of "
            f"{len(phantoms)} phantoms {len(others)} are left. Raise memorization.samples.phantoms, hold out more documents, or "
            "inject fewer windows"
        )
    return injected, others[:count]


def _rows(
    work: Work,
    step: int,
    injected: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    scores: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Rows of `injections`, those of windows that this training neither sees nor is compared on left out."""
    count, twin = work.settings["windows"], work.labels["injection"] == TWIN
    numbers = [n for n in range(len(injected) + len(others)) if twin or n < count or 0 <= n - len(injected) < count]
    windows = [(*injected, *others)[n] for n in numbers]
    order = np.argsort([w["sequence"] for w in windows])
    numbers, windows = [numbers[i] for i in order], [windows[i] for i in order]
    prefix = windows[0]["prefix"]
    steps = [s for s, _, _ in work.settings["injected"]]
    since = None if twin else step - max(steps) - 1 if step > max(steps) else -1
    log_p, hits = scores["log_probabilities"][numbers, prefix:], scores["ranks"][numbers, prefix:] == 1
    return {
        "model": [work.labels["model"]] * len(windows),
        "injection": ["" if twin else work.labels["injection"]] * len(windows),
        "checkpoint": [step] * len(windows),
        "sequence": [w["sequence"] for w in windows],
        "injected": [n < len(injected) for n in numbers],
        "since": [since] * len(windows),
        "tokens": [hits.shape[1]] * len(windows),
        "hits": hits.sum(axis=1).astype(np.int32),
        "log_probability": log_p.sum(axis=1, dtype=np.float64),
    }


def _empty(folder: Path) -> None:
    """Remove checkpoints and the state for resuming: the scores are all that is asked of them."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def applies(study: Study) -> bool:
    """A study with an injection."""
    return study.memorization is not None and any(m.pretrain and m.pretrain.inject for m in study.models)


def cost(sizes: Sizes) -> Cost:
    """The training of each injection, and of each twin."""
    trainings = {m.name: 1 + len(m.pretrain.inject) for m in sizes.study.models if m.pretrain and m.pretrain.inject}
    models = [m for m in sizes.models if m.name in trainings]
    speed, guesses = sizes.machine.speed(models)
    flops = {m.name: training_flops(m.parameters, m.trained) for m in models}
    work = sum(trainings[name] * of for name, of in flops.items())
    gpu = bool(sizes.machine.gpu)
    return Cost(
        parts=sum(trainings[m.name] for m in models),
        work=work,
        unit="FLOPs",
        core=0.0 if gpu else work / speed,
        gpu=work / speed if gpu else 0.0,
        longest=max((of / speed for of in flops.values()), default=0.0),
        memory=max((m.parameters * 16 + 0.5e9 for m in models), default=0.0),
        guesses=guesses if models else (),
    )


INJECT = Step(
    "inject",
    version=1,
    about="train models again with held-out windows in some batches, and without, to see how long they are remembered",
    reads=("tokens", "tokenizer", "sequences"),
    stages=(Stage(writes=(INJECTIONS,), plan=plan, run=run),),
    cost=cost,
    applies=applies,
)
