"""How well a model does the task, whatever it does it by (docs/method.md §9).

    qa               exact match and F1 after TriviaQA's normalisation, aliases included
    multiple_choice  the option with the highest log-probability: raw, per token, per character, per byte, unconditional
    translation      BLEU and chrF (sacreBLEU), 0 to 100, the signature in `note`
    math             the final number: after `####`, else the last one; also strict and flexible as lm-evaluation-harness
    all              mean log-probability per token of the reference output

Each has a standard error: s/√n over examples for shares and means, linearised for the ratio that the log-likelihood is, and
the bootstrap's over examples for BLEU and chrF, which a single example does not have.

`main_score` repeats the statistic of the results table: the first one of the task's family.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import GRADES, Study
from schemas.settings.study_file import Task
from tasks.measures import Measure, MetricRows, ModelCheckpoint, checkpoints_of, draw_settings, evaluated_examples, read_answers
from tasks.pair_measures import floats
from tasks.statistics import Estimate, Floats, bootstrap_error, ratio, resample, share, with_interval
from tasks.step import Work

STATISTICS = GRADES | {"translation": ("bleu", "chrf")}  # a single sentence has no BLEU, a corpus does
SHARES = {*GRADES["math"], *GRADES["multiple_choice"]}
NO_EXAMPLES = "no evaluated example is left"
NO_REFERENCES = "no reference to judge by: the task's outputs are empty, or hold no number where one is asked for"
NO_GENERATIONS = "no generations of this model for this task"
NO_OPTIONS = "no scored options of this model for this task"
NO_UNCONDITIONAL = "the options were not scored behind the unconditional prompt (token_scores has no such rows)"
Mask = NDArray[np.bool_]
Answer = pl.DataFrame | None  # of a model to every example, in their order; None: it has none


def settings(study: Study, task: Task) -> dict[str, Any]:
    return {"family": task.family, "bleu_tokenizer": bleu_tokenizer(task.languages)} | draw_settings(study)


def run(work: Work, rows: MetricRows) -> None:
    """Scores of every model, over all examples and by group; `main_score` for the results table."""
    examples = evaluated_examples(work, rows.task, "output", "aliases", "options")
    columns = ("text", "grades", "reference_log_probability", "reference_tokens")
    answers = read_answers(work, rows.task, examples, *columns)
    for checkpoint in checkpoints_of(work):
        answer = answers.get(checkpoint.key)
        _log_likelihood(work, rows, checkpoint, answer)
        if work.settings["family"] == "translation":
            _translation(work, rows, checkpoint, examples, answer)
        else:
            _grades(work, rows, checkpoint, examples, answer)


def main_statistic(family: str) -> str:
    """The statistic of the results table: exact_match (qa, math), accuracy (multiple_choice), bleu (translation)."""
    return STATISTICS[family][0]


def bleu_tokenizer(languages: Sequence[str]) -> str:
    """sacreBLEU's tokenizer for translation into the last of these: 13a, but zh for Chinese. Japanese, Korean, Thai, Khmer, Lao and
    Burmese are cut into characters: their own tokenizers need further software."""
    target = languages[-1].lower().replace("_", "-").split("-")[0] if languages else ""
    return "zh" if target == "zh" else "char" if target in ("ja", "ko", "th", "km", "lo", "my") else "13a"


def groups_of(examples: pl.DataFrame) -> list[tuple[str, Mask]]:
    """Each named group and which examples are in it."""
    names = np.array(examples["group"].to_list(), dtype=object)
    return [(g, names == g) for g in sorted(set(names) - {""})]


def _log_likelihood(work: Work, rows: MetricRows, checkpoint: ModelCheckpoint, answer: Answer) -> None:
    """Σ log p / Σ tokens of the references, in nats per token."""
    scored = answer.drop_nulls("reference_log_probability") if answer is not None else pl.DataFrame()
    estimate = Estimate(None, note="no score of this model")
    if len(scored):
        sums, tokens = floats(scored["reference_log_probability"]), floats(scored["reference_tokens"])
        estimate = Estimate(None, note=f"log-probability not finite: {int((~np.isfinite(sums)).sum())} references")
        if np.isfinite(sums).all():
            estimate = ratio(sums, tokens, work.settings["draws"], work.settings["seed"])
    rows.add("score", "log_likelihood", estimate, of=checkpoint, unit="example", rows=len(scored), examples=len(scored))


def _grades(work: Work, rows: MetricRows, checkpoint: ModelCheckpoint, examples: pl.DataFrame, answer: Answer) -> None:
    """Shares with Wilson's interval, means (F1) with a bootstrap; the main statistic also by group."""
    statistics = GRADES[work.settings["family"]]
    values = [np.full(len(examples), np.nan) for _ in statistics]
    if answer is not None:
        values = [floats(answer["grades"].list.get(i, null_on_oob=True)) for i in range(len(statistics))]
    main, graded = values[0], np.isfinite(values[0])
    _count(rows, checkpoint, graded)
    chances = [1 / len(o) for o, good in zip(examples["options"].to_list(), graded, strict=True) if o and good]
    note = f"chance {np.mean(chances):.4g}" if chances else ""
    missing = NO_OPTIONS if work.settings["family"] == "multiple_choice" else _why_none(examples, answer)
    for statistic, numbers in zip(statistics, values, strict=True):
        here = graded & np.isfinite(numbers)
        why = NO_UNCONDITIONAL if statistic == "accuracy_unconditional" and graded.any() else missing
        estimate = _share(work, statistic, numbers[here], why)
        _add(rows, checkpoint, statistic, estimate, int(here.sum()), note, main=statistic == statistics[0])
    for group, members in groups_of(examples):
        inside = graded & members
        estimate = _share(work, statistics[0], main[inside], missing)
        _add(rows, checkpoint, statistics[0], estimate, int(inside.sum()), group=group)


