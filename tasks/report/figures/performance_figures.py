"""Performance against data (docs/method.md §9, Fig. 3), emergence, recall of planted facts, and novelty (§10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.report.data import Facts
from tasks.report.numbers import NO_MODELS, Row, has_interval, known, number, short
from tasks.report.page.seen import at_most
from tasks.report.plot.axes import Abscissa
from tasks.report.plot.drawing import Panel
from tasks.report.plot.figure import Figure, by_size, figure, gaps, ladder_of, last, place_of, point, task_panels, tasks_of
from tasks.report.plot.marks import Line, Point, dots_panel, lines_panel
from tasks.report.plot.palette import Look, look

AXES = {
    "performance": ("Performance against data", "sum of the pairs' counts, ΣC", "symlog"),
    "performance_linear": ("The same in bins of equal width", "sum of the pairs' counts, ΣC", "linear"),
    "performance_quantile": ("The same in bins of equal size", "sum of the pairs' counts, ΣC", "symlog"),
    "performance_mean_log_count": ("The same over the mean log count of a pair", "mean log C of the pairs", "linear"),
}


def performance(facts: Facts, measure: str) -> Figure:
    """The score of an example against the counts of its pairs, in one kind of bins."""
    title, label, scale = AXES[measure]
    rows = _first_n(facts, facts.measured(measure))
    at = [r for r in rows if r["x"] is not None]
    panels = task_panels(facts, measure, at, Abscissa(label, scale), lambda r: r["x"], low=0.0)
    empty = sum(1 for r in rows if not known(r))
    return figure(
        measure,
        title,
        panels,
        facts.measured(measure),
        caption="Examples are put into bins by how often their pairs stand together in the corpus; the leftmost bin holds those "
        "whose pairs never do, the rightmost all above the last edge. With many models, intervals are drawn for the "
        "smallest and the largest."
        if measure == "performance"
        else "Bins and intervals as above.",
        missing="no example has both a score and counts" + ("" if not rows else f": {rows[0]['note']}"),
        place="performance",
        seen=at_most([_by_count(facts, at, task) for task in tasks_of(facts, at)]),
        gaps=[
            *([f"{empty} bins hold no scored example"] if empty and panels else []),
            *gaps(facts, [r for r in rows if known(r)], tasks=True),
        ],
        folded=measure != "performance",
    )


def _first_n(facts: Facts, rows: list[Row] | list[dict]) -> list[Row]:
    """Rows of each task's primary n where it has them, else of its smallest n; of the commonest statistic."""
    kept: list[Row] = []
    for task in tasks_of(facts, rows):
        own = last(r for r in rows if r["task"] == task)
        orders = {r["order"] for r in own}
        shown = facts.order_of(task) if facts.order_of(task) in orders else min(orders)
        statistics = sorted({r["statistic"] for r in own})
        kept += [r for r in own if r["order"] == shown and r["statistic"] == statistics[0]]
    return kept


def _by_count(facts: Facts, rows: list[Row], task: str) -> str:
    """The largest model in its lowest and highest bin."""
    ladder = list(ladder_of(facts, [r for r in rows if r["task"] == task and known(r)]))
    if not ladder:
        return ""
    own = sorted((r for r in rows if r["task"] == task and r["model"] == ladder[-1] and known(r)), key=lambda r: r["x"])
    if len(own) < 2:
        return f"On {task} all of {ladder[-1]}'s scored examples stand in one bin"
    low, high = own[0], own[-1]
    values = [number(r["estimate"], r["statistic"]) for r in (low, high)]
    apart = has_interval(low) and has_interval(high) and (high["low"] > low["high"] or high["high"] < low["low"])
    told = "" if apart else ", which the intervals do not tell apart"
    return f"On {task} {ladder[-1]} reaches {values[0]} in the bin at {short(low['x'])} and {values[1]} at {short(high['x'])}{told}"


def by_group(facts: Facts) -> Figure:
    """One point per language pair: Σ counts against corpus BLEU."""
    rows = last(r for r in facts.measured("performance_by_group") if r["x"] is not None)
    panels = task_panels(
        facts, "by-group", rows, Abscissa("sum of the pairs' counts, ΣC", "symlog"), lambda r: r["x"], low=0.0
    )
    return figure(
        "performance_by_group",
        "Performance by language pair",
        panels,
        facts.measured("performance_by_group"),
        caption="One point per language pair: corpus BLEU against the sum of its examples' counts.",
        missing="no task has groups, such as language pairs",
        place="performance",
        gaps=gaps(facts, rows, tasks=False),
        folded=True,
    )


def emergence(facts: Facts) -> Figure:
    """Where the hinge of log P_LLM on log count begins, in parameters (docs/method.md §9)."""
    every = facts.measured("emergence")
    rows = [r for r in every if r["statistic"] == "onset_parameters"]
    ladder = [n for n in facts.ladder.values() if n]
    dots, said = [], []
    for index, r in enumerate(rows):
        if not known(r) or r["estimate"] <= 0:
            continue
        low, high = (math.log10(max(r[e], 1.0)) if has_interval(r) else None for e in ("low", "high"))
        dots.append((r["task"], [("", look(index), Point(math.log10(r["estimate"]), 0, low, high))]))
        ends = f" [{short(r['low'])}, {short(r['high'])}]" if has_interval(r) else ""
        said.append(f"On {r['task']} log-probability begins to follow the counts at {short(r['estimate'])} parameters{ends}")
    ticks = [(math.log10(n), short(n)) for n in ladder]
    panels = (
        [
            dots_panel(
                "emergence",
                "",
                dots,
                "parameters",
                span=_around([at for at, _ in ticks], dots),
                places=Abscissa("parameters", ticks=ticks),
            )
        ]
        if dots
        else []
    )
    return figure(
        "emergence",
        "Emergence",
        panels,
        every,
        caption="The size at which the slope of log P_LLM on log count leaves zero, slope(N) = max(0, b·(log N − log N₀)), with a "
        "95 % interval from joint draws of examples over all models. The marks below are the models.",
        missing="no onset is identified" + "".join(f"; {n}" for n in dict.fromkeys(r["note"] for r in rows if r["note"])),
        place="performance",
        seen=at_most(said),
        gaps=gaps(facts, rows, models=False, tasks=False),
    )


