"""The figures: what each shows, its caption and its data. A panel per task is drawn apart, so that a phone stacks them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.drawing import COLOURS, Line, Panel, abscissa, line_panel
from tasks.report.facts import Facts
from tasks.report.numbers import HUNDREDS, LEVEL, SHARES, Row, cells, first_orders, has_interval, known, sizes


@dataclass(frozen=True)
class Figure:
    """Panels with one caption and one CSV; without panels, `missing` says why."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    csv: str
    missing: str = ""


def draw(facts: Facts) -> list[Figure]:
    """All figures, in the order of the page."""
    return [
        _memorization(facts),
        _score(facts),
        _performance(facts),
        _recall(facts),
        _novelty(facts),
        _training(facts),
        _distribution(facts),
    ]


def table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV with a heading."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if r.get(k) is None else r[k] for k in columns} for r in rows)
    return out.getvalue()


METRIC_COLUMNS = (
    "measure",
    "task",
    "model",
    "checkpoint",
    "order",
    "unit",
    "statistic",
    "detail",
    "x",
    "estimate",
    "low",
    "high",
    "p_value",
    "rows",
    "examples",
    "truth",
    "note",
)


def _memorization(facts: Facts) -> Figure:
    name, title = "memorization", "Memorization over model size"
    ladder, orders = sizes(facts.models), first_orders(facts.metrics, facts.family)
    panels, rows = [], []
    for task in sorted({r["task"] for m in ("mem_n", "mem_infinity", "mem_delta") for r in facts.measured(m)}):
        found = [cells(facts.metrics, facts.family, task, m, orders.get(task, 1)) for m in ladder]
        lines = []
        labels = {"mem_n": f"Mem, n = {orders.get(task, 1)}", "mem_delta": "Mem Δ", "mem_infinity": "Mem ∞"}
        for style, (measure, label) in zip((0, 2, 1), labels.items(), strict=True):
            points = []
            for cell in found:
                row = cell.of(measure)
                if row is not None:
                    rows.append(dict(row) | {"x": ladder[cell.model], "q_value": cell.q.get(measure)})
                if row is not None and known(row):
                    p = cell.q.get(measure, row["p_value"])
                    side = 1 + 0.05 * (style - 1)  # beside each other, so that intervals do not hide each other
                    points.append(
                        (
                            abscissa(ladder, cell.model) * side,
                            row["estimate"],
                            row["low"],
                            row["high"],
                            p is not None and p < LEVEL,
                        )
                    )
            lines.append(Line(label, points, style))
        if any(line.points for line in lines):
            panels.append(
                line_panel(
                    f"{name}-{task}",
                    task,
                    lines,
                    "parameters",
                    "rank correlation ρ",
                    log=True,
                    zero=True,
                    ticks=ladder,
                    clip=(-1.0, 1.0),
                )
            )
    return _figure(
        name,
        title,
        (
            "How closely the models' probabilities follow the corpus, by model size. Solid: Mem over task-grams; dotted: "
            "Mem Δ, what the input adds, against how much more often the pair occurs than chance; dashed: Mem ∞, against "
            "the ∞-gram model. Bars are 95 % intervals. A filled marker has q < .05 (Mem, Mem Δ) or, outside the corrected "
            "family, p < .05."
        ),
        panels,
        table(rows, (*METRIC_COLUMNS, "q_value")),
        "no memorization measure has a number",
    )


def _score(facts: Facts) -> Figure:
    ladder = sizes(facts.models)
    panels, rows = [], []
    for task in sorted({r["task"] for r in facts.measured("main_score")}):
        found = [cells(facts.metrics, facts.family, task, m, 1).score for m in ladder]
        kept = [r for r in found if r is not None and known(r)]
        rows += [dict(r) | {"x": ladder[r["model"]]} for r in found if r is not None]
        if kept:
            scale = _scale(kept[0]["statistic"])
            points = [(abscissa(ladder, r["model"]), *_scaled(r, scale), True) for r in kept]
            label = kept[0]["statistic"].replace("_", " ") + (", %" if scale == 100 else "")
            panels.append(
                line_panel(
                    f"score-{task}",
                    task,
                    [Line("", points, 0)],
                    "parameters",
                    label,
                    log=True,
                    zero=True,
                    ticks=ladder,
                    clip=(0.0, _top(kept[0]["statistic"])),
                )
            )
    caption = "What each model of the ladder reaches on each task, with 95 % intervals."
    return _figure(
        "score", "Score over model size", caption, panels, table(rows, METRIC_COLUMNS), "no score has been measured"
    )


def _performance(facts: Facts) -> Figure:
    return _by_model(
        facts,
        "performance",
        "Performance against data",
        "mean count of the example's pairs in the corpus",
        symlog=True,
        caption="Examples are put into bins by how often their pairs stand together in the corpus; the leftmost bin holds "
        "those whose pairs never do. The score of each bin with its 95 % interval.",
        missing="no task has enough examples in more than one bin of counts",
    )


def _recall(facts: Facts) -> Figure:
    return _by_model(
        facts,
        "recall_by_exposure",
        "Recall by exposure",
        "times the fact is stated in the corpus",
        symlog=True,
        caption="The share of planted facts that a model answers, by how often each fact was stated where it was trained.",
        missing="only a planted world knows how often each fact was stated",
    )


