"""Step `generate`: what a model says when it is given the prompt alone, greedily or sampled (docs/method.md §9, §10).

The prompt comes without its trailing white space, which belongs to the continuation (docs/method.md §5): after "Answer:" the model says
" Torin" with the token it learnt. Stop strings are looked for behind the example's own separator, so a separator of "\\n"
does not end an answer before it begins, while a "\\n" where " " was due is an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas import Study, StudyError
from schemas.tables.models import GENERATIONS
from tasks.cost import Cost, Sizes, bytes_per_token
from tasks.models.forward_passes import within_memory
from tasks.models.inference_cost import RATES, Passes, inference_cost
from tasks.models.ladder import asking, checkpoints, parts_with, piece_of, pieces, resources, size
from tasks.models.load import Loaded, repeatable
from tasks.models.prompt_cache import Prompt, read
from tasks.models.sampling import Sampling
from tasks.models.score import evaluated, open_checkpoint
from tasks.models.slices import Rows, in_slices, table
from tasks.step import Inputs, Job, Stage, Step, Work

PROMPTS_AT_ONCE = 512  # bounds memory and what a killed run loses
GREEDY = Sampling()


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
    """One job per model, checkpoint, task that is answered in words, and piece of the task."""
    scoring = study.scoring
    sampled = {"temperature": scoring.temperature, "top_p": scoring.top_p, "seed": study.seed} if scoring.temperature else {}
    return [
        Job(
            {"model": model.name, "checkpoint": str(checkpoint), "task": task.name, **piece},
            asking(study, model) | sampled | {"max_new_tokens": task.max_new_tokens, "stop": list(task.stop)},
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
        if task.generate and task.family != "multiple_choice"
        for piece in pieces(study)
    ]


def run(work: Work) -> None:
    """Let one checkpoint answer one task, or a piece of it."""
    examples = evaluated(work, "prompt", "separator")
    mine = piece_of(work, len(examples))
    examples = examples[mine.start : mine.stop]
    with repeatable(work.settings.get("device", "cpu")):
        model = open_checkpoint(work)
        in_slices(
            work,
            "generations",
            len(examples),
            PROMPTS_AT_ONCE,
            lambda rows: _answer(work, model, examples[rows.start : rows.stop]),
        )


def _answer(work: Work, model: Loaded, examples: list[dict[str, Any]]) -> Rows:
    settings, n = work.settings, len(examples)
    asked = [(e["prompt"], e["separator"]) for e in examples]
    sampling = Sampling(*(settings[k] for k in ("temperature", "top_p", "seed"))) if "seed" in settings else GREEDY
    answers, shortened = generate(
        model,
        asked,
        settings["max_new_tokens"],
        settings["stop"],
        settings["batch_tokens"],
        sampling,
        [f"{work.labels['task']}\0{e['example']}" for e in examples],
    )
    return table(
        GENERATIONS.schema,
        {
            "model": [model.name] * n,
            "checkpoint": [int(work.labels["checkpoint"])] * n,
            "task": [work.labels["task"]] * n,
            "example": [e["example"] for e in examples],
            "text": [a.text for a in answers],
            "tokens": [a.tokens for a in answers],
            "stopped": [a.stopped for a in answers],
        },
    ), {"truncated_prompts": shortened}


def generate(
    model: Loaded,
    asked: Sequence[tuple[str, str]],
    max_new_tokens: int,
    stops: Sequence[str],
    batch_tokens: int,
    sampling: Sampling = GREEDY,
    names: Sequence[str] = (),
) -> tuple[list[Answer], int]:
    """Answers to (prompt, separator), and how many prompts had to be shortened at their left end.

    A prompt leaves room for `max_new_tokens`, for which at most half the context is set aside. The answers are those of one
    prompt at a time: up to rounding, which decides only between tokens that are as good as equal. Networks that take no mask
    are asked prompts of equal length together. Raises StudyError for logits that are not numbers.
    """
    import torch

    room = max(1, model.context + 1 - min(max_new_tokens, max(1, model.context // 2)))
    encodings = model.tokenizer.encode_batch([prompt for prompt, _ in asked], add_special_tokens=False)
    whole = [[model.start, *e.ids] for e in encodings]
    prompts = [
        Prompt(
            name, separator, np.array(ids[-room:], np.int32), min(max_new_tokens, model.context + 1 - min(len(ids), room))
        )
        for name, (_, separator), ids in zip(names or [p for p, _ in asked], asked, whole, strict=True)
    ]
    answers: list[Answer] = [Answer("")] * len(prompts)
    with torch.inference_mode():
        for batch in batches(prompts, batch_tokens, model.masks):
            for chosen, said in within_memory(
                model, batch, lambda numbers: _decode(model, [prompts[i] for i in numbers], stops, sampling)
            ):
                for index, answer in zip(chosen, said, strict=True):
                    answers[index] = answer
    return answers, sum(len(ids) > room for ids in whole)


def batches(prompts: Sequence[Prompt], most: int, padded: bool) -> Iterator[list[int]]:
    """Indices in batches of like length (of equal length, if none may be padded), with answers at most `most` tokens."""
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda i: (len(prompts[i].ids), prompts[i].ids.tobytes(), i)):
        length, new = len(prompts[index].ids), max(prompts[i].new for i in [*batch, index])
        equal = padded or not batch or length == len(prompts[batch[0]].ids)
        if batch and ((len(batch) + 1) * (length + new) > most or not equal):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _decode(model: Loaded, prompts: Sequence[Prompt], stops: Sequence[str], sampling: Sampling) -> list[Answer]:
    """The answers to one batch, with a key-value cache."""
    import torch

    answers = [Answer(p.separator) for p in prompts]
    active = list(range(len(prompts)))
    logits, state = read(model, prompts)
    for step in range(max(p.new for p in prompts)):
        best, highest = sampling.choose(logits.float(), [prompts[i].name for i in active], step)
        if not torch.isfinite(highest).all():
            raise StudyError(
                f"model {model.name!r} gives logits that are not finite; "
                'try dtype = "float32" under [scoring], or another checkpoint'
            )
        for index, token in zip(active, best.tolist(), strict=True):
            answer = answers[index]
            if not answer.stopped:
                answer.add(token, model, stops)
                if not answer.stopped and len(answer.tokens) == prompts[index].new:
                    answer.stopped = "length"
        going = [k for k, index in enumerate(active) if not answers[index].stopped]
        if not going:
            break
        if model.masks and 2 * len(going) <= len(active):
            active, best = [active[k] for k in going], best[going]
            state.keep(going)
        logits = state.next(model, best)
    return answers


def cost(sizes: Sizes) -> Cost:
    """A text for each evaluated example of the tasks that are answered in words."""
    asked = []
    for t in (t for t in sizes.tasks if t.new_tokens):
        prompt = t.prompt_bytes / bytes_per_token(sizes.study)
        batch = max(1.0, sizes.study.scoring.batch_tokens / (prompt + t.new_tokens))
        written, new = t.evaluated * RATES["bytes of a generation"], t.evaluated * t.new_tokens
        asked.append(Passes(t.evaluated, t.evaluated * prompt, written, new, batch))
    return inference_cost(sizes, asked)


GENERATE = Step(
    "generate",
    version=2,
    about="answers to the prompts of the evaluated examples, greedy or sampled",
    reads=("models", "examples"),
    stages=(Stage(writes=(GENERATIONS,), plan=plan, run=run),),
    cost=cost,
)
