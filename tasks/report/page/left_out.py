"""What did not enter, by reason; test text that stands in the corpus (docs/method.md §13); and documents behind the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasks.report.data import Facts, ShownPair
from tasks.report.numbers import integer, known, number, with_interval
from tasks.report.page.html import grid, highlight, missing, text
from tasks.report.page.results import LONGEST_LIST

SHOWN_CONTAMINATED = 25  # of a task


def left_out_html(facts: Facts) -> str:
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


def documents_html(facts: Facts) -> str:
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


def contaminated_html(facts: Facts) -> str:
    """Evaluated examples that share a long n-gram with the corpus, each with a document that holds it."""
    shares = [r for r in facts.measured("contamination") if r["statistic"] == "share"]
    html = ""
    if shares:
        rows = [
            (r["task"], r["order"], r["detail"], with_interval(r) if known(r) else r["note"], integer(r["rows"]))
            for r in shares
        ]
        html += grid(
            "Share of the evaluated examples, of those long enough, that share an n-gram with the corpus",
            ("task", "n", "side", "share", "examples"),
            rows,
            (1, 4),
        )
    else:
        html += missing("contamination was not measured")
    found = facts.contaminated
    if not found:
        return html + ("<p>No evaluated example shares an n-gram of these lengths with the corpus.</p>" if shares else "")
    longest: dict[tuple[str, str], dict[str, Any]] = {}
    for r in found:  # the longest shared n-gram of each example speaks for the shorter ones
        if (r["task"], r["example"]) not in longest or r["order"] > longest[r["task"], r["example"]]["order"]:
            longest[r["task"], r["example"]] = r
    total = Counter(task for task, _ in longest)
    for task, many in total.items():
        own = [r for (t, _), r in sorted(longest.items()) if t == task]
        own.sort(key=lambda r: (-r["order"], r["example"]))
        shown = [
            (r["example"], r["side"], r["order"], r["ngram"], integer(r["documents"]), f"{r['source']} · {r['id']}")
            for r in own[:SHOWN_CONTAMINATED]
        ]
        rest = f"; {integer(many - SHOWN_CONTAMINATED)} more are in the table `contamination`" if many > len(shown) else ""
        html += (
            f"<details><summary>{text(task)}: {integer(many)} example{'s' * (many != 1)}</summary>"
            + grid(
                f"The longest shared n-gram of each example, and the first document that holds it{rest}",
                ("example", "side", "n", "n-gram", "documents", "first document"),
                shown,
                (2, 4),
            )
            + "</details>"
        )
    return html
