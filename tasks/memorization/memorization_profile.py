"""Memorization profile of a training of one epoch: what a model gains on windows by being trained on them (arXiv 2406.04327).

    τ(g, c) = (Ȳ_c(g) − Ȳ_{g−1}(g)) − (Ȳ_c(∞) − Ȳ_{g−1}(∞))        difference in differences

Ȳ_c(g): mean outcome at checkpoint c of the cohort g, the windows that are trained on between the checkpoints g − 1 and g; ∞: those
that never are (phantoms), which stand for what the cohort would have gained anyway. c = g: instantaneous; c > g: persistent; the
last c: residual. For c < g − 1 nothing has happened yet: these pre-trends are the null, 0 where both would have gained alike.
Outcomes are the mean log p of the suffix's tokens, so that memorization is positive, and their share of hits. A window has to be
trained on once and between two checkpoints as a whole. There are no covariates, so this is arithmetic; whole clusters are drawn.
"""

from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.measures import MetricRows, draw_settings
from tasks.memorization.scored_windows import READS, ScoredWindows, of_windows
from tasks.memorization.training_runs import TrainingRun, lengths_of_corpus, read_runs, sums_by
from tasks.statistics import Estimate, Floats, Ints, resample, with_interval
from tasks.step import Work
from tasks.storage.parts import by_labels
from tasks.text.training_order import steps_of

FEW = 100  # windows of a cohort
OUTCOMES = ("log p", "accuracy")
Effects = dict[tuple[int, int], Estimate]
Means = dict[tuple[str, int], Estimate]


# -- difference in differences ------------------------------------------------------------------------------------------
def profile(outcome: Floats, cohort: Ints, clusters: Ints, draws: int, seed: int) -> tuple[Effects, Means]:
    """τ(g, c) of each cohort but for c = g − 1; means over cohorts, weighted by their windows: ("effect", c − g), ("residual", 0).
    outcome: [windows, checkpoints]; cohort: number of the first checkpoint after training on it, from 1, or −1 for never."""
    count, checkpoints = int(clusters.max()) + 1, outcome.shape[1]
    of = np.stack([cohort == g for g in (-1, *range(1, checkpoints))], axis=1).astype(np.float64)  # [windows, never and cohorts]
    sums = sums_by(clusters, np.concatenate([of, (of[:, :, None] * outcome[:, None]).reshape(len(of), -1)], axis=1), count)
    cohorts = [g for g in range(1, checkpoints) if of[:, g].any()]

    def effects(weights: np.ndarray) -> Floats:
        """[draws, cohorts from 1, checkpoints]; the last row of cohorts has the number of windows of each."""
        drawn = weights.astype(np.float64) @ sums
        sizes, totals = drawn[:, :checkpoints], drawn[:, checkpoints:].reshape(-1, checkpoints, checkpoints)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = totals / sizes[:, :, None]
        before = np.arange(checkpoints - 1)
        gains = means[:, 1:] - means[:, before + 1, before][:, :, None]
        trend = means[:, :1] - means[:, 0, before][:, :, None]
        return np.concatenate([gains - trend, sizes[:, None]], axis=1)

    point, drawn = resample(count, {"draws": draws, "seed": seed}, effects)
    drawn = drawn[: len(drawn) * (count > 1)]
    places = [(g, c) for g in cohorts for c in range(checkpoints) if c != g - 1]
    single = {(g, c): with_interval(point[g - 1, c], drawn[:, g - 1, c]) for g, c in places}
    lags = {lag: [(g, g + lag) for g in cohorts if 0 <= g + lag < checkpoints] for lag in range(1 - checkpoints, checkpoints)}
    chosen = {("effect", lag): at for lag, at in lags.items() if at and lag != -1}
    if cohorts:
        chosen["residual", 0] = [(g, checkpoints - 1) for g in cohorts]
    means = {key: with_interval(_mean(point[None], at)[0], _mean(drawn, at)) for key, at in chosen.items()}
    return single, means


def _mean(effects: Floats, at: list[tuple[int, int]]) -> Floats:
    """[draws]: the mean of some τ(g, c), weighted by the windows of the cohorts; cohorts without any in a draw add nothing."""
    values = np.stack([effects[:, g - 1, c] for g, c in at], axis=1)
    sizes = np.stack([effects[:, -1, g] for g, _ in at], axis=1) * np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.nan_to_num(values) * sizes).sum(axis=1) / sizes.sum(axis=1)


# -- the measure --------------------------------------------------------------------------------------------------------
def run(work: Work, rows: MetricRows) -> None:
    """Profiles of each training here with several checkpoints in its first epoch."""

    def reduce(windows: ScoredWindows) -> dict[str, Floats]:
        log_p, hits = (windows.values[n][:, windows.prefix :] for n in ("log_probabilities", "hits"))
        return {"log p": log_p.mean(axis=1, dtype=np.float64), "accuracy": hits.mean(axis=1, dtype=np.float64)}

    lengths, places = lengths_of_corpus(work), dict[tuple[str, str], int]()
    for training in read_runs(work, rows, "memorization_profile", ("log_probabilities", "hits"), reduce):
        places = places or _documents(work, training)
        _profile(work, rows, training, lengths, places)


