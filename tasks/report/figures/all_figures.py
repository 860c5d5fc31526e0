"""All figures, in the order of the page, and the two that need no measure: training, counts of n-grams."""

from __future__ import annotations

from tasks.report.data import Facts
from tasks.report.figures import check_figures as checks
from tasks.report.figures import memorization_figures as memorization
from tasks.report.figures import performance_figures as performance
from tasks.report.numbers import sizes
from tasks.report.plot.axes import Abscissa
from tasks.report.plot.figure import Figure, figure
from tasks.report.plot.marks import Line, Point, lines_panel
from tasks.report.plot.palette import look, step_look

MOST_POINTS = 200  # of a training curve


def draw(facts: Facts) -> list[Figure]:
    """All figures, in the order of the page."""
    return [
        memorization.memorization(facts),
        memorization.score(facts),
        memorization.plane(facts),
        *(performance.performance(facts, measure) for measure in performance.AXES),
        performance.by_group(facts),
        performance.emergence(facts),
        performance.novelty(facts),
        memorization.generalization(facts),
        checks.confounds(facts),
        memorization.placebo(facts),
        checks.attribution(facts),
        checks.exposure(facts),
        checks.comparisons(facts),
        checks.sweeps(facts),
        checks.variants(facts),
        performance.recall(facts),
        _counts(facts),
        _training(facts),
        performance.coverage_of_counts(facts),
    ]


def _training(facts: Facts) -> Figure:
    ladder = sizes(facts.models, sorted({r["model"] for r in facts.training}))
    ladder = {m: n for m, n in ladder.items() if any(r["model"] == m for r in facts.training)}
    lines = []
    for step, model in enumerate(ladder):
        own = [r for r in facts.training if r["model"] == model]
        own = own[:: -(-len(own) // MOST_POINTS)]
        points = [Point(r["tokens"], r["loss"]) for r in own]
        lines.append(Line(model, points, step_look(step, len(ladder)), model if len(ladder) <= 5 else "", plain=True))
    panels = [lines_panel("training", "", lines, Abscissa("tokens seen"), "nats per token", zero=False)] if lines else []
    return figure(
        "training",
        "Training",
        panels,
        facts.training,
        caption="Loss of each model that was trained here, as its log says.",
        missing="no model was trained here",
        place="corpus",
        columns=("model", "step", "tokens", "loss", "learning_rate"),
    )


def _counts(facts: Facts) -> Figure:
    lines = [
        Line(f"n = {n}", [Point(low, many) for low, many in bins.items()], look(i), f"n = {n}")
        for i, (n, bins) in enumerate(facts.distribution.items())
        if bins
    ]
    rows = [
        {"order": n, "occurrences_from": low, "occurrences_to": 2 * low - 1, "distinct_ngrams": many}
        for n, bins in facts.distribution.items()
        for low, many in bins.items()
    ]
    axis = Abscissa("occurrences", "log")
    panels = [lines_panel("counts", "", lines, axis, "distinct n-grams", zero=False, log_y=True)] if lines else []
    once = {n: bins.get(1, 0) / sum(bins.values()) for n, bins in facts.distribution.items() if sum(bins.values())}
    seen = [f"{100 * share:.0f} % of the distinct {n}-grams stand once" for n, share in list(once.items())[-1:]]
    return figure(
        "counts",
        "How often n-grams stand in the corpus",
        panels,
        rows,
        caption="Distinct n-grams by how often they occur, in doubling bins: few are frequent, most are rare.",
        missing="n-grams of all orders were not counted",
        place="corpus",
        seen=seen,
        columns=("order", "occurrences_from", "occurrences_to", "distinct_ngrams"),
    )
