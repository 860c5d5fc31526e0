"""Measured next to true, where the world is planted (docs/method.md §16).

planted_counts        share of planted pairs whose counts equal the plan exactly; anything below 1 is a counting error
recall_by_exposure    share of single-answer facts answered, by how often they were stated
recall_by_count       the same for the factorial's facts, by C(s_x, s_y)
rule_accuracy         answers that follow from a rule, stated in the corpus or held out of it
"""

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl

from schemas import GRADES
from tasks.measures import Measure, MetricRows, checkpoints_of, evaluated_examples, read_answers
from tasks.pair_evidence import PAIR
from tasks.pair_measures import floats
from tasks.statistics import Estimate, wilson
from tasks.step import Work
from tasks.text.final_number import final_number

READS = ("models", "examples", "evidence_answers", "truth", "pair_counts", "ngram_stats")
RECALL = {"exposure": "recall_by_exposure", "factorial": "recall_by_count", "rule": "rule_accuracy", "arithmetic": "rule_accuracy"}
OF_NGRAMS = [f"{side}_{count}" for side in ("input", "output") for count in ("documents", "occurrences")]
COUNTED = {"pair_documents": "count"} | {planned: f"counted_{planned}" for planned in OF_NGRAMS}


def run(work: Work, rows: MetricRows) -> None:
    """Nothing, if the task is not planted."""
    truth = work.frame("truth").filter(task=rows.task).sort("pair")
    if len(truth):
        _counts(work, rows, truth)
        if work.settings["family"] != "translation":  # a sentence is no planted pair: it cannot be answered right or wrong
            _recall(work, rows, truth)


def _counts(work: Work, rows: MetricRows, truth: pl.DataFrame) -> None:
    """Compare every planted count with the counted one. A pair or n-gram that was never counted is not equal."""
    counts = work.frame("pair_counts", *PAIR, "documents").join(truth.select(PAIR).unique(), on=PAIR, how="semi")
    table = truth.join(counts.rename({"documents": "count"}), on=PAIR, how="left", maintain_order="left")
    stats = work.frame("ngram_stats", "ngram", "documents", "occurrences")
    for side in ("input", "output"):
        renamed = {"ngram": f"{side}_ngram"} | {c: f"counted_{side}_{c}" for c in ("documents", "occurrences")}
        table = table.join(stats.rename(renamed), on=f"{side}_ngram", how="left", maintain_order="left")
    equal = {planned: (table[planned] == table[counted]).fill_null(False).to_numpy() for planned, counted in COUNTED.items()}
    for detail, same in {"": np.logical_and.reduce(list(equal.values())), **equal}.items():
        wrong = np.flatnonzero(~same)
        note = ""
        if len(wrong):
            row = table.row(int(wrong[0]), named=True)
            note = f"first that differs: {row['input_ngram']!r}, {row['output_ngram']!r}"
            note += f": planned {row[detail]}, counted {row[COUNTED[detail]]}" if detail else ""
        more: dict[str, Any] = {"unit": "pair", "detail": detail, "rows": len(table), "truth": 1.0, "note": note}
        rows.add("planted_counts", "equal", Estimate(float(same.mean())), **more)
    rows.exclude("planted_counts", "pair never counted", table["count"].null_count(), "pairs")
    rows.exclude("planted_counts", "kept", len(table) - table["count"].null_count(), "pairs")


def planted_pairs(examples: pl.DataFrame, family: str, truth: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """The planted pair of each evaluated example, that of the longest s_x: in its input, and its output or its final number."""
    from tasks.text.words.analyzer import normalise

    by_output: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in truth.iter_rows(named=True):
        by_output[row["output_ngram"]].append(row)
    for same in by_output.values():
        same.sort(key=lambda r: (-len(r["input_ngram"]), r["pair"]))
    matches = {}
    for i, (text, output) in enumerate(examples.select("input", "output").iter_rows()):
        number = final_number(output) if family == "math" else None
        wanted = [normalise(output), *([normalise(str(number))] if number is not None else [])]
        words = f" {normalise(text)} "
        match = next((r for w in wanted for r in by_output.get(w, []) if f" {r['input_ngram']} " in words), None)
        if match is not None:
            matches[i] = match
    return matches


def _recall(work: Work, rows: MetricRows, truth: pl.DataFrame) -> None:
    family = work.settings["family"]
    examples = evaluated_examples(work, rows.task, "input", "output")
    planted = planted_pairs(examples, family, truth)
    answers = read_answers(work, rows.task, examples, "value")
    rows.exclude("recall", "no planted pair", len(examples) - len(planted), "examples")
    rows.exclude("recall", "kept", len(planted), "examples")
    bins: dict[tuple[str, str, float, float], list[int]] = defaultdict(list)
    for i, row in planted.items():
        measure = RECALL.get(row["kind"], "")
        if column := {"recall_by_exposure": "exposures", "recall_by_count": "pair_documents"}.get(measure):
            bins[measure, "", float(row[column]), float(row[column])].append(i)
        elif measure:
            bins[measure, "held_out" if row["held_out"] else "stated", -1.0, float(not row["held_out"])].append(i)
    for checkpoint in checkpoints_of(work):
        answer = answers.get(checkpoint.key)
        value = floats(answer["value"]) if answer is not None else np.full(len(examples), np.nan)
        for (measure, group, level, x), members in sorted(bins.items()):
            graded, estimate = value[members][np.isfinite(value[members])], Estimate(None, note="no answer of this model to judge")
            if len(graded):
                estimate = wilson(float(graded.sum()), len(graded))
            more: dict[str, Any] = {"of": checkpoint, "unit": "example", "group": group, "level": level, "x": x}
            rows.add(measure, GRADES[family][0], estimate, rows=len(graded), examples=len(graded), **more)


MEASURE = Measure(
    "planted_truth", READS, lambda study, task: {"family": task.family}, run, 2.0, lambda study: study.corpus.planted is not None
)
