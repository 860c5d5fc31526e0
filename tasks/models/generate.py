"""Step `generate`: what a model writes after the prompt alone, greedily or sampled (docs/method.md §9, §10).

The prompt comes without its trailing white space, which belongs to the continuation (docs/method.md §5): after "Answer:" the
model generates " Torin" with the token it has learnt. Stop strings are searched for after the example's own separator, so a
separator of "\\n" does not end an answer before it begins, while a "\\n" where " " is expected is an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas import Study, StudyError
from schemas.settings.study_file import Task
from schemas.tables.models import GENERATIONS
from tasks.cost import Cost, Sizes, bytes_per_token
from tasks.models.forward_passes import within_memory
from tasks.models.inference_cost import RATES, Passes, inference_cost
from tasks.models.ladder import inference_jobs, piece_of
from tasks.models.language_model import LanguageModel
from tasks.models.load import repeatable
from tasks.models.prompt_cache import EncodedPrompt, read_prompts
from tasks.models.sampling import Sampling
from tasks.models.score import evaluated, open_checkpoint
from tasks.models.slices import TableAndSums, in_slices, table
from tasks.step import Inputs, Job, Stage, Step, Work

PROMPTS_AT_ONCE = 512  # bounds memory and what a killed run loses
GREEDY = Sampling()


@dataclass
class Continuation:
    """An answer that is being generated."""

    separator: str
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    stopped: str = ""

    def add(self, token: int, model: LanguageModel, stops: Sequence[str]) -> None:
        """Add a token and check whether it ends the answer."""
        self.tokens.append(token)
        if token in model.ends:
            self.stopped = "end of document"
            return
        generated = model.tokenizer.decode(self.tokens, skip_special_tokens=False)
        self.text, stopped = cut(generated, self.separator, stops)
        if stopped:
            self.stopped = "stop string"


def cut(generated: str, separator: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text after the separator and before the first stop string, stripped; and whether there was a stop string."""
    body = generated.removeprefix(separator) if not separator.startswith(generated) else ""
    at = [i for i in (body.find(stop) for stop in stops if stop) if i >= 0]
    return (body[: min(at)] if at else body).strip(), bool(at)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, checkpoint, task whose answers are generated, and piece of the task."""
    scoring = study.scoring
    sampled = {"temperature": scoring.temperature, "top_p": scoring.top_p, "seed": study.seed} if scoring.temperature else {}

    def settings(task: Task) -> dict[str, Any] | None:
        if not task.generate or task.family == "multiple_choice":
            return None
        return sampled | {"max_new_tokens": task.max_new_tokens, "stop": list(task.stop)}

    return inference_jobs(study, inputs, settings)


def run(work: Work) -> None:
    """Generate one checkpoint's answers to one task, or to a piece of it."""
    examples = evaluated(work, "prompt", "separator")
    mine = piece_of(work, len(examples))
    examples = examples[mine.start : mine.stop]
    with repeatable(work.settings.get("device", "cpu")):
        model = open_checkpoint(work)

        def make(rows: range) -> TableAndSums:
            return _answer(work, model, examples[rows.start : rows.stop])

        in_slices(work, "generations", len(examples), PROMPTS_AT_ONCE, make)


def _answer(work: Work, model: LanguageModel, examples: list[dict[str, Any]]) -> TableAndSums:
    settings, task, n = work.settings, work.labels["task"], len(examples)
    prompts = [(e["prompt"], e["separator"]) for e in examples]
    sampling = Sampling(*(settings[k] for k in ("temperature", "top_p", "seed"))) if "seed" in settings else GREEDY
    names = [f"{task}\0{e['example']}" for e in examples]
    limits = settings["max_new_tokens"], settings["stop"], settings["batch_tokens"]
    answers, shortened = generate(model, prompts, *limits, sampling, names)
    columns = {
        "model": [model.name] * n,
        "checkpoint": [int(work.labels["checkpoint"])] * n,
        "task": [task] * n,
        "example": [e["example"] for e in examples],
        "text": [a.text for a in answers],
        "tokens": [a.tokens for a in answers],
        "stopped": [a.stopped for a in answers],
    }
    return table(GENERATIONS.schema, columns), {"truncated_prompts": shortened}


def generate(
    model: LanguageModel,
    texts: Sequence[tuple[str, str]],
    max_new_tokens: int,
    stops: Sequence[str],
    batch_tokens: int,
    sampling: Sampling = GREEDY,
    names: Sequence[str] = (),
) -> tuple[list[Continuation], int]:
    """Answers to (prompt, separator), and how many prompts were shortened at their left end.

    A prompt leaves room for `max_new_tokens`, which get at most half the context. The answers are those of one prompt at a time,
    up to rounding, which decides only between tokens of nearly equal logits. For networks that do not heed masks, a batch has
    prompts of equal length only. Raises StudyError for logits that are not finite.
    """
    import torch

    room = max(1, model.context + 1 - min(max_new_tokens, max(1, model.context // 2)))
    encodings = model.tokenizer.encode_batch([prompt for prompt, _ in texts], add_special_tokens=False)
    whole = [[model.start, *e.ids] for e in encodings]
    prompts = [
        EncodedPrompt(
            name, separator, np.array(ids[-room:], np.int32), min(max_new_tokens, model.context + 1 - min(len(ids), room))
        )
        for name, (_, separator), ids in zip(names or [p for p, _ in texts], texts, whole, strict=True)
    ]
    answers: list[Continuation] = [Continuation("")] * len(prompts)
    with torch.inference_mode():
        for batch in batches(prompts, batch_tokens, model.masks):
            for chosen, decoded in within_memory(
                model, batch, lambda numbers: _decode(model, [prompts[i] for i in numbers], stops, sampling)
            ):
                for index, answer in zip(chosen, decoded, strict=True):
                    answers[index] = answer
    return answers, sum(len(ids) > room for ids in whole)


def batches(prompts: Sequence[EncodedPrompt], most: int, padded: bool) -> Iterator[list[int]]:
    """Indices in batches of similar length (equal, if they may not be padded); a batch with its answers has `most` tokens."""
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


def _decode(model: LanguageModel, prompts: Sequence[EncodedPrompt], stops: Sequence[str], sampling: Sampling) -> list[Continuation]:
    """The answers to one batch, with a key-value cache."""
    import torch

    answers = [Continuation(p.separator) for p in prompts]
    active = list(range(len(prompts)))
    logits, state = read_prompts(model, prompts)
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
    passes = []
    for t in (t for t in sizes.tasks if t.new_tokens):
        prompt = t.prompt_bytes / bytes_per_token(sizes.study)
        batch = max(1.0, sizes.study.scoring.batch_tokens / (prompt + t.new_tokens))
        written, new = t.evaluated * RATES["bytes of a generation"], t.evaluated * t.new_tokens
        passes.append(Passes(t.evaluated, t.evaluated * prompt, written, new, batch))
    return inference_cost(sizes, passes)


GENERATE = Step(
    "generate",
    version=2,
    about="answers to the prompts of the evaluated examples, greedy or sampled",
    reads=("models", "examples"),
    stages=(Stage(writes=(GENERATIONS,), plan=plan, run=run),),
    cost=cost,
)
