"""Performance against data: the score of an example against the corpus counts of its pairs (docs/method.md §9, Eq. 4).

    x(example) = Σ C(s_x, s_y) over its pairs in H_n      (ΣC grows with the number of pairs, so also: mean log C per pair)

    performance, performance_linear, performance_quantile   over ΣC, in bins of equal ratio, width and number of examples
    performance_mean_log_count                              over mean log C
    performance_by_group                                    translation: corpus BLEU of a language pair over Σ C of its pairs

The score of a bin is the mean over its examples of exact match (qa, math), accuracy (multiple_choice) or sentence chrF
(translation: sentence BLEU is 0 wherever no four words in a row agree); for math also the log-likelihood of the reference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics import judging, scores
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.bins import Bins, linear_bins, log_bins, mean_log_bins, quantile_bins
from tasks.metrics.pairs import PAIR, drawn_settings, evaluated, gammas_of, mined, phi, with_counts
from tasks.statistics import Estimate, ratio, share
from tasks.step import Work

Floats = NDArray[np.float64]
Axes = tuple[tuple[str, Floats, Bins], ...]
"""measure, abscissa of each example, bins of it"""


def reads(family: str) -> tuple[str, ...]:
    """Tables this measure needs for a task of this family."""
    return (
        *judging.reads(family, likelihood=family == "math"),
        "example_ngrams",
        "task_grams",
        "pair_counts",
        "ngram_stats",
    )


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides this measure."""
    t = study.task(task)
    return {
        "family": t.family,
        **drawn_settings(study, t, [t.first_order]),
        "order": t.first_order,
        "bleu_tokenizer": judging.bleu_tokenizer(t.languages),
        "bins": study.measures.bins,
    }


def run(work: Work, answers: Answers) -> None:
    """The curves of every model; for translation also one point per language pair."""
    family, order, bins = work.settings["family"], work.settings["order"], work.settings["bins"]
    asked, examples = judging.asks(work, answers.task), evaluated(work, answers.task)
    pairs = mined(work, answers.task, gammas_of(work, answers.task))
    counted = with_counts(work, phi(examples, pairs, order).rows).with_columns(pl.col("count").fill_null(0))
    total, logs = _abscissas(counted, len(examples.names))
    values = judging.per_example(work, answers.task, family, asked)
    likelihoods = judging.read_options(work, answers.task) if family == "math" else {}
    axes = (
        ("performance", total, log_bins(total, bins)),
        ("performance_linear", total, linear_bins(total, bins)),
        ("performance_quantile", total, quantile_bins(total, bins)),
        ("performance_mean_log_count", logs, mean_log_bins(logs, bins)),
    )
    for model in models_of(work):
        key = (model.model, model.checkpoint)
        value = values.get(key, np.full(len(asked.names), np.nan))
        known = np.isfinite(value)
        answers.exclude("performance", "no score", int((~known).sum()), "examples", asked=model, order=order)
        answers.exclude("performance", "kept", int(known.sum()), "examples", asked=model, order=order)
        _curves(work, answers, model, judging.example_statistic(family), axes, value, np.ones(len(value)))
        if family == "math":
            sums, tokens = _likelihoods(asked, likelihoods.get(key, judging.Options()))
            silent = int(np.isnan(sums).sum())
            answers.exclude(
                "performance", "no finite log-likelihood of the reference", silent, "examples", asked=model, order=order
            )
            _curves(work, answers, model, "log_likelihood", axes, sums, tokens)
    if family == "translation":
        _groups(work, answers, asked, counted)


def _likelihoods(asked: judging.Asks, options: judging.Options) -> tuple[Floats, Floats]:
    """Σ log p of each example's reference, in nats, and its tokens; NaN where it was not scored or is impossible."""
    found = [options.own.get(name, {}).get(-1) for name in asked.names]
    sums = [s.total if s and s.tokens and np.isfinite(s.total) else np.nan for s in found]
    return np.array(sums, dtype=np.float64), np.array([s.tokens if s else 0 for s in found], dtype=np.float64)


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


def _curves(
    work: Work, answers: Answers, model: Asked, statistic: str, axes: Axes, numerators: Floats, denominators: Floats
) -> None:
    """One row per bin of each axis: a share, or Σ numerators / Σ denominators. A bin without a scored example has no number."""
    for measure, x, bins in axes:
        for code, cover in enumerate(bins.cover):
            here = (bins.code == code) & np.isfinite(numerators)
            if not here.any():
                estimate = Estimate(None, note="no scored example in this bin")
            elif statistic in judging.SHARES:
                estimate = share(numerators[here])
            else:
                estimate = ratio(numerators[here], denominators[here], work.settings["draws"], work.settings["seed"])
            at = x[here][np.isfinite(x[here])]
            answers.add(
                measure,
                statistic,
                estimate,
                asked=replace(model, parameters=None),
                order=work.settings["order"],
                unit="example",
                detail=bins.name(code),
                x=float(at.mean()) if len(at) else None,
                rows=int(here.sum()),
                examples=int(here.sum()),
                note=f"x in {cover}",
            )


def _groups(work: Work, answers: Answers, asked: judging.Asks, counted: pl.DataFrame) -> None:
    """Corpus BLEU of each language pair against the ΣC of its pairs (Fig. 3); all of the task, where no example names a group.

    A pair counts once, however many of the group's examples it stands in (docs/method.md §2). x is the corpus's, so it is the same for every
    model, whatever a model left unanswered.
    """
    generations = judging.read_generations(work, answers.task)
    groups = judging.grouped(asked) or [("", np.ones(len(asked.names), dtype=bool))]
    totals = {}
    for group, members in groups:
        inside = counted.filter(pl.col("example").is_in(np.flatnonzero(members).tolist()))
        totals[group] = float(inside.unique(PAIR)["count"].sum())
    for model in models_of(work):
        texts = generations.get((model.model, model.checkpoint), {})
        known = np.array([n in texts and bool(r) for n, r in zip(asked.names, asked.references, strict=True)], dtype=bool)
        for group, members in groups:
            estimate, note = scores.corpus_score(work, "bleu", asked, texts, known & members)
            answers.add(
                "performance_by_group",
                "bleu",
                estimate,
                asked=model,
                order=work.settings["order"],
                unit="example",
                detail=group,
                x=totals[group],
                rows=int((known & members).sum()),
                examples=int((known & members).sum()),
                note=note,
            )
