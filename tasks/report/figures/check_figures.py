"""What could mislead: confounds with their remedies (docs/method.md §6c), comparisons of models (§6b), sweeps (§2), and what the
rank correlation is made of (docs/method.md §6d: attribution bar, exposure curve).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.report.data import Facts
from tasks.report.figures.memorization_figures import primary, sweep_over_n
from tasks.report.numbers import Row, has_interval, known, number, sizes
from tasks.report.page.seen import at_most, listed, sign, significant
from tasks.report.plot.axes import Abscissa
from tasks.report.plot.drawing import Panel
from tasks.report.plot.figure import Figure, figure, gaps, ladder_of, last, task_panels, tasks_of
from tasks.report.plot.marks import Point, bars_panel, dots_panel
from tasks.report.plot.palette import step_look

MEASURE_NAMES = {"mem_n": "Mem", "mem_delta": "Mem Δ", "mem_infinity": "Mem ∞"}
PARTS = {
    "pair": "the pair",
    "s_y": "the output s_y",
    "s_x": "the input s_x",
    "length": "length of s_y",
    "shared": "shared by them",
    "unexplained": "unexplained",
}
DOTS = 3  # models of a dot plot: the smallest, a middling and the largest
MOST_PAIRS = 8
SWEEP = re.compile(r"^(?P<setting>[^=]+)=(?P<value>.*) (?P<measure>mem_\w+)$")


def chosen(ladder: Sequence[str]) -> list[str]:
    """Smallest, middling and largest: what a dot plot has room for."""
    names = list(ladder)
    return names if len(names) <= DOTS else [names[0], names[len(names) // 2], names[-1]]


def _dot(row: Row, *, q: float | None = None) -> Point:
    ends = (row["low"], row["high"]) if has_interval(row) else (None, None)
    sure = sign(row) != 0 if row["p_value"] is None and q is None else significant(row, q)
    return Point(row["estimate"], 0.0, ends[0], ends[1], sure)


def confounds(facts: Facts) -> Figure:
    """Each remedy's ρ beside the plain one."""
    every = facts.measured("confound")
    panels: list[Panel] = []
    said = []
    ends = [r[e] for r in every if known(r) and has_interval(r) for e in ("low", "high")]
    span = (min(0.0, *ends) - 0.02, max(0.0, *ends) + 0.02) if ends else None
    for task in tasks_of(facts, every):
        for measure in ("mem_n", "mem_delta"):
            order = facts.order_of(task)
            rows = last(r for r in every if r["task"] == task and r["unit"] == measure and r["order"] == order)
            shown = chosen(list(ladder_of(facts, rows)))
            plain = {m: primary(facts, measure, task, m, order) for m in shown}
            groups = [("as measured", list(plain.items()))]
            for detail in dict.fromkeys(r["detail"] for r in rows):
                groups.append(
                    (detail, [(r["model"], r) for m in shown for r in rows if r["model"] == m and r["detail"] == detail])
                )
            kept = [
                (g, [(m, step_look(shown.index(m), len(shown)), _dot(r)) for m, r in dots if r is not None and known(r)])
                for g, dots in groups
            ]
            kept = [(g, dots) for g, dots in kept if dots]
            if not rows or not kept:
                continue
            before = next((r for _, r in reversed(list(plain.items())) if r is not None and known(r)), None)
            name = MEASURE_NAMES[measure]
            panels.append(
                dots_panel(
                    f"confound-{measure}-{task}",
                    name,
                    kept,
                    f"ρ of {name}",
                    span=span,
                    row=task,
                    reference=(before["estimate"], f"{before['model']} as measured") if before is not None else None,
                )
            )
            if before is not None and sign(before):
                said.append(_survives(rows, before, f"{name} of {before['model']} on {task}"))
    return figure(
        "confounds",
        "Confounds, each with its remedy",
        panels,
        every,
        caption="Mem again after each remedy. Filled: the interval excludes zero, or p < .05; open: not. A dot that stays near "
        "the broken line says that this confound does not explain the number.",
        missing="no confound check was made" + _notes(every),
        place="checks",
        seen=at_most(said),
        gaps=gaps(facts, every),
    )


