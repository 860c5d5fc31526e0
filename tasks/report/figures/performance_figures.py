"""Performance against counts (docs/method.md §9, Fig. 3), emergence, recall of planted facts, and novelty (§10)."""

import math

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, point, position, size_axis, task_panels
from tasks.report.formatting import integer, short
from tasks.report.numbers import NO_MODELS, counts_pairs, has_interval, has_number, label_of
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
    rows = sentences.of_primary_order(data, data.latest(measure))
    bins = [r for r in rows if r["x"] is not None]
    panels = task_panels(data, measure, bins, XAxis(label, scale), limits=(0.0, None))
    shown = [r for r in rows if has_number(r)] if panels else rows
    empty = f" {len(rows) - len(shown)} bins contain no scored example." if len(shown) < len(rows) else ""
    ends = sentences.lowest_and_highest(data, bins, "in the bin at")
    return figure(data, measure, panels, data.measured(measure), shown, sentences=ends, caption=empty)


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
    ends = [at for at, _ in ticks]
    for index, r in enumerate(onsets):
        if has_number(r) and r["estimate"] > 0:
            low, high = (math.log10(max(r[e], 1.0)) if has_interval(r) else None for e in ("low", "high"))
            p = Point(math.log10(r["estimate"]), 0, low, high)
            dots.append((r["task"], [("", style_of(index), p)]))
            ends += [v for v in (p.x, low, high) if v is not None]
    axis, span = XAxis("parameters", ticks=ticks), (min(ends, default=0.0) - 0.1, max(ends, default=0.0) + 0.1)
    panels = [dots_panel("emergence", "", dots, axis, span=span)] if dots else []
    return figure(data, "emergence", panels, every, onsets, sentences=sentences.emergence(data), models=False, tasks=False)


def recall(data: ReportData) -> ReportFigure:
    """The share of planted facts that a model answers, by how often each was stated."""
    rows = [r for r in data.latest("recall_by_exposure") if r["x"] is not None]
    panels = task_panels(data, "recall", rows, XAxis("times the fact is stated in the corpus", "symlog"))
    ends = sentences.lowest_and_highest(data, rows, "at")
    return figure(data, "recall_by_exposure", panels, data.measured("recall_by_exposure"), rows, sentences=ends, tasks=False)


def novelty(data: ReportData) -> ReportFigure:
    """The share of generated n-grams that occur nowhere in the corpus, next to references and held-out text."""
    rows = [r for r in data.latest("novelty") if not counts_pairs(r) and r["statistic"] != "count"]
    curves = [r for r in rows if r["order"]]
    names = {"reference": "references", "held_out": "held-out text"}
    extra = [(m, name) for m, name in names.items() if any(r["model"] == m for r in curves)]
    axis, label = XAxis("n, words", whole=True), "n-grams not in the corpus, %"
    panels = task_panels(data, "novelty", curves, axis, "order", label, extra=extra)
    shown = [r for r in rows if r["model"] not in NO_MODELS]
    dropped = sum(e["rows"] for e in data.exclusions if e["measure"] == "novelty" and e["of"] == "words")
    note = f" Left out: the last words of {integer(dropped)} generations that max_new_tokens ended." if dropped else ""
    return figure(data, "novelty", panels, data.measured("novelty"), shown, sentences=sentences.novelty(data), caption=note)


def paper_v1(data: ReportData) -> ReportFigure:
    """The measures of the paper's first version: R² of log q → log P_LLM on held-out examples (docs/method.md §14)."""
    rows = [r for r in data.latest("v1") if r["statistic"] == "r_squared"]
    ladder, panels = data.ladder_of(rows), []
    for task, of_task in data.by_task(rows):
        lines = []
        for index, split in enumerate(sorted({label_of(r) for r in of_task}, reverse=True)):
            here = {r["model"]: r for r in of_task if label_of(r) == split and has_number(r)}
            points = [point(here[m], position(ladder, m)) for m in ladder if m in here]
            lines.append(Series(split, points, style_of(index), split))
        if any(line.points for line in lines):
            panels.append(lines_panel(f"v1-{task}", task, lines, size_axis(ladder), "R²"))
    return figure(data, "v1", panels, data.measured("v1"), rows)
