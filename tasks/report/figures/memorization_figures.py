"""Memorization: over model size in the paper's arrangement, next to its placebo, and against the score.

docs/method.md §6 (Mem_n, Mem_Δ), §7 (Mem_∞), §6d (placebo corpus, memorization × score), §8 (generalization).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, ladder_panels, point, position, size_axis
from tasks.report.numbers import HUNDREDS, MEASURE_NAMES, MetricRow, has_number, is_plain, notes_of, significant
from tasks.report.plot.axes import XAxis
from tasks.report.plot.drawing import Panel
from tasks.report.plot.palette import DASHES, style_of
from tasks.report.plot.panels import Series, absent_panel, arrows_panel, lines_panel, shared_span

RHO = "rank correlation ρ"
Drawn = tuple[str, str, str, list[Series]]  # of a panel: name, heading of its row, task, lines


def memorization(data: ReportData) -> ReportFigure:
    """Mem_n per n (solid) and Mem_∞ (broken) over model size; Mem_Δ below."""
    every = [r for r in data.measured("mem_n", "mem_infinity", "mem_delta") if r["statistic"] == "spearman"]
    drawn, used = list[Drawn](), list[MetricRow]()
    for kind, heading, measures in (
        ("n", "Mem: task-grams (solid), ∞-gram model (broken)", ("mem_n", "mem_infinity")),
        ("delta", "Mem Δ: what the input adds", ("mem_delta",)),
    ):
        for task in data.tasks_of(every):
            lines = [line for m in measures for line in _lines(data, every, m, task, used)]
            drawn.append((f"memorization-{kind}-{task}", heading, task, lines))
    why = {task: notes_of(rows, "", len(every)) or "not measured" for task, rows in data.by_task(every)}
    panels = _panels(drawn, data.ladder_of(r for r in every if has_number(r)), why) if any(lines for *_, lines in drawn) else []
    shown = [r for r in every if r["measure"] != "mem_infinity" and is_plain(r)]
    return figure(data, "memorization", panels, used, shown, sentences=sentences.memorization(data))


def _panels(drawn: Sequence[Drawn], ladder: Mapping[str, int], why: Mapping[str, str]) -> list[Panel]:
    """Panels over model size with one y axis; where a task has no line, the reason."""
    span, axis = shared_span([line for *_, lines in drawn for line in lines], -1.0, 1.0), size_axis(ladder)
    return [
        lines_panel(name, task, _dodged(lines), axis, RHO, span=span, row=heading)
        if lines
        else absent_panel(name, task, f"No evidence: {why[task]}.", heading)
        for name, heading, task, lines in drawn
    ]


def _dodged(lines: Sequence[Series]) -> list[Series]:
    """The lines next to each other on a log axis, so that their intervals do not hide each other."""
    middle = (len(lines) - 1) / 2
    return [replace(line, points=[p._replace(x=p.x * 1.045 ** (i - middle)) for p in line.points]) for i, line in enumerate(lines)]


def _lines(data: ReportData, every: Sequence[MetricRow], measure: str, task: str, used: list[MetricRow]) -> list[Series]:
    """One line per n of one measure; the rows that are drawn are added to `used`."""
    orders = sorted({r["order"] for r in every if r["task"] == task and r["measure"] == measure})
    all_orders = sorted({r["order"] for r in every if r["order"]})
    ladder = data.ladder_of(r for r in every if has_number(r))
    infinity = measure == "mem_infinity"
    lines = []
    for order in orders:
        style = style_of(all_orders.index(order) if order in all_orders else 0)
        points = []
        for model in ladder:
            row = data.row(measure, task, model, order)
            if row is None:
                continue
            q = data.line(task, model).q.get(measure) if order == data.order_of(task) else None
            used.append(dict(row) | {"x": ladder[model], "q_value": q})
            if has_number(row):
                wide = data.row(measure, task, model, order, interval="two_way")
                points.append(point(row, position(ladder, model), filled=significant(wide or row, q), wide=wide))
        n = f"n = {order}" if order else ""
        end = n if not infinity else "∞" if order == orders[0] else ""
        name = f"∞-gram model, {n}".rstrip(", ") if infinity else n
        lines.append(Series(name, points, style._replace(dash=DASHES[1] if infinity else "-"), end))
    return [line for line in lines if line.points]


def placebo(data: ReportData) -> ReportFigure:
    """Mem next to the same measure with counts from a corpus that the model never saw."""
    every = [r for r in data.measured("mem_n", "mem_delta") if r["statistic"] == "spearman"]
    rows = [r for r in every if r["corpus"] in ("placebo", "difference")]
    ladder = data.ladder_of(r for r in every if has_number(r))
    drawn, used = list[Drawn](), list[MetricRow]()
    for measure in ("mem_n", "mem_delta"):
        for task in data.tasks_of(r for r in rows if r["measure"] == measure):
            lines = []
            for corpus, label, style in (("", "the models' corpus", 0), ("placebo", "placebo corpus", 6), ("difference", "", 0)):
                present = [(m, r) for m in ladder if (r := data.row(measure, task, m, data.order_of(task), corpus=corpus))]
                used += [r for _, r in present]
                points = [point(r, position(ladder, m)) for m, r in present if has_number(r)]
                lines += [Series(label, points, style_of(style))] if label else []
            if any(line.points for line in lines):
                drawn.append((f"placebo-{'n' if measure == 'mem_n' else 'delta'}-{task}", MEASURE_NAMES[measure], task, lines))
    panels, observations = _panels(drawn, ladder, {}), sentences.placebo(data)
    return figure(data, "placebo", panels, used, rows, sentences=observations, models=False, tasks=False)


def memorization_against_score(data: ReportData) -> ReportFigure:
    """Memorization × score: one path per task, from the smallest to the largest model."""
    lines, used = [], []
    for index, task in enumerate(data.tasks_of(data.measured("mem_delta", "mem_n"))):
        rows = [data.line(task, m).rows for m in data.ladder]
        pairs = [sentences.numbers_of((of["mem_delta"], of["main_score"])) for of in rows]
        both = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
        points = [point(mem, s["estimate"] * (1 if s["statistic"] in HUNDREDS else 100)) for mem, s in both]
        used += [dict(mem) | {"score": s["estimate"], "score_statistic": s["statistic"]} for mem, s in both]
        lines += [Series(task, points, style_of(index))] if points else []
    panels = [arrows_panel("plane", "", lines, XAxis("score, %"), "Mem Δ")] if lines else []
    return figure(data, "plane", panels, used, sentences=sentences.memorization_against_score(data))


def generalization(data: ReportData) -> ReportFigure:
    """(1 − τ_b)/2 over model size (docs/method.md §8)."""
    rows = [r for r in data.latest("generalization") if r["statistic"] == "kendall_distance"]
    rows = [r for r in rows if r["order"] == data.order_of(r["task"])]
    panels = ladder_panels(data, "generalization", rows, 2, "(1 − τ_b) / 2", (-0.02, 1.02))
    return figure(data, "generalization", panels, data.measured("generalization"), rows)


def score(data: ReportData) -> ReportFigure:
    lines = [data.line(t["name"], m) for t in data.settings["tasks"] for m in data.ladder]
    rows = [r for line in lines if (r := line.rows["main_score"]) is not None]
    ladder = data.ladder_of(rows)
    drawn = [dict(r) | {"x": ladder[r["model"]]} for r in rows]
    return figure(data, "score", ladder_panels(data, "score", rows, 0), drawn, rows, sentences=sentences.scores(data))
