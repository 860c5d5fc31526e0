"""Dynamics of memorization over the checkpoints of a training (arXiv 2205.10770 §3-4), and what of them is mere generalization.

    M(f)       share of suffix tokens that are the likeliest ones, given the tokens before them
    excess     M(f) of members − M(f) of phantoms, which are never trained on
    T(N, τ)    training at which M(f), or its excess, first reaches τ; linear between two checkpoints
    e*         first checkpoint whose held-out perplexity exceeds the lowest before it by more than a tolerance

M(f) includes all that a model can predict without having seen it, 30 to 45 % of tokens in the paper; the excess does not. The
paper takes the first rise of the perplexity as overfitting, which noise brings about as well: .2 % is the rule here, 0 and 1 % show
how much depends on it. Numbers are of all tokens and of each class: numbers, capitalised ones and others, by the token itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import Measure, MetricRows, draw_settings
from tasks.memorization.scored_windows import READS, ScoredWindows, members_and_null
from tasks.memorization.training_runs import (
    TrainingRun,
    ids_of,
    lengths_of_corpus,
    reached,
    read_runs,
    runs_of,
    sums_by,
    with_interval,
)
from tasks.statistics import Floats, Ints, bootstrap_statistic
from tasks.step import Work, asks_for_memorization
from tasks.text.bpe.tokenizer import load_tokenizer

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
TOLERANCES = (0.0, 0.002, 0.01)
HELD_OUT, NO_PHANTOMS = "phantoms", "no phantoms to compare with"
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
        losses = _losses(work, rows, training)
        for name, members, phantoms in members_and_null(training.windows):
            both = np.concatenate([members, phantoms])
            clusters = training.windows.clusters(both)
            more: dict[str, Any] = {"unit": "sequence", "group": name, "rows": len(both), "examples": int(clusters.max()) + 1}
            for k, token_class in enumerate(CLASSES):
                values = {of: v[:, both, k].T for of, v in training.values.items()}
                if values["tokens"][: len(members)].any():
                    point, draws = _curves(work, values, np.arange(len(both)) < len(members), clusters)
                    _add(rows, training, token_class, point, draws, losses, epochs, more)


def _losses(work: Work, rows: MetricRows, training: TrainingRun) -> list[Floats]:
    """The loss of held-out text at each checkpoint and its draws, [draws, checkpoints]; and rows of when the run overfits.

    Phantoms of a planted corpus are no text, so those of held-out documents decide for all samples.
    """
    at = dict(training.windows.samples()).get(HELD_OUT, np.empty(0, np.int64))
    steps, last = training.steps, training.checkpoints[-1]
    more: dict[str, Any] = {"unit": "sequence", "group": HELD_OUT, "rows": len(at)}
    clusters = training.windows.clusters(at) if len(at) else np.zeros(1, np.int64)
    losses, none = list[Floats](), "" if len(at) else NO_PHANTOMS
    for k, token_class in enumerate(CLASSES):
        values = {of: v[:, at, k].T if len(at) else np.zeros((1, len(steps))) for of, v in training.values.items()}
        point, draws = _curves(work, values, np.zeros(len(clusters), np.bool_), clusters)
        losses = losses or [point.loss, draws.loss]
        for c, checkpoint in enumerate(training.checkpoints):
            why = none or f"no held-out token is of the class {token_class}"
            loss = with_interval(point.loss[0, c], draws.loss[:, c], why)
            rows.add("dynamics", "held_out_loss", loss, of=checkpoint, detail=token_class, x=float(steps[c]), **more)
    for tolerance in TOLERANCES:
        first, others = (np.append(steps, np.inf)[overfitting(of, tolerance)] for of in losses)
        estimate = reached(first[0], others, none or _never(tolerance, steps))
        rows.add("dynamics", "overfitting_step", estimate, of=last, level=tolerance, **more)
    return losses


def _never(tolerance: float, steps: Floats) -> str:
    return f"held-out perplexity does not rise by more than {tolerance:.1%} until step {steps[-1]:.0f}"


def _curves(work: Work, values: dict[str, Floats], members: np.ndarray, clusters: Ints) -> tuple[Curves, Curves]:
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

    point = of(np.ones((1, count), np.int32))
    draws = bootstrap_statistic(count, work.settings["draws"], work.settings["seed"], of) if count > 1 else point[:0]
    return Curves(*point.transpose(1, 0, 2)), Curves(*draws.transpose(1, 0, 2))


def _add(
    rows: MetricRows,
    training: TrainingRun,
    token_class: str,
    point: Curves,
    draws: Curves,
    losses: list[Floats],
    epochs: float,
    more: dict[str, Any],
) -> None:
    """Rows of one class of tokens. losses: of all tokens, which decide when the model overfits; epochs: of one training step."""
    steps, last = training.steps, training.checkpoints[-1]
    none = "" if np.isfinite(point.phantoms).any() else NO_PHANTOMS
    drawn = draws.outcomes
    named = {name: f"{name} {token_class}".rstrip() for name in ("accuracy", "excess", "phantoms")}
    for c, checkpoint in enumerate(training.checkpoints):
        key: dict[str, Any] = {"of": checkpoint, "x": float(steps[c]), **more}
        for name, values, others in (
            *((n, v, drawn[n]) for n, v in point.outcomes.items()),
            ("phantoms", point.phantoms, draws.phantoms),
        ):
            rows.add("dynamics", "share", with_interval(values[0, c], others[:, c], none), detail=named[name], **key)
    for name, values in point.outcomes.items():
        for level in LEVELS:
            when, others = float(first_reached(steps, values, level)[0]), first_reached(steps, drawn[name], level)
            why = none or f"not reached by step {steps[-1]:.0f}, where it is {values[0, -1]:.3f}"
            note = f"at most: the first checkpoint, step {steps[0]:.0f}, is above it" if when == steps[0] else ""
            key = {"of": last, "detail": named[name], "level": level, "note": note, **more}
            rows.add("dynamics", "steps_to_reach", reached(when, others, why), **key)
            if epochs:
                rows.add("dynamics", "epochs_to_reach", reached(when * epochs, others * epochs, why), **key)
    for tolerance in TOLERANCES:
        at, others_at = (overfitting(of, tolerance) for of in losses)
        if len(others_at) != len(draws.loss):  # one of both has a single cluster, and no draws
            others_at = np.repeat(at, len(draws.loss))
        never = (none if np.isfinite(losses[0]).all() else NO_PHANTOMS) or _never(tolerance, steps)
        for name, values in point.outcomes.items():
            for statistic, back in (("before_overfitting", 1), ("at_overfitting", 0)):
                estimate = with_interval(_at(values, at, back)[0], _at(drawn[name], others_at, back), never)
                rows.add("dynamics", statistic, estimate, of=last, detail=named[name], level=tolerance, **more)


def _at(curves: Floats, numbers: Ints, back: int) -> Floats:
    """[draws]: the curves so many checkpoints before these; NaN where a run does not overfit."""
    count = curves.shape[-1]
    at = np.clip(numbers - back, 0, count - 1)
    return np.where(numbers < count, np.take_along_axis(curves, at[:, None], axis=1)[:, 0], np.nan)


def settings(study: Study) -> dict[str, Any]:
    """The draws of intervals, which models are checkpoints of one training, and the tokens of a training step."""
    per_step = {m.name: m.pretrain.batch * m.pretrain.context for m in study.models if m.pretrain}
    return draw_settings(study) | {"runs": runs_of(study), "per_step": per_step}


MEASURE = Measure(
    "dynamics",
    (*READS, "tokenizer", "tokens"),
    settings,
    run,
    cost=2.0,
    applies=asks_for_memorization,
    keeps_contaminated=True,
    of_tasks=False,
)
