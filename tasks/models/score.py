"""Step `score`: log p of every token of every output, given the prompt and all tokens before it (Eq. 2, docs/method.md §5).

    log P_LLM(s_y | ·) = Σ_{t ∈ s_y} log p(t | u ⊕ x ⊕ y_<t)

Four kinds of rows for an evaluated example: its reference output behind its own prompt; each option of a multiple choice
behind the same prompt, and behind "Answer:" alone, with no example's input; and the reference output behind the prompts of
other examples, which is what Mem_Δ subtracts (docs/method.md §6a). Knows no n, γ or pair: a measure adds up the tokens that its span
overlaps. A prompt is run once for all that stands behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas import Study, StudyError
from schemas.tables.models import TOKEN_SCORES
from tasks.cost import Cost, Sizes, bytes_per_token
from tasks.models.forward_passes import Asked, log_probabilities
from tasks.models.inference_cost import RATES, Passes, inference_cost
from tasks.models.ladder import TRUSTED, asking, checkpoints, parts_with, piece_of, pieces, resources, size
from tasks.models.load import Loaded, Source, load_once, repeatable
from tasks.models.model_inputs import Request, requests, truncated, windows
from tasks.models.slices import Rows, in_slices, table
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.layout import below_files

EXAMPLES_AT_ONCE = 512  # bounds memory and what a killed run loses; their requests are batched together


NOBODY = {"example": "", "prompt": "Answer:"}  # how likely an option is whatever is asked (arXiv 2005.14165 §2.4)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, checkpoint, task and piece of the task."""
    settings = {"other_inputs": study.scoring.other_inputs, "seed": study.seed}
    return [
        Job(
            {"model": model.name, "checkpoint": str(checkpoint), "task": task.name, **piece},
            settings | asking(study, model),
            {
                "models": parts_with(inputs["models"], model=model.name),
                "examples": parts_with(inputs["examples"], task=task.name),
            },
            cost=size(model),
            resources=resources(study),
        )
        for model in study.models
        for checkpoint in checkpoints(model)
        for task in study.tasks
        for piece in pieces(study)
    ]


def run(work: Work) -> None:
    """Score one task, or a piece of it, with one checkpoint."""
    examples = evaluated(work, "prompt", "separator", "output", "options")
    mine = piece_of(work, len(examples))
    others = choose_others(examples, work.settings["other_inputs"], work.settings["seed"])
    with repeatable(work.settings.get("device", "cpu")):
        model = open_checkpoint(work)
        in_slices(
            work,
            "token_scores",
            len(mine),
            EXAMPLES_AT_ONCE,
            lambda rows: _score(work, model, examples, others, mine[rows.start : rows.stop]),
        )


def open_checkpoint(work: Work) -> Loaded:
    """The network this job's labels name."""
    name, checkpoint = work.labels["model"], int(work.labels["checkpoint"])
    rows = work.read("models", "checkpoint", "path", "sha256").to_pylist()
    row = next(r for r in rows if r["checkpoint"] == checkpoint)
    folder = Path(row["path"])
    if not folder.is_absolute():  # trained here
        key, *below = below_files(row["path"])
        folder = work.folder_of(next(p for p in work.parts("models") if p.key == key)).joinpath(*below)
    asked = {n: work.settings[n] for n in ("dtype", "device", "device_map", *TRUSTED) if n in work.settings}
    return load_once(Source(folder, sha256=row["sha256"], **asked), name)


def evaluated(work: Work, *columns: str) -> list[dict[str, Any]]:
    """The task's evaluated examples, in the order of their names."""
    rows = work.read("examples", "task", "split", "example", *columns).to_pylist()
    mine = (r for r in rows if r["split"] == "evaluate" and r["task"] == work.labels["task"])
    return sorted(mine, key=lambda r: r["example"])


