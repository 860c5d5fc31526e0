"""All figures, in the order of the page, and the two that need no measure: training, counts of n-grams."""

from functools import partial

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures import check_figures as checks
from tasks.report.figures import ensemble_figures as ensembles
from tasks.report.figures import memorization_figures as memorization
from tasks.report.figures import performance_figures as performance
from tasks.report.figures import sequence_figures as sequences
from tasks.report.figures.report_figure import ReportFigure, figure
from tasks.report.plot.axes import XAxis
from tasks.report.plot.palette import rung_style, style_of
from tasks.report.plot.panels import Point, Series, lines_panel

MOST_POINTS = 200  # of a training curve


def draw(data: ReportData) -> list[ReportFigure]:
    memorized = (sequences.extracted, sequences.discoverable) if "memorization" in data.settings else ()
    claims = (ensembles.density, ensembles.leverage, ensembles.copies, ensembles.twins, ensembles.capacity)
    figures = (
        *(claims if "ensembles" in data.settings else ()),
        *(memorization.memorization, memorization.score, memorization.memorization_against_score),
        *(partial(performance.performance, measure=measure) for measure in performance.BINNINGS),
        *(performance.by_group, performance.emergence, performance.novelty, memorization.generalization, *memorized),
        *(checks.confounds, memorization.placebo, checks.attribution, checks.exposure, checks.comparisons, checks.sweeps),
        *(checks.variants, performance.recall, _ngram_counts, _training, performance.paper_v1),
    )
    return [draw_figure(data) for draw_figure in figures]


def _training(data: ReportData) -> ReportFigure:
    trained = {r["model"] for r in data.training}
    ladder = [m for m in data.ladder if m in trained] + sorted(trained - {*data.ladder})
    lines = []
    for step, model in enumerate(ladder):
        rows = [r for r in data.training if r["model"] == model]
        points = [Point(r["tokens"], r["loss"]) for r in rows[:: -(-len(rows) // MOST_POINTS)]]
        name = model if len(ladder) <= 5 else ""
        lines.append(Series(model, points, rung_style(step, len(ladder)), name, markers=False))
    panels = [lines_panel("training", "", lines, XAxis("tokens seen"), "nats per token", y="linear")] if lines else []
    return figure(data, "training", panels, data.training)


def _ngram_counts(data: ReportData) -> ReportFigure:
    distribution = {n: bins for n, bins in data.distribution.items() if bins}
    lines, rows, observations = [], [], []
    for index, (n, bins) in enumerate(distribution.items()):
        points = [Point(low, distinct) for low, distinct in bins.items()]
        lines.append(Series(f"n = {n}", points, style_of(index), f"n = {n}"))
        for low, distinct in bins.items():
            rows.append({"order": n, "occurrences_from": low, "occurrences_to": 2 * low - 1, "distinct_ngrams": distinct})
        observations = [sentences.once(n, bins)]
    axis = XAxis("occurrences", "log")
    panels = [lines_panel("counts", "", lines, axis, "distinct n-grams", y="log")] if lines else []
    return figure(data, "counts", panels, rows, sentences=observations)
