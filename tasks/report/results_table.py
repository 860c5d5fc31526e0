"""The results table for a terminal: task × model with the main score, Mem_n, Mem_Δ and Mem_∞ (docs/method.md §6, §7).

Below it, if the study asks what is memorized, sample × model with the share extracted and that of phantoms, and the verdict on each
claim (docs/memorization.md).
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from schemas.tables.sequences import NULLS
from tasks.report.ensemble_data import in_order
from tasks.report.formatting import decided, short, with_interval
from tasks.report.numbers import LEVEL, NO_MODELS, PRIMARY, MetricRow, first_orders, last_checkpoints, results_line, sizes
from tasks.report.sentences import KINDS, samples_of

WIDTH, LONGEST = 110, 60  # columns of all, and of an estimate or why there is none
HEADINGS = ("model", "size", "score", "Mem_n", "Mem_Δ", "Mem_∞")
OF_CLAIMS = ("claim", "verdict", "seeds", "estimate")
OF_SEQUENCES = ("model", "size", "extracted", "phantoms", "more than phantoms")
Lines = list[list[str] | str]  # cells, or a line of its own


def results_table(metrics: pa.Table, family: pa.Table, models: pa.Table, verdicts: pa.Table | None = None) -> str:
    """Plain text of at most 110 columns: under each task a line per model, smallest first. `*` marks q < .05."""
    rows, primary_family = metrics.to_pylist(), family.to_pylist()
    claims = _claims(verdicts.to_pylist() if verdicts else [])
    rows_of_models = [r for r in rows if r["task"] and r["model"] and r["model"] not in NO_MODELS]
    below = [text for text in (_sequences(rows, sizes(models.to_pylist())), claims) if text]
    if not rows_of_models:
        return "\n\n".join(below) or "No measure of any model is there yet."
    ladder = sizes(models.to_pylist(), sorted({r["model"] for r in rows_of_models}))
    orders = first_orders(rows, primary_family)
    table: Lines = []
    for task in sorted({r["task"] for r in rows_of_models}):
        lines = [results_line(rows, primary_family, task, model, orders.get(task, 1)) for model in ladder]
        scores = [score["statistic"] for line in lines if (score := line.rows["main_score"])]
        table.append(f"{task}: {(scores or ['no score'])[0].replace('_', ' ')}, n = {lines[0].order}")
        for line in lines:
            size = short(ladder[line.model]) if ladder[line.model] else ""
            cells = [with_interval(line.rows[m]) + "*" * line.significant(m) for m in PRIMARY]
            table.append([f"  {line.model}", size, *cells])
    note = f"* q < {LEVEL} (Benjamini-Hochberg over task × model); 95 % intervals in brackets"
    return "\n\n".join(["\n".join([_aligned(HEADINGS, table), note]), *below])


def _claims(rows: Sequence[MetricRow]) -> str:
    """The verdict on each claim, with its estimate and interval, under each network; or nothing."""
    table: Lines = []
    for network in dict.fromkeys(r["network"] for r in rows):
        here = in_order(dict(r) for r in rows if r["network"] == network)
        lines = [[f"  {r['claim']}", r["verdict"], f"{r['agree']} of {r['seeds']}", decided(r)[:LONGEST]] for r in here]
        table += [f"{network}: what its runs say, with intervals at {100 * here[0]['level']:.0f} %", *lines]
    return _aligned(OF_CLAIMS, table) if table else ""


def _sequences(rows: Sequence[MetricRow], ladder: Mapping[str, int]) -> str:
    """The share of each sample of windows that each model extracts, that of its phantoms, and the difference; or nothing."""
    rates = last_checkpoints(r for r in rows if r["measure"] == "extraction" and r["statistic"] in ("rate", "excess"))
    by_place = {(r["statistic"], r["group"], r["detail"], r["model"]): r for r in rates}
    table: Lines = []
    for sample, kind in samples_of([r for r in rates if r["statistic"] == "excess"]):
        lines: Lines = []
        for model, size in ladder.items():
            wanted = (("rate", sample), ("rate", NULLS[sample]), ("excess", sample))
            members, phantoms, excess = (by_place.get((statistic, group, kind, model)) for statistic, group in wanted)
            if members and excess:
                difference = with_interval(dict(excess) | {"statistic": "rate"}).replace(" %", " points")
                lines.append([f"  {model}", short(size), with_interval(members), with_interval(phantoms), difference])
        table += [f"{KINDS[kind or sample]}:", *lines] if lines else []
    return _aligned(OF_SEQUENCES, table) if table else ""


def _aligned(headings: Sequence[str], table: Lines) -> str:
    """Columns two spaces apart; long model names are shortened if the table would be too wide. A string is its own line."""
    lines = [list(headings), *(line for line in table if isinstance(line, list))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    widths[0] = max(min(widths[0], 12), widths[0] - max(0, excess))

    def joined(line: list[str]) -> str:  # the end of a name distinguishes models better than its beginning
        fitting = (c if len(c) <= width else f"  …{c[-(width - 3) :]}" for c, width in zip(line, widths, strict=True))
        return "  ".join(cell.ljust(width) for cell, width in zip(fitting, widths, strict=True)).rstrip()

    text = [joined(list(headings)), "  ".join("─" * width for width in widths)]
    text += [line if isinstance(line, str) else joined(line) for line in table]
    return "\n".join(line[:WIDTH] for line in text)
