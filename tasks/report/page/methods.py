"""The methods paragraph, ready to paste: what was measured how, on how many, with what left out, by which versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasks.report.data import ReportData
from tasks.report.formatting import integer, listed, number
from tasks.report.numbers import LEVEL, PIGEONHOLE, PLACEBO, has_number, label_of
from tasks.report.page.blocks import Block, Custom, Folded, HtmlTable

MOST_REASONS = 5


def methods(data: ReportData) -> list[Block]:
    """The paragraph, then the settings, versions and fingerprints."""
    tasks = data.settings["tasks"]
    settings = [(k, v if v != "" else "–") for k, v in data.settings["methods"].items()]
    settings += [(f"version of {t['name']}", t["version"]) for t in tasks]
    settings += [(f"γ of {t['name']}", gammas_of(data, t)) for t in tasks]
    tables = [(name, integer(parts), key) for name, parts, key in data.tables]
    versions = HtmlTable("What this ran on", ("package", "version"), data.settings["versions"].items())
    caption = "Equal fingerprints mean equal inputs, settings and steps"
    fingerprints = HtmlTable(caption, ("table", "parts", "fingerprint"), tables, (1,))
    return [
        Custom("paste", paragraph(data)),
        HtmlTable("Settings", ("setting", "value"), settings),
        Folded("Versions", [versions]),
        Folded("Fingerprints of the tables", [fingerprints]),
    ]


def paragraph(data: ReportData) -> str:
    """A paragraph to paste into a paper."""
    sentences = [*_corpus(data), *_measures(data), *_inference(data), *_checks(data), *_software(data)]
    return " ".join(s for s in sentences if s)


def gammas_of(data: ReportData, task: Mapping[str, Any]) -> str:
    """γ of each n of a task: "n = 2: .62", and for a percentile "n = 2: .62 (p90 of all candidate pairs)"."""
    values = data.gammas[task["name"]]
    origin = {n: f" ({g} of all candidate pairs)" if isinstance(g, str) else "" for n, g in task["gamma"].items()}
    return ", ".join(f"n = {n}: {number(values[n])}{origin[n]}" for n in sorted(origin))


def _corpus(data: ReportData) -> list[str]:
    how, tasks = data.settings["methods"], data.settings["tasks"]
    documents, tokens = (sum(s[k] for s in data.sources) for k in ("documents", "tokens"))
    corpus = f"{documents:,} documents" + (f" ({tokens:,} model tokens)" if tokens else "")
    rejected = sum(data.document_rejects.values())
    association = "IBM Model 1 association vectors estimated from the mining examples"
    encoder = association if how["encoder"] == "association" else f"the sentence encoder {how['encoder model']}"
    gammas = "; ".join(f"{t['name']}: {gammas_of(data, t)}" for t in tasks)
    evaluated = [f"{t['name']} ({data.examples.get((t['name'], 'evaluate'), 0):,})" for t in tasks]
    twice = [t["name"] for t in tasks if t["mined_on_evaluated"]]
    return [
        f"We measured distributional memorization (arXiv 2407.14985, Definition 3) over a corpus of {corpus}"
        + (f", after removing {rejected:,} unreadable or empty records" if rejected else "")
        + (f", on the evaluated examples of {listed(evaluated)}." if evaluated else "."),
        f"Task-grams are pairs of word n-grams of an example's input and output whose cosine similarity, by {encoder}, "
        f"exceeds γ ({gammas or 'no task'}). Pairs in which one n-gram contains the other were dropped.",
        f"Stop-word policy: {how['stop words']}. Pair counts are exact numbers of documents that contain both n-grams.",
        f"For {listed(twice)} the task-grams were mined from the evaluated examples themselves." if twice else "",
    ]


def _measures(data: ReportData) -> list[str]:
    how = data.settings["methods"]
    shots = ", ".join(f"{t['shots']} for {t['name']}" for t in data.settings["tasks"] if t["shots"])
    prompted = f"after solved examples ({shots}), otherwise zero-shot" if shots else "zero-shot"
    return [
        "Mem_n is Spearman's ρ between log P_n(s_y|s_x) = log C(s_x,s_y)/df(s_x) and the model's teacher-forced "
        f"log-probability of s_y, {prompted}. Mem_Δ correlates log C·N/(df(s_x)·df(s_y)) with the change "
        f"of that log-probability against {how['other inputs for Mem_Δ']} other inputs of the task.",
        "Mem_∞ uses the ∞-gram model over the models' own tokens with full back-off "
        f"(suffixes of at most {how['longest ∞-gram suffix']} tokens).",
        _pairs(data),
        _exclusions(data),
    ]


def _pairs(data: ReportData) -> str:
    """On how many rows the primary numbers rest."""
    counts = []
    for name in (t["name"] for t in data.settings["tasks"]):
        rows = [r for m in data.ladder if (r := data.line(name, m).rows["mem_n"]) and has_number(r)]
        if rows:
            least, most = min(r["rows"] for r in rows), max(r["rows"] for r in rows)
            count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            counts.append(f"{count} of {name} (n = {rows[0]['order']}; {max(r['examples'] for r in rows):,} examples)")
    return f"Mem_n rests on these rows (example, s_x, s_y): {listed(counts)}." if counts else "No row could be measured."


def _exclusions(data: ReportData) -> str:
    """What Mem_n left out, by reason, at each task's primary n, summed over tasks (one model's rows, where models differ)."""
    most: dict[tuple[str, str], int] = {}
    for e in data.exclusions:
        if e["measure"] == "mem_n" and e["order"] == data.order_of(e["task"]) and not e["reason"].endswith("kept"):
            key = (e["task"], e["reason"])
            most[key] = max(most.get(key, 0), e["rows"])
    total: Counter[str] = Counter()
    for (_, reason), rows in most.items():
        total[reason] += rows
    reasons = [f"{reason} ({rows:,})" for reason, rows in total.most_common() if rows]
    rest = len(reasons) - MOST_REASONS
    reasons = reasons[:MOST_REASONS] + ([f"{rest} further reasons"] if rest > 0 else [])
    return f"Left out of Mem_n: {'; '.join(reasons)}." if reasons else ""


def _inference(data: ReportData) -> list[str]:
    tests, significant = len(data.family), sum(r["q_value"] < LEVEL for r in data.family)
    family = (
        f"The family of {tests} tests (Mem_n and Mem_Δ at the primary n, γ and pair unit, over task × model) was fixed beforehand "
        f"and corrected by Benjamini-Hochberg; {significant} of {tests} have q < .05. Sweeps and checks are not in it."
    )
    pigeonhole = any(label_of(r) == PIGEONHOLE for r in data.measured("mem_n"))
    return [
        "Intervals are at 95 %: Wilson's for shares, else bootstrap intervals with "
        f"{data.settings['methods']['bootstrap draws']:,} draws over whole examples (these facts, new examples)"
        + (", and also a pigeonhole bootstrap over examples × outputs (new facts too)." if pigeonhole else "."),
        "p-values of Mem_n and Mem_Δ account for rows that share examples and outputs.",
        family if tests else "No test entered the primary family.",
    ]


def _checks(data: ReportData) -> list[str]:
    remedies = list(dict.fromkeys(label_of(r) for r in data.measured("confound") if has_number(r)))
    placebo = any(label_of(r) == PLACEBO and has_number(r) for r in data.measured("mem_n"))
    orders = ", ".join(str(n) for n in sorted({r["order"] for r in data.measured("contamination")}))
    examples = len({(r["task"], r["example"]) for r in data.contaminated})
    return [
        f"The measures were computed again with these remedies: {listed(remedies)}." if remedies else "",
        "Placebo counts come from a corpus of the same size that the models never saw." if placebo else "",
        f"{examples:,} evaluated examples share an n-gram (n = {orders}) with the corpus." if orders else "",
    ]


def _software(data: ReportData) -> list[str]:
    how, versions = data.settings["methods"], data.settings["versions"]
    named = [f"{name} {versions[name]}" for name in ("torch", "transformers", "numpy", "scipy") if name in versions]
    return [
        f"Log-probabilities were computed in {how['precision']}; all random choices follow from seed {how['seed']}.",
        f"Software: taskgram {versions.get('taskgram', 'unknown')}" + (f" with {', '.join(named)}." if named else "."),
    ]
