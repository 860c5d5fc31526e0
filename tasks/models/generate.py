"""Step `generate`: what a model says when it is given the prompt alone, by greedy decoding (task-grams §9, §10).

The prompt comes without its trailing white space, which belongs to the continuation (§5): after "Answer:" the model says
" Torin" with the token it learnt. Stop strings are looked for behind the example's own separator, so a separator of "\\n"
does not end an answer before it begins, while a "\\n" where " " was due is an empty answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas import Study
from schemas.models import GENERATIONS
from tasks.models.ladder import checkpoints, device_settings, parts_with, size
from tasks.models.load import Loaded, repeatable
from tasks.models.score import evaluated, open_checkpoint
from tasks.step import Inputs, Job, Stage, Step, Work

PROMPTS_AT_ONCE = 2048  # bounds memory


@dataclass
class Answer:
    """A continuation in the making."""

    separator: str
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    stopped: str = ""

    def add(self, token: int, model: Loaded, stops: Sequence[str]) -> None:
        """Take one more token and see whether it ends the answer."""
        self.tokens.append(token)
        if token in model.ends:
            self.stopped = "end of document"
            return
        said = model.tokenizer.decode(self.tokens, skip_special_tokens=False)
        self.text, found = cut(said, self.separator, stops)
        if found:
            self.stopped = "stop string"


def cut(said: str, separator: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string behind the separator, outer white space removed; and whether there was one."""
    body = said[len(separator) :] if said.startswith(separator) else "" if separator.startswith(said) else said
    at = [i for i in (body.find(stop) for stop in stops if stop) if i >= 0]
    return (body[: min(at)] if at else body).strip(), bool(at)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, checkpoint and task that is answered in words."""
    scoring = study.scoring.model_dump(mode="json", include={"batch_tokens", "dtype"}) | device_settings(study)
    return [
        Job({"model": model.name, "checkpoint": str(checkpoint), "task": task.name},
            scoring | {"max_new_tokens": task.max_new_tokens, "stop": list(task.stop)},
            {"models": parts_with(inputs["models"], model=model.name),
             "examples": parts_with(inputs["examples"], task=task.name)}, cost=size(model))
        for model in study.models for checkpoint in checkpoints(model) for task in study.tasks
        if task.generate and task.family != "multiple_choice"
    ]  # fmt: skip


def run(work: Work) -> None:
    """Let one checkpoint answer one task."""
    examples = evaluated(work, "prompt", "separator")
    settings = work.settings
    with repeatable(settings.get("device", "cpu")):
        model = open_checkpoint(work)
        for first in range(0, len(examples), PROMPTS_AT_ONCE):
            _write(work, model, examples[first : first + PROMPTS_AT_ONCE])


def _write(work: Work, model: Loaded, examples: list[dict[str, Any]]) -> None:
    settings, n = work.settings, len(examples)
    asked = [(e["prompt"], e["separator"]) for e in examples]
    answers, shortened = generate(model, asked, settings["max_new_tokens"], settings["stop"], settings["batch_tokens"])
    work.add("truncated_prompts", shortened)
    work.write("generations", {
        "model": [model.name] * n, "checkpoint": [int(work.labels["checkpoint"])] * n, "task": [work.labels["task"]] * n,
        "example": [e["example"] for e in examples], "text": [a.text for a in answers],
        "tokens": [a.tokens for a in answers], "stopped": [a.stopped for a in answers],
    })  # fmt: skip


def generate(
    model: Loaded, asked: Sequence[tuple[str, str]], max_new_tokens: int, stops: Sequence[str], batch_tokens: int
) -> tuple[list[Answer], int]:
    """Greedy answers to (prompt, separator), and how many prompts had to be shortened at their left end.

    A prompt leaves room for `max_new_tokens`, for which at most half the context is set aside. Prompts of equal length go
    together, so that no padding is needed and the answers are those of one prompt at a time.
    """
    import torch

    room = max(1, model.context + 1 - min(max_new_tokens, max(1, model.context // 2)))
    encodings = model.tokenizer.encode_batch([prompt for prompt, _ in asked], add_special_tokens=False)
    prompts = [[model.start, *e.ids] for e in encodings]
    answers = [Answer(separator) for _, separator in asked]
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(min(len(prompt), room), []).append(index)
    with torch.inference_mode():
        for length, members in sorted(groups.items()):
            new = min(max_new_tokens, model.context + 1 - length)
            at_once = max(1, batch_tokens // (length + new))
            for first in range(0, len(members), at_once):
                chosen = members[first : first + at_once]
                ids = np.array([prompts[i][-length:] for i in chosen], np.int64)
                _decode(model, ids, [answers[i] for i in chosen], new, stops)
    return answers, sum(len(p) > room for p in prompts)


def _decode(model: Loaded, ids: np.ndarray, answers: Sequence[Answer], new: int, stops: Sequence[str]) -> None:
    """At most `new` steps of greedy decoding with a key-value cache: int64[answers, length] to tokens in `answers`."""
    import torch

    inputs, cache = torch.from_numpy(ids).to(model.device), None
    for _ in range(new):
        said = model.network(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, best = said.past_key_values, said.logits[:, -1].argmax(dim=-1)
        for answer, token in zip(answers, best.tolist(), strict=True):
            if not answer.stopped:
                answer.add(token, model, stops)
        if all(answer.stopped for answer in answers):
            break
        inputs = best[:, None]
    for answer in answers:
        answer.stopped = answer.stopped or "length"


GENERATE = Step(
    "generate", version=1, about="greedy answers to the prompts of the evaluated examples", reads=("models", "examples"),
    stages=(Stage(writes=(GENERATIONS,), plan=plan, run=run),),
)  # fmt: skip
