"""Sentences made from the numbers. None says more than its interval: what includes 0 is not called present, nor absent."""

from __future__ import annotations

from tasks.report.data import Facts
from tasks.report.numbers import Cells, has_interval, known, short, with_interval
from tasks.report.page.seen import listed

GLANCE = {
    "follow": "on {tasks} what the input adds to the answers of {model} follows how often the corpus holds the pair: "
    "distributional memorization",
    "frequency": "on {tasks} the probabilities of {model} follow the counts, which the frequency of the outputs may explain",
    "unclear": "on {tasks} no link between the corpus and {model} can be told from none",
    "none": "for {tasks} there is no evidence",
}


def answer(facts: Facts) -> list[str]:
    """The answer: one sentence or two per task, about the largest model, then the comparison over sizes."""
    ladder, asked = facts.ladder, asked_models(facts)
    if not asked:
        return ["No model has been asked yet, so there is no answer yet."]
    largest = asked[-1]
    size = f" ({short(ladder[largest])} parameters)" if ladder[largest] else ""
    found = [f"The largest model, {largest}{size}, was put to {_count(len(facts.settings['tasks']), 'task')}."]
    for task in facts.settings["tasks"]:
        name = task["name"]
        line = facts.cells(name, largest, facts.order_of(name))
        found.append(f"On {name} {_score(line)}; {_memorization(line)}{_growth(facts, asked, name)}.")
    return found


def asked_models(facts: Facts) -> list[str]:
    """Models that any row speaks of, smallest first."""
    spoken = {r["model"] for r in facts.metrics}
    return [m for m in facts.ladder if m in spoken]


def glance(facts: Facts) -> str:
    """The whole answer in one or two sentences, about the largest model."""
    asked = asked_models(facts)
    if not asked:
        return "No model has been asked yet, so there is no answer yet."
    largest = asked[-1]
    size = f" ({short(facts.ladder[largest])} parameters)" if facts.ladder[largest] else ""
    groups: dict[str, list[str]] = {"follow": [], "frequency": [], "unclear": [], "none": []}
    for task in facts.settings["tasks"]:
        line = facts.cells(task["name"], largest, facts.order_of(task["name"]))
        groups[_verdict(line)].append(task["name"])
    said: list[str] = []
    for kind, names in groups.items():
        if names:
            said.append(GLANCE[kind].format(tasks=listed(names), model=largest + (size if not said else "")))
    text = "; ".join(said)
    return text[:1].upper() + text[1:] + "." if text else "The study names no task, so there is no answer."


def _verdict(line: Cells) -> str:
    """What Mem_Δ and Mem_n of one model on one task allow to be said."""
    if not known(line.mem_n) and not known(line.mem_delta):
        return "none"
    if line.significant("mem_delta") and _positive(line.mem_delta):
        return "follow"
    return "frequency" if line.significant("mem_n") and _positive(line.mem_n) else "unclear"


def _count(many: int, noun: str) -> str:
    return f"{many} {noun}{'' if many == 1 else 's'}"


def _score(line: Cells) -> str:
    if not known(line.score) or line.score is None:
        return "it has no score"
    return f"it reaches {with_interval(line.score)} ({line.score['statistic'].replace('_', ' ')})"


def _memorization(line: Cells) -> str:
    """What Mem_n and Mem_Δ allow to be said together (docs/method.md §6a: Mem_n alone cannot tell the pair from the frequency of s_y)."""
    mem, delta = line.mem_n, line.mem_delta
    if not known(mem) and not known(delta):
        return "there is no evidence about memorization, because neither measure could be taken"
    shown = f"Mem_{line.order} is {with_interval(mem)}, Mem_Δ {with_interval(delta)}"
    mem_up = line.significant("mem_n") and _positive(mem)
    delta_up = line.significant("mem_delta") and _positive(delta)
    if mem_up and delta_up:
        return f"{shown}: its probabilities follow the counts of the pairs, and so does what it owes to the input"
    if delta_up:
        return (
            f"{shown}: what it owes to the input follows the pairs' counts, though Mem_{line.order} alone does not show it"
        )
    if mem_up:
        return f"{shown}: its probabilities follow the counts, but how frequent the outputs are may explain it"
    if line.significant("mem_n") or line.significant("mem_delta"):
        return f"{shown}: at least one of them is below zero, so higher counts go with lower probabilities"
    return f"{shown}: after correction neither can be told from zero on these examples"


def _positive(row: object) -> bool:
    return isinstance(row, dict) and known(row) and row["estimate"] > 0


def _growth(facts: Facts, asked: list[str], task: str) -> str:
    """Smallest against largest model, only where their intervals allow it."""
    if len(asked) < 2:
        return ""
    small, large = (facts.cells(task, m, 1).score for m in (asked[0], asked[-1]))
    if small is None or large is None or not has_interval(small) or not has_interval(large):
        return ""
    if small["statistic"] != large["statistic"]:
        return ""
    if large["low"] > small["high"]:
        return f". Its score is above that of {asked[0]} ({with_interval(small)})"
    if large["high"] < small["low"]:
        return f". Its score is below that of {asked[0]} ({with_interval(small)})"
    return f". Its score cannot be told from that of {asked[0]} ({with_interval(small)}): the intervals overlap"