def _survives(rows: Sequence[Row], before: Row, what: str) -> str:
    """Which remedies change the verdict."""
    own = [r for r in rows if r["model"] == before["model"] and known(r) and r["detail"] != "reliability"]
    gone = [r["detail"] for r in own if sign(r) != sign(before)]
    if not own:
        return ""
    if not gone:
        return f"{what} ({number(before['estimate'])}) keeps its sign under all {len(own)} remedies, with intervals clear of zero"
    return f"{what} ({number(before['estimate'])}) is not clear of zero under {listed(gone)}; of {len(own)} remedies"


def confound_rows(facts: Facts) -> list[tuple[str, str, str, dict[str, Row]]]:
    """(task, measure, remedy, row of each model): the table of all remedies, at every n."""
    found: dict[tuple[str, int, str, str], dict[str, Row]] = {}
    for r in last(facts.measured("confound")):
        found.setdefault((r["task"], r["order"], r["unit"], r["detail"]), {})[r["model"]] = r
    order = {t: i for i, t in enumerate(tasks_of(facts, facts.measured("confound")))}
    return [
        (task, f"{MEASURE_NAMES.get(unit, unit)}, n = {n}", remedy, rows)
        for (task, n, unit, remedy), rows in sorted(
            found.items(), key=lambda kv: (order[kv[0][0]], kv[0][1], kv[0][2] == "mem_delta")
        )
    ]


def comparisons(facts: Facts) -> Figure:
    """Δρ between models on common rows, and the slope on log size."""
    every = facts.measured("comparison")
    rows = last(r for r in every if r["statistic"] == "spearman_difference")
    ladder = list(sizes(facts.models, [*facts.ladder]))
    ends = [r[e] for r in rows if known(r) and has_interval(r) for e in ("low", "high")]
    span = (min(0.0, *ends) - 0.02, max(0.0, *ends) + 0.02) if ends else None
    panels: list[Panel] = []
    hidden = 0
    for measure, name in MEASURE_NAMES.items():
        for task in tasks_of(facts, rows):
            own = [
                (r, r["detail"].removeprefix(f"{measure} minus "))
                for r in rows
                if r["task"] == task and r["detail"].startswith(f"{measure} minus ") and known(r)
            ]
            primary_n = [pair for pair in own if pair[0]["order"] in (facts.order_of(task), 0)]
            own = sorted(primary_n or own, key=lambda p: (_rank(ladder, p[0]["model"]), _rank(ladder, p[1])))
            if len(own) > MOST_PAIRS:
                near = [p for p in own if abs(_rank(ladder, p[0]["model"]) - _rank(ladder, p[1])) == 1]
                ends = [p for p in own if {p[0]["model"], p[1]} == {ladder[0], ladder[-1]}]
                hidden += len(own) - len({id(p) for p in near + ends})
                own = near + [p for p in ends if p not in near]
            groups = [(f"{r['model']} − {other}", [("", step_look(1, 2), _dot(r))]) for r, other in own]
            if groups:
                panels.append(
                    dots_panel(
                        f"comparison-{measure}-{task}", task, groups, "difference of ρ", span=span, row=name, width=2.7
                    )
                )
    slopes = [r for r in every if r["statistic"] == "slope_per_decade"]
    groups = [
        (f"{MEASURE_NAMES.get(r['detail'], r['detail'])}, {r['task']}", [("", step_look(1, 2), _dot(r))])
        for task in tasks_of(facts, slopes)
        for r in slopes
        if r["task"] == task and known(r) and r["order"] in (0, facts.order_of(task))
    ]
    if groups:
        panels.append(dots_panel("comparison-slope", "", groups, "change of ρ per tenfold size", row="Slope on log size"))
    said = []
    for r in slopes:
        if known(r) and sign(r) and r["order"] in (0, facts.order_of(r["task"])):
            way = "gains" if r["estimate"] > 0 else "loses"
            what = f"{MEASURE_NAMES.get(r['detail'], r['detail'])} of {r['task']}"
            said.append(f"{what} {way} {number(abs(r['estimate']))} with every tenfold size")
    if slopes and not said and groups:
        said.append("No slope on log size is clear of zero")
    return figure(
        "comparisons",
        "Models compared on the same rows",
        panels,
        every,
        caption="The difference of ρ between two models over the rows that both scored, with the same draws."
        + (f" Neighbours in size and the two ends are drawn; {hidden} other pairs are in the data." if hidden else ""),
        missing="no two models were compared" + _notes(every),
        place="checks",
        seen=at_most(said),
        gaps=gaps(facts, every, models=False, tasks=False),
    )


