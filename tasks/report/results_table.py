"""The results table for a terminal: task × model with the main score, Mem_n, Mem_Δ and Mem_∞ (docs/method.md §6, §7)."""

import pyarrow as pa

from tasks.report.formatting import short, with_interval
from tasks.report.numbers import LEVEL, NO_MODELS, PRIMARY, first_orders, results_line, sizes

WIDTH = 110
HEADINGS = ("model", "size", "score", "Mem_n", "Mem_Δ", "Mem_∞")


def results_table(metrics: pa.Table, family: pa.Table, models: pa.Table) -> str:
    """Plain text of at most 110 columns: under each task a line per model, smallest first.

    `*` marks q < .05; what could not be measured is "no evidence", never 0.
    """
    rows, primary_family = metrics.to_pylist(), family.to_pylist()
    rows_of_models = [r for r in rows if r["task"] and r["model"] and r["model"] not in NO_MODELS]
    if not rows_of_models:
        return "No measure of any model is there yet."
    ladder = sizes(models.to_pylist(), sorted({r["model"] for r in rows_of_models}))
    orders = first_orders(rows, primary_family)
    table: list[list[str] | str] = []
    for task in sorted({r["task"] for r in rows_of_models}):
        lines = [results_line(rows, primary_family, task, model, orders.get(task, 1)) for model in ladder]
        scores = [score["statistic"] for line in lines if (score := line.rows["main_score"])]
        table.append(f"{task}: {(scores or ['no score'])[0].replace('_', ' ')}, n = {lines[0].order}")
        for line in lines:
            size = short(ladder[line.model]) if ladder[line.model] else ""
            cells = [with_interval(line.rows[m]) + "*" * line.significant(m) for m in PRIMARY]
            table.append([f"  {line.model}", size, *cells])
    return _aligned(table) + f"\n* q < {LEVEL} (Benjamini-Hochberg over task × model); 95 % intervals in brackets"


def _aligned(table: list[list[str] | str]) -> str:
    """Columns two spaces apart; long model names are shortened if the table would be too wide. A string is its own line."""
    lines = [list(HEADINGS), *(line for line in table if isinstance(line, list))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    widths[0] = max(min(widths[0], 12), widths[0] - max(0, excess))

    def joined(line: list[str]) -> str:
        return "  ".join(_shortened(cell, width).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()

    text = [joined(list(HEADINGS)), "  ".join("─" * width for width in widths)]
    text += [line if isinstance(line, str) else joined(line) for line in table]
    return "\n".join(line[:WIDTH] for line in text)


def _shortened(text: str, width: int) -> str:
    """The end of a name distinguishes models better than its beginning."""
    return text if len(text) <= width else f"  …{text[-(width - 3) :]}"
