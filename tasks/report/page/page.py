"""The page, top to bottom. All text is escaped; nothing is loaded over the network; there is no script.

The trace, a page of its own, is next to it (trace_page.py).
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.report.answer import answer, glance, measured_models
from tasks.report.data import ReportData
from tasks.report.figures.report_figure import ReportFigure
from tasks.report.formatting import integer, interval, number, short
from tasks.report.numbers import PRIMARY, sizes
from tasks.report.page.blocks import Block, Custom, Remark, table_of
from tasks.report.page.html import data_link, fit, highlight
from tasks.report.page.left_out import contaminated, documents, left_out
from tasks.report.page.methods import methods
from tasks.report.page.results import measures, results
from tasks.report.page.truth import truth
from tasks.report.page.verdict_table import claims, networks
from tasks.report.plot.drawing import WIDE, legend_of
from tasks.report.plot.palette import sample, themed

HERE = Path(__file__).parent
OF_TASKS = {"answer", "results", "performance", "checks", "truth", "contamination", "documents"}  # sections
EMBEDDED = 100_000  # characters of data that a page carries for one figure


def page(data: ReportData, figures: Sequence[ReportFigure]) -> str:
    def drawn(section: str) -> list[Block]:
        return [f for f in figures if f.text["section"] == section]

    sections: list[tuple[str, str, list[Block]]] = [
        *([("claims", "Memorized or learned?", claims(data, drawn("claims")))] if "ensembles" in data.settings else []),
        ("answer", "Task by task", [Custom("answer", answer(data))]),
        ("results", "Results", results(data)),
        ("performance", "Score, counts and novelty", drawn("performance")),
        *([("memorized", "Memorized sequences", drawn("memorized"))] if "memorization" in data.settings else []),
        ("checks", "What could mislead", drawn("checks")),
        ("truth", "Compared with the planted truth", truth(data, drawn("truth"))),
        ("measures", "All measures", measures(data)),
        ("study", "Corpus and models" if data.without_tasks else "Corpus, tasks and models", _study(data)),
        ("corpus", "N-gram counts and training", drawn("corpus")),
        ("left-out", "What was left out", left_out(data)),
        ("contamination", "Test text in the corpus", contaminated(data)),
        ("documents", "Documents with the pairs", documents(data)),
        ("methods", "Methods", methods(data)),
    ]
    if data.without_tasks:
        kept = [
            (id, name, [b for b in blocks if id == "claims" or _shows(b)]) for id, name, blocks in sections if id not in OF_TASKS
        ]
        sections = [section for section in kept if section[2]]
    unmeasured = [m for m in data.settings["models"] if m not in measured_models(data)] if data.metrics else []
    template = _environment().get_template("page.html")
    html = template.render(
        study=data.settings["study"],
        title=data.settings["title"] or data.settings["study"],
        css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        lead=glance(data),
        unmeasured=unmeasured,
        left_out_models=data.settings.get("left_out_models", {}),
        glance=[] if data.without_tasks else drawn("glance"),
        totals=_totals(data),
        traced=bool(data.settings["tasks"]),
        sections=sections,
    )
    return fit(html)


def _shows(block: Block) -> bool:
    """Whether a block is more than the reason why nothing is there."""
    return bool(block.panels) if isinstance(block, ReportFigure) else not (isinstance(block, Remark) and block.style == "missing")


def _environment() -> Environment:
    loader = FileSystemLoader(HERE)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["sentence"] = lambda words: f"{words[:1].upper()}{words[1:].rstrip('.')}."
    environment.globals |= {
        "data_of": lambda f: data_link(f.csv) if len(f.csv) <= EMBEDDED else f"figures/{f.name}.csv",
        "drawing": lambda panel: Markup(themed(panel.svg_content)),  # in colours that follow the page's light or dark
        "highlight": _highlight,
        "in_rows": lambda panels: [(heading, list(row)) for heading, row in groupby(panels, key=lambda p: p.row)],
        "integer": integer,
        "interval": interval,
        "legend_of": legend_of,
        "number": number,
        "PRIMARY": PRIMARY,
        "sample": lambda style: Markup(themed(sample(style))),
        "WIDE": WIDE,
    }
    return environment


def _highlight(document: Mapping[str, Any]) -> Markup:
    spans = [(document[f"{side}_start"], document[f"{side}_end"]) for side in ("input", "output")]
    return Markup(highlight(document["excerpt"], *spans))


def _totals(data: ReportData) -> list[tuple[str, str]]:
    documents, tokens = (sum(s[k] for s in data.sources) for k in ("documents", "tokens"))
    totals = {
        "documents": documents,
        "model tokens": tokens,
        "tasks": len(data.settings["tasks"]),
        "evaluated examples": sum(n for (_, split), n in data.examples.items() if split == "evaluate"),
        "models": len(data.settings["models"]),
    }
    if runs := data.ensembles.runs:
        trained = {"sequences": data.ensembles.sequences["sequence"].n_unique(), "trainings": sum(r["runs"] for r in runs)}
        totals = trained | {name: n for name, n in totals.items() if n}
    return [(name, short(n) if n >= 100_000 else integer(n)) for name, n in totals.items()]


def _study(data: ReportData) -> list[Block]:
    origin = "a planted world, whose truth is known" if data.settings["planted"] else "files named in the study"
    origin = "a controlled corpus, whose sequences are known" if "ensembles" in data.settings else origin
    sources = [(s["source"] or "all", integer(s["documents"]), integer(s["tokens"])) for s in data.sources]
    tasks = []
    for t in data.settings["tasks"]:
        mined, evaluated = (integer(data.examples.get((t["name"], split), 0)) for split in ("mine", "evaluate"))
        tasks.append((t["name"], t["family"].replace("_", " "), mined, evaluated, ", ".join(map(str, t["orders"]))))
    last = {r["model"]: r for r in sorted(data.models, key=lambda r: (r["model"], r["checkpoint"]))}
    models = []
    for r in (last[name] for name in sizes(data.models)):
        tokens = integer(r["tokens_seen"]) if r["tokens_seen"] >= 0 else "unknown"
        parameters = (integer(r["parameters"]), integer(r["parameters_non_embedding"]))
        models.append((r["model"], *parameters, tokens, number(r["loss"]), r["source"], r["ends"]))
    model_columns = ("model", "parameters", "non-embedding", "tokens seen", "loss, nats", "origin", "answers end at")
    task_caption = "The tasks: task-grams are mined from one set of examples, and models are evaluated on another"
    task_columns, no_task = ("task", "family", "mined", "evaluated", "n"), "the study names no task"
    source_columns, no_model = ("source", "documents", "model tokens"), "no model has been trained or loaded"
    if data.without_tasks:
        models_or_not = "" if data.ensembles.runs else no_model
        of_models = table_of("The models, smallest first", model_columns, models, (1, 2, 3, 4), models_or_not)
        return [*networks(data), *of_models, *table_of(f"The corpus: {origin}", source_columns, sources, (1, 2))]
    twice = ", ".join(t["name"] for t in data.settings["tasks"] if t["mined_on_evaluated"])
    return [
        *table_of(f"The corpus: {origin}", source_columns, sources, (1, 2), "the corpus has not been read"),
        *table_of(task_caption, task_columns, tasks, (2, 3), no_task),
        *networks(data),
        *([Remark(f"Mined from the evaluated examples themselves: {twice}.", "small")] if twice else []),
        *table_of("The models, smallest first", model_columns, models, (1, 2, 3, 4), no_model),
    ]
