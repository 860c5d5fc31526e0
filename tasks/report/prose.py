"""Sentences made from the numbers. None says more than its interval: what includes 0 is not called present, nor absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.facts import Facts
from tasks.report.numbers import Cells, cells, first_orders, has_interval, known, number, short, sizes, with_interval


def answer(facts: Facts) -> list[str]:
    """The answer: one sentence or two per task, about the largest model, then the comparison over sizes."""
    ladder = sizes(facts.models, facts.settings["models"])
    asked = [m for m in ladder if any(r["model"] == m for r in facts.metrics)]
    if not asked:
        return ["No model has been asked yet, so there is no answer yet."]
    largest, orders = asked[-1], first_orders(facts.metrics, facts.family)
    size = f" ({short(ladder[largest])} parameters)" if ladder[largest] else ""
    found = [f"The largest model, {largest}{size}, was put to {_count(len(facts.settings['tasks']), 'task')}."]
    for task in facts.settings["tasks"]:
        name = task["name"]
        line = cells(facts.metrics, facts.family, name, largest, orders.get(name, task["first_order"]))
        found.append(f"On {name} {_score(line)}; {_memorization(line)}{_growth(facts, asked, name)}.")
    return found


def _count(many: int, noun: str) -> str:
    return f"{many} {noun}{'' if many == 1 else 's'}"


def _score(line: Cells) -> str:
    if not known(line.score) or line.score is None:
        return "it has no score"
    return f"it reaches {with_interval(line.score)} ({line.score['statistic'].replace('_', ' ')})"


def _memorization(line: Cells) -> str:
    """What Mem_n and Mem_Δ allow to be said together (§6a: Mem_n alone cannot tell the pair from the frequency of s_y)."""
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
    small, large = (cells(facts.metrics, facts.family, task, m, 1).score for m in (asked[0], asked[-1]))
    if small is None or large is None or not has_interval(small) or not has_interval(large):
        return ""
    if small["statistic"] != large["statistic"]:
        return ""
    if large["low"] > small["high"]:
        return f". Its score is above that of {asked[0]} ({with_interval(small)})"
    if large["high"] < small["low"]:
        return f". Its score is below that of {asked[0]} ({with_interval(small)})"
    return f". Its score cannot be told from that of {asked[0]} ({with_interval(small)}): the intervals overlap"


def gammas_of(facts: Facts, task: Mapping[str, Any]) -> str:
    """γ of each n of a task: "n = 2: .62", and for a percentile "n = 2: .62 (p90 of all candidate pairs)"."""
    found = facts.gammas[task["name"]]
    said = {n: f" ({g} of all candidate pairs)" if isinstance(g, str) else "" for n, g in task["gamma"].items()}
    return ", ".join(f"n = {n}: {number(found[n])}{said[n]}" for n in sorted(said))


def methods(facts: Facts) -> str:
    """A paragraph to paste into a paper."""
    how, tasks = facts.settings["methods"], facts.settings["tasks"]
    documents, tokens = (sum(s[k] for s in facts.sources) for k in ("documents", "tokens"))
    corpus = f"{documents:,} documents" + (f" ({tokens:,} model tokens)" if tokens else "")
    encoder = (
        "IBM Model 1 association vectors learnt from the mining examples"
        if how["encoder"] == "association"
        else (f"the sentence encoder {how['encoder model']}")
    )
    gammas = "; ".join(f"{t['name']}: {gammas_of(facts, t)}" for t in tasks)
    twice = [t["name"] for t in tasks if t["mined_on_evaluated"]]
    shots = ", ".join(f"{t['shots']} for {t['name']}" for t in tasks if t["shots"])
    asked = f"behind solved examples ({shots}), else zero-shot" if shots else "zero-shot"
    text = [
        f"We measured distributional memorization (arXiv 2407.14985, Definition 3) over a corpus of {corpus}.",
        f"Task-grams are pairs of word n-grams of an example's input and output whose cosine similarity, by {encoder}, "
        f"exceeds γ ({gammas or 'no task'}). Pairs in which one n-gram contains the other were dropped.",
        f"Stop-word policy: {how['stop words']}. Pair counts are exact numbers of documents that hold both n-grams.",
        "Mem_n is Spearman's ρ between log P_n(s_y|s_x) = log C(s_x,s_y)/df(s_x) and the model's teacher-forced "
        f"log-probability of s_y, {asked}. Mem_Δ correlates log C·N/(df(s_x)·df(s_y)) with the change "
        "of that log-probability against "
        f"{how['other inputs for Mem_Δ']} other inputs of the task.",
        "Mem_∞ uses the ∞-gram model over the models' own tokens with full back-off "
        f"(suffixes of at most {how['longest ∞-gram suffix']} tokens).",
        f"Intervals are at 95 %: Wilson's for shares, else bootstrap intervals with {how['bootstrap draws']:,} draws. "
        "p-values of Mem_n and Mem_Δ account for rows that share examples and outputs, "
        "and are corrected by Benjamini-Hochberg over task × model.",
        f"Log-probabilities were computed in {how['precision']}; all random choices follow from seed {how['seed']}.",
        f"Software: taskgram {facts.settings['versions'].get('taskgram', 'unknown')}.",
    ]
    if twice:
        text.append(f"For {', '.join(twice)} the task-grams were mined from the evaluated examples themselves.")
    return " ".join(text)
