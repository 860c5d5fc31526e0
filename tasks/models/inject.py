"""Step `inject`: trains models again with held-out windows put into some batches, to see how long they are remembered.

The windows take the place of the first rows of a batch, one after the other, each behind an end-of-document token, as documents
are packed; everything else of the training is the same. Its twin is the training without them, with the same seed and batches,
to which the paper of arXiv 2205.10770 §5 does not compare. As many other windows of other documents are never injected: both
trainings are asked for these, too. Windows are phantoms of the study, in the order of their names, which are hashes.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from schemas import Study, StudyError
from schemas.settings.study_file import Injection, Model, Pretrain
from schemas.tables.injections import INJECTIONS
from tasks.cost import Cost, Sizes
from tasks.models.ladder import checkpoint_folder, resources, size, total_steps, training_settings
from tasks.models.language_model import SavedModel
from tasks.models.load import load, repeatable
from tasks.models.packing import PackedTokens
from tasks.models.pretrain import training_cost
from tasks.models.score_sequences import score_windows
from tasks.models.training import Training, remove_files
from tasks.step import Inputs, Job, Stage, Step, Work

AFTER = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the steps after the last injection: when the windows are scored
TWIN = "twin"
Windows = Sequence[Mapping[str, Any]]  # rows of `sequences`


# -- when which window is injected ------------------------------------------------------------------------------------
def windows_in_row(context: int, window: int) -> int:
    """How many windows a row of a batch has room for, each behind an end-of-document token."""
    return (context + 1) // (window + 1)


def schedule(injection: Injection, pretrain: Pretrain, window: int, name: str) -> dict[int, range]:
    """Step, counted from 0: the windows in its batch. Raises StudyError if they do not fit into a row, or into the training."""
    steps, in_row = total_steps(pretrain), windows_in_row(pretrain.context, window)
    if not in_row:
        problem = f"context = {pretrain.context} has no room for an injected window of {window} tokens and the one before it"
        raise StudyError(f"model {name!r}: {problem}; raise context, or lower memorization.prefix and memorization.suffix")
    at_once = in_row * pretrain.batch
    passes = -(-injection.windows // at_once)
    first = max(1, round(injection.at * steps))
    starts = [first + r * (passes - 1 + injection.every) for r in range(injection.repetitions)]
    if (end := starts[-1] + passes) > steps:
        problem = f"the injection of {injection.label} would end with step {end}, and the training has {steps}"
        raise StudyError(f"model {name!r}: {problem}; lower at, repetitions, every or windows")
    return {start + p: range(p * at_once, min((p + 1) * at_once, injection.windows)) for start in starts for p in range(passes)}


def scored_steps(planned: Mapping[int, range], steps: int) -> list[int]:
    """Steps after which the windows are scored: just before the first injection, after the last, and then ever more rarely."""
    before, at = min(planned), max(planned) + 1
    return sorted({before, at, *(at + round(share * (steps - at)) for share in AFTER)})


class InjectedTokens(PackedTokens):
    """The tokens of a training with windows instead of some rows. `injected`: int64 [windows, tokens]."""

    injected: np.ndarray = np.empty((0, 0), np.int64)
    planned: Mapping[int, range] = {}

    def windows(self, step: int, batch: int, context: int) -> np.ndarray:
        """As without injection, but for the rows that the step's windows take."""
        rows, length = super().windows(step, batch, context), self.injected.shape[1] + 1
        for place, window in enumerate(self.planned.get(step, ())):
            row, slot = divmod(place, windows_in_row(context, length - 1))
            rows[row, slot * length :][:length] = [self.separator, *self.injected[window]]
        return rows


# -- the step ---------------------------------------------------------------------------------------------------------
def plan(study: Study, inputs: Inputs) -> list[Job]:
    """For each model with injections one job for each of them, and one for the twin."""
    models = study.models if study.memorization and inputs["sequences"] else ()
    return [job for model in models if model.pretrain and model.pretrain.inject for job in _plan_model(study, model, inputs)]