def _why_none(examples: pl.DataFrame, answer: Answer) -> str:
    if not len(examples):
        return NO_EXAMPLES
    return NO_GENERATIONS if answer is None or not answer["text"].count() else NO_REFERENCES


def _share(work: Work, statistic: str, values: Floats, missing: str) -> Estimate:
    if not len(values):
        return Estimate(None, note=missing)
    draws = (work.settings["draws"], work.settings["seed"])
    return share(values) if statistic in SHARES else ratio(values, np.ones(len(values)), *draws)


def _translation(work: Work, rows: MetricRows, checkpoint: ModelCheckpoint, examples: pl.DataFrame, answer: Answer) -> None:
    """Corpus BLEU and chrF, the first also by group; the interval resamples examples."""
    _count(rows, checkpoint, _comparable(examples, answer))
    main, everything = main_statistic("translation"), np.ones(len(examples), dtype=bool)
    each = [(statistic, "", everything) for statistic in STATISTICS["translation"]]
    for statistic, group, members in [*each, *((main, group, members) for group, members in groups_of(examples))]:
        estimate, note, number = corpus_score(work, statistic, examples, answer, members)
        _add(rows, checkpoint, statistic, estimate, number, note, group=group, main=statistic == main and not group)


def _comparable(examples: pl.DataFrame, answer: Answer) -> Mask:
    """Which examples have both an answer and a reference."""
    if answer is None:
        return np.zeros(len(examples), dtype=bool)
    references = np.array([any((o, *a)) for o, a in examples.select("output", "aliases").iter_rows()], dtype=bool)
    return answer["text"].is_not_null().to_numpy() & references


def corpus_score(work: Work, statistic: str, examples: pl.DataFrame, answer: Answer, members: Mask) -> tuple[Estimate, str, int]:
    """BLEU or chrF of these examples, sacreBLEU's signature, and how many of them have an answer and a reference."""
    from sacrebleu.metrics import BLEU, CHRF

    keep = pl.Series(_comparable(examples, answer) & members, dtype=pl.Boolean)
    if answer is None or not keep.any():
        return Estimate(None, note=_why_none(examples, answer)), "", 0
    texts = answer.filter(keep)["text"].to_list()
    references = [[t for t in (o, *a) if t] for o, a in examples.filter(keep).select("output", "aliases").iter_rows()]
    metric: Any = BLEU(tokenize=work.settings["bleu_tokenizer"]) if statistic == "bleu" else CHRF()
    streams = [[r[k] if k < len(r) else None for r in references] for k in range(max(map(len, references)))]
    # sacreBLEU's own bootstrap has no seed argument and reports half-widths; its per-sentence sums are all that is needed
    sums = np.array(metric._extract_corpus_statistics(texts, streams), dtype=np.int64)

    def of(weights: NDArray[np.int32]) -> Floats:
        return np.array([metric._compute_score_from_stats([int(v) for v in row]).score for row in weights @ sums])

    value, draws = resample(len(texts), work.settings, of)
    draws = draws[: len(draws) * (len(texts) > 1)]
    return replace(with_interval(value, draws), standard_error=bootstrap_error(draws)), str(metric.get_signature()), len(texts)


def _add(rows: MetricRows, of: ModelCheckpoint, statistic: str, estimate: Estimate, n: int, note: str = "", **which: Any) -> None:
    """A score of so many examples; the main one is also in the results table."""
    for measure in ("score", "main_score") if which.pop("main", False) else ("score",):
        rows.add(measure, statistic, estimate, of=of, unit="example", rows=n, examples=n, note=note, **which)


def _count(rows: MetricRows, checkpoint: ModelCheckpoint, graded: Mask) -> None:
    kept = int(np.sum(graded))
    rows.exclude("score", "nothing to judge", len(graded) - kept, "examples", of=checkpoint)
    rows.exclude("score", "kept", kept, "examples", of=checkpoint)


MEASURE = Measure("scores", ("models", "examples", "evidence_answers"), settings, run, cost=3.0)
