"""The results table for a terminal: task × model with the main score, Mem_n, Mem_Δ and Mem_∞ (docs/method.md §6, §7)."""

from __future__ import annotations

import pyarrow as pa

from tasks.report.numbers import LEVEL, NO_MODELS, cells, first_orders, short, sizes, with_interval

WIDTH = 110
HEADINGS = ("model", "size", "score", "Mem_n", "Mem_Δ", "Mem_∞")
MEASURES = ("main_score", "mem_n", "mem_delta", "mem_infinity")


def results_table(metrics: pa.Table, family: pa.Table, models: pa.Table) -> str:
    """Plain text of at most 110 columns: under each task a line per model, smallest first.

    `*` marks q < .05; what could not be measured is "no evidence", never 0.
    """
    rows, primary, known = metrics.to_pylist(), family.to_pylist(), models.to_pylist()
    rows_of_models = [r for r in rows if r["model"] and r["model"] not in NO_MODELS]
    if not rows_of_models:
        return "No measure of any model is there yet."
    ladder = sizes(known, sorted({r["model"] for r in rows_of_models}))
    orders = first_orders(rows, primary)
    table: list[list[str] | str] = []
    for task in sorted({r["task"] for r in rows_of_models}):
        lines = {model: cells(rows, primary, task, model, orders.get(task, 1)) for model in ladder}
        first = next(iter(lines.values()))
        statistic = next((line.score["statistic"] for line in lines.values() if line.score), "no score")
        table.append(f"{task}: {statistic.replace('_', ' ')}, n = {first.order}")
        for model, line in lines.items():
            marks = [with_interval(line.of(m)) + ("*" if line.significant(m) else "") for m in MEASURES]
            table.append([f"  {model}", short(ladder[model]) if ladder[model] else "", *marks])
    return _aligned(table) + f"\n* q < {LEVEL} (Benjamini-Hochberg over task × model); 95 % intervals in brackets"


def _aligned(table: list[list[str] | str]) -> str:
    """Columns two spaces apart; names of models are cut if the whole would be too wide. A plain text is a line by itself."""
    lines = [list(HEADINGS), *(line for line in table if isinstance(line, list))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    over = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    widths[0] = max(min(widths[0], 12), widths[0] - max(0, over))

    def row(line: list[str]) -> str:
        return "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()

    text = [row(list(HEADINGS)), "  ".join("─" * width for width in widths)]
    text += [line if isinstance(line, str) else row(line) for line in table]
    return "\n".join(line[:WIDTH] for line in text)


def _cut(text: str, width: int) -> str:
    """The name's end tells models apart more often than its beginning does."""
    return text if len(text) <= width else f"  …{text[-(width - 3) :]}"
