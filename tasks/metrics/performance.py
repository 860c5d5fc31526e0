"""Performance against data: the score of an example against the corpus counts of its pairs (task-grams §9, Eq. 4).

    x(example) = Σ C(s_x, s_y) over its pairs in H_n      (ΣC grows with the number of pairs, so also: mean log C per pair)

Bins: one for x = 0, `bins` log-spaced ones from the smallest positive x to its 95th percentile, one for what lies above.
They depend on the corpus only, so that models can be compared bin by bin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics import judging, scores
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.pairs import evaluated, gamma_settings, gammas_of, mined, phi, with_counts
from tasks.metrics.statistics import Estimate, ratio, share
from tasks.step import Work

Floats = NDArray[np.float64]


def reads(family: str) -> tuple[str, ...]:
    """Tables this measure needs for a task of this family."""
    return (*judging.reads(family, likelihood=False), "example_ngrams", "task_grams", "pair_counts", "ngram_stats")


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides this measure."""
    t = study.task(task)
    return {
        "family": t.family,
        "order": t.first_order,
        **gamma_settings(t, [t.first_order]),
        "bleu_tokenizer": judging.bleu_tokenizer(t.languages),
        "bins": study.measures.bins,
        "draws": study.measures.bootstrap,
        "seed": study.seed,
    }


@dataclass(frozen=True)
class Bins:
    """The bin of each example (0: zero, last: overflow; -1: in none), and what each bin covers, in words."""

    code: NDArray[np.int64]
    cover: list[str]


def log_bins(x: Floats, bins: int) -> Bins:
    """Zero bin, `bins` log-spaced bins [low, high), overflow bin."""
    positive = x[x > 0]
    if not len(positive):
        low, high = 1.0, 2.0
    else:
        low, high = float(positive.min()), float(np.percentile(positive, 95))
        high = high if high > low else 2 * low
    edges = np.geomspace(low, high, bins + 1)
    code = np.where(x > 0, np.clip(np.searchsorted(edges, x, side="right"), 1, bins + 1), 0)
    cover = ["0", *(f"[{a:.4g}, {b:.4g})" for a, b in zip(edges[:-1], edges[1:], strict=True)), f">= {edges[-1]:.4g}"]
    return Bins(code.astype(np.int64), cover)


def linear_bins(x: Floats, bins: int) -> Bins:
    """The same for logarithms: bins of equal width; bin 0 holds examples without any pair in the corpus (NaN)."""
    known = x[np.isfinite(x)]
    low, high = (float(known.min()), float(np.percentile(known, 95))) if len(known) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    code = np.where(np.isfinite(x), np.clip(np.searchsorted(edges, x, side="right"), 1, bins + 1), 0)
    cover = ["no pair", *(f"[{a:.4g}, {b:.4g})" for a, b in zip(edges[:-1], edges[1:], strict=True)), f">= {edges[-1]:.4g}"]
    return Bins(code.astype(np.int64), cover)


def run(work: Work, answers: Answers) -> None:
    """The curve of every model, over ΣC and over mean log C; for translation also one point per language pair."""
    family, order = work.settings["family"], work.settings["order"]
    asked, examples = judging.asks(work, answers.task), evaluated(work, answers.task)
    pairs = mined(work, answers.task, gammas_of(work, answers.task))
    counted = with_counts(work, phi(examples, pairs, order).rows).with_columns(pl.col("count").fill_null(0))
    total, logs = _abscissas(counted, len(examples.names))
    values = judging.per_example(work, answers.task, family, asked)
    axes = (
        ("performance", total, log_bins(total, work.settings["bins"])),
        ("performance_mean_log_count", logs, linear_bins(logs, work.settings["bins"])),
    )
    for model in models_of(work):
        value = values.get((model.model, model.checkpoint), np.full(len(asked.names), np.nan))
        known = np.isfinite(value)
        answers.exclude("performance", "no score", int((~known).sum()), "examples", asked=model, order=order)
        answers.exclude("performance", "kept", int(known.sum()), "examples", asked=model, order=order)
        for measure, x, bins in axes:
            _curve(work, answers, model, measure, x, bins, value)
    if family == "translation":
        _groups(work, answers, asked, total)


def _abscissas(counted: pl.DataFrame, examples: int) -> tuple[Floats, Floats]:
    """ΣC of each example, and mean log C over its pairs with C > 0 (NaN without one)."""
    code, count = counted["example"].to_numpy(), counted["count"].to_numpy().astype(np.float64)
    found = count > 0
    logs = np.bincount(code[found], weights=np.log(count[found]), minlength=examples)
    number = np.bincount(code[found], minlength=examples)
    with np.errstate(invalid="ignore"):
        means = np.where(number > 0, logs / number, np.nan)
    # without any pair NumPy counts in integers, whatever the weights
    return np.bincount(code, weights=count, minlength=examples).astype(np.float64), means.astype(np.float64)


def _curve(work: Work, answers: Answers, model: Asked, measure: str, x: Floats, bins: Bins, value: Floats) -> None:
    """One row per bin; a bin without a scored example has no number."""
    statistic = judging.example_statistic(work.settings["family"])
    last = len(bins.cover) - 1
    for code, cover in enumerate(bins.cover):
        here = (bins.code == code) & np.isfinite(value)
        if not here.any():
            estimate = Estimate(None, note="no scored example in this bin")
        elif statistic in judging.SHARES:
            estimate = share(value[here])
        else:
            estimate = ratio(value[here], np.ones(int(here.sum())), work.settings["draws"], work.settings["seed"])
        name = " zero" if code == 0 else " overflow" if code == last else ""
        at = x[here][np.isfinite(x[here])]
        answers.add(
            measure,
            statistic,
            estimate,
            asked=replace(model, parameters=None),
            order=work.settings["order"],
            unit="example",
            detail=f"bin {code:02d}{name}",
            x=float(at.mean()) if len(at) else None,
            rows=int(here.sum()),
            examples=int(here.sum()),
            note=f"x in {cover}",
        )


def _groups(work: Work, answers: Answers, asked: judging.Asks, total: Floats) -> None:
    """Corpus BLEU of each language pair against the ΣC of all its examples (Fig. 3)."""
    generations = judging.read_generations(work, answers.task)
    for model in models_of(work):
        texts = generations.get((model.model, model.checkpoint), {})
        known = np.array([n in texts for n in asked.names], dtype=bool)
        for group, members in judging.grouped(asked):
            estimate, note = scores.corpus_score(work, "bleu", asked, texts, known & members)
            answers.add(
                "performance_by_group",
                "bleu",
                estimate,
                asked=model,
                order=work.settings["order"],
                unit="example",
                detail=group,
                x=float(total[members].sum()),
                rows=int((known & members).sum()),
                examples=int((known & members).sum()),
                note=note,
            )
