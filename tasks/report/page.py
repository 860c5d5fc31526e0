"""The page, top to bottom. All text that is not ours is escaped; nothing is loaded from anywhere; there is no script.

The trace, a page of its own, lies beside it (trace_page.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tasks.report.facts import Facts, ShownPair
from tasks.report.figures import Figure
from tasks.report.html import grid, highlight, missing, text
from tasks.report.numbers import (
    integer,
    number,
    short,
    sizes,
)
from tasks.report.prose import answer, gammas_of, methods
from tasks.report.results import LONGEST_LIST, figure_html, results_html, truth_html


def page(facts: Facts, figures: Sequence[Figure]) -> str:
    """The whole of index.html."""
    sections: tuple[tuple[str, str, str], ...] = (
        ("asked", "What was asked", _asked(facts)),
        ("answer", "The answer", _answer(facts)),
        ("results", "Results", results_html(facts)),
        ("truth", "Measured beside true", truth_html(facts, figures)),
        ("figures", "Figures", "".join(figure_html(f) for f in figures if f.name != "recall_by_exposure")),
        ("left-out", "What was left out", _left_out(facts)),
        ("documents", "Documents behind the pairs", _documents(facts)),
        ("methods", "Methods", _methods(facts)),
    )
    title = facts.settings["title"] or facts.settings["study"]
    links = "".join(f'<a href="#{i}">{text(name)}</a>' for i, name, _ in sections)
    body = "".join(
        f'<section id="{i}" aria-labelledby="{i}-h"><h2 id="{i}-h">{text(name)}</h2>{html}</section>'
        for i, name, html in sections
    )
    top = (
        f'<header class="top"><p class="kicker">Study {text(facts.settings["study"])}</p><h1>{text(title)}</h1>'
        f'<nav aria-label="Contents">{links}<a href="trace/index.html">Trace an example</a></nav></header>'
    )
    here = Path(__file__).parent
    template, css = ((here / name).read_text(encoding="utf-8") for name in ("template.html", "report.css"))
    return Template(template).substitute(title=text(f"{title} · taskgram"), css=css, body=f"{top}<main>{body}</main>")


# -- sections -----------------------------------------------------------------------------------------------------------
def _asked(facts: Facts) -> str:
    documents, tokens = (sum(s[k] for s in facts.sources) for k in ("documents", "tokens"))
    numbers = [
        ("documents", documents),
        ("model tokens", tokens),
        ("tasks", len(facts.settings["tasks"])),
        ("models", len(facts.settings["models"])),
    ]
    html = (
        '<dl class="facts">'
        + "".join(f"<div><dt>{n}</dt><dd>{short(v) if v >= 100_000 else integer(v)}</dd></div>" for n, v in numbers)
        + "</dl>"
    )
    origin = "a planted world, whose truth is known" if facts.settings["planted"] else "files named in the study"
    html += (
        grid(
            f"The corpus: {origin}",
            ("source", "documents", "model tokens"),
            [(s["source"] or "all", integer(s["documents"]), integer(s["tokens"])) for s in facts.sources],
            (1, 2),
        )
        if facts.sources
        else missing("the corpus has not been read")
    )
    tasks = [
        (
            t["name"],
            t["family"].replace("_", " "),
            integer(facts.examples.get((t["name"], "mine"), 0)),
            integer(facts.examples.get((t["name"], "evaluate"), 0)),
            ", ".join(str(n) for n in t["orders"]),
        )
        for t in facts.settings["tasks"]
    ]
    html += (
        grid(
            "The tasks: task-grams are mined from some examples, models are asked others",
            ("task", "family", "mined", "evaluated", "n"),
            tasks,
            (2, 3),
        )
        if tasks
        else missing("the study names no task")
    )
    twice = [t["name"] for t in facts.settings["tasks"] if t["mined_on_evaluated"]]
    if twice:
        html += f'<p class="small">Mined from the evaluated examples themselves: {text(", ".join(twice))}.</p>'
    last = {r["model"]: r for r in sorted(facts.models, key=lambda r: (r["model"], r["checkpoint"]))}
    rows = [
        (
            m,
            integer(r["parameters"]),
            integer(r["parameters_non_embedding"]),
            integer(r["tokens_seen"]) if r["tokens_seen"] >= 0 else "unknown",
            number(r["loss"]),
            r["source"],
        )
        for m in sizes(facts.models)
        for r in [last[m]]
    ]
    return html + (
        grid(
            "The models, smallest first",
            ("model", "parameters", "non-embedding", "tokens seen", "loss, nats", "origin"),
            rows,
            (1, 2, 3, 4),
        )
        if rows
        else missing("no model has been made or loaded")
    )


def _answer(facts: Facts) -> str:
    first, *others = answer(facts)
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in others)
    return f'<div class="answer"><p>{text(first)}</p>{f"<ul>{items}</ul>" if items else ""}</div>'


def _left_out(facts: Facts) -> str:
    def rejects(what: str, rows: list[tuple[str, str, int]]) -> str:
        ordered = sorted(rows, key=lambda r: (-r[2], r[0], r[1]))
        shown = [(s, r, integer(n)) for s, r, n in ordered[:LONGEST_LIST]]
        if len(ordered) > LONGEST_LIST:
            shown.append(
                ("other", f"{len(ordered) - LONGEST_LIST} more reasons", integer(sum(n for *_, n in ordered[LONGEST_LIST:])))
            )
        total = integer(sum(n for *_, n in rows))
        return (
            grid(f"{what} turned away: {total}", ("source", "reason", "records"), shown, (2,))
            if rows
            else f"<p>No {what} were turned away.</p>"
        )

    html = rejects("corpus records", facts.document_rejects) + rejects("task records", facts.example_rejects)
    if facts.mining:
        rows: list[tuple[Any, ...]] = []
        for r in facts.mining:
            rows.append(
                (
                    r["task"],
                    r["order"],
                    number(r["gamma"]),
                    integer(r["candidates_of_order"]),
                    integer(r["kept"]),
                    integer(r["above"]),
                    f"{100 * r['above'] / r['candidates_of_order']:.2f} %" if r["candidates_of_order"] else "–",
                )
            )
        html += grid(
            "Mining: pairs of n-grams of one example, those above the lowest γ, and those above the γ of the measures",
            ("task", "n", "γ", "candidates", "mined", "above γ", "acceptance rate"),
            rows,
            (1, 2, 3, 4, 5, 6),
        )
        totals = {r["task"]: r for r in facts.mining if r["candidates"]}
        if totals:
            html += grid(
                "Mining, all n together",
                ("task", "candidates", "below the lowest γ", "one inside the other", "accepted"),
                [
                    (
                        t,
                        integer(r["candidates"]),
                        integer(r["below_gamma"]),
                        integer(r["contained"]),
                        f"{100 * (r['candidates'] - r['below_gamma'] - r['contained']) / r['candidates']:.2f} %",
                    )
                    for t, r in totals.items()
                ],
                (1, 2, 3, 4),
            )
    else:
        html += missing("no task-grams were mined")
    if not facts.exclusions:
        return html + missing("nothing is recorded as left out of a measure")
    rows = [
        (e["measure"], e["task"], e["model"] or "–", e["order"] or "–", e["reason"], integer(e["rows"]), e["of"])
        for e in facts.exclusions
    ]
    heads = ("measure", "task", "model", "n", "reason", "rows", "of")
    return html + (
        f"<details><summary>What did not enter each measure ({integer(len(rows))} lines)</summary>"
        f"{grid('Exclusions by reason; “kept” is what the measure rests on', heads, rows, (5,))}</details>"
    )


def _documents(facts: Facts) -> str:
    if not facts.pairs:
        return missing("no documents were kept for the pairs, or no pair stands in the corpus")
    html = (
        "<p>The most frequent, a middling and the rarest pair of each task, with documents drawn at random from those that "
        'hold it. <mark class="in">Input n-gram</mark>, <mark class="out">output n-gram</mark>.</p>'
    )
    task = None
    for pair in facts.pairs:
        html += f"<h3>{text(pair.task)}</h3>" if pair.task != task else ""
        task = pair.task
        html += (
            f'<p><mark class="in">{text(pair.input_ngram)}</mark> with <mark class="out">{text(pair.output_ngram)}</mark> '
            f'<span class="why">together in {integer(pair.count)} document{"" if pair.count == 1 else "s"}</span></p>'
            f'<div class="documents">{_excerpts(pair)}</div>'
        )
    return html


def _excerpts(pair: ShownPair) -> str:
    return "".join(
        f"<blockquote><p><bdi>{_marked(d)}</bdi></p><cite>{text(d['source'])} · {text(d['id'])}</cite></blockquote>"
        for d in pair.documents
    )


def _marked(document: Mapping[str, Any]) -> str:
    at = [(document[f"{side}_start"], document[f"{side}_end"]) for side in ("input", "output")]
    return highlight(document["excerpt"], at[0], at[1])


def _methods(facts: Facts) -> str:
    settings = [(k, v if v != "" else "–") for k, v in facts.settings["methods"].items()]
    settings += [(f"version of {t['name']}", t["version"]) for t in facts.settings["tasks"]]
    settings += [(f"γ of {t['name']}", gammas_of(facts, t)) for t in facts.settings["tasks"]]
    tables = [(name, integer(parts), key) for name, parts, key in facts.tables]
    return (
        f'<h3>To paste</h3><pre class="methods">{text(methods(facts))}</pre>'
        + grid("Settings", ("setting", "value"), settings)
        + "<details><summary>Versions</summary>"
        + grid("What this ran on", ("package", "version"), facts.settings["versions"].items())
        + "</details>"
        + "<details><summary>Fingerprints of the tables</summary>"
        + grid("Equal fingerprints mean equal inputs, settings and steps", ("table", "parts", "fingerprint"), tables, (1,))
        + "</details>"
    )