def _plan_model(study: Study, model: Model, inputs: Inputs) -> list[Job]:
    assert model.pretrain and study.memorization
    settings, p = training_settings(study, model), model.pretrain
    planned = {i.label: schedule(i, p, study.memorization.window, model.name) for i in p.inject}
    scored = {label: scored_steps(of, settings["steps"]) for label, of in planned.items()}
    settings |= {"batch_tokens": study.scoring.batch_tokens, "most": max(i.windows for i in p.inject)}
    jobs: dict[str, dict[str, Any]] = {TWIN: {"kept": sorted(set().union(*scored.values())), "windows": 0, "injected": []}}
    for i in p.inject:
        batches = [[step, of.start, of.stop] for step, of in sorted(planned[i.label].items())]
        jobs[i.label] = {"kept": scored[i.label], "windows": i.windows, "injected": batches}
    tables, cost = {name: inputs[name] for name in ("tokens", "tokenizer", "sequences")}, size(model) * p.tokens
    job = partial(Job, inputs=tables, cost=cost, resources=resources(study))
    return [job({"model": model.name, "injection": label}, settings | chosen) for label, chosen in jobs.items()]


def run(work: Work) -> None:
    """Train with the windows, or without any, and score them at each of the steps."""
    settings, folder, device = work.settings, work.folder(), work.settings.get("device", "cpu")
    (tokenizer,) = work.read("tokenizer").to_pylist()
    injected, others = choose(work.read("sequences").to_pylist(), settings["most"])
    ids = [np.array(w["ids"], np.int64) for w in (*injected, *others)]
    data = InjectedTokens.of(work, tokenizer)
    data.injected, data.planned = np.stack(ids), {step: range(first, last) for step, first, last in settings["injected"]}
    with repeatable(device):
        Training(work.labels["model"], settings, folder, tokenizer, device).run(data)
        for step in settings["kept"]:
            model = load(SavedModel(folder / checkpoint_folder(step), device=device), work.labels["model"])
            scores = score_windows(model, ids, [], settings["batch_tokens"])
            work.write("injections", _rows(work, step, injected, others, scores))
    remove_files(folder)  # checkpoints and the state for resuming: the scores are all that is asked of them


def choose(sequences: Windows, count: int) -> tuple[Windows, Windows]:
    """The windows to inject, and as many of other documents and clusters, never injected. Raises StudyError for too few."""
    phantoms = [s for s in sequences if s["sample"] == "phantoms"]
    injected = phantoms[:count]
    taken = {(s["source"], s["document"]) for s in injected}, {s["near_cluster"] for s in injected}
    others = [s for s in phantoms[count:] if (s["source"], s["document"]) not in taken[0] and s["near_cluster"] not in taken[1]]
    if len(others) < count:
        needs = f"inject.windows = {count} needs as many windows of other held-out documents, which are never injected"
        remedy = "Raise memorization.samples.phantoms, hold out more documents, or inject fewer windows"
        raise StudyError(f"{needs}; of {len(phantoms)} phantoms {len(others)} are left. {remedy}")
    return injected, others[:count]


def _rows(work: Work, step: int, injected: Windows, others: Windows, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Rows of `injections`, those of windows that this training neither sees nor is compared on left out."""
    count, twin = work.settings["windows"], work.labels["injection"] == TWIN
    windows = [*injected, *others]
    numbers = [n for n in range(len(windows)) if twin or n < count or 0 <= n - len(injected) < count]
    numbers.sort(key=lambda n: windows[n]["sequence"])
    prefix, last = windows[0]["prefix"], max((s for s, _, _ in work.settings["injected"]), default=0)
    since = None if twin else step - last - 1 if step > last else -1
    log_p, hits = scores["log_probabilities"][numbers, prefix:], scores["ranks"][numbers, prefix:] == 1
    of_all = {"model": work.labels["model"], "injection": "" if twin else work.labels["injection"], "checkpoint": step}
    of_all |= {"since": since, "tokens": hits.shape[1]}
    return {name: [value] * len(numbers) for name, value in of_all.items()} | {
        "sequence": [windows[n]["sequence"] for n in numbers],
        "injected": [n < len(injected) for n in numbers],
        "hits": hits.sum(axis=1).astype(np.int32),
        "log_probability": log_p.sum(axis=1, dtype=np.float64),
    }


def applies(study: Study) -> bool:
    """A study with an injection."""
    return study.memorization is not None and any(m.pretrain and m.pretrain.inject for m in study.models)


def cost(sizes: Sizes) -> Cost:
    """The training of each injection, and of each twin."""
    models = (m for m in sizes.study.models if m.pretrain and m.pretrain.inject)
    return training_cost(sizes, {m.name: 1 + len(m.pretrain.inject) for m in models if m.pretrain})


ABOUT = "train models again with held-out windows in some batches, and without, to see how long they are remembered"
STAGES, READS = (Stage(writes=(INJECTIONS,), plan=plan, run=run),), ("tokens", "tokenizer", "sequences")
INJECT = Step("inject", version=1, about=ABOUT, reads=READS, stages=STAGES, cost=cost, applies=applies)
