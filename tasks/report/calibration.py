"""Worlds whose truth is known, measured many times over (docs/method.md §16): how often the intervals hold the truth, how often
null worlds are rejected, and whether three known mistakes would be seen. One row per world stands in the table `calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.report.data import Facts
from tasks.report.numbers import LEVEL, Row, integer, number
from tasks.report.page.figure_html import figure_html
from tasks.report.page.html import grid, missing
from tasks.report.plot.drawing import Panel
from tasks.report.plot.figure import Figure, figure
from tasks.report.plot.marks import Point, dots_panel
from tasks.report.plot.palette import COLOURS, INK, SOFT, look

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
SHOWN = 80  # intervals in the picture
BAND = 0.002  # a correct method falls outside the band this rarely


def band(of: int, share: float) -> tuple[int, int]:
    """Smallest and largest number of `of` worlds that a method of this true share gives, but for 2 in 1,000."""
    from scipy.stats import binom

    low, high = binom.ppf((BAND / 2, 1 - BAND / 2), of, share)
    return int(low), int(high)


def outside(row: Row, name: str) -> bool:
    """A mistake is seen where its number is not in our interval; a number that is not defined is seen too."""
    value = row[name]
    return value is None or row["low"] is None or not row["low"] <= value <= row["high"]


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
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


def calibration_figure(rows: Sequence[Row]) -> Figure:
    """Intervals of some worlds beside the truth, and how often null worlds are rejected."""
    inside = [r for r in rows if r["design"] == "planted" and r["low"] is not None]
    panels = [_intervals(inside[:SHOWN])] if inside else []
    groups = []
    for design, name in DESIGNS.items():
        worlds = [r for r in rows if r["design"] == design]
        if worlds:
            shares = [
                (who, sum(r[p] < LEVEL for r in worlds) / len(worlds))
                for who, p in (("ours", "p_value"), ("scipy, rows taken as independent", "naive_p"))
            ]
            groups.append((name, [(who, look(3 * i), Point(100 * share, 0.0)) for i, (who, share) in enumerate(shares)]))
    if groups:
        panels.append(
            dots_panel("calibration-null", "Null worlds", groups, "rejected at 5 %, % of worlds", reference=(5.0, "5 %"))
        )
    half = [(r["high"] - r["low"]) / 2 for r in inside]
    covered = sum(r["low"] <= r["truth"] <= r["high"] for r in inside)
    found = f"{integer(covered)} of {integer(len(inside))} intervals hold the truth"
    seen = [f"{found}, with a mean half-width of {number(sum(half) / len(half))}"] if half else []
    some = min(SHOWN, len(inside))
    return figure(
        "calibration",
        "Calibration: worlds whose truth is known",
        panels,
        summary(rows),
        caption=f"Left: the 95 % intervals of the first {some} planted worlds, sorted by their estimate, and the truth. Right: "
        "null worlds that a test at 5 % rejects, by ours and by one that takes rows for independent.",
        missing="no world was measured",
        place="truth",
        seen=seen,
        columns=("question", "worlds", "hits", "expected_from", "expected_to", "verdict"),
    )


def _intervals(rows: Sequence[Row]) -> Panel:
    """One line per world; those that miss the truth stand out in colour, width and by a cross."""
    ordered = sorted(rows, key=lambda r: (r["estimate"], r["world"]))

    def paint(axes: Any) -> None:
        for place, r in enumerate(ordered):
            hit = r["low"] <= r["truth"] <= r["high"]
            axes.plot(
                [place, place], [r["low"], r["high"]], color=SOFT if hit else COLOURS[1], linewidth=1.0 if hit else 2.0
            )
            axes.plot(
                [place],
                [r["estimate"]],
                color=SOFT if hit else COLOURS[1],
                marker="." if hit else "X",
                markersize=2.5 if hit else 5,
            )
        axes.axhline(ordered[0]["truth"], color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        axes.set_xticks([])
        axes.set_xlabel(f"{len(ordered)} worlds (broken: the truth)", labelpad=4)

    said = f"Intervals of {len(ordered)} worlds around the truth {ordered[0]['truth']:.3g}."
    return Panel("calibration-intervals", "Planted worlds", said, paint, width=4.1, height=2.2)


def calibration_html(facts: Facts) -> str:
    """Coverage, rejections and detections, or that none were asked for."""
    if not facts.calibration:
        return "<h3>Calibration</h3>" + missing("no calibration was asked for")
    lines = [
        (
            s["question"],
            f"{integer(s['hits'])} of {integer(s['worlds'])}",
            f"{integer(s['expected_from'])} to {integer(s['expected_to'])}",
            s["verdict"],
        )
        for s in summary(facts.calibration)
    ]
    table = grid(
        "Found beside expected; the band is binomial and holds a correct method 998 times in 1,000",
        ("question", "found", "expected", ""),
        lines,
        (1, 2),
    )
    return figure_html(calibration_figure(facts.calibration)) + table
