"""A made-up study as large as the paper's, from its tables to the folder of its report."""

import math
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Folders

TASKS = ("facts", "choices", "sums", "translation")
REMEDIES = ("within s_y", "partial: length of s_y", "partial: all", "without templates", "window=50", "mined elsewhere", "equal N")


def report(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """All files of the report: page, figures as SVG and PDF, their data."""
    from schemas import CONTRACTS, Study
    from tasks.report.build import REPORT
    from tasks.report.numbers import is_plain
    from tasks.step import keyed, run_job
    from tasks.storage.store import Part, Store

    folders, models = Folders(), [f"size-{i}" for i in range(case["models"])]
    store, parts = Store(str(folders())), dict[str, tuple[Part, ...]]()
    tasks = [{"name": t, "family": "qa", "reader": "planted", "orders": [1, 2, 3]} for t in TASKS]
    named: dict[str, Any] = {"name": "large", "corpus": {"planted": {}}, "tasks": tasks}
    study = Study.model_validate(named | {"models": [{"name": m, "pretrain": {}} for m in models]})
    metrics = list(metric_rows(models))
    primary = [r for r in metrics if r["measure"] in ("mem_n", "mem_delta") and r["order"] == 1 and is_plain(r)]
    about = ("measure", "task", "model", "checkpoint", "order", "p_value")
    tables = {
        "metrics": metrics,
        "metric_family": [{k: r[k] for k in about} | {"q_value": r["p_value"]} for r in primary],
        "models": [_model_row(name, i) for i, name in enumerate(models)],
        "examples": [_example_row(i) for i in range(case["examples"])],
    }
    for name, rows in tables.items():
        contract = CONTRACTS[name]
        rows = sorted(rows, key=lambda r: tuple(r[k] for k in contract.key))
        with store.writing({name: contract}, name, {"sums": {}}) as writer:
            writer.write(name, pa.Table.from_pylist(rows, schema=contract.schema))
        parts[name] = (Part(name, name, {}),)
    stage = REPORT.stages[0]
    job = keyed(REPORT, 0, stage.plan(study, parts)[0])
    folder = Path(store.folder("report_files", job.key))

    def work(_: None) -> None:
        result = run_job(store, job, stage, CONTRACTS)
        if "error" in result:
            raise RuntimeError(result["error"])

    return BenchmarkSide(
        work,
        len(metrics),
        fresh=lambda: shutil.rmtree(folder, ignore_errors=True),
        check=lambda _: "" if (folder / "figures" / "memorization.pdf").stat().st_size else "no figure",
        extra=lambda _: {"files": sum(p.is_file() for p in folder.rglob("*"))},
        close=(folders.close,),
    )


def _model_row(name: str, i: int) -> dict[str, Any]:
    texts = dict.fromkeys(("revision", "path", "sha256", "membership", "tokenizer", "ends"), "")
    sizes = {"parameters": 10_000_000 * 2**i, "parameters_non_embedding": 5_000_000 * 2**i, "tokens_seen": -1}
    return {"model": name, "checkpoint": 1000, "source": "folder", "loss": None, "seed": -1} | texts | sizes


def _example_row(i: int) -> dict[str, Any]:
    texts = dict.fromkeys(("file", "version", "group", "sha256"), "") | {"prompt": "x", "separator": " "}
    content = {"input": "x " * 40, "output": "y " * 10, "aliases": [], "options": [], "answer": -1}
    return {"task": TASKS[i % 4], "split": "evaluate", "example": f"{i:06}", "row": i + 1} | texts | content


def metric_rows(models: list[str]) -> Iterator[dict[str, Any]]:
    """Every measure of the catalogue for every task, model and n: about 20,000 rows for nine models, with further variants."""
    for task in TASKS:
        for step, model in enumerate(models):
            share = 0.1 + 0.05 * step
            row = partial(_row, task, model)
            yield row("main_score", share, statistic="exact_match", unit="example")
            for order in (1, 2, 3):
                one = partial(row, order=order)
                for measure in ("mem_n", "mem_delta"):
                    rows: list[dict[str, Any]] = [{"interval": i} for i in ("", "two_way", "pigeonhole", "bca")]
                    rows += [{"corpus": c} for c in ("placebo", "difference")] + [{"detail": f"{i}"} for i in range(40)]
                    yield from (one(measure, share, **which) for which in rows)
                    of = partial(one, of_measure=measure)
                    yield from (of("confound", share, detail=remedy) for remedy in REMEDIES)
                    yield from (of("sweep", share, x=0.6 + i / 100, gamma=f"0.{i + 60}") for i in range(20))
                    difference = partial(of, "comparison", 0.05, statistic="spearman_difference")
                    yield from (difference(against=other) for other in models[:step])
                yield one("mem_infinity", share / 2, unit="example_output")
                yield one("novelty", share / 2, unit="ngram", statistic="rate")
                part = partial(one, "attribution", 1 / 6, statistic="unique_rank_variance")
                yield from (part(detail=name) for name in ("pair", "s_y", "s_x", "length", "shared", "unexplained"))
                yield from (one("exposure", math.log1p(i), statistic="delta_mean", bin=i, x=float(i)) for i in range(60))
            curve = partial(row, value=share, order=1, unit="example", statistic="exact_match")
            for measure in ("performance", "performance_linear", "performance_quantile", "performance_mean_log_count"):
                yield from (curve(measure, bin=i, x=float(2**i)) for i in range(10))


def _row(task: str, model: str, measure: str, value: float, **more: Any) -> dict[str, Any]:
    from schemas.tables.metrics import QUALIFIERS

    about = {"measure": measure, "task": task, "model": model, "checkpoint": 1000, "order": 0, "unit": "pair"}
    numbers = {"estimate": value, "low": value - 0.1, "high": value + 0.1, "p_value": 0.01, "rows": 9000, "examples": 2500}
    empty = {"x": None, "standard_error": None, "clusters": None, "truth": None, "note": ""}
    return about | {"statistic": "spearman"} | numbers | QUALIFIERS | empty | more
