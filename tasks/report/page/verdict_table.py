"""Memorized or learned: the verdict on each claim (docs/memorization.md), how it is decided, and the figures."""

from collections.abc import Sequence

from tasks.report.data import ReportData
from tasks.report.formatting import decided, integer
from tasks.report.page.blocks import Block, Folded, HtmlTable, Remark, table_of

MARKS = {"supported": "●\u00a0supported", "refuted": "×\u00a0refuted", "inconclusive": "○\u00a0inconclusive"}
COLUMNS = ("claim", "what it says", "verdict", "estimate", "compared with", "seeds that agree")
RULES = ("claim", "decided by", "note")


def claims(data: ReportData, figures: Sequence[Block]) -> list[Block]:
    """The verdict table, the rules, and what the runs show."""
    rows = data.ensembles.verdicts
    if not rows:
        return [Remark("no claim was tested"), *figures]
    several = len({r["network"] for r in rows}) > 1
    lines, rules = [], []
    for r in rows:
        network = (r["network"],) * several
        null = decided(r | {"estimate": r["null"], "low": None, "unit": "", "note": ""})
        lines.append((r["claim"], *network, r["statement"], MARKS[r["verdict"]], decided(r), null, f"{r['agree']} of {r['seeds']}"))
        rules.append((r["claim"], *network, r["rule"] or "–", r["note"] or "–"))
    columns, of_rules = (((names[0], "network", *names[1:]) if several else names) for names in (COLUMNS, RULES))
    level = f"{100 * rows[0]['level']:.0f} %"
    caption = f"The verdict on each claim over the seeds of a network, with its estimate and the interval at {level}"
    caption += "; inconclusive: the interval does not decide, or seeds contradict each other"
    table = HtmlTable(caption, columns, lines)
    return [table, Folded("How each claim is decided", [HtmlTable("Decision rules", of_rules, rules)]), *figures]


def networks(data: ReportData) -> list[Block]:
    """The models that were trained once for each run."""
    lines = [
        (r["model"], integer(r["parameters"]), integer(r["runs"]), integer(r["diverged"]), integer(r["steps"]))
        for r in sorted(data.ensembles.runs, key=lambda r: (r["parameters"], r["model"]))
    ]
    columns = ("model", "parameters", "runs", "diverged", "optimizer steps of a run")
    caption = "The models that were trained again and again, on half of the sequences each time"
    return table_of(caption, columns, lines, range(1, 5))
