"""Sentences made from the numbers. None says more than its interval: if that includes 0, nothing is called present or absent."""

from __future__ import annotations

from tasks.report.data import ReportData
from tasks.report.formatting import listed, short, with_interval
from tasks.report.numbers import MetricRow, ResultsLine, apart, has_interval, has_number

NO_ANSWER = "No model has been evaluated yet, so there is no answer yet."
GLANCE = {
    "follow": "on {tasks} what the input adds to the answers of {model} follows how often the corpus contains the pair: "
    "distributional memorization",
    "frequency": "on {tasks} the probabilities of {model} follow the counts, which the frequency of the outputs may explain",
    "unclear": "on {tasks} no link between the corpus and {model} is distinguishable from zero",
    "none": "for {tasks} there is no evidence",
}


def measured_models(data: ReportData) -> list[str]:
    """Models that have any row, smallest first."""
    return list(data.ladder_of(data.metrics))


def answer(data: ReportData) -> list[str]:
    """The answer: one sentence or two per task, about the largest model, then the comparison over sizes."""
    models, tasks = measured_models(data), data.settings["tasks"]
    if not models:
        return [NO_ANSWER]
    count = f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}"
    sentences = [f"The largest model, {_with_size(data, models[-1])}, was evaluated on {count}."]
    for name in (t["name"] for t in tasks):
        line = data.line(name, models[-1])
        score = line.rows["main_score"]
        reaches = "it has no score"
        if score is not None and has_number(score):
            reaches = f"it reaches {with_interval(score)} ({score['statistic'].replace('_', ' ')})"
        growth = _growth(score, data.line(name, models[0])) if len(models) > 1 else ""
        sentences.append(f"On {name} {reaches}; {_memorization(line)}{growth}.")
    return sentences


def glance(data: ReportData) -> str:
    """The whole answer in one or two sentences, about the largest model."""
    models = measured_models(data)
    if not models:
        return NO_ANSWER
    groups: dict[str, list[str]] = {kind: [] for kind in GLANCE}
    for task in data.settings["tasks"]:
        groups[_verdict(data.line(task["name"], models[-1]))].append(task["name"])
    clauses: list[str] = []
    for kind, names in groups.items():
        if names:
            model = models[-1] if clauses else _with_size(data, models[-1])
            clauses.append(GLANCE[kind].format(tasks=listed(names), model=model))
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:] + "." if text else "The study names no task, so there is no answer."


def _with_size(data: ReportData, model: str) -> str:
    return f"{model} ({short(data.ladder[model])} parameters)" if data.ladder[model] else model


def _above_zero(line: ResultsLine, measure: str) -> bool:
    """Whether a measure is significantly positive."""
    row = line.rows[measure]
    return row is not None and has_number(row) and row["estimate"] > 0 and line.significant(measure)


def _verdict(line: ResultsLine) -> str:
    """What Mem_Δ and Mem_n of one model on one task show."""
    if not has_number(line.rows["mem_n"]) and not has_number(line.rows["mem_delta"]):
        return "none"
    if _above_zero(line, "mem_delta"):
        return "follow"
    return "frequency" if _above_zero(line, "mem_n") else "unclear"


def _memorization(line: ResultsLine) -> str:
    """What Mem_n and Mem_Δ show together (docs/method.md §6a: Mem_n alone cannot separate the pair from the frequency of s_y)."""
    mem, delta = line.rows["mem_n"], line.rows["mem_delta"]
    if not has_number(mem) and not has_number(delta):
        return "there is no evidence about memorization, because neither measure could be computed"
    name = f"Mem_{line.order}"
    shown = f"{name} is {with_interval(mem)}, Mem_Δ {with_interval(delta)}"
    mem_up, delta_up = (_above_zero(line, m) for m in ("mem_n", "mem_delta"))
    if mem_up and delta_up:
        return f"{shown}: its probabilities follow the counts of the pairs, and so does what the input adds to them"
    if delta_up:
        return f"{shown}: what the input adds follows the counts of the pairs, though {name} alone does not show it"
    if mem_up:
        return f"{shown}: its probabilities follow the counts, but the frequency of the outputs may explain it"
    if line.significant("mem_n") or line.significant("mem_delta"):
        return f"{shown}: at least one of them is below zero, so higher counts go with lower probabilities"
    return f"{shown}: after correction neither is distinguishable from zero on these examples"


def _growth(large: MetricRow | None, smallest: ResultsLine) -> str:
    """Largest against smallest model, only where their intervals allow it."""
    small = smallest.rows["main_score"]
    if small is None or large is None or not has_interval(small) or not has_interval(large):
        return ""
    if small["statistic"] != large["statistic"]:
        return ""
    other = f"that of {smallest.model} ({with_interval(small)})"
    if not apart(small, large):
        return f". Its score is not distinguishable from {other}: the intervals overlap"
    return f". Its score is {'above' if large['low'] > small['high'] else 'below'} {other}"
