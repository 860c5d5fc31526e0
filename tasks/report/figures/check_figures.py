"""What could mislead: confounds with their remedies (docs/method.md §6c), comparisons of models (§6b), sweeps (§2), and what the
rank correlation is made of (docs/method.md §6d: attribution, exposure curve).
"""

from collections.abc import Iterable, Mapping, Sequence

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, shown_models, task_panels
from tasks.report.numbers import (
    MEASURE_NAMES,
    MetricRow,
    has_interval,
    has_number,
    in_preferred_unit,
    is_plain,
    remedy_of,
    sign,
    slope_measure,
)
from tasks.report.plot.axes import XAxis
from tasks.report.plot.drawing import Panel
from tasks.report.plot.palette import rung_style
from tasks.report.plot.panels import Dots, Point, Span, bars_panel, dots_panel

MOST_PAIRS = 8
RHO = "rank correlation ρ"


def _dot(row: MetricRow) -> Point:
    low, high = (row["low"], row["high"]) if has_interval(row) else (None, None)
    return Point(row["estimate"], 0.0, low, high, sign(row) != 0)


def _dots(models: Sequence[str], groups: Mapping[str, Mapping[str, MetricRow]]) -> list[tuple[str, Dots]]:
    """A dot per model in each group; groups without any number are left out."""
    drawn = []
    for group, rows in groups.items():
        numbers = [(i, m, rows[m]) for i, m in enumerate(models) if m in rows and has_number(rows[m])]
        drawn.append((group, [(m, rung_style(i, len(models)), _dot(r)) for i, m, r in numbers]))
    return [(group, dots) for group, dots in drawn if dots]


def _single(row: MetricRow) -> Dots:
    """One dot without a name."""
    return [("", rung_style(1, 2), _dot(row))]


def _span(rows: Iterable[MetricRow]) -> Span | None:
    """Ends of an axis that holds 0 and all intervals."""
    ends = [r[end] for r in rows if has_interval(r) for end in ("low", "high")]
    return (min(0.0, *ends) - 0.02, max(0.0, *ends) + 0.02) if ends else None


def _as_measured(data: ReportData, measure: str, task: str, models: Sequence[str]) -> dict[str, MetricRow]:
    """The plain row of each model at the primary n, where it has a number."""
    rows = {m: data.row(measure, task, m, data.order_of(task)) for m in models}
    return {m: r for m, r in rows.items() if r is not None and has_number(r)}


def confounds(data: ReportData) -> ReportFigure:
    """ρ after each remedy next to the plain ρ."""
    every, span = data.measured("confound"), _span(data.measured("confound"))
    panels: list[Panel] = []
    observations = []
    for task in data.tasks_of(every):
        at_order = [r for r in data.latest("confound") if r["task"] == task and r["order"] == data.order_of(task)]
        for measure, name in (("mem_n", "Mem"), ("mem_delta", "Mem Δ")):
            rows = [r for r in at_order if r["of_measure"] == measure]
            models = shown_models(data, rows)
            plain = _as_measured(data, measure, task, models)
            groups: dict[str, dict[str, MetricRow]] = {"as measured": plain}
            for r in rows:
                groups.setdefault(remedy_of(r), {})[r["model"]] = r
            dots = _dots(models, groups)
            if not rows or not dots:
                continue
            before = plain[list(plain)[-1]] if plain else None
            line = (before["estimate"], f"{before['model']} as measured") if before else None
            key = f"confound-{measure}-{task}"
            panels.append(dots_panel(key, name, dots, f"ρ of {name}", span=span, row=task, reference=line))
            observations.append(sentences.survives(rows, before, name))
    return figure(data, "confounds", panels, every, every, sentences=observations)


def comparisons(data: ReportData) -> ReportFigure:
    """Δρ between models on common rows, and the slope on log size."""
    every = data.measured("comparison")
    rows = [r for r in data.latest("comparison") if r["statistic"] == "spearman_difference"]
    rows = in_preferred_unit(rows, "task", "of_measure", "order", "model", "against")
    rank = {m: i for i, m in enumerate(data.ladder)}
    ends = (0, len(rank) - 1)
    span, hidden = _span(rows), 0
    panels: list[Panel] = []
    for measure, name in MEASURE_NAMES.items():
        for task in data.tasks_of(rows):
            here = [r for r in rows if r["task"] == task and r["of_measure"] == measure and has_number(r)]
            pairs = [(r, r["against"]) for r in here if r["against"]]
            pairs = [p for p in pairs if p[0]["order"] in (data.order_of(task), 0)] or pairs
            ranks = {id(r): (rank.get(r["model"], len(rank)), rank.get(other, len(rank))) for r, other in pairs}
            pairs.sort(key=lambda p: ranks[id(p[0])])
            if len(pairs) > MOST_PAIRS:
                total = len(pairs)
                near = [p for p in pairs if abs(ranks[id(p[0])][0] - ranks[id(p[0])][1]) == 1]
                pairs = near + [p for p in pairs if p not in near and tuple(sorted(ranks[id(p[0])])) == ends]
                hidden += total - len(pairs)
            if pairs:
                dots = [(f"{r['model']} − {other}", _single(r)) for r, other in pairs]
                key = f"comparison-{measure}-{task}"
                panels.append(dots_panel(key, task, dots, "difference of ρ", span=span, row=name, width=2.7))
    sloped = [r for r in every if r["statistic"] == "slope_per_decade" and has_number(r)]
    sloped = [r for task in data.tasks_of(sloped) for r in sloped if r["task"] == task]
    sloped = [r for r in sloped if r["order"] in (0, data.order_of(r["task"]))]
    slopes = in_preferred_unit(sloped, "task", "of_measure")
    if slopes:
        dots = [(f"{slope_measure(r)}, {r['task']}", _single(r)) for r in slopes]
        panels.append(dots_panel("comparison-slope", "", dots, "change of ρ per tenfold size", row="Slope on log size"))
    rest = f" Neighbours in size and the two ends are drawn; {hidden} other pairs are in the data." if hidden else ""
    observations = sentences.slopes(slopes)
    return figure(data, "comparisons", panels, every, every, sentences=observations, caption=rest, models=False, tasks=False)


