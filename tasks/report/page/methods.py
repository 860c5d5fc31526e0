"""The methods paragraph, ready to paste: what was measured how, on how many, with what left out, by which versions."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasks.report.data import ReportData
from tasks.report.formatting import integer, listed, number
from tasks.report.numbers import LEVEL, has_number, remedy_of
from tasks.report.page.blocks import Block, Custom, Folded, HtmlTable

MOST_REASONS = 5
OF_ALL = ("seed", "bootstrap draws", "precision")  # settings that matter without tasks


def methods(data: ReportData) -> list[Block]:
    """The paragraph, then the settings, versions and fingerprints."""
    tasks = data.settings["tasks"]
    settings = [(k, v if v != "" else "–") for k, v in data.settings["methods"].items() if not data.without_tasks or k in OF_ALL]
    settings += [(f"version of {t['name']}", t["version"]) for t in tasks]
    settings += [(f"γ of {t['name']}", gammas_of(data, t)) for t in tasks]
    tables = [(name, integer(parts), key) for name, parts, key in data.tables]
    versions = HtmlTable("What this ran on", ("package", "version"), data.settings["versions"].items())
    caption = "Equal fingerprints mean equal inputs, settings and steps"
    fingerprints = HtmlTable(caption, ("table", "parts", "fingerprint"), tables, (1,))
    return [
        Custom("methods", _facts(data)),
        HtmlTable("Settings", ("setting", "value"), settings),
        Folded("Versions", [versions]),
        Folded("Fingerprints of the tables", [fingerprints]),
    ]


def gammas_of(data: ReportData, task: Mapping[str, Any]) -> str:
    """γ of each n of a task: "n = 2: .62", and for a percentile "n = 2: .62 (p90 of all candidate pairs)"."""
    values = data.gammas[task["name"]]
    origin = {n: f" ({g} of all candidate pairs)" if isinstance(g, str) else "" for n, g in task["gamma"].items()}
    return ", ".join(f"n = {n}: {number(values[n])}{origin[n]}" for n in sorted(origin))


def _facts(data: ReportData) -> dict[str, Any]:
    """What methods.html says; what is empty or 0 is not mentioned."""
    settings, tasks, versions = data.settings["methods"], data.settings["tasks"], data.settings["versions"]
    documents, tokens = (sum(s[k] for s in data.sources) for k in ("documents", "tokens"))
    rejected = sum(data.document_rejects.values())
    encoder = f"the sentence encoder {settings['encoder model']}"
    if settings["encoder"] == "association":
        encoder = "IBM Model 1 association vectors estimated from the mining examples"
    evaluated = [f"{t['name']} ({data.examples.get((t['name'], 'evaluate'), 0):,})" for t in tasks]
    confounds = dict.fromkeys(remedy_of(r) for r in data.measured("confound") if has_number(r))
    libraries = [f"{name} {versions[name]}" for name in ("torch", "transformers", "numpy", "scipy") if name in versions]
    mem_n = data.measured("mem_n")
    return {
        "settings": settings | {"bootstrap draws": f"{settings['bootstrap draws']:,}"},
        "corpus": f"{documents:,} documents" + (f" ({tokens:,} model tokens)" if tokens else ""),
        "rejected": f"{rejected:,}" if rejected else "",
        "evaluated": listed(evaluated),
        "encoder": encoder,
        "gammas": "; ".join(f"{t['name']}: {gammas_of(data, t)}" for t in tasks),
        "twice": listed([t["name"] for t in tasks if t["mined_on_evaluated"]]),
        "shots": ", ".join(f"{t['shots']} for {t['name']}" for t in tasks if t["shots"]),
        "rows": listed(_rows(data)),
        "exclusions": "; ".join(_exclusions(data)),
        "two_way": any(r["interval"] == "two_way" for r in mem_n),
        "tests": len(data.family),
        "significant": sum(r["q_value"] < LEVEL for r in data.family),
        "remedies": listed(list(confounds)),
        "placebo": any(r["corpus"] == "placebo" and has_number(r) for r in mem_n),
        "orders": ", ".join(str(n) for n in sorted({r["order"] for r in data.measured("contamination")})),
        "contaminated": f"{len({(r['task'], r['example']) for r in data.contaminated}):,}",
        "without_tasks": data.without_tasks,
        "ensembles": _ensembles(data),
        "version": versions.get("taskgram", "unknown"),
        "libraries": ", ".join(libraries),
    }


def _ensembles(data: ReportData) -> dict[str, Any] | None:
    """What was trained how often, with and without how many sequences."""
    of, sequences = data.settings.get("ensembles"), data.ensembles.sequences
    if not of or sequences.is_empty():
        return None
    splits = {split: sequences.filter(split=split)["sequence"].n_unique() for split in ("member", "phantom")}
    level = f"{100 * data.ensembles.verdicts[0]['level']:.0f} %" if data.ensembles.verdicts else ""
    return {"models": listed(sorted(r["model"] for r in data.ensembles.runs)), "runs": of["runs"], "level": level, **splits}


def _rows(data: ReportData) -> list[str]:
    """On how many rows the primary numbers rest."""
    counts = []
    for name in (t["name"] for t in data.settings["tasks"]):
        rows = [r for m in data.ladder if (r := data.line(name, m).rows["mem_n"]) and has_number(r)]
        if rows:
            least, most = min(r["rows"] for r in rows), max(r["rows"] for r in rows)
            count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            counts.append(f"{count} of {name} (n = {rows[0]['order']}; {max(r['examples'] for r in rows):,} examples)")
    return counts


def _exclusions(data: ReportData) -> list[str]:
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
    return reasons[:MOST_REASONS] + ([f"{rest} further reasons"] if rest > 0 else [])
