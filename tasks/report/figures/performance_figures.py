"""Performance against counts (docs/method.md §9, Fig. 3), emergence, recall of planted facts, and novelty (§10)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, point, position, size_axis, task_panels
from tasks.report.formatting import number, short
from tasks.report.numbers import NO_MODELS, MetricRow, apart, counts_pairs, has_interval, has_number, label_of
from tasks.report.plot.axes import XAxis
from tasks.report.plot.palette import style_of
from tasks.report.plot.panels import Dots, Point, Series, dots_panel, lines_panel

COUNT_AXIS = "sum of the pairs' counts, ΣC"
BINNINGS = {
    "performance": (COUNT_AXIS, "symlog"),
    "performance_linear": (COUNT_AXIS, "linear"),
    "performance_quantile": (COUNT_AXIS, "symlog"),
    "performance_mean_log_count": ("mean log C of the pairs", "linear"),
}


def performance(data: ReportData, measure: str) -> ReportFigure:
    """The score of an example against the counts of its pairs, in one kind of bins."""
    label, scale = BINNINGS[measure]
    rows = _of_primary_order(data, data.latest(measure))
    bins = [r for r in rows if r["x"] is not None]
    panels = task_panels(data, measure, bins, XAxis(label, scale), limits=(0.0, None))
    shown = [r for r in rows if has_number(r)] if panels else rows
    empty = f" {len(rows) - len(shown)} bins contain no scored example." if len(shown) < len(rows) else ""
    ends = [_lowest_and_highest(data, bins, task, "in the bin at") for task in data.tasks_of(bins)]
    return figure(data, measure, panels, data.measured(measure), shown, sentences=ends, caption=empty)


def _of_primary_order(data: ReportData, rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Rows of each task's primary n where it has them, else of its smallest n; of the first statistic."""
    kept: list[MetricRow] = []
    for task in data.tasks_of(rows):
        here = [r for r in rows if r["task"] == task]
        orders, statistic = {r["order"] for r in here}, min(r["statistic"] for r in here)
        order = data.order_of(task) if data.order_of(task) in orders else min(orders)
        kept += [r for r in here if r["order"] == order and r["statistic"] == statistic]
    return kept


def _lowest_and_highest(data: ReportData, rows: Iterable[MetricRow], task: str, at: str) -> str:
    """The largest model in its lowest and its highest bin."""
    here = [r for r in rows if r["task"] == task and has_number(r)]
    models = list(data.ladder_of(here))
    if not models:
        return ""
    bins = sorted((r for r in here if r["model"] == models[-1]), key=lambda r: r["x"])
    if len(bins) < 2:
        return f"On {task} all scored examples of {models[-1]} are in one bin"
    low, high = (f"{number(r['estimate'], r['statistic'])} {at} {short(r['x'])}" for r in (bins[0], bins[-1]))
    overlap = "" if apart(bins[0], bins[-1]) else ", but the intervals overlap"
    return f"On {task} {models[-1]} reaches {low} and {high}{overlap}"


def by_group(data: ReportData) -> ReportFigure:
    """One point per language pair: Σ counts against corpus BLEU."""
    rows = [r for r in data.latest("performance_by_group") if r["x"] is not None]
    panels = task_panels(data, "by-group", rows, XAxis(COUNT_AXIS, "symlog"), limits=(0.0, None))
    return figure(data, "performance_by_group", panels, data.measured("performance_by_group"), rows, tasks=False)


