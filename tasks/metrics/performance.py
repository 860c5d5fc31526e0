"""Performance against data: the score of an example against the corpus counts of its pairs (docs/method.md §9, Eq. 4).

    x(example) = Σ C(s_x, s_y) over its pairs in H_n      (ΣC grows with the number of pairs, so also: mean log C per pair)

    performance, performance_linear, performance_quantile   over ΣC, in bins of equal ratio, width and number of examples
    performance_mean_log_count                              over mean log C
    performance_by_group                                    translation: corpus BLEU of a language pair over Σ C of its pairs

The score of a bin is the mean over its examples of exact match (qa, math), accuracy (multiple_choice) or sentence chrF
(translation: sentence BLEU is 0 wherever no four words in a row agree); for math also the log-likelihood of the reference.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from schemas import GRADES, Study
from schemas.settings.study_file import Task
from tasks import measures
from tasks.measures import Measure, MetricRows, ModelCheckpoint, checkpoints_of, evaluated_examples, read_answers
from tasks.metrics.scores import SHARES, bleu_tokenizer, corpus_score, groups_of
from tasks.pair_evidence import PAIR, read_evidence
from tasks.pair_measures import floats
from tasks.statistics import Estimate, Floats, ratio, share
from tasks.statistics.bins import Bins, linear_bins, log_bins, mean_log_bins, quantile_bins
from tasks.step import Work

READS = ("models", "examples", "evidence_spans", "evidence_pairs", "evidence_answers")
Axes = tuple[tuple[str, Floats, Bins], ...]
"""measure, abscissa of each example, bins of it"""


def settings(study: Study, task: Task) -> dict[str, Any]:
    more = {"family": task.family, "bleu_tokenizer": bleu_tokenizer(task.languages), "bins": study.measures.bins}
    return measures.settings_of_first_order(study, task) | more


def run(work: Work, rows: MetricRows) -> None:
    """The curves of every model; for translation also one point per language pair."""
    family, order, bins = work.settings["family"], work.settings["order"], work.settings["bins"]
    examples = evaluated_examples(work, rows.task, "output", "aliases")
    pairs = read_evidence(work, rows.task, scored=False).phi(order).with_columns(pl.col("pair_documents").fill_null(0))
    total, logs = _abscissas(pairs, len(examples))
    answers = read_answers(work, rows.task, examples, "text", "value", "reference_log_probability", "reference_tokens")
    axes = (
        ("performance", total, log_bins(total, bins)),
        ("performance_linear", total, linear_bins(total, bins)),
        ("performance_quantile", total, quantile_bins(total, bins)),
        ("performance_mean_log_count", logs, mean_log_bins(logs, bins)),
    )
    nothing = np.full(len(examples), np.nan)
    for checkpoint in checkpoints_of(work):
        answer = answers.get(checkpoint.key)
        value = floats(answer["value"]) if answer is not None else nothing
        scored = int(np.isfinite(value).sum())
        more: dict[str, Any] = {"of": checkpoint, "order": order}
        rows.exclude("performance", "no score", len(value) - scored, "examples", **more)
        rows.exclude("performance", "kept", scored, "examples", **more)
        _curves(work, rows, checkpoint, GRADES[family][0], axes, value, np.ones(len(value)))
        if family == "math":
            sums = floats(answer["reference_log_probability"]) if answer is not None else nothing
            tokens = floats(answer["reference_tokens"].fill_null(0)) if answer is not None else np.zeros(len(examples))
            sums = np.where(np.isfinite(sums) & (tokens > 0), sums, np.nan)
            unscored = int(np.isnan(sums).sum())
            rows.exclude("performance", "no finite log-likelihood of the reference", unscored, "examples", **more)
            _curves(work, rows, checkpoint, "log_likelihood", axes, sums, tokens)
    for group, members in (groups_of(examples) or [("", np.ones(len(examples), bool))]) if family == "translation" else ():
        # Corpus BLEU of a language pair against the ΣC of its pairs (Fig. 3). A pair counts once, however many of the group's
        # examples hold it (docs/method.md §2). x is the corpus's, so it is the same whatever a model left unanswered.
        inside = pairs.filter(pl.col("example").is_in(np.flatnonzero(members).tolist()))
        x = float(inside.unique(PAIR)["pair_documents"].sum())
        for checkpoint in checkpoints_of(work):
            estimate, note, number = corpus_score(work, "bleu", examples, answers.get(checkpoint.key), members)
            more = {"of": checkpoint, "order": order, "unit": "example", "group": group, "x": x, "note": note}
            rows.add("performance_by_group", "bleu", estimate, rows=number, examples=number, **more)


def _abscissas(pairs: pl.DataFrame, examples: int) -> tuple[Floats, Floats]:
    """ΣC of each example, and mean log C over its pairs with C > 0 (NaN without one)."""
    code, count = pairs["example"].to_numpy(), floats(pairs["pair_documents"])
    seen = count > 0
    logs = np.bincount(code[seen], weights=np.log(count[seen]), minlength=examples)
    number = np.bincount(code[seen], minlength=examples)
    with np.errstate(invalid="ignore"):
        means = np.where(number > 0, logs / number, np.nan)
    # without any pair NumPy counts in integers, whatever the weights
    return np.bincount(code, weights=count, minlength=examples).astype(np.float64), means.astype(np.float64)


def _curves(work: Work, rows: MetricRows, of: ModelCheckpoint, statistic: str, axes: Axes, above: Floats, below: Floats) -> None:
    """One row per bin of each axis: a share, or Σ above / Σ below. A bin without a scored example has no number."""
    of = replace(of, parameters=None)
    for measure, x, bins in axes:
        for code, cover in enumerate(bins.cover):
            here = (bins.code == code) & np.isfinite(above)
            estimate = Estimate(None, note="no scored example in this bin")
            if here.any():
                draws = (work.settings["draws"], work.settings["seed"])
                estimate = share(above[here]) if statistic in SHARES else ratio(above[here], below[here], *draws)
            at, number = x[here][np.isfinite(x[here])], int(here.sum())
            more: dict[str, Any] = {"order": work.settings["order"], "unit": "example", "detail": bins.end(code)}
            more |= {"bin": code, "x": float(at.mean()) if len(at) else None, "rows": number, "examples": number}
            rows.add(measure, statistic, estimate, of=of, note=f"x in {cover}", **more)


MEASURE = Measure("performance", READS, settings, run, cost=3.0)
