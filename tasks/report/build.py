"""The report: one page that works offline, its figures as SVG and PDF, and the data of each figure as CSV.

The bytes depend on the tables, the settings below and the pinned versions alone: no time, no machine, no random order.
"""

from typing import Any

from schemas import REPORT_FILES, TRACE_FILES, Study
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.report import ensemble_data
from tasks.report.trace import trace_files
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.versions import version, versions

READS = (
    *("metrics", "metric_family", "exclusions", "models", "training_log", "examples", "example_rejects", "documents"),
    *("document_rejects", "tokens", "ngram_counts", "contamination", "similarities", "task_grams", "pair_counts"),
    *("pair_documents", "truth", "planted_sequences", *ensemble_data.READS),
)
LIBRARIES = (
    *("prefect", "dask", "pyarrow", "polars", "duckdb", "great_expectations", "numpy", "scipy", "numba", "transformers"),
    *("tokenizers", "torch", "sacrebleu", "matplotlib", "jinja2"),
)


def installed() -> dict[str, str]:
    return {"taskgram": version("taskgram") or "not installed", **{n: v for n, v in versions(LIBRARIES).items() if v}}


def plan(study: Study, inputs: Inputs) -> list[Job]:
    tasks = [
        {"name": t.name, "family": t.family, "version": t.full_version, "shots": t.shots, "orders": list(t.orders)}
        | {"first_order": t.first_order, "gamma": {str(n): t.gamma_at(n) for n in t.orders}, "lowest_gamma": t.lowest_gamma}
        | {"mined_on_evaluated": t.reader != "planted" and not t.mine and not t.split}
        for t in study.tasks
    ]
    counting, measures, scoring = study.counting, study.measures, study.scoring
    methods = {
        **{"seed": study.seed, "encoder": study.encoder.kind, "encoder model": study.encoder.model},
        **{"stop words": counting.stop_words, "bootstrap draws": measures.bootstrap},
        **{"other inputs for Mem_Δ": scoring.other_inputs, "longest ∞-gram suffix": counting.longest_suffix},
        "precision": scoring.dtype,
    }
    settings: dict[str, Any] = {"study": study.name, "title": study.title, "tasks": tasks, "methods": methods}
    settings |= {"models": [m.name for m in study.models], "planted": study.corpus.planted is not None}
    if study.membership and study.corpus.controlled:
        settings["ensembles"] = {"networks": study.membership.networks, "runs": study.membership.runs}
    if study.memorization:
        settings["memorization"] = {name: getattr(study.memorization, name) for name in ("prefix", "suffix")}
    settings |= {"left_out_models": dict(study.left_out)} if study.left_out else {}
    settings["versions"] = installed()
    return [Job({"study": study.name}, settings, {t: tuple(inputs.get(t, ())) for t in READS})]


def run(work: Work) -> None:
    """Write the files, then their list."""
    from tasks.report.data import gather
    from tasks.report.figures.all_figures import draw
    from tasks.report.page.page import page
    from tasks.report.page.results import results_csv
    from tasks.report.plot.drawing import drawing_files

    data = gather(work)
    figures = draw(data)
    files = {"index.html": page(data, figures).encode(), "results.csv": results_csv(data).encode()}
    for figure in figures:
        if figure.panels:
            svg, pdf = drawing_files(figure.name, figure.panels)
            files |= {f"figures/{figure.name}.csv": figure.csv.encode(), f"figures/{figure.name}.svg": svg.encode()}
            files[f"figures/{figure.name}.pdf"] = pdf
    trace_files.publish(work, "report_files", sorted(files.items()))
    work.add("files", len(files))


RATES = {
    "report": Rate(16.5, "s", DEBIAN),
    "trace page": Rate(0.35e-3, "s for each example and model", DEBIAN),
    "bytes of a trace page": Rate(2.2e3, "bytes for each example and model", DEBIAN),
}


def cost(sizes: Sizes) -> Cost:
    """The page, the page of traces, and the traces of each task."""
    core = RATES["report"] + sizes.answers * RATES["trace page"]
    written = 1e6 + sizes.answers * RATES["bytes of a trace page"]
    return Cost(2 + len(sizes.tasks), 1, "pages", written=written, core=core, memory=0.5e9, rates=RATES)


ABOUT = "One page with the results, the figures and what they rest on."
STAGES = (Stage((REPORT_FILES,), plan, run), Stage((TRACE_FILES,), trace_files.plan, trace_files.run))
REPORT = Step("report", 8, ABOUT, tuple(dict.fromkeys((*READS, *trace_files.READS))), STAGES, cost=cost)
