"""Memorization: over model size in the paper's arrangement, beside its placebo, between models, and against the score.

docs/method.md §6 (Mem_n, Mem_Δ), §7 (Mem_∞), §6d (placebo corpus, memorization × score), §8 (generalization).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.report.data import Facts
from tasks.report.numbers import HUNDREDS, Row, is_bare, known, number, pick
from tasks.report.page.seen import at_most, course, sign, significant
from tasks.report.plot.axes import Abscissa
from tasks.report.plot.drawing import Panel
from tasks.report.plot.figure import (
    METRIC_COLUMNS,
    Figure,
    aside,
    by_size,
    figure,
    gaps,
    ladder_of,
    last,
    place_of,
    point,
    statistic_name,
    task_panels,
    tasks_of,
)
from tasks.report.plot.marks import Line, absent_panel, arrows_panel, lines_panel, shared_span
from tasks.report.plot.palette import DASHES, Look, look

MEASURES = ("mem_n", "mem_infinity", "mem_delta")
NAMES = {"mem_n": "Mem", "mem_delta": "Mem Δ", "mem_infinity": "Mem ∞"}


def primary(facts: Facts, measure: str, task: str, model: str, order: int, detail: str = "") -> Row | None:
    """The row of a measure at one n; `detail` names a variant of the plain row."""
    rows = [r for r in facts.rows_of(task, model) if r["measure"] == measure and r["order"] == order]
    rows = [r for r in rows if (r["detail"] == detail if detail else is_bare(r["detail"]))]
    return pick(rows, measure, task, model, order, "spearman")


def memorization(facts: Facts) -> Figure:
    """Mem_n per n (solid) and Mem_∞ (broken) over model size; Mem_Δ below."""
    every = [r for m in MEASURES for r in facts.measured(m) if r["statistic"] == "spearman"]
    drawn: list[tuple[str, str, list[Line]]] = []
    used: list[Row] = []
    for heading, measures in (
        ("Mem: task-grams (solid), ∞-gram model (broken)", MEASURES[:2]),
        ("Mem Δ: what the input adds", MEASURES[2:]),
    ):
        for task in tasks_of(facts, every):
            lines = [line for m in measures for line in _lines(facts, every, m, task, used)]
            lines = [
                replace(line, points=[p._replace(x=aside(p.x, i, len(lines))) for p in line.points])
                for i, line in enumerate(lines)
            ]
            drawn.append((heading, task, lines))
    span = shared_span([line for *_, lines in drawn for line in lines], -1.0, 1.0)
    axis = by_size(ladder_of(facts, [r for r in every if known(r)]))
    panels: list[Panel] = []
    for heading, task, lines in drawn if any(lines for *_, lines in drawn) else ():
        name = f"memorization-{'delta' if 'Δ' in heading else 'n'}-{task}"
        notes = dict.fromkeys(r["note"] for r in every if r["task"] == task and r["note"] and not known(r))
        panels.append(
            lines_panel(name, task, lines, axis, "rank correlation ρ", span=span, row=heading)
            if lines
            else absent_panel(name, task, f"No evidence: {'; '.join(notes) or 'not measured'}.", heading)
        )
    seen = [
        said
        for task in tasks_of(facts, every)
        for measure, name in (("mem_n", f"Mem_{facts.order_of(task)} of {task}"), ("mem_delta", f"Mem_Δ of {task}"))
        if (said := course(name, [primary(facts, measure, task, m, facts.order_of(task)) for m in facts.ladder]))
    ]
    return figure(
        "memorization",
        "Memorization over model size",
        panels,
        used,
        caption="How closely the models' probabilities follow the corpus, one column per task. Filled: q < .05 in the corrected "
        "family, p < .05 outside it; open: not. Thick bars: 95 % intervals over new examples; thin: over new examples and "
        "new outputs.",
        missing="no memorization measure has a number",
        place="glance",
        seen=at_most(seen, 8),
        gaps=gaps(facts, [r for r in every if r["measure"] != "mem_infinity" and is_bare(r["detail"])]),
        columns=(*METRIC_COLUMNS, "q_value"),
    )


def _lines(facts: Facts, every: Sequence[Row], measure: str, task: str, used: list[Row]) -> list[Line]:
    """One line per n of one measure; the rows that are drawn are noted in `used`."""
    orders = sorted({r["order"] for r in every if r["task"] == task and r["measure"] == measure})
    all_orders = sorted({r["order"] for r in every if r["order"]})
    ladder = ladder_of(facts, [r for r in every if known(r)])
    lines = []
    for order in orders:
        style = look(all_orders.index(order) if order in all_orders else 0)
        style = Look(style.colour, style.marker, DASHES[1] if measure == "mem_infinity" else "-")
        points = []
        for model in ladder:
            row = primary(facts, measure, task, model, order)
            if row is None:
                continue
            q = facts.cells(task, model, order).q.get(measure) if order == facts.order_of(task) else None
            used.append(dict(row) | {"x": ladder[model], "q_value": q})
            if known(row):
                wide = primary(facts, measure, task, model, order, "pigeonhole")
                points.append(point(row, place_of(ladder, model), filled=significant(row, q), wide=wide))
        said = f"n = {order}" if order else ""
        end = "∞" if measure == "mem_infinity" and order == orders[0] else "" if measure == "mem_infinity" else said
        name = f"∞-gram model, {said}".rstrip(", ") if measure == "mem_infinity" else said
        lines.append(Line(name, points, style, end))
    return [line for line in lines if line.points]


def placebo(facts: Facts) -> Figure:
    """Mem beside the same measure with counts from a corpus that the model never saw."""
    every = [r for m in ("mem_n", "mem_delta") for r in facts.measured(m) if r["statistic"] == "spearman"]
    rows = [r for r in every if r["detail"] in ("placebo", "minus placebo")]
    drawn, used, said = [], [], []
    for measure, name in (("mem_n", "Mem"), ("mem_delta", "Mem Δ")):
        ladder = ladder_of(facts, [r for r in every if known(r)])
        for task in tasks_of(facts, [r for r in rows if r["measure"] == measure]):
            order = facts.order_of(task)
            lines = []
            for index, (detail, label) in enumerate((("", "the models' corpus"), ("placebo", "placebo corpus"))):
                found = {m: primary(facts, measure, task, m, order, detail) for m in ladder}
                used += [r for r in found.values() if r is not None]
                points = [
                    point(r, aside(place_of(ladder, m), index, 2)) for m, r in found.items() if r is not None and known(r)
                ]
                lines.append(Line(label, points, look(6 if detail else 0)))
            drawn.append((name, task, lines))
            left = [primary(facts, measure, task, m, order, "minus placebo") for m in ladder]
            used += [r for r in left if r is not None]
            end = next((r for r in reversed(left) if r is not None and known(r)), None)
            if end is not None:
                clear = {
                    1: "which belongs to this corpus",
                    -1: "below the placebo",
                    0: "which its interval does not tell from zero",
                }
                said.append(
                    f"{name} less placebo on {task} is {number(end['estimate'])} for {end['model']}, {clear[sign(end)]}"
                )
    span = shared_span([n for *_, lines in drawn for n in lines], -1.0, 1.0)
    axis = by_size(ladder_of(facts, [r for r in every if known(r)]))
    panels = [
        lines_panel(
            f"placebo-{'n' if name == 'Mem' else 'delta'}-{task}",
            task,
            lines,
            axis,
            "rank correlation ρ",
            span=span,
            row=name,
        )
        for name, task, lines in drawn
        if any(line.points for line in lines)
    ]
    return figure(
        "placebo",
        "Memorization beside a placebo",
        panels,
        used,
        caption="The broken line uses counts from a corpus of the same size that the models never saw. What is left between the "
        "lines belongs to this corpus, and not to language.",
        missing="no placebo corpus was asked for, or none could be counted" + _why(rows),
        place="checks",
        seen=at_most(said),
        gaps=gaps(facts, rows, models=False, tasks=False),
    )


def _why(rows: Sequence[Row]) -> str:
    notes = dict.fromkeys(r["note"] for r in rows if r["note"])
    return f": {'; '.join(notes)}" if notes else ""


def plane(facts: Facts) -> Figure:
    """Memorization × score: one path per task, from the smallest to the largest model."""
    lines, used, said = [], [], []
    for index, task in enumerate(tasks_of(facts, facts.measured("mem_delta") + facts.measured("mem_n"))):
        points = []
        for model in facts.ladder:
            cells = facts.cells(task, model, facts.order_of(task))
            mem, score = cells.mem_delta if known(cells.mem_delta) else None, cells.score
            if mem is not None and score is not None and known(score):
                percent = score["estimate"] * (1 if score["statistic"] in HUNDREDS else 100)
                points.append(point(mem, percent))
                used.append(dict(mem) | {"score": score["estimate"], "score_statistic": score["statistic"]})
        if points:
            lines.append(Line(task, points, look(index)))
            way = "up" if points[-1].x > points[0].x else "down"
            mem_way = "up" if points[-1].y > points[0].y else "down"
            if len(points) > 1:
                both = "score and Mem_Δ both go " + way if way == mem_way else f"the score goes {way} and Mem_Δ {mem_way}"
                said.append(f"On {task} {both} from the smallest to the largest model")
    panels = [arrows_panel("plane", "", lines, Abscissa("score, %"), "Mem Δ")] if lines else []
    return figure(
        "plane",
        "Memorization against score",
        panels,
        used,
        caption="One path per task; each point is a model, the arrow points to the largest. To the right and up: better by "
        "remembering; to the right and down or level: better without.",
        missing="no task has both a score and a Mem_Δ",
        place="performance",
        seen=at_most(said),
        columns=(*METRIC_COLUMNS, "score", "score_statistic"),
    )


def generalization(facts: Facts) -> Figure:
    """(1 − τ_b)/2 over model size (docs/method.md §8)."""
    rows = last(
        r
        for r in facts.measured("generalization")
        if r["statistic"] == "kendall_distance" and r["order"] == facts.order_of(r["task"])
    )
    panels: list[Panel] = []
    for task in tasks_of(facts, rows):
        ladder = ladder_of(facts, rows)
        points = [
            point(r, place_of(ladder, m)) for m in ladder for r in rows if r["model"] == m and r["task"] == task and known(r)
        ]
        if points:
            panels.append(
                lines_panel(
                    f"generalization-{task}",
                    task,
                    [Line("", points, look(2))],
                    by_size(ladder),
                    "(1 − τ_b) / 2",
                    span=(-0.02, 1.02),
                )
            )
    return figure(
        "generalization",
        "Distributional generalization",
        panels,
        facts.measured("generalization"),
        caption="The normalised Kendall distance between corpus and model: 0 where both order the pairs alike, one half where "
        "they have nothing to do with each other. It says generalization only where the score is above chance.",
        missing="no generalization measure has a number" + _why(rows),
        place="performance",
        gaps=gaps(facts, rows),
        folded=True,
    )


def score(facts: Facts) -> Figure:
    """What each model reaches."""
    found = [facts.cells(t["name"], m, 1).score for t in facts.settings["tasks"] for m in facts.ladder]
    rows = [r for r in found if r is not None]
    ladder = ladder_of(facts, rows)
    panels = []
    for task in tasks_of(facts, rows):
        own = [r for r in rows if r["task"] == task and known(r)]
        if own:
            points = [point(r, place_of(ladder, r["model"])) for r in own]
            top = (-3.0, 103.0) if max(p.y for p in points) > 1 or own[0]["statistic"] in HUNDREDS else None
            panels.append(
                lines_panel(
                    f"score-{task}",
                    task,
                    [Line("", points, look(0))],
                    by_size(ladder),
                    statistic_name(own[0]["statistic"]),
                    span=top,
                )
            )
    return figure(
        "score",
        "Score over model size",
        panels,
        [dict(r) | {"x": ladder[r["model"]]} for r in rows],
        caption="What each model of the ladder reaches on each task, with 95 % intervals.",
        missing="no score has been measured" + _why(rows),
        place="performance",
        seen=at_most(
            [course(f"The score on {task}", [r for r in rows if r["task"] == task]) for task in tasks_of(facts, rows)]
        ),
        gaps=gaps(facts, rows),
    )


def sweep_over_n(facts: Facts) -> list[Panel]:
    """Mem over n, one line per model, from the rows of the first figure."""
    rows = last(
        r for r in facts.measured("mem_n") if r["statistic"] == "spearman" and r["unit"] == "pair" and is_bare(r["detail"])
    )
    several = {t for t in tasks_of(facts, rows) if len({r["order"] for r in rows if r["task"] == t}) > 1}
    rows = [r for r in rows if r["task"] in several]
    axis = Abscissa("n, words", whole=True)
    return task_panels(facts, "sweep-n", rows, axis, lambda r: r["order"], "Mem, ρ", row="over n", low=-1.0, high=1.0)