def sweeps(data: ReportData) -> ReportFigure:
    """Mem over γ and over n."""
    every = data.measured("sweep")
    swept = [r for r in data.latest("sweep") if r["of_measure"] and r["order"] == data.order_of(r["task"])]
    panels: list[Panel] = []
    for measure, name in MEASURE_NAMES.items():
        over_gamma = [r for r in swept if r["gamma"] and r["of_measure"] == measure]
        key = f"sweep-gamma-{measure}"
        panels += task_panels(data, key, over_gamma, XAxis("γ"), "x", RHO, row=f"{name} over γ", limits=(-1.0, 1.0))
    over_n = [r for r in data.latest("mem_n") if r["statistic"] == "spearman" and r["unit"] == "pair" and is_plain(r)]
    several = {t for t in data.tasks_of(over_n) if len({r["order"] for r in over_n if r["task"] == t}) > 1}
    over_n = [r for r in over_n if r["task"] in several]
    axis = XAxis("n, words", whole=True)
    panels += task_panels(data, "sweep-n", over_n, axis, "order", "Mem, ρ", row="over n", limits=(-1.0, 1.0))
    return figure(data, "sweeps", panels, [*every, *over_n], every, models=False, tasks=False)


def variants(data: ReportData) -> ReportFigure:
    """Mem under other stop-word policies and encoders."""
    every = data.measured("sweep")
    swept = [r for r in data.latest("sweep") if r["of_measure"] and r["order"] == data.order_of(r["task"])]
    swept = [r for r in swept if r["variant"] and has_number(r)]
    panels: list[Panel] = []
    observations = []
    for measure, name in MEASURE_NAMES.items():
        for task in data.tasks_of(swept):
            rows = [r for r in swept if r["task"] == task and r["of_measure"] == measure]
            if not rows:
                continue
            models = shown_models(data, rows)
            groups: dict[str, dict[str, MetricRow]] = {"as studied": _as_measured(data, measure, task, models)}
            for r in rows:
                setting, _, value = r["variant"].partition("=")
                groups.setdefault(f"{setting.replace('_', ' ')}: {value}", {})[r["model"]] = r
            panels.append(dots_panel(f"variants-{measure}-{task}", task, _dots(models, groups), RHO, row=name))
            observations.append(sentences.variants(name, models[-1], rows))
    rows = [r for r in every if not r["gamma"]]
    return figure(data, "variants", panels, rows, sentences=observations)


def attribution(data: ReportData) -> ReportFigure:
    """Unique rank variance of pair, s_y, s_x and length, stacked."""
    every = data.latest("attribution")
    rows = [r for r in every if has_number(r)]
    panels, observations = [], []
    for task in data.tasks_of(rows):
        here = [r for r in rows if r["task"] == task]
        orders = {r["order"] for r in here}
        order = data.order_of(task) if data.order_of(task) in orders else min(orders)
        bars = []
        for model in data.ladder_of(here):
            shares = {r["detail"]: r for r in here if r["model"] == model and r["order"] == order}
            heights = [(label, max(0.0, shares[c]["estimate"])) for c, label in sentences.COMPONENTS.items() if c in shares]
            bars.append((model, heights))
        panels.append(bars_panel(f"attribution-{task}", task, bars, "share of rank variance"))
        observations.append(sentences.attribution(model, shares))
    below = sum(r["estimate"] < 0 for r in rows)
    note = f" {below} shares below zero are drawn as zero." if below else ""
    return figure(data, "attribution", panels, data.measured("attribution"), every, sentences=observations, caption=note)


def exposure(data: ReportData) -> ReportFigure:
    """Δ against C, matched on df(s_y) and length; documents per nat."""
    every = data.latest("exposure")
    curve = [r for r in every if r["statistic"] == "delta_mean"]
    axis = XAxis("documents with the pair, C", "symlog")
    panels = task_panels(data, "exposure", curve, axis, label="Δ, nats")
    return figure(data, "exposure", panels, data.measured("exposure"), every, sentences=sentences.exposure(data))