def _rank(ladder: Sequence[str], model: str) -> int:
    return ladder.index(model) if model in ladder else len(ladder)


def sweeps(facts: Facts) -> Figure:
    """Mem over γ and over n."""
    rows = [dict(r) | m.groupdict() for r in last(facts.measured("sweep")) if (m := SWEEP.match(r["detail"]))]
    panels: list[Panel] = []
    for measure, name in MEASURE_NAMES.items():
        own = [
            r | {"x": _number(r["value"]) if r["x"] is None else r["x"]}
            for r in rows
            if r["measure"] == measure and r["setting"] == "gamma" and r["order"] == facts.order_of(r["task"])
        ]
        panels += task_panels(
            facts,
            f"sweep-gamma-{measure}",
            own,
            Abscissa("γ"),
            lambda r: r["x"],
            "rank correlation ρ",
            row=f"{name} over γ",
            low=-1.0,
            high=1.0,
        )
    panels += sweep_over_n(facts)
    return figure(
        "sweeps",
        "Sweeps over γ and n",
        panels,
        facts.measured("sweep"),
        caption="The same measure at other settings. Sweeps are in no corrected family: they show how much the setting matters, "
        "and prove nothing by themselves. γ at the primary n; the other n are in the data.",
        missing="no sweep was asked for, and no task has more than one n" + _notes(facts.measured("sweep")),
        place="checks",
        gaps=gaps(facts, facts.measured("sweep"), models=False, tasks=False),
    )


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def variants(facts: Facts) -> Figure:
    """Mem under other stop-word policies and encoders."""
    rows = [dict(r) | m.groupdict() for r in last(facts.measured("sweep")) if (m := SWEEP.match(r["detail"]))]
    rows = [r for r in rows if r["setting"] not in ("gamma", "n")]
    panels: list[Panel] = []
    said = []
    for measure, name in MEASURE_NAMES.items():
        for task in tasks_of(facts, rows):
            order = facts.order_of(task)
            own = [r for r in rows if r["task"] == task and r["measure"] == measure and r["order"] == order and known(r)]
            shown = chosen(list(ladder_of(facts, own)))
            if not own:
                continue
            groups: dict[str, list[tuple[str, Row]]] = {"as studied": []}
            groups["as studied"] = [
                (m, r) for m in shown if (r := primary(facts, measure, task, m, order)) is not None and known(r)
            ]
            for r in own:
                if r["model"] in shown:
                    groups.setdefault(f"{r['setting'].replace('_', ' ')}: {r['value']}", []).append((r["model"], r))
            drawn = [
                (g, [(m, step_look(shown.index(m), len(shown)), _dot(r)) for m, r in found])
                for g, found in groups.items()
                if found
            ]
            panels.append(dots_panel(f"variants-{measure}-{task}", task, drawn, "rank correlation ρ", row=name))
            ends = [r["estimate"] for r in own if r["model"] == shown[-1]]
            if ends:
                said.append(
                    f"{name} of {shown[-1]} on {task} lies between {number(min(ends))} and {number(max(ends))} over the variants"
                )
    return figure(
        "variants",
        "Other stop words, other encoders",
        panels,
        [r for r in facts.measured("sweep") if "gamma=" not in r["detail"]],
        caption="The same measure after other choices on the way to the task-grams. Outside the corrected family.",
        missing="no variant of the stop words or of the encoder was asked for",
        place="checks",
        seen=at_most(said),
        folded=False,
    )