def _documents(work: Work, training: TrainingRun) -> dict[tuple[str, str], int]:
    """The number in the corpus of each document, (source, id), that has a window; −1 for an id that is not unique."""
    wanted = training.windows.table.select("source", id=pl.col("document")).unique()
    documents, base, numbers = by_labels(work.parts("documents")), 0, dict[tuple[str, str], int]()
    for part in work.parts("tokens"):
        ids = work.frame(documents[part.label_key], "source", "id").with_row_index("row")
        with_windows = ids.join(wanted, on=["source", "id"], how="semi")
        for row, source, name in with_windows.select("row", "source", "id").iter_rows():
            numbers[source, name] = -1 if (source, name) in numbers else base + row
        base += len(ids)
    return numbers


def _profile(work: Work, rows: MetricRows, training: TrainingRun, lengths: Ints, places: dict[tuple[str, str], int]) -> None:
    model, table = training.checkpoints[-1], training.windows.table
    per_step = work.settings["per_step"][model.model]
    epoch = (int(lengths.sum()) + len(lengths)) // per_step
    early = [n for n, c in enumerate(training.checkpoints) if c.checkpoint <= epoch]
    late = len(training.checkpoints) - len(early)
    rows.exclude("memorization_profile", "after the first epoch, when windows are trained on again", late, "checkpoints", of=model)
    if len(early) < 2:
        why = f"fewer than two checkpoints in the first epoch, which ends after step {epoch}; keep some by `checkpoints`"
        rows.add("memorization_profile", "residual", Estimate(None, note=why), of=model, unit="sequence")
        return
    checkpoints = [training.checkpoints[n] for n in early]
    steps, window = training.steps[early], int(work.settings["window"])
    for sample in (s for s in training.windows.samples() if s.members):
        name, members, phantoms = sample.name, sample.at, sample.null
        once = members[table["occurrences"].to_numpy()[members] == 1]
        at = np.array([places.get(key, -1) for key in table.select("source", "document")[once].iter_rows()], np.int64)
        placed = at >= 0
        once, at, unknown = once[placed], at[placed], int((~placed).sum())
        offsets = table["offset"].to_numpy()[once]
        first, last = steps_of(at, offsets, window, lengths, work.settings["data_seed"], per_step)
        cohort, begun = np.searchsorted(steps, last), np.searchsorted(steps, first)
        reasons = (
            ("occurs more than once", len(members) - len(placed)),
            ("the id of its document is not unique", unknown),
            ("not trained on by the last checkpoint", int((begun == len(steps)).sum())),
            ("trained on before the first checkpoint", int((cohort == 0).sum())),
            ("a checkpoint falls into it", int(((begun < cohort) & (begun < len(steps))).sum())),
        )
        kept = (begun == cohort) & (cohort > 0) & (cohort < len(steps))
        for reason, number in (*reasons, ("kept", int(kept.sum()))):
            rows.exclude("memorization_profile", f"{name}: {reason}", number, "windows", of=model)
        if not kept.any() or not len(phantoms):
            why = "no phantoms to compare with" if kept.any() else "no window is trained on once, between two checkpoints"
            rows.add("memorization_profile", "residual", Estimate(None, note=why), of=model, unit="sequence", group=name)
            continue
        both = np.concatenate([once[kept], phantoms])
        cohorts = np.concatenate([cohort[kept], np.full(len(phantoms), -1)])
        clusters = training.windows.clusters(both)
        for outcome in OUTCOMES:
            values = training.values[outcome][early][:, both].T
            single, means = profile(values, cohorts, clusters, work.settings["draws"], work.settings["seed"])
            more: dict[str, Any] = {"detail": outcome, "examples": int(clusters.max()) + 1}
            for (g, c), effect in single.items():
                size = int((cohorts == g).sum())
                note = f"a cohort of fewer than {FEW} windows" if size < FEW else ""
                key: dict[str, Any] = {"of": checkpoints[c], "bin": g, "x": float(steps[g]), "rows": size, "note": note}
                sample.add("effect" if c >= g else "pre_trend", effect, **key, **more)
            for (statistic, lag), effect in means.items():
                key = {"of": model, "level": float(abs(lag)), "x": float(lag), "rows": int(kept.sum())}
                of_effects = "mean_effect" if lag >= 0 else "mean_pre_trend"
                sample.add(statistic if statistic == "residual" else of_effects, effect, **key, **more)


def settings(study: Study) -> dict[str, Any]:
    """The draws, the seed of the order of documents, and the tokens of a step and of a window."""
    per_step = {m.name: m.pretrain.batch * m.pretrain.context for m in study.models if m.pretrain}
    order = {"data_seed": study.seed, "per_step": per_step, "runs": {name: name for name in per_step}}
    return draw_settings(study) | order | {"window": study.memorization.window if study.memorization else 0}


def applies(study: Study) -> bool:
    """A study with `[memorization]` and a training with several checkpoints."""
    return study.memorization is not None and any(m.pretrain and len(m.pretrain.checkpoints) > 1 for m in study.models)


MEASURE = of_windows("memorization_profile", run, (*READS, "tokens", "documents"), settings, cost=2.0, applies=applies)
