"""The results table for a terminal: task × model with the main score, Mem_n, Mem_Δ and Mem_∞ (task-grams §6, §7)."""

from __future__ import annotations

import pyarrow as pa

from tasks.report.numbers import LEVEL, cells, first_orders, short, sizes, with_interval

WIDTH = 110
HEADINGS = ("task", "model", "size", "score", "Mem_n", "Mem_Δ", "Mem_∞")


def results_table(metrics: pa.Table, family: pa.Table, models: pa.Table) -> str:
    """Plain text of at most 110 columns; `*` marks q < .05, "no evidence" what could not be measured."""
    rows, primary, known = metrics.to_pylist(), family.to_pylist(), models.to_pylist()
    rows_of_models = [r for r in rows if r["model"] and r["model"] != "reference"]
    if not rows_of_models:
        return "No measure of any model is there yet."
    ladder = sizes(known, sorted({r["model"] for r in rows_of_models}))
    orders = first_orders(rows, primary)
    lines = []
    for task in sorted({r["task"] for r in rows_of_models}):
        for index, (model, parameters) in enumerate(ladder.items()):
            line = cells(rows, primary, task, model, orders.get(task, 1))
            marks = [
                with_interval(line.of(m)) + ("*" if line.significant(m) else "")
                for m in ("main_score", "mem_n", "mem_delta", "mem_infinity")
            ]
            name = f"{task} (n={line.order})" if index == 0 else ""
            lines.append([name, model, short(parameters) if parameters else "", *marks])
    return _aligned([list(HEADINGS), *lines]) + f"\n* q < {LEVEL} (Benjamini-Hochberg); 95 % intervals in brackets"


def _aligned(lines: list[list[str]]) -> str:
    """Columns two spaces apart; the two names are cut if the whole would be too wide."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    for column in (0, 1):
        over = sum(widths) + 2 * (len(widths) - 1) - WIDTH
        widths[column] = max(min(widths[column], 8), widths[column] - max(0, over))
    text = [
        "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line[:WIDTH] for line in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