def _around(ticks: Sequence[float], dots: Sequence[tuple[str, Sequence[tuple[str, Look, Point]]]]) -> tuple[float, float]:
    """An axis that holds the ladder and every interval."""
    ends = [v for _, found in dots for *_, p in found for v in (p.x, p.low, p.high) if v is not None]
    return min([*ticks, *ends]) - 0.1, max([*ticks, *ends]) + 0.1


def recall(facts: Facts) -> Figure:
    """The share of planted facts that a model answers, by how often each was stated."""
    rows = last(r for r in facts.measured("recall_by_exposure") if r["x"] is not None)
    axis = Abscissa("times the fact is stated in the corpus", "symlog")
    return figure(
        "recall_by_exposure",
        "Recall by exposure",
        task_panels(facts, "recall", rows, axis, lambda r: r["x"]),
        facts.measured("recall_by_exposure"),
        caption="The share of planted facts that a model answers, by how often each fact was stated where it was trained.",
        missing="only a planted world knows how often each fact was stated",
        place="truth",
        seen=at_most([_by_count(facts, rows, task).replace(" in the bin", "") for task in tasks_of(facts, rows)]),
        gaps=gaps(facts, rows, tasks=False),
    )


def novelty(facts: Facts) -> Figure:
    """The share of generated n-grams that stand nowhere in the corpus, beside references and held-out text."""
    every = facts.measured("novelty")
    rows = last(r for r in every if "pair" not in (r["unit"], r["detail"]) and r["statistic"] != "count")
    curves = [r for r in rows if r["order"]]
    others = [
        (m, n)
        for m, n in (("reference", "references"), ("held_out", "held-out text"))
        if any(r["model"] == m for r in curves)
    ]
    panels: list[Panel] = task_panels(
        facts,
        "novelty",
        curves,
        Abscissa("n, words", whole=True),
        lambda r: r["order"],
        "n-grams not in the corpus, %",
        extra=others,
    )
    said = []
    for task in tasks_of(facts, curves):
        at = {(r["model"], r["order"]): r for r in curves if r["task"] == task and known(r)}
        ladder = [m for m in facts.ladder if any(m == who for who, _ in at)]
        orders = sorted({n for who, n in at if ladder and who == ladder[-1]} & {n for who, n in at if who == "reference"})
        if ladder and orders:
            own, other = at[ladder[-1], orders[-1]], at["reference", orders[-1]]
            less = "fewer" if own["estimate"] < other["estimate"] else "more"
            apart = has_interval(own) and has_interval(other) and (own["high"] < other["low"] or own["low"] > other["high"])
            values = [number(r["estimate"], "rate") for r in (own, other)]
            told = (
                f"{less} than in the references ({values[1]})"
                if apart
                else f"and {values[1]} in the references: not told apart"
            )
            said.append(f"On {task} {values[0]} of {ladder[-1]}'s {orders[-1]}-grams are new, {told}")
    return figure(
        "novelty",
        "Novelty of what the models say",
        panels,
        every,
        caption="The share of generated n-grams that stand nowhere in the corpus. A curve below that of the references or of "
        "held-out text says that a model repeats the corpus more than they do.",
        missing="no model has generated text"
        + "".join(f"; {n}" for n in dict.fromkeys(r["note"] for r in rows if r["note"])),
        place="performance",
        seen=at_most(said),
        gaps=gaps(facts, [r for r in rows if r["model"] not in NO_MODELS]),
    )


def coverage_of_counts(facts: Facts) -> Figure:
    """v1's measures: R² of log q → log P_LLM on held-out examples (docs/method.md §14)."""
    every = facts.measured("v1")
    rows = last(r for r in every if r["statistic"] == "r_squared")
    panels = []
    ladder = ladder_of(facts, rows)
    for task in tasks_of(facts, rows):
        lines = []
        for index, detail in enumerate(sorted({r["detail"] for r in rows if r["task"] == task}, reverse=True)):
            own = {r["model"]: r for r in rows if r["task"] == task and r["detail"] == detail and known(r)}
            points = [point(own[m], place_of(ladder, m)) for m in ladder if m in own]
            lines.append(Line(detail, points, look(index), detail))
        if any(line.points for line in lines):
            panels.append(lines_panel(f"v1-{task}", task, lines, by_size(ladder), "R²"))
    return figure(
        "v1",
        "v1's R² of log q on log P",
        panels,
        every,
        caption="How much of an example's log-probability the corpus counts of its outputs explain, on the four fifths of the "
        "examples the line was fitted to and on the fifth it was not.",
        missing="v1's measures were not taken"
        + "".join(f"; {n}" for n in dict.fromkeys(r["note"] for r in rows if r["note"])),
        place="corpus",
        gaps=gaps(facts, rows),
        folded=True,
    )
