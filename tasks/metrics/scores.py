"""How well a model does the task, whatever it does it by (docs/method.md §9).

    qa               exact match and F1 after TriviaQA's normalisation, aliases included
    multiple_choice  the option with the highest log-probability: raw, per token, per character, per byte, unconditional
    translation      BLEU and chrF (sacreBLEU), 0 to 100, the signature in `note`
    math             the final number: behind `####`, else the last one; also strict and flexible as lm-evaluation-harness
    all              mean log-probability per token of the reference output

Each has a standard error: s/√n over examples for shares and means, linearised for the ratio that the log-likelihood is, and
the bootstrap's over examples for BLEU and chrF, which a single example does not have.

`main_score` repeats the statistic that stands in the results table: see `main_statistic`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics import judging
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.judging import Asks, Floats, Options, Scored, main_statistic
from tasks.statistics import Estimate, bootstrap_error, bootstrap_statistic, percentile_interval, ratio, share
from tasks.step import Work


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides the scores."""
    t = study.task(task)
    return {
        "family": t.family,
        "bleu_tokenizer": judging.bleu_tokenizer(t.languages),
        "draws": study.measures.bootstrap,
        "seed": study.seed,
    }


def run(work: Work, answers: Answers) -> None:
    """Scores of every model, over all examples and by group; `main_score` for the results table."""
    family = work.settings["family"]
    asked, options = judging.asks(work, answers.task), judging.read_options(work, answers.task)
    generations = judging.read_generations(work, answers.task) if family != "multiple_choice" else {}
    for model in models_of(work):
        key = (model.model, model.checkpoint)
        given = options.get(key, Options())
        _log_likelihood(work, answers, model, asked, given.own)
        if family == "translation":
            _translation(work, answers, model, asked, generations.get(key, {}))
        elif family == "multiple_choice":
            _shares(work, answers, model, asked, judging.choices(asked, given.own, given.alone), judging.NO_OPTIONS)
        else:
            texts = generations.get(key, {})
            missing = judging.nothing_to_judge(asked, texts)
            _shares(work, answers, model, asked, judging.judge(family, asked, texts), missing)


def _log_likelihood(work: Work, answers: Answers, model: Asked, asked: Asks, scores: Scored) -> None:
    """Σ log p / Σ tokens of the references, in nats per token."""
    found = [scores[n][-1] for n in asked.names if -1 in scores.get(n, {})]
    sums = np.array([s.total for s in found])
    if not found:
        estimate = Estimate(None, note="no score of this model")
    elif not np.isfinite(sums).all():
        estimate = Estimate(None, note=f"log-probability not finite: {int((~np.isfinite(sums)).sum())} references")
    else:
        tokens = np.array([s.tokens for s in found], dtype=np.float64)
        estimate = ratio(sums, tokens, work.settings["draws"], work.settings["seed"])
    answers.add("score", "log_likelihood", estimate, asked=model, unit="example", rows=len(found), examples=len(found))


def _shares(work: Work, answers: Answers, model: Asked, asked: Asks, values: dict[str, Floats], missing: str) -> None:
    """Shares with Wilson's interval, means (F1) with a bootstrap; the main statistic also by group."""
    main = main_statistic(work.settings["family"])
    known = np.isfinite(values[main])
    _excluded(answers, model, known)
    chances = [1 / len(o) for o, k in zip(asked.options, known, strict=True) if o and k]
    note = f"chance {np.mean(chances):.4g}" if chances else ""
    for statistic, numbers in values.items():
        judged = known & np.isfinite(numbers)
        unjudged = judging.NO_UNCONDITIONAL if statistic == "accuracy_unconditional" and known.any() else missing
        estimate = _share(work, statistic, numbers[judged], unjudged)
        _add(answers, model, statistic, estimate, judged, note, main=statistic == main)
    for group, members in judging.grouped(asked):
        inside = known & members
        _add(answers, model, main, _share(work, main, values[main][inside], missing), inside, group=group)


def _share(work: Work, statistic: str, values: Floats, missing: str) -> Estimate:
    if not len(values):
        return Estimate(None, note=missing)
    if statistic in judging.SHARES:
        return share(values)
    return ratio(values, np.ones(len(values)), work.settings["draws"], work.settings["seed"])


def _translation(work: Work, answers: Answers, model: Asked, asked: Asks, texts: dict[str, str]) -> None:
    """Corpus BLEU and chrF; the interval resamples examples."""
    known = np.array([n in texts and bool(r) for n, r in zip(asked.names, asked.references, strict=True)], dtype=bool)
    _excluded(answers, model, known)
    main = main_statistic("translation")
    for statistic in judging.STATISTICS["translation"]:
        estimate, note = corpus_score(work, statistic, asked, texts, known)
        _add(answers, model, statistic, estimate, known, note, main=statistic == main)
    for group, members in judging.grouped(asked):
        inside = known & members
        estimate, note = corpus_score(work, main, asked, texts, inside)
        _add(answers, model, main, estimate, inside, note, group=group)


def _add(
    answers: Answers,
    model: Asked,
    statistic: str,
    estimate: Estimate,
    judged: NDArray[np.bool_],
    note: str = "",
    *,
    group: str = "",
    main: bool = False,
) -> None:
    """A score of the examples that were judged; the main one also stands in the results table."""
    rows = int(judged.sum())
    for measure in ("score", "main_score") if main else ("score",):
        answers.add(
            measure, statistic, estimate, asked=model, unit="example", detail=group, rows=rows, examples=rows, note=note
        )


def corpus_score(
    work: Work, statistic: str, asked: Asks, texts: dict[str, str], keep: NDArray[np.bool_]
) -> tuple[Estimate, str]:
    """BLEU or chrF of the examples where `keep` holds, and sacreBLEU's signature."""
    chosen = np.flatnonzero(keep)
    if not len(chosen):
        return Estimate(None, note=judging.nothing_to_judge(asked, texts)), ""
    metric = judging.sacrebleu_metrics(work.settings["bleu_tokenizer"])[statistic]
    references = [asked.references[i] for i in chosen]
    streams = [[r[k] if k < len(r) else None for r in references] for k in range(max(map(len, references)))]
    # sacreBLEU's own bootstrap has no seed argument and reports half-widths; its per-sentence sums are all that is needed
    sums = np.array(metric._extract_corpus_statistics([texts[asked.names[i]] for i in chosen], streams), dtype=np.int64)

    def of(weights: NDArray[np.int32]) -> Floats:
        return np.array([metric._compute_score_from_stats([int(v) for v in row]).score for row in weights @ sums])

    value, signature = float(of(np.ones((1, len(chosen)), dtype=np.int32))[0]), str(metric.get_signature())
    if len(chosen) < 2:
        return Estimate(value, note="no interval: one example"), signature
    draws = bootstrap_statistic(len(chosen), work.settings["draws"], work.settings["seed"], of)
    low, high, missing = percentile_interval(draws)
    return Estimate(value, low, high, note=missing, standard_error=bootstrap_error(draws)), signature


def _excluded(answers: Answers, model: Asked, known: NDArray[np.bool_]) -> None:
    kept = int(np.sum(known))
    answers.exclude("score", "nothing to judge", len(known) - kept, "examples", asked=model)
    answers.exclude("score", "kept", kept, "examples", asked=model)