def emergence(data: ReportData) -> ReportFigure:
    """Where the hinge of log P_LLM on log count begins, in parameters (docs/method.md §9)."""
    every = data.measured("emergence")
    onsets = [r for r in every if r["statistic"] == "onset_parameters"]
    dots: list[tuple[str, Dots]] = []
    ticks = [(math.log10(n), short(n)) for n in data.ladder.values() if n]
    ends, sentences = [at for at, _ in ticks], []
    for index, r in enumerate(onsets):
        if has_number(r) and r["estimate"] > 0:
            low, high = (math.log10(max(r[e], 1.0)) if has_interval(r) else None for e in ("low", "high"))
            p = Point(math.log10(r["estimate"]), 0, low, high)
            dots.append((r["task"], [("", style_of(index), p)]))
            ends += [v for v in (p.x, low, high) if v is not None]
            limits = f" [{short(r['low'])}, {short(r['high'])}]" if has_interval(r) else ""
            onset = f"{short(r['estimate'])} parameters{limits}"
            sentences.append(f"On {r['task']} log-probability begins to follow the counts at {onset}")
    axis, span = XAxis("parameters", ticks=ticks), (min(ends, default=0.0) - 0.1, max(ends, default=0.0) + 0.1)
    panels = [dots_panel("emergence", "", dots, "parameters", span=span, x=axis)] if dots else []
    return figure(data, "emergence", panels, every, onsets, sentences=sentences, models=False, tasks=False)


def recall(data: ReportData) -> ReportFigure:
    """The share of planted facts that a model answers, by how often each was stated."""
    rows = [r for r in data.latest("recall_by_exposure") if r["x"] is not None]
    panels = task_panels(data, "recall", rows, XAxis("times the fact is stated in the corpus", "symlog"))
    ends = [_lowest_and_highest(data, rows, task, "at") for task in data.tasks_of(rows)]
    return figure(data, "recall_by_exposure", panels, data.measured("recall_by_exposure"), rows, sentences=ends, tasks=False)


def novelty(data: ReportData) -> ReportFigure:
    """The share of generated n-grams that occur nowhere in the corpus, next to references and held-out text."""
    rows = [r for r in data.latest("novelty") if not counts_pairs(r) and r["statistic"] != "count"]
    curves = [r for r in rows if r["order"]]
    names = {"reference": "references", "held_out": "held-out text"}
    extra = [(m, name) for m, name in names.items() if any(r["model"] == m for r in curves)]
    sentences = []
    for task in data.tasks_of(curves):
        rates = {(r["model"], r["order"]): r for r in curves if r["task"] == task and has_number(r)}
        models = [m for m in data.ladder if any(m == who for who, _ in rates)]
        orders = {n for who, n in rates if who == "reference" and models and (models[-1], n) in rates}
        if orders:
            n = max(orders)
            generated, reference = rates[models[-1], n], rates["reference", n]
            share, other = (number(r["estimate"], "rate") for r in (generated, reference))
            less = "fewer" if generated["estimate"] < reference["estimate"] else "more"
            compared = f", {less} than in the references ({other})"
            if not apart(generated, reference):
                compared = f" and {other} of those in the references; the intervals overlap"
            sentences.append(f"On {task} {share} of the {n}-grams that {models[-1]} generates are new{compared}")
    axis, label = XAxis("n, words", whole=True), "n-grams not in the corpus, %"
    panels = task_panels(data, "novelty", curves, axis, "order", label, extra=extra)
    shown = [r for r in rows if r["model"] not in NO_MODELS]
    return figure(data, "novelty", panels, data.measured("novelty"), shown, sentences=sentences)


def paper_v1(data: ReportData) -> ReportFigure:
    """The measures of the paper's first version: R² of log q → log P_LLM on held-out examples (docs/method.md §14)."""
    rows = [r for r in data.latest("v1") if r["statistic"] == "r_squared"]
    ladder, panels = data.ladder_of(rows), []
    for task in data.tasks_of(rows):
        lines = []
        for index, split in enumerate(sorted({label_of(r) for r in rows if r["task"] == task}, reverse=True)):
            here = {r["model"]: r for r in rows if r["task"] == task and label_of(r) == split and has_number(r)}
            points = [point(here[m], position(ladder, m)) for m in ladder if m in here]
            lines.append(Series(split, points, style_of(index), split))
        if any(line.points for line in lines):
            panels.append(lines_panel(f"v1-{task}", task, lines, size_axis(ladder), "R²"))
    return figure(data, "v1", panels, data.measured("v1"), rows)
