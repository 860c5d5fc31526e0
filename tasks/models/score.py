"""Step `score`: log p of every token of every output, given the prompt and all tokens before it (Eq. 2, docs/method.md §5).

    log P_LLM(s_y | ·) = Σ_{t ∈ s_y} log p(t | u ⊕ x ⊕ y_<t)

Four kinds of rows for an evaluated example: its reference output after its own prompt; each option of a multiple choice after
the same prompt, and after "Answer:" alone, with no example's input; and the reference output after the prompts of other examples,
which Mem_Δ subtracts (docs/method.md §6a). No n, γ or pair is needed here: a measure adds up the tokens that its span overlaps. A
prompt is run once for all continuations.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas import Study
from schemas.tables.models import TOKEN_SCORES
from tasks.cost import Cost, Sizes, bytes_per_token
from tasks.models.alone import compare, drawn
from tasks.models.forward_passes import ScoredSequence, log_probabilities, not_finite
from tasks.models.inference_cost import RATES, Passes, inference_cost
from tasks.models.ladder import piece_of, task_jobs
from tasks.models.language_model import LanguageModel
from tasks.models.model_inputs import Request, requests, windows
from tasks.models.sampling import hash64
from tasks.models.slices import Columns, in_slices
from tasks.step import Inputs, Job, Stage, Step, Work

EXAMPLES_AT_ONCE = 512  # bounds memory and what a killed run loses; their requests are batched together
NO_INPUT = {"example": "", "prompt": "Answer:"}  # how likely an option is without the question (arXiv 2005.14165 §2.4)


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, checkpoint, task and piece of the task."""
    settings = {"other_inputs": study.scoring.other_inputs, "seed": study.seed}
    return task_jobs(study, inputs, lambda task: settings)


def run(work: Work) -> None:
    """Score one task, or a piece of it, with one checkpoint."""
    examples = evaluated(work, "prompt", "separator", "output", "options")
    mine, others = piece_of(work, len(examples)), choose_others(examples, work.settings["other_inputs"], work.settings["seed"])

    def make(model: LanguageModel, rows: range) -> Columns:
        return _score(work, model, examples, others, mine[rows.start : rows.stop])

    in_slices(work, TOKEN_SCORES, len(mine), EXAMPLES_AT_ONCE, make)


def evaluated(work: Work, *columns: str) -> list[dict[str, Any]]:
    """The task's evaluated examples, in the order of their names."""
    rows = work.read("examples", "task", "split", "example", *columns).to_pylist()
    mine = (r for r in rows if r["split"] == "evaluate" and r["task"] == work.labels["task"])
    return sorted(mine, key=lambda r: r["example"])


def choose_others(examples: Sequence[dict[str, Any]], count: int, seed: int) -> list[list[int]]:
    """For each example, `count` others with another prompt, or all there are: those with the least hash(seed, example, other)."""
    hashes = np.array([hash64(f"{seed}\0{e['example']}") for e in examples], np.uint64)
    prompts = np.unique([e["prompt"] for e in examples] or [""], return_inverse=True)[1]
    chosen = []
    for index in range(len(examples)):
        mixed = _mix(hashes ^ _mix(hashes[index : index + 1]))
        allowed = np.flatnonzero(prompts != prompts[index])
        chosen.append(sorted(allowed[np.argsort(mixed[allowed], kind="stable")[:count]].tolist()))
    return chosen


def _mix(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 without visible structure (the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _score(work: Work, model: LanguageModel, examples: list[dict[str, Any]], others: list[list[int]], rows: range) -> Columns:
    """The rows of some examples; each distinct (prompt, continuation) is run once, so equal options score equally."""
    number: dict[tuple[str, str, str], int] = {}  # of each request
    names: list[str] = []
    rows_of: list[tuple[str, str, int, int]] = []  # example, input example, option, request

    def add(example: dict[str, Any], of_input: dict[str, Any], option: int, output: str) -> None:
        text = (of_input["prompt"], example["separator"], output)
        if text not in number:
            names.append(f"task {work.labels['task']!r}, example {example['example']!r}")
        rows_of.append((example["example"], of_input["example"], option, number.setdefault(text, len(number))))

    for index in rows:
        example = examples[index]
        for option, output in enumerate([example["output"], *example["options"]], start=-1):
            add(example, example, option, output)
        for option, output in enumerate(example["options"]):
            add(example, NO_INPUT, option, output)
        for other in others[index]:
            add(example, examples[other], -1, example["output"])
    made = requests(model, list(number), names)
    scores = score(model, made, work.settings["batch_tokens"])
    again = drawn(work.planned.key, rows.start, len(made))
    for i, alone in zip(again, score(model, [made[i] for i in again], 1), strict=True):
        compare(model, names[i], scores[i], alone)
    cut = [max(0, len(request.ids) - 1 - model.context) for request in made]  # tokens at the left end, for the last token
    rows_of.sort()
    example_names, inputs, options, by_row = zip(*rows_of, strict=True)
    columns = {"example": example_names, "input_example": inputs, "option": options, "truncated": [cut[i] for i in by_row]}
    columns["tokens"] = [made[i].ids[made[i].first :].tolist() for i in by_row]
    columns["log_probabilities"] = [scores[i].tolist() for i in by_row]
    columns |= {name: [getattr(made[i], name) for i in by_row] for name in ("starts", "ends", "straddles")}
    sums = {"requests": len(made), "truncated": sum(c > 0 for c in cut), "straddles": sum(r.straddles for r in made)}
    return columns, sums | {"computed_alone": len(again)}


def score(model: LanguageModel, requests: Sequence[Request], batch_tokens: int) -> list[np.ndarray]:
    """float32[continuation tokens] for each request, in nats. Raises StudyError if one is not finite."""
    import torch

    scores = [np.zeros(len(r.ids) - r.first, np.float32) for r in requests]
    cut = [w for number, request in enumerate(requests) for w in windows(number, request, model.context)]
    sequences = []
    for w in cut:
        ids, targets = requests[w.request].ids[w.start : w.end - 1], requests[w.request].ids[w.first : w.end]
        sequences.append(ScoredSequence(ids, np.arange(w.first - 1, w.end - 1) - w.start, targets.astype(np.int64)))
    with torch.inference_mode():
        values = log_probabilities(model, sequences, batch_tokens)
    for window, value in zip(cut, values, strict=True):
        first = requests[window.request].first
        scores[window.request][window.first - first : window.end - first] = value
    if not all(np.isfinite(v).all() for v in scores):
        raise not_finite(model, "log-probabilities")
    return scores


def cost(sizes: Sizes) -> Cost:
    """Each output or option after its own input, and after other inputs."""
    others, per_token = sizes.study.scoring.other_inputs, bytes_per_token(sizes.study)
    requests = [t.evaluated * (max(1, t.options) + others) for t in sizes.tasks]
    tokens = [n * (t.prompt_bytes + t.output_bytes) / per_token for n, t in zip(requests, sizes.tasks, strict=True)]
    written = [t.evaluated * (1 + t.options + others) * RATES["bytes of a score"] for t in sizes.tasks]
    return inference_cost(sizes, list(map(Passes, requests, tokens, written)))


ABOUT = "log-probabilities of outputs and options, after their own and other inputs"
STAGES = (Stage(writes=(TOKEN_SCORES,), plan=plan, run=run),)
SCORE = Step("score", version=3, about=ABOUT, reads=("models", "examples"), stages=STAGES, cost=cost)
