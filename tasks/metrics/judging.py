"""Judging answers, each by the rules of its task's family (task-grams §9)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.step import Work

Floats = NDArray[np.float64]
Key = tuple[str, int]
"""model and checkpoint"""


NO_GENERATIONS = "no generations of this model for this task"
NO_OPTIONS = "no scored options of this model for this task"
SHARES = {"exact_match", "accuracy", "accuracy_per_token", "accuracy_per_character"}
STATISTICS = {
    "qa": ("exact_match", "f1"),
    "math": ("exact_match",),
    "translation": ("bleu", "chrf"),
    "multiple_choice": ("accuracy", "accuracy_per_token", "accuracy_per_character"),
}


def main_statistic(family: str) -> str:
    """The statistic of the results table: exact_match (qa, math), accuracy (multiple_choice), bleu (translation)."""
    return STATISTICS[family][0]


def example_statistic(family: str) -> str:
    """The main statistic where one is needed for each example: sentence chrF for translation, else the main statistic."""
    return "sentence_chrf" if family == "translation" else main_statistic(family)


def reads(family: str, *, likelihood: bool = True) -> tuple[str, ...]:
    """Tables a score of this family needs; `likelihood`: with the reference's log-probability."""
    tables = ["examples", "models"]
    if family == "multiple_choice" or likelihood:
        tables.append("token_scores")
    if family != "multiple_choice":
        tables.append("generations")
    return tuple(tables)


# -- one answer against its reference --------------------------------------------------------------------------------
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


def normalise_answer(text: str) -> str:
    """TriviaQA's normalisation (arXiv 1705.03551): lower case, punctuation to spaces, no articles."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, references: Iterable[str]) -> float:
    """1 if the normalised text equals one of the normalised references, else 0."""
    said = normalise_answer(text)
    return float(any(said == normalise_answer(r) for r in references))


def f1(text: str, references: Iterable[str]) -> float:
    """Highest harmonic mean of precision and recall of normalised words, over the references."""
    return max((_f1(normalise_answer(text).split(), normalise_answer(r).split()) for r in references), default=0.0)


def _f1(said: list[str], wanted: list[str]) -> float:
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def final_number(text: str) -> Decimal | None:
    """The first number behind the last `####`; without that mark the last number of the text; None if there is none."""
    behind = text.rpartition("####")
    numbers = _NUMBER.findall(behind[2])
    if not numbers:
        return None
    return Decimal((numbers[0] if behind[1] else numbers[-1]).replace(",", ""))


# -- all examples of a task ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Asks:
    """The evaluated examples of a task, as columns."""

    names: list[str]
    groups: list[str]
    references: list[list[str]]
    """the output, then the aliases"""
    options: list[list[str]]
    answers: list[int]


def asks(work: Work, task: str) -> Asks:
    """Read the evaluated examples, in the order of their names."""
    table = work.read("examples", "task", "split", "example", "group", "output", "aliases", "options", "answer").to_pylist()
    rows = sorted((r for r in table if r["task"] == task and r["split"] == "evaluate"), key=lambda r: r["example"])
    return Asks(
        [r["example"] for r in rows],
        [r["group"] for r in rows],
        [[r["output"], *r["aliases"]] for r in rows],
        [r["options"] for r in rows],
        [r["answer"] for r in rows],
    )


def read_generations(work: Work, task: str) -> dict[Key, dict[str, str]]:
    """What each model said: example → text."""
    found: dict[Key, dict[str, str]] = {}
    for row in work.read("generations", "model", "checkpoint", "task", "example", "text").to_pylist():
        if row["task"] == task:
            found.setdefault((row["model"], row["checkpoint"]), {})[row["example"]] = row["text"]
    return found


@dataclass(frozen=True)
class OptionScore:
    """Log-probability of an option (or the reference) and its number of tokens."""

    total: float
    tokens: int


def read_options(work: Work, task: str) -> dict[Key, dict[str, dict[int, OptionScore]]]:
    """Scores after the own input: example → option (-1: the reference output) → score."""
    found: dict[Key, dict[str, dict[int, OptionScore]]] = {}
    columns = ("model", "checkpoint", "task", "example", "input_example", "option", "log_probabilities")
    for part in work.parts("token_scores"):
        for batch in work.batches(part, *columns, rows=4096):
            for row in batch.to_pylist():
                if row["task"] == task and row["example"] == row["input_example"]:
                    values = np.asarray(row["log_probabilities"], dtype=np.float64)
                    examples = found.setdefault((row["model"], row["checkpoint"]), {})
                    examples.setdefault(row["example"], {})[row["option"]] = OptionScore(float(values.sum()), len(values))
    return found


def choices(asked: Asks, scores: dict[str, dict[int, OptionScore]]) -> dict[str, Floats]:
    """Whether the best option is right, by three lengths to divide by. A tie at the top counts 1/ties. NaN: not scored."""
    found = {s: np.full(len(asked.names), np.nan) for s in STATISTICS["multiple_choice"]}
    for i, (name, options, answer) in enumerate(zip(asked.names, asked.options, asked.answers, strict=True)):
        given = scores.get(name, {})
        if not options or any(o not in given for o in range(len(options))):
            continue
        totals = np.array([given[o].total for o in range(len(options))])
        lengths = {
            "accuracy": np.ones(len(options)),
            "accuracy_per_token": np.array([given[o].tokens for o in range(len(options))]),
            "accuracy_per_character": np.array([max(1, len(o)) for o in options]),
        }
        for statistic, length in lengths.items():
            best = totals / length == (totals / length).max()
            found[statistic][i] = float(best[answer]) / best.sum()
    return found


def judge(family: str, asked: Asks, texts: dict[str, str]) -> dict[str, Floats]:
    """Per-example values of what was generated; NaN where nothing was, or where the reference cannot be judged."""
    found = {
        s: np.full(len(asked.names), np.nan)
        for s in {"qa": ("exact_match", "f1"), "math": ("exact_match",), "translation": ("sentence_chrf",)}[family]
    }
    chrf = sacrebleu_metrics()["chrf"] if family == "translation" else None
    for i, (name, references) in enumerate(zip(asked.names, asked.references, strict=True)):
        if name not in texts:
            continue
        if chrf is not None:
            found["sentence_chrf"][i] = chrf.sentence_score(texts[name], references).score
        elif family == "qa":
            found["exact_match"][i], found["f1"][i] = exact_match(texts[name], references), f1(texts[name], references)
        else:
            wanted = {final_number(r) for r in references} - {None}
            if wanted:
                found["exact_match"][i] = float(final_number(texts[name]) in wanted)
    return found


def per_example(work: Work, task: str, family: str, asked: Asks) -> dict[Key, Floats]:
    """The value of `example_statistic` for every example, by model and checkpoint; NaN where there is none."""
    statistic = example_statistic(family)
    if family == "multiple_choice":
        return {key: choices(asked, given)[statistic] for key, given in read_options(work, task).items()}
    return {key: judge(family, asked, texts)[statistic] for key, texts in read_generations(work, task).items()}


def sacrebleu_metrics() -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU(), "chrf": CHRF()}


def grouped(asked: Asks) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each named group and which examples are in it."""
    names = np.array(asked.groups, dtype=object)
    return [(g, names == g) for g in sorted(set(asked.groups) - {""})]
