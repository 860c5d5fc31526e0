"""A study's models before any of them exists: their training steps, checkpoints, learning rates, device and jobs.

A ladder is trained on equal tokens: steps = tokens // (batch · context), whatever the size. Imports no torch, so that a
study can be planned without it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from schemas import Study, StudyError
from schemas.settings.study_file import Model, Pretrain, Task
from tasks.step import GPU, MODEL, Inputs, Job, Work
from tasks.storage.store import Part

UNKNOWN_SIZE = 1e9  # parameters assumed for a model whose size is not in the study


def total_steps(pretrain: Pretrain) -> int:
    """Optimizer steps of a training."""
    return pretrain.tokens // (pretrain.batch * pretrain.context)


def checkpoint_steps(pretrain: Pretrain) -> tuple[int, ...]:
    """Steps whose weights are kept, increasing; shares that round to one step give one checkpoint."""
    steps = total_steps(pretrain)
    return tuple(sorted({max(1, round(share * steps)) for share in pretrain.checkpoints}))


def checkpoints(model: Model) -> tuple[int, ...]:
    """Training steps of a model's rows in `models`."""
    return checkpoint_steps(model.pretrain) if model.pretrain else (model.training_step,)


def training_settings(study: Study, model: Model) -> dict[str, Any]:
    """What decides a training, but for the steps whose weights are kept. StudyError for a network that cannot be built."""
    check_steps(model)
    assert model.pretrain is not None
    settings = model.pretrain.model_dump(exclude={"tokens", "checkpoints", "inject"}, mode="json")
    return {**settings, "steps": total_steps(model.pretrain), "data_seed": study.seed, **device_settings(study)}


def checkpoint_folder(step: int) -> str:
    """Name of the folder of a checkpoint: "step-000123"."""
    return f"step-{step:06d}"


def learning_rate(step: int, steps: int, settings: Mapping[str, Any]) -> float:
    """Learning rate of a step, counted from 0: a linear warm-up, then half a cosine down to a tenth of the peak."""
    warmup = max(1, round(settings["warmup"] * steps))
    if step < warmup:
        return settings["learning_rate"] * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return settings["learning_rate"] * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def log_steps(steps: int, kept: tuple[int, ...]) -> list[int]:
    """Steps after which a row is logged: about fifty, the last one, and every checkpoint."""
    every = max(1, steps // 50)
    return sorted({*range(every, steps + 1, every), *kept, steps})


def size(model: Model) -> float:
    """Rough number of parameters, for the order in which jobs start."""
    p = model.pretrain
    return 12.0 * p.layers * p.hidden**2 + 1024 * p.hidden if p else UNKNOWN_SIZE


def check_steps(model: Model) -> None:
    """Raises StudyError if a training has not one step."""
    p = model.pretrain
    if p is not None and total_steps(p) < 1:
        step = f"batch × context = {p.batch} × {p.context} = {p.batch * p.context}"
        problem = f"tokens = {p.tokens} are less than one step of {step}"
        raise StudyError(f"model {model.name!r}: {problem}; use more tokens, or a smaller batch or context")


TRUSTED = ("allow_pickle_weights", "trust_remote_code")


def trusted(model: Model) -> dict[str, bool]:
    """What a study allows a model beyond safetensors and transformers' own code; {} for most."""
    return {name: True for name in TRUSTED if getattr(model, name)}


def inference_settings(study: Study, model: Model) -> dict[str, Any]:
    """The settings that decide, besides the weights, what a model makes of given tokens."""
    scoring = study.scoring
    spread = {"device_map": scoring.device_map} if scoring.device_map else {}
    always = {"batch_tokens": scoring.batch_tokens, "dtype": scoring.dtype}
    return {**always, **spread, **device_settings(study), **trusted(model)}


LabelsSettingsInputs = tuple[Mapping[str, str], Mapping[str, Any], Inputs]


def checkpoint_jobs(study: Study, inputs: Inputs, more: Callable[[Model, int], Iterable[LabelsSettingsInputs]]) -> list[Job]:
    """Jobs that run a checkpoint of a model: one for each further labels, settings and inputs of it."""
    jobs = []
    for model, checkpoint in [(m, step) for m in study.models for step in checkpoints(m)]:
        of_model, parts = inference_settings(study, model), parts_with(inputs["models"], model=model.name)
        for labels, settings, tables in more(model, checkpoint):
            named, tables = {"model": model.name, "checkpoint": str(checkpoint), **labels}, {"models": parts, **tables}
            jobs.append(Job(named, {**of_model, **settings}, tables, cost=size(model), resources=resources(study)))
    return jobs


def task_jobs(study: Study, inputs: Inputs, settings: Callable[[Task], dict[str, Any] | None]) -> list[Job]:
    """One job per model, checkpoint, task and piece of the task. `settings` of a task: None if it needs no job."""
    count = study.scoring.pieces
    cut = {"pieces": count} if count > 1 else {}
    of_tasks = [
        ({"task": task.name, **piece}, {**cut, **chosen}, {"examples": parts_with(inputs["examples"], task=task.name)})
        for task in study.tasks
        if (chosen := settings(task)) is not None
        for piece in pieces(count)
    ]
    return checkpoint_jobs(study, inputs, lambda model, checkpoint: of_tasks)


def pieces(count: int) -> list[dict[str, str]]:
    """The labels of so many pieces; one empty label if nothing is cut."""
    return [{"piece": f"{i + 1}/{count}"} for i in range(count)] if count > 1 else [{}]


def piece_of(work: Work, examples: int) -> range:
    """The examples of a job: all of them, or those of its piece."""
    number, count = (int(n) for n in work.labels.get("piece", "1/1").split("/"))
    return range(examples * (number - 1) // count, examples * number // count)


def device_settings(study: Study) -> dict[str, str]:
    """{} on the CPU, else {"device": "cuda"}: bytes are equal for one kind of device only, so it is part of the key."""
    device = study.scoring.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {} if device == "cpu" else {"device": device}


def resources(study: Study) -> dict[str, int]:
    """The worker resources of a job that holds a model in memory."""
    return {MODEL: 1, **({GPU: 1} if device_settings(study) else {})}


def parts_with(parts: tuple[Part, ...], **labels: str) -> tuple[Part, ...]:
    """The parts that carry these labels."""
    return tuple(p for p in parts if all(p.labels.get(k) == v for k, v in labels.items()))
