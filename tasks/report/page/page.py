"""The page, top to bottom. All text that is not ours is escaped; nothing is loaded from anywhere; there is no script.

The trace, a page of its own, lies beside it (trace_page.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from tasks.report.data import Facts
from tasks.report.figures.check_figures import confound_rows
from tasks.report.numbers import integer, known, number, short, sizes, with_interval
from tasks.report.page.figure_html import figure_html
from tasks.report.page.html import grid, missing, text
from tasks.report.page.left_out import contaminated_html, documents_html, left_out_html
from tasks.report.page.methods import methods_html
from tasks.report.page.prose import answer, asked_models, glance
from tasks.report.page.results import results_html, truth_html
from tasks.report.plot.figure import Figure


def page(facts: Facts, figures: Sequence[Figure]) -> str:
    """The whole of index.html."""

    def drawn(place: str) -> str:
        return "".join(figure_html(f) for f in figures if f.place == place)

    sections: tuple[tuple[str, str, str], ...] = (
        ("answer", "Task by task", _answer(facts)),
        ("results", "Results", results_html(facts)),
        ("performance", "Score, counts and novelty", drawn("performance")),
        ("checks", "What could mislead", drawn("checks") + _confound_table(facts)),
        ("truth", "Measured beside true", truth_html(facts, figures)),
        ("asked", "What was asked", _asked(facts)),
        ("corpus", "Corpus and training", drawn("corpus")),
        ("left-out", "What was left out", left_out_html(facts)),
        ("contamination", "Test text in the corpus", contaminated_html(facts)),
        ("documents", "Documents behind the pairs", documents_html(facts)),
        ("methods", "Methods", methods_html(facts)),
    )
    title = facts.settings["title"] or facts.settings["study"]
    links = "".join(f'<a href="#{i}">{text(name)}</a>' for i, name, _ in sections) + _trace_link(facts)
    body = "".join(
        f'<section id="{i}" aria-labelledby="{i}-h"><h2 id="{i}-h">{text(name)}</h2>{html}</section>'
        for i, name, html in sections
    )
    top = (
        f'<header class="top"><p class="kicker">Study {text(facts.settings["study"])}</p><h1>{text(title)}</h1>'
        f'<p class="lead">{text(glance(facts))}</p>{_silent(facts)}</header>'
        f'<section id="glance" class="glance" aria-label="At a glance">{drawn("glance")}{_numbers(facts)}'
        f'<nav aria-label="Contents">{links}</nav></section>'
    )
    here = Path(__file__).parent
    template, css = ((here / name).read_text(encoding="utf-8") for name in ("template.html", "report.css"))
    return Template(template).substitute(title=text(f"{title} · taskgram"), css=css, body=f"<main>{top}{body}</main>")


# -- sections -----------------------------------------------------------------------------------------------------------
def _trace_link(facts: Facts) -> str:
    """The page of single examples lies beside this one."""
    if not facts.settings["tasks"]:
        return ""
    return '<a class="trace" href="trace/index.html">Follow one example →</a>'


def _silent(facts: Facts) -> str:
    """A model of the study that no number speaks of is said at once."""
    silent = [m for m in facts.settings["models"] if m not in asked_models(facts)]
    if not silent or not facts.metrics:
        return ""
    return f'<p class="missing">Not measured: {text(", ".join(silent))}. The study names it, no number speaks of it.</p>'


def _numbers(facts: Facts) -> str:
    documents, tokens = (sum(s[k] for s in facts.sources) for k in ("documents", "tokens"))
    numbers = [
        ("documents", documents),
        ("model tokens", tokens),
        ("tasks", len(facts.settings["tasks"])),
        ("evaluated examples", sum(n for (_, split), n in facts.examples.items() if split == "evaluate")),
        ("models", len(facts.settings["models"])),
    ]
    said = "".join(f"<div><dt>{n}</dt><dd>{short(v) if v >= 100_000 else integer(v)}</dd></div>" for n, v in numbers)
    return f'<dl class="facts">{said}</dl>'


def _asked(facts: Facts) -> str:
    origin = "a planted world, whose truth is known" if facts.settings["planted"] else "files named in the study"
    html = (
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


def _confound_table(facts: Facts) -> str:
    """All remedies × models, at every n."""
    found = confound_rows(facts)
    if not found:
        return ""
    models = [m for m in facts.ladder if any(m in rows for *_, rows in found)]
    rows = [
        (
            task,
            measure,
            remedy,
            *(with_interval(own[m]) if m in own and known(own[m]) else own[m]["note"] if m in own else "–" for m in models),
        )
        for task, measure, remedy, own in found
    ]
    return (
        "<details><summary>All remedies and models as a table</summary>"
        + grid("ρ with its 95 % interval after each remedy", ("task", "measure", "remedy", *models), rows)
        + "</details>"
    )