def _by_model(facts: Facts, measure: str, title: str, xlabel: str, *, symlog: bool, caption: str, missing: str) -> Figure:
    """One panel per task, one line per model, over the metrics' own abscissa."""
    ladder = sizes(facts.models, sorted({r["model"] for r in facts.measured(measure) if r["model"]}))
    first, panels = first_orders(facts.metrics, facts.family), []
    for task in sorted({r["task"] for r in facts.measured(measure)}):
        rows = _last([r for r in facts.measured(measure) if r["task"] == task and r["x"] is not None and known(r)])
        orders = {r["order"] for r in rows}
        shown = first.get(task) if first.get(task) in orders else min(orders, default=0)
        rows = [r for r in rows if r["order"] == shown]
        if not rows:
            continue
        statistic = rows[0]["statistic"]
        lines = []
        for style, model in enumerate(ladder):
            own = sorted((r for r in rows if r["model"] == model and r["statistic"] == statistic), key=lambda r: r["x"])
            lines.append(Line(model, [(r["x"], *_scaled(r, _scale(statistic)), True) for r in own], style))
        label = statistic.replace("_", " ") + (", %" if _scale(statistic) == 100 else "")
        panels.append(
            line_panel(
                f"{measure}-{task}", task, lines, xlabel, label, symlog=symlog, zero=True, clip=(0.0, _top(statistic))
            )
        )
    return _figure(measure, title, caption, panels, table(facts.measured(measure), METRIC_COLUMNS), missing)


def _novelty(facts: Facts) -> Figure:
    name, panels = "novelty", []
    all_rows = facts.measured(name)
    ladder = sizes(facts.models, sorted({r["model"] for r in all_rows if r["model"]} - {"reference", "held_out"}))
    for task in sorted({r["task"] for r in all_rows}):
        rows = _last(
            [
                r
                for r in all_rows
                if r["task"] == task and "pair" not in (r["unit"], r["detail"]) and r["statistic"] != "count" and known(r)
            ]
        )
        lines = []
        for style, model in [*enumerate(ladder), (len(COLOURS) - 2, "held_out"), (len(COLOURS) - 1, "reference")]:
            own = sorted((r for r in rows if r["model"] == model), key=lambda r: r["order"])
            points = [(r["order"], *_scaled(r, 100), True) for r in own]
            lines.append(Line({"reference": "references", "held_out": "held-out text"}.get(model, model), points, style))
        if any(line.points for line in lines):
            panels.append(
                line_panel(
                    f"{name}-{task}", task, lines, "n, words", "n-grams not in the corpus, %", zero=True, clip=(0.0, 100.0)
                )
            )
    return _figure(
        name,
        "Novelty of what the models say",
        (
            "The share of generated n-grams that stand nowhere in the corpus, beside the same share for the references. "
            "A curve below the references' says that a model repeats the corpus more than the right answers do."
        ),
        panels,
        table(all_rows, METRIC_COLUMNS),
        "no model has generated text",
    )


def _training(facts: Facts) -> Figure:
    ladder = sizes(facts.models, sorted({r["model"] for r in facts.training}))
    lines = [
        Line(m, [(r["tokens"], r["loss"], None, None, True) for r in facts.training if r["model"] == m], i)
        for i, m in enumerate(ladder)
    ]
    axes = ("tokens seen", "loss, nats per token")
    panels = [line_panel("training", "training loss", lines, *axes, plain=True)] if facts.training else []
    return _figure(
        "training",
        "Training",
        "Loss of each model that was trained here, as its log says.",
        panels,
        table(facts.training, ("model", "step", "tokens", "loss", "learning_rate")),
        "no model was trained here",
    )


def _distribution(facts: Facts) -> Figure:
    lines = [
        Line(f"n = {n}", [(low, many, None, None, True) for low, many in bins.items()], i)
        for i, (n, bins) in enumerate(facts.distribution.items())
    ]
    rows = [
        {"order": n, "occurrences_from": low, "occurrences_to": 2 * low - 1, "distinct_ngrams": many}
        for n, bins in facts.distribution.items()
        for low, many in bins.items()
    ]
    panels = [line_panel("counts", "the corpus", lines, "occurrences", "distinct n-grams", loglog=True)] if rows else []
    return _figure(
        "counts",
        "How often n-grams stand in the corpus",
        ("Distinct n-grams by how often they occur, in doubling bins: few are frequent, most are rare."),
        panels,
        table(rows, ("order", "occurrences_from", "occurrences_to", "distinct_ngrams")),
        "n-grams of all orders were not counted",
    )


def _figure(name: str, title: str, caption: str, panels: list[Panel], data: str, missing: str) -> Figure:
    return Figure(name, title, caption, tuple(panels), data if panels else "", "" if panels else missing)


def _last(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of each model's last checkpoint."""
    last: dict[str, int] = {}
    for r in rows:
        last[r["model"]] = max(last.get(r["model"], -1), r["checkpoint"])
    return [r for r in rows if r["checkpoint"] == last[r["model"]]]


def _scale(statistic: str) -> int:
    return 100 if statistic in SHARES else 1


def _top(statistic: str) -> float | None:
    return 100.0 if statistic in SHARES or statistic in HUNDREDS else None


def _scaled(row: Row, scale: int) -> tuple[float, float | None, float | None]:
    low, high = (row["low"], row["high"]) if has_interval(row) else (None, None)
    return row["estimate"] * scale, None if low is None else low * scale, None if high is None else high * scale
