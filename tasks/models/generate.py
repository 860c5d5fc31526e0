"""Step `generate`: what a model writes after the prompt alone, greedily or sampled (docs/method.md §9, §10).

The prompt comes without its trailing white space, which belongs to the continuation (docs/method.md §5): after "Answer:" the
model generates " Torin" with the token it has learnt. Stop strings are searched for after the example's own separator, so a
separator of "\\n" does not end an answer before it begins, while a "\\n" where " " is expected is an empty answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from schemas import Study
from schemas.settings.study_file import Task
from schemas.tables.models import GENERATIONS
from tasks.cost import Cost, Sizes, bytes_per_token
from tasks.models.alone import compare, drawn, logits_of
from tasks.models.forward_passes import not_finite, within_memory
from tasks.models.inference_cost import RATES, Passes, inference_cost
from tasks.models.ladder import piece_of, task_jobs
from tasks.models.language_model import LanguageModel
from tasks.models.model_inputs import check_ids
from tasks.models.probes import side
from tasks.models.prompt_cache import EncodedPrompt, most_on_its_side, read_prompts
from tasks.models.sampling import Sampling
from tasks.models.score import evaluated
from tasks.models.slices import Columns, in_slices
from tasks.step import Inputs, Job, Stage, Step, Work

PROMPTS_AT_ONCE = 512  # bounds memory and what a killed run loses
GREEDY = Sampling()
Strings = Sequence[str]
Stops = Strings | None  # None: only tokens are wanted, no text


@dataclass
class Continuation:
    """An answer that is being generated."""

    separator: str
    prompt: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)  # of each token
    text: str = ""
    stopped: str = ""

    def add(self, token: int, logit: float, model: LanguageModel, stops: Stops) -> None:
        """Add a token and check whether it ends the answer."""
        self.tokens.append(token)
        self.logits.append(logit)
        if token in model.ends:
            self.stopped = "end of document"
        if self.stopped or stops is None:
            return
        self.text, stopped = cut(model.tokenizer.decode(self.tokens, skip_special_tokens=False), self.separator, stops)
        self.stopped = "stop string" if stopped else ""


Texts, Begun = Sequence[tuple[str, str]], Sequence[Continuation]  # prompts with their separators


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

    return task_jobs(study, inputs, settings)


def run(work: Work) -> None:
    """Generate one checkpoint's answers to one task, or to a piece of it."""
    examples = evaluated(work, "prompt", "separator")
    mine = piece_of(work, len(examples))

    def make(model: LanguageModel, rows: range) -> Columns:
        return _answer(work, model, [examples[i] for i in mine[rows.start : rows.stop]], rows.start)

    in_slices(work, GENERATIONS, len(mine), PROMPTS_AT_ONCE, make)


def _answer(work: Work, model: LanguageModel, examples: list[dict[str, Any]], first: int) -> Columns:
    settings, names = work.settings, [f"{work.labels['task']}\0{e['example']}" for e in examples]
    sampling = Sampling(*(settings[k] for k in ("temperature", "top_p", "seed"))) if "seed" in settings else GREEDY
    limits = settings["max_new_tokens"], settings["stop"], settings["batch_tokens"]
    answers, shortened = generate(model, [(e["prompt"], e["separator"]) for e in examples], *limits, sampling, names)
    again = compare_alone(work, model, answers, [_shown(name) for name in names], first)
    columns = {"example": [e["example"] for e in examples]}
    columns |= {name: [getattr(a, name) for a in answers] for name in ("text", "tokens", "stopped")}
    return columns, {"truncated_prompts": shortened, "computed_alone": again}


def compare_alone(work: Work, model: LanguageModel, answers: Sequence[Continuation], names: Sequence[str], first: int) -> int:
    """Make drawn answers of the slice that begins at `first` again without a batch; returns how many. StudyError if they differ."""
    again = [i for i in drawn(work.planned.key, first, len(answers)) if answers[i].tokens]
    for i in again:
        compare(model, names[i], answers[i].logits, logits_of(model, answers[i].prompt, answers[i].tokens))
    return len(again)


