"""The results table, the comparison with the planted truth, and how a figure stands on the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tasks.report.data import Facts
from tasks.report.numbers import NO_EVIDENCE, Cells, integer, interval, known, number, sizes, with_interval
from tasks.report.page.figure_html import figure_html
from tasks.report.page.html import data_link, grid, missing, text
from tasks.report.plot.figure import METRIC_COLUMNS, Figure, table

MEASURES = (
    ("main_score", "Score"),
    ("mem_n", "Mem<sub>n</sub>"),
    ("mem_delta", "Mem<sub>Δ</sub>"),
    ("mem_infinity", "Mem<sub>∞</sub>"),
)
LONGEST_LIST = 60


def results_csv(facts: Facts) -> str:
    """The results table as data: one row per task, model and primary measure."""
    rows = []
    versions = {t["name"]: t["version"] for t in facts.settings["tasks"]}
    for line in _lines(facts):
        for measure, _ in MEASURES:
            row = line.of(measure)
            if row is not None:
                rows.append(
                    dict(row)
                    | {"measure": measure, "parameters": sizes(facts.models).get(line.model), "q_value": line.q.get(measure)}
                    | {"task_version": versions[line.task]}
                )
    return table(rows, (*METRIC_COLUMNS, "parameters", "q_value", "task_version"))


def _lines(facts: Facts) -> list[Cells]:
    """One line per task and model, in the study's order of tasks and by size of model."""
    return [
        facts.cells(t["name"], m, facts.order_of(t["name"]))
        for t in facts.settings["tasks"]
        for m in sizes(facts.models, facts.settings["models"])
    ]


def results_html(facts: Facts) -> str:
    lines = _lines(facts)
    if not lines:
        return missing("the study names no task or no model, so there is nothing to tabulate")
    head = "".join(f'<th scope="col">{h}</th>' for h in ("model", *(h for _, h in MEASURES)))
    body, task = "", None
    for line in lines:
        if line.task != task:
            task = line.task
            kind = line.score["statistic"].replace("_", " ") if line.score else "no score"
            note = f", {line.score['note']}" if line.score and known(line.score) and line.score["note"] else ""
            body += (
                f'<tr class="task"><th scope="rowgroup" colspan="5">{text(task)} <span class="why">{text(kind)}, '
                f"n = {line.order}{text(note)}</span></th></tr>"
            )
        values = "".join(f'<td data-label="{re.sub("<[^>]*>", " ", h)}">{_cell(line, m)}</td>' for m, h in MEASURES)
        body += f'<tr><th scope="row">{text(line.model)}</th>{values}</tr>'
    note = (
        "Estimates with 95 % intervals. ● and bold: q &lt; .05, corrected by Benjamini-Hochberg over task × model; ○: not. "
        "Score and Mem<sub>∞</sub> are not in that family and carry no mark. “No evidence” means that the number could not "
        "be taken; it is not a zero."
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Results"><table class="results full">'
        f"<caption>{note}</caption>"
        f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div><p><a href="{data_link(results_csv(facts))}" '
        f'download="results.csv">Results as CSV</a></p>'
    )


def _cell(line: Cells, measure: str) -> str:
    row = line.of(measure)
    if row is None or not known(row):
        why = f'<br><span class="why">{text(row["note"])}</span>' if row is not None and row["note"] else ""
        return f'<span class="v"><span class="none">{NO_EVIDENCE}</span>{why}</span>'
    mark = ""
    if measure in line.q:
        sure = line.significant(measure)
        label = f"q = {line.q[measure]:.3g}"
        mark = f'<span class="mark" role="img" aria-label="{label}" title="{label}">{"●" if sure else "○"}</span>'
    bold = ' class="yes"' if line.significant(measure) else ""
    note = f'<br><span class="why">{text(row["note"])}</span>' if row["note"] and measure != "main_score" else ""
    return (
        f'<span class="v">{mark}<span{bold}>{number(row["estimate"], row["statistic"])}</span> '
        f'<span class="ci">{interval(row)}</span>{note}</span>'
    )


