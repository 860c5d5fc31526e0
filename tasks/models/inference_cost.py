"""What it costs to run models on tasks: the forward passes of `score` and `generate`."""

from collections.abc import Sequence
from typing import NamedTuple

from tasks.cost import DEBIAN, Cost, Rate, Sizes, forward_flops

RATES = {
    "new token": Rate(0.1e-3, "s for each generated token, in addition to its FLOPs", DEBIAN),
    "load": Rate(1e9, "bytes of weights /s", "a local disk", guess=True),
    "model part": Rate(0.5, "s for each part that runs a model", DEBIAN),
    "bytes of a score": Rate(292.0, "bytes for a scored continuation", DEBIAN),
    "bytes of a generation": Rate(27.0, "bytes for a generated text", DEBIAN),
}


class Passes(NamedTuple):
    """What one task asks of one checkpoint: passes over so many tokens, bytes written for it; and, if it generates, so many new
    tokens one after the other, in batches of so many texts."""

    passes: float
    tokens: float
    written: float
    new: float = 0.0
    batch: float = 1.0


def inference_cost(sizes: Sizes, tasks: Sequence[Passes]) -> Cost:
    """Every task for every checkpoint of every model, a part for each piece of it."""
    machine, pieces, checkpoints = sizes.machine, sizes.study.scoring.pieces, sizes.checkpoints if tasks else 0
    total, read, longest, memory = 0.0, 0.0, 0.0, 0.0
    for model in sizes.models if tasks else ():
        speed, _ = machine.speed([model])
        weights = model.parameters * machine.weight_bytes
        for task in tasks:
            seconds = forward_flops(model.parameters, task.tokens) / speed + weights / RATES["load"] + RATES["model part"]
            if machine.gpu:  # each step of generation reads all weights, however few texts there are
                step = max(weights / machine.gpu.bandwidth, forward_flops(model.parameters, task.batch) / speed)
                seconds += task.new / task.batch * step
            else:
                seconds += task.new * RATES["new token"] + forward_flops(model.parameters, task.new) / speed
            total, longest = total + seconds * model.checkpoints, max(longest, seconds)
            read += weights * model.checkpoints
        memory = max(memory, weights * 1.1 + 1.0e9)
    guesses = (*(machine.speed(sizes.models)[1] if checkpoints else ()), *RATES["load"].as_guess(read > 1e9))
    work, written = (checkpoints * sum(of) for of in ((t.passes + t.new for t in tasks), (t.written for t in tasks)))
    core, gpu = (0.0, total) if machine.gpu else (total, 0.0)
    parts, unit = checkpoints * len(tasks) * pieces, "forward passes"
    return Cost(parts, work, unit, read, written, core, gpu, longest, memory, guesses, RATES)
