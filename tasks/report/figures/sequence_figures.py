"""Which sequences the models reproduce, next to phantoms, which no model was trained on (docs/memorization.md)."""

from schemas.tables.sequences import NULLS
from tasks.report import sentences
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure, figure, model_series, point, shown_models
from tasks.report.numbers import MetricRow, has_number
from tasks.report.plot.axes import XAxis
from tasks.report.plot.palette import DASHES, style_of
from tasks.report.plot.panels import Series, lines_panel, shared_span
from tasks.statistics import wilson

COPIES = XAxis("copies in the corpus; 0: phantoms", "symlog")
DRAWN = XAxis("samples, n", "log", tuple((10.0**power, f"10{'⁰¹²³⁴⁵⁶'[power]}") for power in (0, 2, 4, 6)))
STYLES = {sample: style_of(index) for index, sample in enumerate(NULLS)}  # members have solid lines, phantoms broken ones
STYLES |= {"planted_phantoms": style_of(0)._replace(dash=DASHES[1]), "phantoms": style_of(6)._replace(dash=DASHES[1])}


def by_doubling(rows: list[MetricRow]) -> list[MetricRow]:
    """Rows of `rate_by_duplicates` joined by doublings of the copies, with Wilson's interval: a quarter of one has few windows."""
    joined: dict[tuple[str, int], list[MetricRow]] = {}
    for row in rows:
        joined.setdefault((row["model"], row["bin"] // 4), []).append(row)
    out: list[MetricRow] = []
    for (_, octave), some in joined.items():
        windows = sum(r["rows"] for r in some)
        rate = wilson(round(sum(r["estimate"] * r["rows"] for r in some)), windows)
        more = {"estimate": rate.value, "low": rate.low, "high": rate.high, "rows": windows, "bin": 4 * octave}
        out.append(dict(some[0]) | more | {"x": sum(r["x"] * r["rows"] for r in some) / windows})
    return out


def extracted(data: ReportData) -> ReportFigure:
    """The share of windows whose suffix greedy decoding gives, by their copies in the corpus; at 0 that of phantoms."""
    every = data.latest("extraction")
    excess = [r for r in every if r["statistic"] == "excess"]
    panels, used = [], list[MetricRow]()
    for sample, kind in sentences.samples_of(excess):
        wanted = (("rate_by_duplicates", sample, kind), ("rate", NULLS[sample], kind))
        members, phantoms = ([r for r in every if (r["statistic"], r["group"], r["detail"]) == which] for which in wanted)
        here = [dict(r) | {"x": 0.0} for r in phantoms] + by_doubling(members)
        if lines := model_series(data, [r for r in here if has_number(r)], "x"):
            title = sentences.KINDS[kind or sample]
            panels.append(lines_panel(f"extracted-{kind or sample}", title, lines, COPIES, "extracted, %", span=(-4.0, 104.0)))
            used += here
    window = "Windows of {prefix} + {suffix} tokens.".format(**data.settings["memorization"])
    observations = sentences.extracted(data)
    return figure(data, "extracted", panels, used, excess, sentences=observations, caption=f" {window}", tasks=False)


def discoverable(data: ReportData) -> ReportFigure:
    """The share of windows whose suffix is among n samples with a probability of one half or more."""
    rows = [r for r in data.latest("discoverable") if r["statistic"] == "rate" and r["level"] == sentences.ONE_HALF]
    rows = [r for r in rows if r["detail"] == rows[0]["detail"]]
    drawn, used = [], list[MetricRow]()
    for model in shown_models(data, rows):
        lines = []
        for sample, style in STYLES.items():
            here = [r for r in rows if (r["model"], r["group"]) == (model, sample) and has_number(r)]
            lines.append(Series(sample.replace("_", " "), [point(r, r["x"]) for r in here], style))
            used += here
        drawn.append((model, lines))
    span = shared_span([line for _, lines in drawn for line in lines], 0.0, 100.0)
    panels = [lines_panel(f"discoverable-{m}", m, lines, DRAWN, "found, %", span=span) for m, lines in drawn]
    return figure(data, "discoverable", panels, used, rows, sentences=sentences.discoverable(data), tasks=False)
