"""Judging answers, each by the rules of its task's family (docs/method.md §9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics import official
from tasks.metrics.contaminated import contaminated
from tasks.step import Work

Floats = NDArray[np.float64]
Key = tuple[str, int]
"""model and checkpoint"""


NO_GENERATIONS = "no generations of this model for this task"
NO_EXAMPLES = "no evaluated example is left"
NO_REFERENCES = "no reference to judge by: the task's outputs are empty, or hold no number where one is asked for"
NO_OPTIONS = "no scored options of this model for this task"
UNCONDITIONAL = ""  # `input_example` of options that were scored behind the unconditional prompt
NO_UNCONDITIONAL = "the options were not scored behind the unconditional prompt (token_scores has no such rows)"
NUMBERS = {
    "exact_match": official.final_number,
    "exact_match_strict": official.strict_number,
    "exact_match_flexible": official.flexible_number,
}
STATISTICS = {
    "qa": ("exact_match", "f1"),
    "math": tuple(NUMBERS),
    "translation": ("bleu", "chrf"),
    "multiple_choice": (
        "accuracy",
        "accuracy_per_token",
        "accuracy_per_character",
        "accuracy_per_byte",
        "accuracy_unconditional",
    ),
}
SHARES = {*STATISTICS["math"], *STATISTICS["multiple_choice"]}


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


# -- all examples of a task ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Asks:
    """The evaluated examples of a task, as columns."""

    names: list[str]
    groups: list[str]
    references: list[list[str]]
    """the output, then the aliases; none that is empty, or saying nothing would be right"""
    options: list[list[str]]
    answers: list[int]


def asks(work: Work, task: str) -> Asks:
    """Read the evaluated examples, in the order of their names, but for those that the study leaves out as contaminated."""
    out = contaminated(work, task)
    table = work.read("examples", "task", "split", "example", "group", "output", "aliases", "options", "answer").to_pylist()
    table = [r for r in table if r["task"] == task and r["split"] == "evaluate" and r["example"] not in out]
    rows = sorted(table, key=lambda r: r["example"])
    return Asks(
        [r["example"] for r in rows],
        [r["group"] for r in rows],
        [[text for text in (r["output"], *r["aliases"]) if text] for r in rows],
        [r["options"] for r in rows],
        [r["answer"] for r in rows],
    )


def nothing_to_judge(asked: Asks, texts: Mapping[str, str]) -> str:
    """Why no answer of a model can be judged."""
    if not asked.names:
        return NO_EXAMPLES
    return NO_REFERENCES if any(name in texts for name in asked.names) else NO_GENERATIONS


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


Scored = Mapping[str, Mapping[int, OptionScore]]
"""example → option (-1: the reference output) → score"""


@dataclass(frozen=True)
class Options:
    """What one model finds of the options of a task: behind the example's own prompt, and behind the unconditional one."""

    own: dict[str, dict[int, OptionScore]] = field(default_factory=dict)
    alone: dict[str, dict[int, OptionScore]] = field(default_factory=dict)


def read_options(work: Work, task: str) -> dict[Key, Options]:
    """Scores of every model and checkpoint. Rows behind other examples' inputs (for Mem_Δ) are passed over."""
    found: dict[Key, Options] = {}
    columns = ("model", "checkpoint", "task", "example", "input_example", "option", "log_probabilities")
    values = pl.col("log_probabilities")
    for part in work.parts("token_scores"):
        for batch in work.batches(part, *columns, rows=4096):
            rows = pl.DataFrame(batch).filter(
                pl.col("task") == task,
                pl.col("input_example").is_in([UNCONDITIONAL]) | (pl.col("example") == pl.col("input_example")),
            )
            rows = rows.with_columns(total=values.cast(pl.List(pl.Float64)).list.sum(), tokens=values.list.len())
            for model, checkpoint, example, given, option, total, tokens in rows.select(
                "model", "checkpoint", "example", "input_example", "option", "total", "tokens"
            ).iter_rows():
                here = found.setdefault((model, checkpoint), Options())
                kind = here.alone if given == UNCONDITIONAL else here.own
                kind.setdefault(example, {})[option] = OptionScore(total, tokens)
    return found


