"""Worlds whose truth is known, measured many times over (docs/method.md §16): how often the intervals hold the truth, how often
null worlds are rejected, and whether three known mistakes would be seen. One row per world stands in the table `calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.report.numbers import LEVEL, MetricRow

MISTAKES = {
    "min_count": "min(df(s_x), df(s_y)) in the place of C",
    "added": "C added once per example",
    "never_reset": "s_y scored to the end of the text",
    "occurrences": "C / C(s_x), documents by occurrences (the paper's way, no mistake)",
}
DESIGNS = {
    "shared_input": "null, shared s_x",
    "shared_output": "null, shared s_y",
    "tied_block": "null, blocks tied to P_LLM",
}
BAND = 0.002  # a correct method falls outside the band this rarely


def band(of: int, share: float) -> tuple[int, int]:
    """Smallest and largest number of `of` worlds that a method of this true share gives, but for 2 in 1,000."""
    from scipy.stats import binom

    low, high = binom.ppf((BAND / 2, 1 - BAND / 2), of, share)
    return int(low), int(high)


def outside(row: MetricRow, name: str) -> bool:
    """A mistake is seen where its number is not in our interval; a number that is not defined is seen too."""
    value = row[name]
    return value is None or row["low"] is None or not row["low"] <= value <= row["high"]


def summary(rows: Sequence[MetricRow]) -> list[dict[str, Any]]:
    """What the worlds say, one line per question."""
    lines: list[dict[str, Any]] = []

    def line(question: str, hits: int, of: int, low: int, high: int) -> None:
        verdict = "as it should be" if low <= hits <= high else "NOT as it should be"
        lines.append(
            {"question": question, "worlds": of, "hits": hits, "expected_from": low, "expected_to": high, "verdict": verdict}
        )

    planted = [r for r in rows if r["design"] == "planted"]
    inside = [r for r in planted if r["low"] is not None]
    if inside:
        line(
            "truth inside the 95 % interval",
            sum(r["low"] <= r["truth"] <= r["high"] for r in inside),
            len(inside),
            *band(len(inside), 0.95),
        )
    for design, name in DESIGNS.items():
        worlds = [r for r in rows if r["design"] == design]
        if not worlds:
            continue
        low, high = band(len(worlds), LEVEL)
        line(f"{name}: our p < .05", sum(r["p_value"] < LEVEL for r in worlds), len(worlds), low, high)
        hole = [r for r in worlds if r["pigeonhole_low"] is not None]
        if hole:
            hits = sum(r["pigeonhole_low"] > 0 or r["pigeonhole_high"] < 0 for r in hole)
            line(
                f"{name}: 0 outside the pigeonhole interval, which is conservative",
                hits,
                len(hole),
                0,
                band(len(hole), LEVEL)[1],
            )
        if design == "shared_output":
            least = -(-3 * len(worlds) // 10)
            line(
                f"{name}: scipy's p < .05, which must err here",
                sum(r["naive_p"] < LEVEL for r in worlds),
                len(worlds),
                least,
                len(worlds),
            )
    for column, name in MISTAKES.items():
        if inside and column != "occurrences":
            line(
                f"mistake seen: {name}",
                sum(outside(r, column) for r in inside),
                len(inside),
                -(-99 * len(inside) // 100),
                len(inside),
            )
    return lines