def truth_html(facts: Facts, figures: Sequence[Figure]) -> str:
    if not facts.truth:
        return missing("this corpus was not planted, so nobody knows the truth to compare with")
    html = grid(
        "What was planted",
        ("kind", "pairs or sequences"),
        [
            *((k, integer(n)) for k, n in facts.truth.items()),
            *((f"{k}, {'in the corpus' if member else 'kept out'}", integer(n)) for (k, member), n in facts.planted.items()),
        ],
        (1,),
    )
    counts = [r for r in facts.measured("planted_counts") if known(r)]
    if counts:
        # One row per task: the row without detail says for how many pairs every one of the counts is right.
        rows: list[tuple[Any, ...]] = [
            (
                r["task"] or "all",
                f"{integer(round(r['estimate'] * r['rows']))} of {integer(r['rows'])}",
                "all equal" if r["estimate"] == 1 else f"NOT all equal: {_unequal(counts, r['task'])}",
            )
            for r in counts
            if not r["detail"]
        ]
        html += grid(
            "Planted pairs whose counts in the corpus are exactly those planted: documents with the pair, documents with and "
            "occurrences of each n-gram",
            ("task", "pairs", ""),
            rows,
            (1,),
        )
    else:
        html += missing("the planted counts have not been compared with those found")
    size = sizes(facts.models)
    final = {m: max(r["checkpoint"] for r in facts.metrics if r["model"] == m) for m in {r["model"] for r in facts.metrics}}
    with_truth = sorted(
        (
            r
            for r in facts.metrics
            if r["truth"] is not None and r["detail"] == "planted" and r["checkpoint"] == final[r["model"]]
        ),
        key=lambda r: (r["task"], r["measure"], r["order"], size.get(r["model"], 0)),
    )
    if with_truth:
        rows = [
            (
                r["task"],
                r["model"] or "–",
                f"Mem_{r['order']}" if r["measure"] == "mem_n" else r["measure"],
                number(r["truth"], r["statistic"]),
                with_interval(r),
            )
            for r in with_truth[:LONGEST_LIST]
        ]
        html += grid(
            "The rank correlation that the generator's own probabilities have with the counts, beside each model's, over the "
            "rows of planted pairs",
            ("task", "model", "measure", "true", "measured"),
            rows,
        )
    html += "".join(figure_html(f) for f in figures if f.name == "recall_by_exposure")
    recall = [r for r in facts.measured("recall_by_exposure") if r["x"] is not None]
    rules = [
        (r["task"], r["model"], r["detail"].replace("_", " "), with_interval(r))
        for r in facts.measured("rule_accuracy")
        if r["checkpoint"] == final[r["model"]]
    ]
    if rules:
        html += grid(
            "Answers that follow a rule, where the rule's case was stated and where it was kept out",
            ("task", "model", "case", "accuracy"),
            rules,
        )
    for task in sorted({r["task"] for r in recall}):
        rows_of = [r for r in recall if r["task"] == task]
        levels = sorted({r["x"] for r in rows_of})
        models = list(sizes(facts.models, sorted({r["model"] for r in rows_of})))
        at = {(r["model"], r["x"]): r for r in sorted(rows_of, key=lambda r: r["checkpoint"])}
        rows = [
            (m, *(number(at[m, x]["estimate"], at[m, x]["statistic"]) if (m, x) in at else "–" for x in levels))
            for m in models
        ]
        html += grid(
            f"Recall on {task} by the times a fact is stated",
            ("model", *(f"{x:g}" for x in levels)),
            rows,
            range(1, len(levels) + 1),
        )
    return html


def _unequal(counts: Sequence[Any], task: str) -> str:
    """Which of the counts differ, and in how many pairs."""
    wrong = [r for r in counts if r["task"] == task and r["detail"] and r["estimate"] != 1]
    return ", ".join(f"{r['detail'].replace('_', ' ')} in {round((1 - r['estimate']) * r['rows'])}" for r in wrong)