def generate(
    model: LanguageModel, texts: Texts, new: int, stops: Strings, batch: int, sampling: Sampling = GREEDY, names: Strings = ()
) -> tuple[list[Continuation], int]:
    """Answers to (prompt, separator), and how many prompts were shortened at their left end. A prompt leaves room for `new` tokens,
    which get at most half the context; `batch`: most tokens of a batch. The answers are those of one prompt at a time, up to
    rounding, which decides only between tokens of nearly equal logits. Raises StudyError for logits that are not finite."""
    room = max(1, model.context + 1 - min(new, max(1, model.context // 2)))
    encodings = model.tokenizer.encode_batch([prompt for prompt, _ in texts], add_special_tokens=False)
    names = names or [prompt for prompt, _ in texts]
    for name, encoding in zip(names, encodings, strict=True):
        check_ids(model, encoding.ids, _shown(name))
    whole = [[model.start, *e.ids] for e in encodings]
    shortened = sum(len(ids) > room for ids in whole)
    most = [min(new, model.context + 1 - min(len(ids), room)) for ids in whole]
    answers = [Continuation(separator, ids[-room:]) for (_, separator), ids in zip(texts, whole, strict=True)]
    return go_on(model, answers, most, names, stops, batch, sampling), shortened


def go_on(
    model: LanguageModel, begun: Begun, most: Sequence[int], names: Strings, stops: Stops, batch: int, sampling: Sampling = GREEDY
) -> list[Continuation]:
    """The answers until they have `most` tokens each, or have ended. Networks that heed no masks get prompts of equal length."""
    import torch

    answers, going, most_at_once = list(begun), list(range(len(begun))), 1 if model.alone or model.state_of_one else batch
    with torch.inference_mode():
        while going:  # once, unless an answer passes a switch of the network: then all of it is read again
            prompts, so_far = [], [answers[i] for i in going]
            for i, answer in zip(going, so_far, strict=True):
                ids = np.array(answer.prompt + answer.tokens, np.int32)
                new = min(most[i] - len(answer.tokens), most_on_its_side(model, len(ids)) + 1 - len(ids))
                prompts.append(EncodedPrompt(names[i], ids, new))
            decode = partial(_decode, model, prompts, so_far, stops, sampling)
            for some in batches(prompts, most_at_once, model):
                for chosen, decoded in within_memory(model, some, decode):
                    for k, answer in zip(chosen, decoded, strict=True):
                        answer.stopped = answer.stopped or "length" * (len(answer.tokens) == most[going[k]])
                        answers[going[k]] = answer
            going = [i for i in going if not answers[i].stopped]
    return answers


def _shown(name: str) -> str:
    """The name of a prompt for users."""
    return f"prompt {name.replace(chr(0), ', example ')!r}"


def batches(prompts: Sequence[EncodedPrompt], most: int, model: LanguageModel) -> Iterator[list[int]]:
    """Indices in batches of similar length (equal, if they may not be padded) on one side of each of the network's switches; a
    batch with its answers has `most` tokens."""
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda i: (len(prompts[i].ids), prompts[i].ids.tobytes(), i)):
        length, new = len(prompts[index].ids), max(prompts[i].new for i in [*batch, index])
        before = len(prompts[batch[0]].ids) if batch else length
        mixed = side(model.switches, before) != side(model.switches, length) if model.masks else before != length
        if batch and ((len(batch) + 1) * (length + new) > most or mixed):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _decode(
    model: LanguageModel, every: Sequence[EncodedPrompt], begun: Begun, stops: Stops, sampling: Sampling, batch: Sequence[int]
) -> list[Continuation]:
    """The answers of a batch that were begun, each with up to `new` more tokens."""
    prompts, answers = [every[i] for i in batch], [begun[i] for i in batch]
    answers = [replace(a, tokens=[*a.tokens], logits=[*a.logits]) for a in answers]
    until = [len(a.tokens) + p.new for a, p in zip(answers, prompts, strict=True)]

    def going(index: int) -> bool:
        return not answers[index].stopped and len(answers[index].tokens) < until[index]

    active = list(range(len(prompts)))
    logits, state = read_prompts(model, prompts)
    while True:
        steps = [len(answers[i].tokens) for i in active]
        best, highest = sampling.choose(logits.float(), [prompts[i].name for i in active], steps)
        if not highest.isfinite().all():
            raise not_finite(model, "logits")
        chosen = logits.gather(1, best[:, None].to(logits.device))[:, 0].tolist()
        for index, token, logit in zip(active, best.tolist(), chosen, strict=True):
            if going(index):
                answers[index].add(token, logit, model, stops)
        left = [k for k, index in enumerate(active) if going(index)]
        if not left:
            return answers
        if model.masks and 2 * len(left) <= len(active):
            active, best = [active[k] for k in left], best[left]
            state.keep(left)
        logits = state.next(model, best)


def cost(sizes: Sizes) -> Cost:
    """A text for each evaluated example of the tasks that are answered in words."""
    passes = []
    for t in (t for t in sizes.tasks if t.new_tokens):
        n, prompt = t.evaluated, t.prompt_bytes / bytes_per_token(sizes.study)
        batch = max(1.0, sizes.study.scoring.batch_tokens / (prompt + t.new_tokens))
        passes.append(Passes(n, n * prompt, n * RATES["bytes of a generation"], n * t.new_tokens, batch))
    return inference_cost(sizes, passes)


ABOUT = "answers to the prompts of the evaluated examples, greedy or sampled"
STAGES = (Stage(writes=(GENERATIONS,), plan=plan, run=run),)
GENERATE = Step("generate", version=3, about=ABOUT, reads=("models", "examples"), stages=STAGES, cost=cost)
