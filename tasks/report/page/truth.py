"""The planted truth next to what was measured (docs/method.md §16)."""

from collections.abc import Sequence

from tasks.report.data import ReportData
from tasks.report.formatting import integer, number, with_interval
from tasks.report.numbers import MetricRow, has_number, last_checkpoints
from tasks.report.page.blocks import LONGEST_LIST, Block, HtmlTable, Remark, table_of


def truth(data: ReportData, figures: Sequence[Block]) -> list[Block]:
    """What was planted, whether it was counted right, and the measures with a known answer."""
    if not data.truth:
        return [Remark("this corpus was not planted, so there is no truth to compare with")]
    sequences = {f"{kind}, {'in the corpus' if member else 'kept out'}": n for (kind, member), n in data.planted.items()}
    planted = [(kind, integer(n)) for kind, n in (*data.truth.items(), *sequences.items())]
    blocks = [HtmlTable("What was planted", ("kind", "pairs or sequences"), planted, (1,)), _counts(data)]
    return [*blocks, *_correlations(data), *figures, *_rules(data), *_recall(data)]


def _counts(data: ReportData) -> Block:
    """Per task: of how many pairs every count is right, and which counts are wrong."""
    rows = [r for r in data.measured("planted_counts") if has_number(r)]
    if not rows:
        return Remark("the planted counts have not been compared with those in the corpus")
    lines = []
    for r in (r for r in rows if not r["detail"]):  # the row of all counts together
        wrong = [w for w in rows if w["task"] == r["task"] and w["detail"] and w["estimate"] != 1]
        unequal = [f"{w['detail'].replace('_', ' ')} in {round((1 - w['estimate']) * w['rows'])}" for w in wrong]
        verdict = "all equal" if r["estimate"] == 1 else f"NOT all equal: {', '.join(unequal)}"
        equal = f"{integer(round(r['estimate'] * r['rows']))} of {integer(r['rows'])}"
        lines.append((r["task"] or "all", equal, verdict))
    caption = "Planted pairs whose counts in the corpus are exactly those planted: documents with the pair, documents with and "
    return HtmlTable(f"{caption}occurrences of each n-gram", ("task", "pairs", ""), lines, (1,))


def _correlations(data: ReportData) -> list[Block]:
    final = {id(r) for r in last_checkpoints(data.metrics)}
    rank = {m: i for i, m in enumerate(data.ladder)}
    rows = [r for r in data.metrics if r["truth"] is not None and r["detail"] == "planted" and id(r) in final]
    rows.sort(key=lambda r: (r["task"], r["measure"], r["order"], rank.get(r["model"], 0)))
    lines = []
    for r in rows[:LONGEST_LIST]:
        name = f"Mem_{r['order']}" if r["measure"] == "mem_n" else r["measure"]
        lines.append((r["task"], r["model"] or "–", name, number(r["truth"], r["statistic"]), with_interval(r)))
    caption = "The rank correlation between the counts and the generator's own probabilities, and between the counts and each "
    caption += "model's probabilities, over the rows of planted pairs"
    return table_of(caption, ("task", "model", "measure", "true", "measured"), lines)


def _rules(data: ReportData) -> list[Block]:
    rows = last_checkpoints(data.measured("rule_accuracy"))
    lines = [(r["task"], r["model"], r["group"].replace("_", " "), with_interval(r)) for r in rows]
    caption = "Answers that follow a rule, where the corpus states the rule's case and where the case was kept out"
    return table_of(caption, ("task", "model", "case", "accuracy"), lines)


def _recall(data: ReportData) -> list[Block]:
    rows: list[MetricRow] = [r for r in data.measured("recall_by_exposure") if r["x"] is not None]
    blocks: list[Block] = []
    for task in sorted({r["task"] for r in rows}):
        recall = {(r["model"], r["x"]): r for r in last_checkpoints(r for r in rows if r["task"] == task)}
        written = {place: number(r["estimate"], r["statistic"]) for place, r in recall.items()}
        levels = sorted({x for _, x in recall})
        lines = [(m, *(written.get((m, x), "–") for x in levels)) for m in data.ladder_of(recall.values())]
        columns = ("model", *(f"{x:g}" for x in levels))
        caption = f"Recall on {task} by the number of times a fact is stated"
        blocks.append(HtmlTable(caption, columns, lines, range(1, len(columns))))
    return blocks
