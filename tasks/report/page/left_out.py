"""What was left out, by reason; test text in the corpus (docs/method.md §13); and documents with the pairs."""

from collections.abc import Mapping
from typing import Any

from tasks.report.data import ReportData
from tasks.report.formatting import integer, number, with_interval
from tasks.report.numbers import has_number
from tasks.report.page.blocks import LONGEST_LIST, Block, Custom, Folded, HtmlTable, Remark, table_of

SHOWN_CONTAMINATED = 25  # of a task


def left_out(data: ReportData) -> list[Block]:
    """Rejected records, mining, and what each measure left out."""
    blocks = [*_rejects("corpus records", data.document_rejects), *_rejects("task records", data.example_rejects), *_mining(data)]
    if not data.exclusions:
        return [*blocks, Remark("no measure records that anything was left out")]
    columns = ("measure", "task", "model", "order", "reason", "rows", "of")
    lines = [[integer(e[c]) if c == "rows" else e[c] or "–" * (c in ("model", "order")) for c in columns] for e in data.exclusions]
    names = ("measure", "task", "model", "n", "reason", "rows", "of")
    table = HtmlTable("Exclusions by reason; “kept” is what the measure rests on", names, lines, (5,))
    return [*blocks, Folded(f"What each measure left out ({integer(len(lines))} lines)", [table])]


def _rejects(what: str, counts: Mapping[tuple[str, str], int]) -> list[Block]:
    if not counts:
        return [Remark(f"no {what} were rejected", "")]
    ordered = sorted(((source, reason, n) for (source, reason), n in counts.items()), key=lambda r: (-r[2], *r[:2]))
    lines, rest = [(s, r, integer(n)) for s, r, n in ordered[:LONGEST_LIST]], ordered[LONGEST_LIST:]
    if rest:
        lines.append(("other", f"{len(rest)} more reasons", integer(sum(n for *_, n in rest))))
    return table_of(f"Rejected {what}: {integer(sum(counts.values()))}", ("source", "reason", "records"), lines, (2,))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "–"


def _mining(data: ReportData) -> list[Block]:
    lines = []
    for r in data.mining:
        counts = [integer(r[name]) for name in ("candidates_of_order", "kept", "above")]
        lines.append((r["task"], r["order"], number(r["gamma"]), *counts, _percent(r["above"], r["candidates_of_order"])))
    caption = "Mining: pairs of n-grams of one example, those above the lowest γ, and those above the γ of the measures"
    columns = ("task", "n", "γ", "candidates", "mined", "above γ", "acceptance rate")
    blocks = table_of(caption, columns, lines, range(1, 7), "no task-grams were mined")
    totals = []
    for task, r in {r["task"]: r for r in data.mining if r["candidates"]}.items():
        total, below, contained = (r[name] for name in ("candidates", "below_gamma", "contained"))
        totals.append((task, *map(integer, (total, below, contained)), _percent(total - below - contained, total)))
    of_totals = ("task", "candidates", "below the lowest γ", "one inside the other", "accepted")
    return blocks + table_of("Mining, all n together", of_totals, totals, range(1, 5))


def documents(data: ReportData) -> list[Block]:
    """Some pairs of each task with documents that contain them."""
    if not data.pairs:
        return [Remark("no documents were kept for the pairs, or no pair occurs in the corpus")]
    return [Custom("documents", data.pairs)]


def contaminated(data: ReportData) -> list[Block]:
    """Evaluated examples that share a long n-gram with the corpus, each with a document that contains it."""
    lines = []
    for r in (r for r in data.measured("contamination") if r["statistic"] == "share"):
        share = with_interval(r) if has_number(r) else r["note"]
        lines.append((r["task"], r["order"], r["detail"], share, integer(r["rows"])))
    caption = "Share of the evaluated examples, of those long enough, that share an n-gram with the corpus"
    names = ("task", "n", "side", "share", "examples")
    blocks = table_of(caption, names, lines, (1, 4), "contamination was not measured")
    if lines and not data.contaminated:
        blocks.append(Remark("no evaluated example shares an n-gram of these lengths with the corpus", ""))
    longest: dict[tuple[str, str], dict[str, Any]] = {}
    for r in sorted(data.contaminated, key=lambda r: -r["order"]):  # the longest shared n-gram of an example includes others
        longest.setdefault((r["task"], r["example"]), r)
    for task in dict.fromkeys(r["task"] for r in data.contaminated):
        rows = sorted((r for r in longest.values() if r["task"] == task), key=lambda r: (-r["order"], r["example"]))
        examples = [
            (r["example"], r["side"], r["order"], r["ngram"], integer(r["documents"]), f"{r['source']} · {r['id']}")
            for r in rows[:SHOWN_CONTAMINATED]
        ]
        more = len(rows) - len(examples)
        rest = f"; {integer(more)} more are in the table `contamination`" if more else ""
        caption = f"The longest shared n-gram of each example, and the first document that contains it{rest}"
        columns = ("example", "side", "n", "n-gram", "documents", "first document")
        summary = f"{task}: {integer(len(rows))} example{'s' * (len(rows) != 1)}"
        blocks.append(Folded(summary, [HtmlTable(caption, columns, examples, (2, 4))]))
    return blocks
