"""Dynamics of memorization over the checkpoints of a training (arXiv 2205.10770 §3-4), and what of them is mere generalization.

    M(f)       share of suffix tokens that are the likeliest ones, given the tokens before them
    excess     M(f) of members − M(f) of phantoms, which are never trained on
    T(N, τ)    training at which M(f), or its excess, first reaches τ; linear between two checkpoints
    e*         first checkpoint whose held-out perplexity exceeds the lowest before it by more than a tolerance

M(f) includes all that a model can predict without having seen it, 30 to 45 % of tokens in the paper; the excess does not. The
paper takes the first rise of the perplexity as overfitting, which noise brings about as well: .2 % is the rule here, 0 and 1 % show
how much depends on it. Numbers are of all tokens and of each class: numbers, capitalised ones and others, by the token itself.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import MetricRows, draw_settings
from tasks.memorization.scored_windows import READS, Mask, ScoredWindows, WindowSample, of_windows
from tasks.memorization.training_runs import TrainingRun, ids_of, lengths_of_corpus, reached, read_runs, runs_of, sums_by
from tasks.statistics import Floats, Ints, resample, with_interval
from tasks.step import Work
from tasks.text.bpe.tokenizer import load_tokenizer

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
TOLERANCES = (0.0, 0.002, 0.01)
HELD_OUT, NO_PHANTOMS = "phantoms", "no phantoms to compare with"
Both = tuple[Floats, Floats]  # of all rows, and of their draws
CLASSES = ("", "number", "capitalised", "other")  # "": all tokens


# -- definitions ------------------------------------------------------------------------------------------------------
def first_reached(steps: Floats, curves: Floats, level: float) -> Floats:
    """[…]: where curves [… , checkpoints] first reach a level, linear between them; at the earliest the first of them, else ∞."""
    above = curves >= level
    at = above.argmax(axis=-1)
    before = np.maximum(at - 1, 0)
    low, high = (np.take_along_axis(curves, i[..., None], axis=-1)[..., 0] for i in (before, at))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(at > 0, (level - low) / (high - low), 0.0)
    return np.where(above.any(axis=-1), steps[before] + share * (steps[at] - steps[before]), np.inf)


def overfitting(losses: Floats, tolerance: float) -> Ints:
    """[…]: number of the first checkpoint of losses [… , checkpoints] in nats at which the model overfits; their count, if none."""
    lowest = np.minimum.accumulate(losses, axis=-1)[..., :-1]
    worse = losses[..., 1:] > lowest + np.log1p(tolerance)
    return np.where(worse.any(axis=-1), worse.argmax(axis=-1) + 1, losses.shape[-1])


def class_of_token(text: str) -> str:
    """number: it contains a digit; capitalised: its first letter is a capital; other.

    >>> [class_of_token(t) for t in (" 1984", " Torin", "ado", "x2")]
    ['number', 'capitalised', 'other', 'number']
    """
    if any(c.isdigit() for c in text):
        return "number"
    return "capitalised" if text.strip()[:1].isupper() else "other"


def _classes(work: Work) -> Ints:
    """The number in CLASSES of each token of the vocabulary."""
    row = work.read("tokenizer", "vocabulary_size", "json").to_pylist()[0]
    tokenizer = load_tokenizer(row["json"])
    texts = tokenizer.decode_batch([[i] for i in range(row["vocabulary_size"])], skip_special_tokens=False)
    return np.array([CLASSES.index(class_of_token(text)) for text in texts], np.int64)


# -- the measure --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Curves:
    """Of one class of tokens, [draws, checkpoints] each: M(f) of members, of phantoms, and the loss of the latter in nats."""

    members: Floats
    phantoms: Floats
    loss: Floats

    @property
    def outcomes(self) -> dict[str, Floats]:
        """M(f) and its excess."""
        return {"accuracy": self.members, "excess": self.members - self.phantoms}


def run(work: Work, rows: MetricRows) -> None:
    """Curves of each run with several checkpoints: when levels are reached, when it overfits, and what it holds by then."""
    classes, masks, lengths = _classes(work), list[np.ndarray](), np.empty(0, np.int64)

    def reduce(windows: ScoredWindows) -> dict[str, Floats]:
        suffix = slice(windows.prefix, None)
        if not masks:
            ids = classes[ids_of(work, windows)[:, suffix]]
            masks.extend(ids == k if k else ids >= 0 for k in range(len(CLASSES)))
        hits, log_p = windows.values["hits"][:, suffix], windows.values["log_probabilities"][:, suffix]
        by_class = {"hits": [(hits & m).sum(axis=1) for m in masks], "tokens": [m.sum(axis=1) for m in masks]}
        by_class["loss"] = [-(log_p * m).sum(axis=1, dtype=np.float64) for m in masks]
        return {name: np.stack(of, axis=1).astype(np.float64) for name, of in by_class.items()}

    for training in read_runs(work, rows, "dynamics", ("hits", "log_probabilities"), reduce):
        per_step = work.settings["per_step"].get(training.checkpoints[-1].model, 0)
        if per_step and not len(lengths):
            lengths = lengths_of_corpus(work)
        epochs = per_step / max(1, int(lengths.sum()) + len(lengths))  # a separator after each document
        losses = _losses(training)
        for sample in (s for s in training.windows.samples() if s.members):
            both, members, clusters = sample.both
            sample = replace(sample, which={"rows": len(both), "examples": int(clusters.max()) + 1})
            for k, token_class in enumerate(CLASSES):
                values = {of: v[:, both, k].T for of, v in training.values.items()}
                if values["tokens"][members].any():
                    _add(sample, training, token_class, *_curves(work, values, members, clusters), losses, epochs)


def _losses(training: TrainingRun) -> Both:
    """The loss of held-out text at each checkpoint and its draws, [draws, checkpoints]; and rows of when the run overfits. Phantoms
    of a planted corpus are no text, so those of held-out documents decide for all samples."""
    none = np.empty(0, np.int64)
    nothing = WindowSample(training.windows, HELD_OUT, none, none)
    held_out = next((s for s in training.windows.samples() if s.name == HELD_OUT), nothing)
    at, steps = held_out.at, training.steps
    clusters = held_out.clusters if len(at) else np.zeros(1, np.int64)
    losses, why = list[Both](), "" if len(at) else NO_PHANTOMS
    add = partial(held_out.add, examples=0)
    for k, token_class in enumerate(CLASSES):
        values = {of: v[:, at, k].T if len(at) else np.zeros((1, len(steps))) for of, v in training.values.items()}
        point, draws = _curves(training.windows.work, values, np.zeros(len(clusters), np.bool_), clusters)
        losses.append((point.loss, draws.loss))
        for c, checkpoint in enumerate(training.checkpoints):
            no_token = why or f"no held-out token is of the class {token_class}"
            loss = with_interval(point.loss[0, c], draws.loss[:, c], undefined=no_token)
            add("held_out_loss", loss, of=checkpoint, detail=token_class, x=float(steps[c]))
    for tolerance in TOLERANCES:
        first, others = (np.append(steps, np.inf)[overfitting(of, tolerance)] for of in losses[0])
        estimate = reached(first[0], others, why or _never(tolerance, steps))
        add("overfitting_step", estimate, of=training.checkpoints[-1], level=tolerance)
    return losses[0]


def _never(tolerance: float, steps: Floats) -> str:
    return f"held-out perplexity does not rise by more than {tolerance:.1%} until step {steps[-1]:.0f}"


def _curves(work: Work, values: dict[str, Floats], members: Mask, clusters: Ints) -> tuple[Curves, Curves]:
    """The curves and their draws, which take whole clusters. values: [windows, checkpoints] each."""
    count, checkpoints, mine = int(clusters.max()) + 1, values["hits"].shape[1], members[:, None]
    parts = [values["hits"] * mine, values["hits"] * ~mine, values["loss"] * ~mine]
    parts += [(values["tokens"] * of)[:, :1] for of in (mine, ~mine)]
    sums = sums_by(clusters, np.concatenate(parts, axis=1), count)

    def of(weights: np.ndarray) -> Floats:
        drawn = weights.astype(np.float64) @ sums
        above, sizes = drawn[:, :-2].reshape(len(weights), 3, checkpoints), drawn[:, [-2, -1, -1], None]
        with np.errstate(invalid="ignore", divide="ignore"):
            return above / sizes

    point, draws = resample(count, work.settings, of)
    return Curves(*point[:, None]), Curves(*draws[: len(draws) * (count > 1)].transpose(1, 0, 2))


def _add(sample: WindowSample, run: TrainingRun, tokens: str, point: Curves, draws: Curves, losses: Both, epochs: float) -> None:
    """Rows of one class of tokens. losses: of all tokens, which decide when the model overfits; epochs: of one training step."""
    steps, last = run.steps, run.checkpoints[-1]
    none = "" if np.isfinite(point.phantoms).any() else NO_PHANTOMS
    both = {name: (values, draws.outcomes[name]) for name, values in point.outcomes.items()}
    for name, (values, others) in {**both, "phantoms": (point.phantoms, draws.phantoms)}.items():
        for c, checkpoint in enumerate(run.checkpoints):
            share = with_interval(values[0, c], others[:, c], undefined=none)
            sample.add("share", share, of=checkpoint, x=float(steps[c]), detail=f"{name} {tokens}".rstrip())
    for name, (values, others) in both.items():
        key: dict[str, Any] = {"of": last, "detail": f"{name} {tokens}".rstrip()}
        for level in LEVELS:
            when, drawn = float(first_reached(steps, values, level)[0]), first_reached(steps, others, level)
            why = none or f"not reached by step {steps[-1]:.0f}, where it is {values[0, -1]:.3f}"
            note = f"at most: the first checkpoint, step {steps[0]:.0f}, is above it" if when == steps[0] else ""
            sample.add("steps_to_reach", reached(when, drawn, why), level=level, note=note, **key)
            if epochs:
                sample.add("epochs_to_reach", reached(when * epochs, drawn * epochs, why), level=level, note=note, **key)
        for tolerance in TOLERANCES:
            at, drawn_at = (overfitting(of, tolerance) for of in losses)
            if len(drawn_at) != len(others):  # one of both has a single cluster, and no draws
                drawn_at = np.repeat(at, len(others))
            never = (none if np.isfinite(losses[0]).all() else NO_PHANTOMS) or _never(tolerance, steps)
            for statistic, back in (("before_overfitting", 1), ("at_overfitting", 0)):
                estimate = with_interval(_at(values, at, back)[0], _at(others, drawn_at, back), undefined=never)
                sample.add(statistic, estimate, level=tolerance, **key)


def _at(curves: Floats, numbers: Ints, back: int) -> Floats:
    """[draws]: the curves so many checkpoints before these; NaN where a run does not overfit."""
    count = curves.shape[-1]
    at = np.clip(numbers - back, 0, count - 1)
    return np.where(numbers < count, np.take_along_axis(curves, at[:, None], axis=1)[:, 0], np.nan)


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals, which models are checkpoints of one training, and the tokens of a training step."""
    per_step = {m.name: m.pretrain.batch * m.pretrain.context for m in study.models if m.pretrain}
    return draw_settings(study) | {"runs": runs_of(study), "per_step": per_step}


MEASURE = of_windows("dynamics", run, (*READS, "tokenizer", "tokens"), settings, cost=2.0)
