"""The methods paragraph, ready to paste: what was measured how, on how many, with what left out, by which versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasks.report.data import Facts
from tasks.report.numbers import LEVEL, integer, known, number
from tasks.report.page.html import grid, text
from tasks.report.page.seen import listed

MOST_REASONS = 5


def gammas_of(facts: Facts, task: Mapping[str, Any]) -> str:
    """γ of each n of a task: "n = 2: .62", and for a percentile "n = 2: .62 (p90 of all candidate pairs)"."""
    found = facts.gammas[task["name"]]
    said = {n: f" ({g} of all candidate pairs)" if isinstance(g, str) else "" for n, g in task["gamma"].items()}
    return ", ".join(f"n = {n}: {number(found[n])}{said[n]}" for n in sorted(said))


def methods(facts: Facts) -> str:
    """A paragraph to paste into a paper."""
    parts = [*_corpus(facts), *_measures(facts), *_inference(facts), *_checks(facts), *_software(facts)]
    return " ".join(p for p in parts if p)


def _corpus(facts: Facts) -> list[str]:
    how, tasks = facts.settings["methods"], facts.settings["tasks"]
    documents, tokens = (sum(s[k] for s in facts.sources) for k in ("documents", "tokens"))
    corpus = f"{documents:,} documents" + (f" ({tokens:,} model tokens)" if tokens else "")
    turned_away = sum(n for *_, n in facts.document_rejects)
    encoder = (
        "IBM Model 1 association vectors learnt from the mining examples"
        if how["encoder"] == "association"
        else f"the sentence encoder {how['encoder model']}"
    )
    gammas = "; ".join(f"{t['name']}: {gammas_of(facts, t)}" for t in tasks)
    evaluated = [f"{t['name']} ({facts.examples.get((t['name'], 'evaluate'), 0):,})" for t in tasks]
    twice = [t["name"] for t in tasks if t["mined_on_evaluated"]]
    return [
        f"We measured distributional memorization (arXiv 2407.14985, Definition 3) over a corpus of {corpus}"
        + (f", after {turned_away:,} unreadable or empty records were left out" if turned_away else "")
        + (f", on the evaluated examples of {listed(evaluated)}." if evaluated else "."),
        f"Task-grams are pairs of word n-grams of an example's input and output whose cosine similarity, by {encoder}, "
        f"exceeds γ ({gammas or 'no task'}). Pairs in which one n-gram contains the other were dropped.",
        f"Stop-word policy: {how['stop words']}. Pair counts are exact numbers of documents that hold both n-grams.",
        f"For {listed(twice)} the task-grams were mined from the evaluated examples themselves." if twice else "",
    ]


def _measures(facts: Facts) -> list[str]:
    how, tasks = facts.settings["methods"], facts.settings["tasks"]
    shots = ", ".join(f"{t['shots']} for {t['name']}" for t in tasks if t["shots"])
    asked = f"behind solved examples ({shots}), else zero-shot" if shots else "zero-shot"
    return [
        "Mem_n is Spearman's ρ between log P_n(s_y|s_x) = log C(s_x,s_y)/df(s_x) and the model's teacher-forced "
        f"log-probability of s_y, {asked}. Mem_Δ correlates log C·N/(df(s_x)·df(s_y)) with the change "
        f"of that log-probability against {how['other inputs for Mem_Δ']} other inputs of the task.",
        "Mem_∞ uses the ∞-gram model over the models' own tokens with full back-off "
        f"(suffixes of at most {how['longest ∞-gram suffix']} tokens).",
        _pairs(facts),
        _exclusions(facts),
    ]


def _pairs(facts: Facts) -> str:
    """On how many rows the primary numbers rest."""
    said = []
    for task in facts.settings["tasks"]:
        name = task["name"]
        found = [facts.cells(name, m, facts.order_of(name)).mem_n for m in facts.ladder]
        rows = [r for r in found if r is not None and known(r)]
        if rows:
            least, most = min(r["rows"] for r in rows), max(r["rows"] for r in rows)
            number_of = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            said.append(f"{number_of} of {name} (n = {rows[0]['order']}; {max(r['examples'] for r in rows):,} examples)")
    return f"Rows (example, s_x, s_y) behind Mem_n: {listed(said)}." if said else "No row could be measured."


def _exclusions(facts: Facts) -> str:
    """What Mem_n left out, by reason, at each task's primary n, summed over tasks (one model's rows, where models differ)."""
    found: dict[tuple[str, str], int] = {}
    for e in facts.exclusions:
        if e["measure"] == "mem_n" and e["order"] == facts.order_of(e["task"]) and not e["reason"].endswith("kept"):
            key = (e["task"], e["reason"])
            found[key] = max(found.get(key, 0), e["rows"])
    total: Counter[str] = Counter()
    for (_, reason), rows in found.items():
        total[reason] += rows
    reasons = [f"{reason} ({rows:,})" for reason, rows in total.most_common() if rows]
    rest = len(reasons) - MOST_REASONS
    told = reasons[:MOST_REASONS] + ([f"{rest} further reasons"] if rest > 0 else [])
    return f"Left out of Mem_n: {'; '.join(told)}." if told else ""


def _inference(facts: Facts) -> list[str]:
    how = facts.settings["methods"]
    tests = len(facts.family)
    sure = sum(r["q_value"] < LEVEL for r in facts.family)
    family = (
        f"The family of {tests} tests (Mem_n and Mem_Δ at the primary n, γ and pair unit, over task × model) was fixed beforehand "
        f"and corrected by Benjamini-Hochberg; {sure} of {tests} have q < .05. Sweeps and checks are not in it."
        if tests
        else "No test entered the primary family."
    )
    new_outputs = any(r["detail"] == "pigeonhole" for r in facts.measured("mem_n"))
    return [
        f"Intervals are at 95 %: Wilson's for shares, else bootstrap intervals with {how['bootstrap draws']:,} draws over whole "
        "examples (these facts, new examples)"
        + (", and beside them a pigeonhole bootstrap over examples × outputs (new facts too)." if new_outputs else "."),
        "p-values of Mem_n and Mem_Δ account for rows that share examples and outputs.",
        family,
    ]


def _checks(facts: Facts) -> list[str]:
    remedies = list(dict.fromkeys(r["detail"] for r in facts.measured("confound") if known(r)))
    placebo = any(r["detail"] == "placebo" and known(r) for r in facts.measured("mem_n"))
    orders = sorted({r["order"] for r in facts.measured("contamination")})
    holders = len({(r["task"], r["example"]) for r in facts.contaminated})
    return [
        f"The measures were taken again with these remedies: {listed(remedies)}." if remedies else "",
        "Placebo counts come from a corpus of the same size that the models never saw." if placebo else "",
        f"{holders:,} evaluated examples share an n-gram (n = {', '.join(str(n) for n in orders)}) with the corpus."
        if orders
        else "",
    ]


def _software(facts: Facts) -> list[str]:
    how, versions = facts.settings["methods"], facts.settings["versions"]
    named = [f"{name} {versions[name]}" for name in ("torch", "transformers", "numpy", "scipy") if name in versions]
    return [
        f"Log-probabilities were computed in {how['precision']}; all random choices follow from seed {how['seed']}.",
        f"Software: taskgram {versions.get('taskgram', 'unknown')}" + (f" with {', '.join(named)}." if named else "."),
    ]


def methods_html(facts: Facts) -> str:
    """The paragraph, and the settings, versions and fingerprints behind it."""
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