def attribution(facts: Facts) -> Figure:
    """Unique rank variance of pair, s_y, s_x and length, stacked."""
    every = last(facts.measured("attribution"))
    rows = [r for r in every if known(r)]
    panels = []
    said = []
    for task in tasks_of(facts, rows):
        bars = []
        order = {r["order"] for r in rows if r["task"] == task}
        shown = facts.order_of(task) if facts.order_of(task) in order else min(order)
        for model in ladder_of(facts, [r for r in rows if r["task"] == task]):
            at = {r["detail"]: r["estimate"] for r in rows if (r["task"], r["model"], r["order"]) == (task, model, shown)}
            bars.append((model, [(label, max(0.0, at[part])) for part, label in PARTS.items() if part in at]))
        panels.append(bars_panel(f"attribution-{task}", task, bars, "share of rank variance"))
        unique = {label: share for label, share in bars[-1][1] if label not in (PARTS["shared"], PARTS["unexplained"])}
        if unique:
            most = max(unique, key=lambda k: unique[k])
            own = unique.get(PARTS["pair"])
            tail = f"; the pair's own share is {100 * own:.0f} %" if own is not None and most != PARTS["pair"] else ""
            said.append(
                f"On {task} the largest unique share of {bars[-1][0]} is that of {most}, {100 * unique[most]:.0f} %{tail}"
            )
    below = sum(r["estimate"] < 0 for r in rows)
    return figure(
        "attribution",
        "What the probabilities owe to the pair",
        panels,
        facts.measured("attribution"),
        caption="Rank variance of log P_LLM that only the pair, only the output, only the input or only the length explains, what "
        "they share, and the rest." + (f" {below} shares below zero are drawn as zero." if below else ""),
        missing="the attribution was not taken" + _notes(every),
        place="checks",
        seen=at_most(said),
        gaps=gaps(facts, every),
    )


def exposure(facts: Facts) -> Figure:
    """Δ against C, matched on df(s_y) and length; documents per nat."""
    every = last(facts.measured("exposure"))
    rows = [r for r in every if r["statistic"] == "delta_mean" and r["x"] is not None]
    panels = task_panels(
        facts, "exposure", rows, Abscissa("documents with the pair, C", "symlog"), lambda r: r["x"], "Δ, nats"
    )
    price = [r for r in every if r["statistic"] == "documents_per_nat"]
    said = []
    for task in tasks_of(facts, price):
        own = {r["model"]: r for r in price if r["task"] == task and known(r)}
        for model in [m for m in facts.ladder if m in own][-1:]:
            r = own[model]
            ends = f" [{r['low']:.3g}, {r['high']:.3g}]" if has_interval(r) else ""
            said.append(f"On {task} {model} gains one nat for every {r['estimate']:.3g}{ends} documents with the pair")
    return figure(
        "exposure",
        "Exposure curve",
        panels,
        facts.measured("exposure"),
        caption="What the input adds to the log-probability of the output, Δ, against the documents that hold the pair; pairs are "
        "matched on the frequency and the length of the output.",
        missing="no exposure curve was taken" + _notes(every),
        place="checks",
        seen=at_most(said),
        gaps=gaps(facts, every),
    )


def _notes(rows: Sequence[Row]) -> str:
    notes = list(dict.fromkeys(r["note"] for r in rows if r["note"] and not known(r)))
    return f": {'; '.join(notes[:3])}" if notes else ""
