"""The answer of the report in sentences: at a glance, and task by task, about the largest model."""

from collections.abc import Mapping

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.formatting import listed, short, with_interval
from tasks.report.numbers import FEWEST_CLUSTERS, MetricRow, ResultsLine, clusters_of, has_number
from tasks.report.sentences import compare, numbers_of

NO_ANSWER = "No model has been evaluated yet, so there is no answer yet."
GLANCE = {
    "follow": "on {tasks} what the input adds to the answers of {model} follows how often the corpus contains the pair: "
    "distributional memorization",
    "frequency": "on {tasks} the probabilities of {model} follow the counts, which the frequency of the outputs may explain",
    "unclear": "on {tasks} no link between the corpus and {model} is distinguishable from zero",
    "untested": "on {tasks} there are too few examples or outputs to tell for {model}",
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
        if score and has_number(score):
            reaches = f"it reaches {with_interval(score)} ({score['statistic'].replace('_', ' ')})"
        growth = _growth(score, data.line(name, models[0])) if len(models) > 1 else ""
        sentences.append(f"On {name} {reaches}; {_memorized(line)}{growth}.")
    return sentences


def glance(data: ReportData) -> str:
    """The whole answer in one or two sentences: claims about memorization, and of tasks, about the largest model."""
    models = measured_models(data)
    of_sequences = sentences.claims(data.ensembles.verdicts) or ". ".join(sentences.extracted(data)) * data.without_tasks
    if of_sequences and data.without_tasks:
        return f"{of_sequences}."
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
    text = f"{of_sequences}; {text}" if of_sequences and text else text
    return text[:1].upper() + text[1:] + "." if text else "The study names no task, so there is no answer."


def _with_size(data: ReportData, model: str) -> str:
    return f"{model} ({short(data.ladder[model])} parameters)" if data.ladder[model] else model


def _state(line: ResultsLine, measure: str) -> str:
    """What the corrected test says of a measure."""
    row = line.rows[measure]
    if row is None or not has_number(row):
        return "none"
    if measure not in line.q or clusters_of(row) < FEWEST_CLUSTERS:
        return "untested"
    return "unclear" if not line.significant(measure) else "up" if row["estimate"] > 0 else "down"


def _verdict(line: ResultsLine) -> str:
    """What Mem_Δ and Mem_n of one model on one task show."""
    mem, delta = _state(line, "mem_n"), _state(line, "mem_delta")
    if delta == "up":
        return "follow"
    if mem == "up":
        return "frequency"
    states = {mem, delta}
    return "unclear" if states & {"unclear", "down"} else "untested" if "untested" in states else "none"


def _memorized(line: ResultsLine) -> str:
    """What Mem_n and Mem_Δ show together (docs/method.md §6a: Mem_n alone cannot separate the pair from the frequency of s_y)."""
    names = {"mem_n": f"Mem_{line.order}", "mem_delta": "Mem_Δ"}
    states = {name: _state(line, m) for m, name in names.items()}
    if set(states.values()) == {"none"}:
        return "there is no evidence about memorization, because neither measure could be computed"
    mem, delta = (with_interval(line.rows[m]) for m in names)
    few = "; ".join(dict.fromkeys(r["note"] for r in numbers_of(line.rows[m] for m in names) if r["note"]))
    return f"{names['mem_n']} is {mem}, {names['mem_delta']} {delta}: {_conclusion(states)}" + (f" ({few})" if few else "")


def _conclusion(states: Mapping[str, str]) -> str:
    (mem, of_mem), (delta, of_delta) = states.items()
    if of_delta == "up":
        if of_mem == "up":
            return "its probabilities follow the counts of the pairs, and so does what the input adds to them"
        though = {"unclear": f", though {mem} alone does not show it", "down": f", though {mem} is below zero"}
        return f"what the input adds follows the counts of the pairs{though.get(of_mem, '')}"
    if of_mem == "up":
        below = f", and {delta} is below zero" if of_delta == "down" else ""
        return f"its probabilities follow the counts, but the frequency of the outputs may explain it{below}"
    down, unclear = ([name for name, state in states.items() if state == s] for s in ("down", "unclear"))
    if down:
        return f"{listed(down)} {'are' if len(down) > 1 else 'is'} below zero, so higher counts go with lower probabilities"
    if not unclear:
        return "there are too few examples or outputs to tell"
    who = "neither is" if len(unclear) > 1 else f"{unclear[0]} is not"
    return f"after correction {who} distinguishable from zero on these examples"


def _growth(large: MetricRow | None, smallest: ResultsLine) -> str:
    """Largest against smallest model, only where their intervals allow it."""
    scores = numbers_of((smallest.rows["main_score"], large))
    if len({s["statistic"] for s in scores}) != 1 or len(scores) < 2:
        return ""
    other, (way, doubt) = f"that of {smallest.model} ({with_interval(scores[0])})", compare(*scores)
    if way is None:
        return f". Its score is not distinguishable from {other}: {doubt.removeprefix('but ')}"
    return f". Its score is {({1: 'above ', 0: '', -1: 'below '})[way]}{other}"