def choose_others(examples: Sequence[dict[str, Any]], count: int, seed: int) -> list[list[int]]:
    """For each example, `count` others with another prompt: those with the smallest hash(seed, example, other).

    Fewer if there are not as many.
    """
    hashes = np.array([_hash(f"{seed}\0{e['example']}") for e in examples], np.uint64)
    prompts = np.unique([e["prompt"] for e in examples] or [""], return_inverse=True)[1]
    chosen = []
    for index in range(len(examples)):
        mixed = _mix(hashes ^ _mix(hashes[index : index + 1]))
        allowed = np.flatnonzero(prompts != prompts[index])
        chosen.append(sorted(allowed[np.argsort(mixed[allowed], kind="stable")[:count]].tolist()))
    return chosen


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mix(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 without visible structure (the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _score(work: Work, model: Loaded, examples: list[dict[str, Any]], others: list[list[int]], rows: range) -> Rows:
    """The rows of some examples; each distinct (prompt, continuation) is run once, so equal options score equally."""
    asked: dict[tuple[str, str, str], int] = {}
    names: list[str] = []
    wanted: list[tuple[str, str, int, int]] = []  # example, input example, option, request

    def want(example: dict[str, Any], by: dict[str, Any], option: int, output: str) -> None:
        text = (by["prompt"], example["separator"], output)
        if text not in asked:
            names.append(f"task {work.labels['task']!r}, example {example['example']!r}")
        wanted.append((example["example"], by["example"], option, asked.setdefault(text, len(asked))))

    for index in rows:
        example = examples[index]
        for option, output in enumerate([example["output"], *example["options"]], start=-1):
            want(example, example, option, output)
        for option, output in enumerate(example["options"]):
            want(example, NOBODY, option, output)
        for other in others[index]:
            want(example, examples[other], -1, example["output"])
    found = requests(model, list(asked), names)
    scores = score(model, found, work.settings["batch_tokens"])
    wanted.sort()
    n = len(wanted)
    written = table(
        TOKEN_SCORES.schema,
        {
            "model": [model.name] * n,
            "checkpoint": [int(work.labels["checkpoint"])] * n,
            "task": [work.labels["task"]] * n,
            "example": [w[0] for w in wanted],
            "input_example": [w[1] for w in wanted],
            "option": [w[2] for w in wanted],
            "tokens": [found[w[3]].ids[found[w[3]].first :].tolist() for w in wanted],
            "starts": [found[w[3]].starts for w in wanted],
            "ends": [found[w[3]].ends for w in wanted],
            "log_probabilities": [scores[w[3]].tolist() for w in wanted],
            "truncated": [truncated(found[w[3]], model.context) for w in wanted],
            "straddles": [found[w[3]].straddles for w in wanted],
        },
    )
    return written, {
        "requests": len(found),
        "truncated": sum(truncated(r, model.context) > 0 for r in found),
        "straddles": sum(r.straddles for r in found),
    }


def score(model: Loaded, asked: Sequence[Request], batch_tokens: int) -> list[np.ndarray]:
    """float32[continuation tokens] for each request, in nats. Raises StudyError if one is not finite."""
    import torch

    found = [np.zeros(len(r.ids) - r.first, np.float32) for r in asked]
    parts = [w for number, request in enumerate(asked) for w in windows(number, request, model.context)]
    sequences = [
        Asked(
            asked[w.request].ids[w.start : w.end - 1],
            np.arange(w.first - 1 - w.start, w.end - 1 - w.start),
            asked[w.request].ids[w.first : w.end].astype(np.int64),
        )
        for w in parts
    ]
    with torch.inference_mode():
        values = log_probabilities(model, sequences, batch_tokens)
    for window, value in zip(parts, values, strict=True):
        first = asked[window.request].first
        found[window.request][window.first - first : window.end - first] = value
    if not all(np.isfinite(v).all() for v in found):
        raise StudyError(
            f"model {model.name!r} gives log-probabilities that are not finite; "
            'try dtype = "float32" under [scoring], or another checkpoint'
        )
    return found


def cost(sizes: Sizes) -> Cost:
    """Each output or option after its own input, and after other inputs."""
    others, per_token = sizes.study.scoring.other_inputs, bytes_per_token(sizes.study)
    asked = []
    for t in sizes.tasks:
        requests = t.evaluated * (max(1, t.options) + others)
        tokens = requests * (t.prompt_bytes + t.output_bytes) / per_token
        written = t.evaluated * (1 + t.options + others) * RATES["bytes of a score"]
        asked.append(Passes(requests, tokens, written))
    return inference_cost(sizes, asked)


SCORE = Step(
    "score",
    version=2,
    about="log-probabilities of outputs and options, behind their own and other inputs",
    reads=("models", "examples"),
    stages=(Stage(writes=(TOKEN_SCORES,), plan=plan, run=run),),
    cost=cost,
)
