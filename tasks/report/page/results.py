"""The results table, its CSV, and the table of every measure."""

from collections.abc import Sequence
from typing import Any

from schemas import METRICS
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import csv_text
from tasks.report.formatting import any_number, integer
from tasks.report.numbers import PRIMARY, MetricRow, ResultsLine, has_number, label_of, last_checkpoints, sizes
from tasks.report.page.blocks import Block, Custom, Folded, HtmlTable, Remark
from tasks.report.page.html import data_link

MOST_LINES = 600  # of one measure


def results_csv(data: ReportData) -> str:
    """The results table as data: one row per task, model and primary measure."""
    rows, parameters = [], sizes(data.models)
    versions = {t["name"]: t["version"] for t in data.settings["tasks"]}
    for line in _lines(data):
        for measure in PRIMARY:
            if row := line.rows[measure]:
                extra = {"measure": measure, "parameters": parameters.get(line.model), "q_value": line.q.get(measure)}
                rows.append(dict(row) | extra | {"task_version": versions[line.task]})
    return csv_text(rows, (*(c.name for c in METRICS.columns), "parameters", "q_value", "task_version"))


def _lines(data: ReportData) -> list[ResultsLine]:
    """One line per task and model, in the study's order of tasks and by size of model."""
    models = sizes(data.models, data.settings["models"])
    return [data.line(t["name"], m) for t in data.settings["tasks"] for m in models]


def results(data: ReportData) -> list[Block]:
    """The primary measures, task × model."""
    lines = _lines(data)
    if not lines:
        return [Remark("the study names no task or no model, so there is nothing to tabulate")]
    headings: dict[str, str] = {}
    for line in lines:
        if line.task not in headings:
            score = line.rows["main_score"]
            kind = score["statistic"].replace("_", " ") if score else "no score"
            note = f", {score['note']}" if score and has_number(score) and score["note"] else ""
            headings[line.task] = f"{kind}, n = {line.order}{note}"
    return [Custom("results", {"lines": lines, "headings": headings, "csv": data_link(results_csv(data))})]


def measures(data: ReportData) -> list[Block]:
    """Every row of `metrics` at the last checkpoint of its model, by measure; also of measures that no figure shows."""
    if not data.metrics:
        return [Remark("nothing has been measured")]
    blocks: list[Block] = [Remark("The numbers of every measure; the figures and sections above select from these.", "")]
    for (measure,), rows in data.by_measure.items():
        shown = last_checkpoints(rows)
        table, count = _measure_table(data, measure, shown), sum(has_number(r) for r in shown)
        blocks.append(Folded(f"{measure} ({integer(count)} number{'s' * (count != 1)})", [table]))
    return blocks


def _measure_table(data: ReportData, measure: str, rows: Sequence[MetricRow]) -> HtmlTable:
    """One line per task and statistic, one column per model."""
    present = {r["model"] for r in rows}
    models = [*data.ladder_of(rows), *sorted(present - {*data.ladder})]
    lines: dict[tuple[Any, ...], dict[str, MetricRow]] = {}
    for task in data.tasks_of(rows):
        for r in (r for r in rows if r["task"] == task):
            lines.setdefault((task, r["statistic"], r["order"] or "", r["unit"], label_of(r)), {})[r["model"]] = r
    cells = []
    for (*place, label), of_models in [*lines.items()][:MOST_LINES]:
        positions = {r["x"] for r in of_models.values()}
        at = f"x = {next(iter(positions)):.4g}" if len(positions) == 1 and None not in positions else ""
        notes = "; ".join(dict.fromkeys(of_models[m]["note"] for m in models if m in of_models and of_models[m]["note"]))
        numbers = [any_number(of_models[m]) if m in of_models else "–" for m in models]
        cells.append((*place, ", ".join(filter(None, (label, at))), *numbers, notes))
    rest = len(lines) - len(cells)
    caption = f"{measure}: estimates with 95 % intervals, at the last checkpoint of each model"
    caption += f"; {integer(rest)} more lines are in the table `metrics`" if rest else ""
    columns = ("task", "statistic", "n", "unit", "detail", *(m or "corpus" for m in models), "note")
    return HtmlTable(caption, columns, cells, (2,))
