"""The graded answers of one model: what it generated, or the likeliest option, and whether that is right (docs/method.md §9)."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from schemas import EVIDENCE_ANSWERS, GRADES
from tasks.evidence import official
from tasks.statistics import Floats
from tasks.step import Work
from tasks.text.final_number import final_number

UNCONDITIONAL = ""  # `input_example` of options that were scored after the unconditional prompt
NUMBERS = (final_number, official.strict_number, official.flexible_number)  # in the order of GRADES["math"]
NO_GENERATIONS = "no generations of this model for this task"
NO_OPTIONS = "no scored options of this model for this task"
NOT_ANSWERED = "the model gave no answer to this example"
NOT_GRADED = "the reference holds nothing that the answer could be compared with"


@dataclass(frozen=True)
class OptionScore:
    """Log-probability of an option (or of the reference) and its number of tokens."""

    total: float
    tokens: int


Scored = dict[int, OptionScore]
"""option (-1: the reference output) → score"""


def run_answers(work: Work) -> None:
    """Grade the answers of one model at one checkpoint to all examples of a task."""
    task, family, model = work.labels["task"], work.settings["family"], work.labels["model"]
    columns = ("task", "split", "example", "output", "aliases", "options", "answer")
    examples = work.frame("examples", *columns).filter(task=task, split="evaluate").sort("example")
    texts = work.frame("generations", "task", "example", "text").filter(task=task).select("example", "text")
    scores, generated = read_scores(work, task), dict(texts.iter_rows())
    choice = family == "multiple_choice"
    missing = (NO_OPTIONS if choice else NO_GENERATIONS) if not (scores if choice else generated) else NOT_ANSWERED
    rows = []
    for name, output, aliases, options, answer in examples.select("example", *columns[3:]).iter_rows():
        conditional, unconditional = scores.get(name, ({}, {}))
        if choice:
            text = likeliest(options, conditional)
            grades = grade_choice(options, answer, conditional, unconditional)
        else:
            text, references = generated.get(name), [t for t in (output, *aliases) if t]  # an empty answer is never right
            grades = grade_text(family, text, references)
        value, reference = grades[0], conditional.get(-1)
        note = "several options tie" if choice and value and value < 1 else ""
        note = note if value is not None else missing if text is None else NOT_GRADED
        place = (task, name, model, int(work.labels["checkpoint"]), text, GRADES[family][0], value, grades)
        rows.append((*place, *((reference.total, reference.tokens) if reference else (None, 0)), note))
    values = [list(c) for c in zip(*rows, strict=True)] if rows else [[] for _ in EVIDENCE_ANSWERS.columns]
    work.write("evidence_answers", dict(zip(EVIDENCE_ANSWERS.schema.names, values, strict=True)))


def read_scores(work: Work, task: str) -> dict[str, tuple[Scored, Scored]]:
    """The scores of each example, after its own and after the unconditional prompt; not those after other inputs (of Mem_Δ)."""
    columns = ("task", "example", "input_example", "option", "log_probabilities")
    scores: dict[str, tuple[Scored, Scored]] = {}
    for part in work.parts("token_scores"):
        for batch in work.batches(part, *columns, rows=4096):
            after_own = pl.col("example") == pl.col("input_example")
            rows = pl.DataFrame(batch).filter((pl.col("input_example") == UNCONDITIONAL) | after_own, task=task)
            values = pl.col("log_probabilities")
            rows = rows.with_columns(total=values.cast(pl.List(pl.Float64)).list.sum(), tokens=values.list.len())
            for example, given, option, total, tokens in rows.select(*columns[1:4], "total", "tokens").iter_rows():
                scores.setdefault(example, ({}, {}))[given == UNCONDITIONAL][option] = OptionScore(total, tokens)
    return scores


# -- one example -------------------------------------------------------------------------------------------------------
def likeliest(options: list[str], scores: Scored) -> str | None:
    """The option that the model finds likeliest, where all were scored; of several, the first."""
    if not options or any(o not in scores for o in range(len(options))):
        return None
    return options[max(range(len(options)), key=lambda o: (scores[o].total, -o))]


def grade_choice(options: list[str], answer: int, scores: Scored, unconditional: Scored) -> list[float | None]:
    """Whether the best option is right, by five ways to compare log-probabilities. None: not scored.

    accuracy                 log p(option | prompt)                   (lm-evaluation-harness: acc)
    accuracy_per_token       … / its tokens
    accuracy_per_character   … / its characters                       (acc_norm)
    accuracy_per_byte        … / its bytes in UTF-8                   (acc_bytes)
    accuracy_unconditional   … - log p(option | unconditional prompt) (arXiv 2005.14165 §2.4; acc_mutual_info for "")

    A tie at the top counts 1/ties, whichever option comes first.
    """
    numbers = range(len(options))
    if not options or answer < 0 or any(o not in scores for o in numbers):
        return [None] * len(GRADES["multiple_choice"])
    totals = np.array([scores[o].total for o in numbers])
    sizes = ([scores[o].tokens for o in numbers], [max(1, len(o)) for o in options], [max(1, len(o.encode())) for o in options])
    compared: list[Floats | None] = [totals, *(totals / size for size in sizes)]
    alone = all(o in unconditional for o in numbers)
    compared.append(totals - [unconditional[o].total for o in numbers] if alone else None)
    return [None if v is None else float((v == v.max())[answer]) / int((v == v.max()).sum()) for v in compared]


def grade_text(family: str, text: str | None, references: list[str]) -> list[float | None]:
    """The grades of a generated text; None without a text, or where the reference holds nothing to compare with."""
    nothing: list[float | None] = [None] * len(GRADES[family])
    if text is None or not references:
        return nothing
    if family == "translation":
        return [_chrf().sentence_score(text, references).score]
    if family == "qa":
        return [official.exact_match(text, references), official.f1(text, references)]
    wanted = {final_number(r) for r in references} - {None}
    return [float(number_of(text) in wanted) for number_of in NUMBERS] if wanted else nothing


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()