def choices(asked: Asks, scores: Scored, alone: Scored | None = None) -> dict[str, Floats]:
    """Whether the best option is right, by five ways to judge its log-probability. NaN: not scored.

    accuracy                 log p(option | prompt)                   (lm-evaluation-harness: acc)
    accuracy_per_token       … / its tokens
    accuracy_per_character   … / its characters                       (acc_norm)
    accuracy_per_byte        … / its bytes in UTF-8                   (acc_bytes)
    accuracy_unconditional   … - log p(option | unconditional prompt) (arXiv 2005.14165 §2.4; acc_mutual_info for "")

    A tie at the top counts 1/ties, whichever option stands first.
    """
    found = {s: np.full(len(asked.names), np.nan) for s in STATISTICS["multiple_choice"]}
    for i, (name, options, answer) in enumerate(zip(asked.names, asked.options, asked.answers, strict=True)):
        given, bare = scores.get(name, {}), (alone or {}).get(name, {})
        if not options or answer < 0 or any(o not in given for o in range(len(options))):
            continue
        totals = np.array([given[o].total for o in range(len(options))])
        judged = {
            "accuracy": totals,
            "accuracy_per_token": totals / [given[o].tokens for o in range(len(options))],
            "accuracy_per_character": totals / [max(1, len(o)) for o in options],
            "accuracy_per_byte": totals / [max(1, len(o.encode())) for o in options],
        }
        if all(o in bare for o in range(len(options))):
            judged["accuracy_unconditional"] = totals - [bare[o].total for o in range(len(options))]
        for statistic, values in judged.items():
            best = values == values.max()
            found[statistic][i] = float(best[answer]) / best.sum()
    return found


def judge(family: str, asked: Asks, texts: dict[str, str]) -> dict[str, Floats]:
    """Per-example values of what was generated; NaN where nothing was, or where the reference cannot be judged."""
    found = {
        s: np.full(len(asked.names), np.nan) for s in (("sentence_chrf",) if family == "translation" else STATISTICS[family])
    }
    chrf = sacrebleu_metrics()["chrf"] if family == "translation" else None
    for i, (name, references) in enumerate(zip(asked.names, asked.references, strict=True)):
        if name not in texts or not references:
            continue
        if chrf is not None:
            found["sentence_chrf"][i] = chrf.sentence_score(texts[name], references).score
        elif family == "qa":
            found["exact_match"][i] = official.exact_match(texts[name], references)
            found["f1"][i] = official.f1(texts[name], references)
        else:
            wanted = {official.final_number(r) for r in references} - {None}
            for statistic, number in NUMBERS.items() if wanted else ():
                found[statistic][i] = float(number(texts[name]) in wanted)
    return found


def per_example(work: Work, task: str, family: str, asked: Asks) -> dict[Key, Floats]:
    """The value of `example_statistic` for every example, by model and checkpoint; NaN where there is none."""
    statistic = example_statistic(family)
    if family == "multiple_choice":
        return {key: choices(asked, given.own)[statistic] for key, given in read_options(work, task).items()}
    return {key: judge(family, asked, texts)[statistic] for key, texts in read_generations(work, task).items()}


def sacrebleu_metrics(tokenizer: str = "13a") -> dict[str, Any]:
    """sacreBLEU's metrics with its own settings; `tokenizer` is BLEU's and stands in the signature."""
    from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU(tokenize=tokenizer), "chrf": CHRF()}


def bleu_tokenizer(languages: Sequence[str]) -> str:
    """sacreBLEU's tokenizer for translation into the last of these: 13a, but zh for Chinese.

    Japanese, Korean, Thai, Khmer, Lao and Burmese are cut into characters: their own tokenizers need further software.
    """
    target = languages[-1].lower().replace("_", "-").split("-")[0] if languages else ""
    return "zh" if target == "zh" else "char" if target in ("ja", "ko", "th", "km", "lo", "my") else "13a"


def grouped(asked: Asks) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each named group and which examples are in it."""
    names = np.array(asked.groups, dtype=object)
    return [(g, names == g) for g in sorted(set(asked.groups) - {""})]
