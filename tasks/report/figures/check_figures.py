"""What could mislead: confounds with their remedies (docs/method.md §6c), comparisons of models (§6b), sweeps (§2), and what the
rank correlation is made of (docs/method.md §6d: attribution, exposure curve).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, shown_models, task_panels
from tasks.report.numbers import MEASURE_NAMES, MetricRow, has_interval, has_number, in_preferred_unit, is_plain, remedy_of, sign
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
    styles = {m: rung_style(i, len(models)) for i, m in enumerate(models)}
    drawn = [(g, [(m, s, _dot(rows[m])) for m, s in styles.items() if has_number(rows.get(m))]) for g, rows in groups.items()]
    return [(group, dots) for group, dots in drawn if dots]


def _single(row: MetricRow) -> Dots:
    return [("", rung_style(1, 2), _dot(row))]


def _span(rows: Iterable[MetricRow]) -> Span | None:
    """Ends of an axis that holds 0 and all intervals."""
    ends = [r[end] for r in rows if has_interval(r) for end in ("low", "high")]
    return (min(0.0, *ends) - 0.02, max(0.0, *ends) + 0.02) if ends else None


def _as_measured(data: ReportData, measure: str, task: str, models: Sequence[str]) -> dict[str, MetricRow]:
    """The plain row of each model at the primary n, where it has a number."""
    rows = {m: data.row(measure, task, m, data.order_of(task)) for m in models}
    return {m: r for m, r in rows.items() if r is not None and has_number(r)}


def _by_model(rows: Iterable[MetricRow], name: Callable[[MetricRow], str]) -> dict[str, dict[str, MetricRow]]:
    groups: dict[str, dict[str, MetricRow]] = {}
    for r in rows:
        groups.setdefault(name(r), {})[r["model"]] = r
    return groups


def confounds(data: ReportData) -> ReportFigure:
    """ρ after each remedy next to the plain ρ."""
    every, span = data.measured("confound"), _span(data.measured("confound"))
    panels, observations = list[Panel](), []
    for task, latest in data.by_task(data.latest("confound")):
        for measure, name in (("mem_n", "Mem"), ("mem_delta", "Mem Δ")):
            rows = [r for r in latest if r["of_measure"] == measure and r["order"] == data.order_of(task)]
            models = shown_models(data, rows)
            plain = _as_measured(data, measure, task, models)
            dots = _dots(models, {"as measured": plain} | _by_model(rows, remedy_of))
            if rows and dots:
                before = [*plain.values()][-1] if plain else None
                line = (before["estimate"], f"{before['model']} as measured") if before else None
                key = f"confound-{measure}-{task}"
                panels.append(dots_panel(key, name, dots, f"ρ of {name}", span=span, row=task, mark=line))
                observations.append(sentences.survives(rows, before, name))
    return figure(data, "confounds", panels, every, every, sentences=observations)


def comparisons(data: ReportData) -> ReportFigure:
    """Δρ between models on common rows, and the slope on log size."""
    every = data.measured("comparison")
    rows = [r for r in data.latest("comparison") if r["statistic"] == "spearman_difference"]
    rows = in_preferred_unit(rows, "task", "of_measure", "order", "model", "against")
    rank = {m: i for i, m in enumerate(data.ladder)}
    span, hidden, panels = _span(rows), 0, list[Panel]()
    for measure, name in MEASURE_NAMES.items():
        for task, here in data.by_task(r for r in rows if r["of_measure"] == measure and r["against"] and has_number(r)):
            here = [r for r in here if r["order"] in (data.order_of(task), 0)] or here
            pairs = [((rank.get(r["model"], len(rank)), rank.get(r["against"], len(rank))), r) for r in here]
            pairs.sort(key=lambda pair: pair[0])
            if len(pairs) > MOST_PAIRS:
                near, far = ([p for p in pairs if (abs(p[0][0] - p[0][1]) == 1) == close] for close in (True, False))
                pairs = near + [p for p in far if sorted(p[0]) == [0, len(rank) - 1]]
                hidden += len(here) - len(pairs)
            dots = [(f"{r['model']} − {r['against']}", _single(r)) for _, r in pairs]
            key = f"comparison-{measure}-{task}"
            panels.append(replace(dots_panel(key, task, dots, "difference of ρ", span=span, row=name), width=2.7))
    sloped = data.by_task(r for r in every if r["statistic"] == "slope_per_decade" and has_number(r))
    of_order = [r for task, here in sloped for r in here if r["order"] in (0, data.order_of(task))]
    slopes = in_preferred_unit(of_order, "task", "of_measure")
    if slopes:
        names = [MEASURE_NAMES.get(r["of_measure"], r["of_measure"]) for r in slopes]
        dots = [(f"{name}, {r['task']}", _single(r)) for name, r in zip(names, slopes, strict=True)]
        panels.append(dots_panel("comparison-slope", "", dots, "change of ρ per tenfold size", row="Slope on log size"))
    rest = f" Neighbours in size and the two ends are drawn; {hidden} other pairs are in the data." if hidden else ""
    observations = sentences.slopes(slopes)
    return figure(data, "comparisons", panels, every, every, sentences=observations, caption=rest, models=False, tasks=False)


def _swept(data: ReportData, column: str) -> list[MetricRow]:
    """Rows of sweeps over γ or over variants, at the primary n."""
    rows = [r for r in data.latest("sweep") if r["of_measure"] and r[column]]
    return [r for r in rows if r["order"] == data.order_of(r["task"])]


def sweeps(data: ReportData) -> ReportFigure:
    """Mem over γ and over n."""
    every, panels = data.measured("sweep"), list[Panel]()
    for measure, name in MEASURE_NAMES.items():
        over_gamma = [r for r in _swept(data, "gamma") if r["of_measure"] == measure]
        key = f"sweep-gamma-{measure}"
        panels += task_panels(data, key, over_gamma, XAxis("γ"), "x", RHO, row=f"{name} over γ", limits=(-1.0, 1.0))
    over_n = [r for r in data.latest("mem_n") if r["statistic"] == "spearman" and r["unit"] == "pair" and is_plain(r)]
    over_n = [r for _, here in data.by_task(over_n) if len({r["order"] for r in here}) > 1 for r in here]
    axis = XAxis("n, words", whole=True)
    panels += task_panels(data, "sweep-n", over_n, axis, "order", "Mem, ρ", row="over n", limits=(-1.0, 1.0))
    return figure(data, "sweeps", panels, [*every, *over_n], every, models=False, tasks=False)


def _setting(row: MetricRow) -> str:
    setting, _, value = row["variant"].partition("=")
    return f"{setting.replace('_', ' ')}: {value}"


def variants(data: ReportData) -> ReportFigure:
    """Mem under other stop-word policies and encoders."""
    panels, observations = list[Panel](), []
    swept = [r for r in _swept(data, "variant") if has_number(r)]
    for measure, name in MEASURE_NAMES.items():
        for task, rows in data.by_task(r for r in swept if r["of_measure"] == measure):
            models = shown_models(data, rows)
            groups = {"as studied": _as_measured(data, measure, task, models)} | _by_model(rows, _setting)
            panels.append(dots_panel(f"variants-{measure}-{task}", task, _dots(models, groups), RHO, row=name))
            observations.append(sentences.variants(name, models[-1], rows))
    rows = [r for r in data.measured("sweep") if not r["gamma"]]
    return figure(data, "variants", panels, rows, sentences=observations)


def attribution(data: ReportData) -> ReportFigure:
    """Unique rank variance of pair, s_y, s_x and length, stacked."""
    every = data.latest("attribution")
    rows, panels, observations = [r for r in every if has_number(r)], [], []
    for task, here in data.by_task(rows):
        order, bars = data.order_among(task, here), []
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
    panels = task_panels(data, "exposure", curve, XAxis("documents with the pair, C", "symlog"), label="Δ, nats")
    return figure(data, "exposure", panels, data.measured("exposure"), every, sentences=sentences.exposure(data))
