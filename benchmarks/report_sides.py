"""A made-up study as large as the paper's, from its tables to the folder of its report."""

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide

TASKS = ("facts", "choices", "sums", "translation")
REMEDIES = ("within s_y", "partial: length of s_y", "partial: all", "without templates", "window=50", "mined elsewhere", "equal N")


def report(corpora: Corpora, case: Mapping[str, Any]) -> BenchmarkSide:
    """All files of the report: page, figures as SVG and PDF, their data."""
    from schemas import CONTRACTS, Study
    from tasks.report.build import REPORT
    from tasks.report.numbers import is_plain
    from tasks.step import keyed, run_job
    from tasks.storage.store import Part, Store

    root = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-"))
    store = Store(str(root))
    models = [f"size-{i}" for i in range(case["models"])]
    study = Study.model_validate(
        {
            "name": "large",
            "corpus": {"planted": {}},
            "tasks": [{"name": t, "family": "qa", "reader": "planted", "orders": [1, 2, 3]} for t in TASKS],
            "models": [{"name": m, "pretrain": {}} for m in models],
        }
    )
    metrics = list(metric_rows(models))
    tables = {
        "metrics": metrics,
        "metric_family": [
            {k: r[k] for k in ("measure", "task", "model", "checkpoint", "order", "p_value")} | {"q_value": r["p_value"]}
            for r in metrics
            if r["measure"] in ("mem_n", "mem_delta") and r["order"] == 1 and is_plain(r)
        ],
        "models": [_model_row(name, i) for i, name in enumerate(models)],
        "examples": [_example_row(i) for i in range(case["examples"])],
    }
    parts: dict[str, tuple[Part, ...]] = {}
    for name, rows in tables.items():
        contract = CONTRACTS[name]
        rows = sorted(rows, key=lambda r: tuple(r[k] for k in contract.key))
        with store.writing({name: contract}, name, {"sums": {}}) as writer:
            writer.write(name, pa.Table.from_pylist(rows, schema=contract.schema))
        parts[name] = (Part(name, name, {}),)
    stage = REPORT.stages[0]
    job = keyed(REPORT, 0, stage.plan(study, parts)[0])

    def fresh() -> None:
        shutil.rmtree(store.folder("report_files", job.key), ignore_errors=True)

    def work(_: None) -> Path:
        result = run_job(store, job, stage, CONTRACTS)
        if "error" in result:
            raise RuntimeError(result["error"])
        return Path(store.folder("report_files", job.key))

    return BenchmarkSide(
        work=work,
        items=len(metrics),
        fresh=fresh,
        check=lambda folder: "" if (folder / "figures" / "memorization.pdf").stat().st_size else "no figure",
        extra=lambda folder: {"files": sum(1 for p in folder.rglob("*") if p.is_file())},
        close=lambda: shutil.rmtree(root, ignore_errors=True),
    )


def _model_row(name: str, i: int) -> dict[str, Any]:
    texts = dict.fromkeys(("revision", "path", "sha256", "membership", "tokenizer"), "")
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
                for measure in ("mem_n", "mem_delta"):
                    rows: list[dict[str, Any]] = [{"interval": i} for i in ("", "two_way", "pigeonhole", "bca")]
                    rows += [{"corpus": c} for c in ("placebo", "difference")] + [{"detail": f"{i}"} for i in range(40)]
                    for which in rows:
                        yield row(measure, share, order=order, **which)
                    for remedy in REMEDIES:
                        yield row("confound", share, order=order, of_measure=measure, detail=remedy)
                    for gamma in range(20):
                        named = {"of_measure": measure, "gamma": f"0.{gamma + 60}"}
                        yield row("sweep", share, order=order, x=0.6 + gamma / 100, **named)
                    for other in models[:step]:
                        pair = {"of_measure": measure, "against": other}
                        yield row("comparison", 0.05, order=order, statistic="spearman_difference", **pair)
                yield row("mem_infinity", share / 2, order=order, unit="example_output")
                yield row("novelty", share / 2, order=order, unit="ngram", statistic="rate")
                for part in ("pair", "s_y", "s_x", "length", "shared", "unexplained"):
                    yield row("attribution", 1 / 6, order=order, statistic="unique_rank_variance", detail=part)
                for i in range(60):
                    yield row("exposure", math.log1p(i), order=order, statistic="delta_mean", bin=i, x=float(i))
            for measure in ("performance", "performance_linear", "performance_quantile", "performance_mean_log_count"):
                for i in range(10):
                    yield row(measure, share, order=1, unit="example", statistic="exact_match", bin=i, x=float(2**i))


def _row(task: str, model: str, measure: str, value: float, **more: Any) -> dict[str, Any]:
    """One row of metrics."""
    from schemas.tables.metrics import QUALIFIERS

    about = {"measure": measure, "task": task, "model": model, "checkpoint": 1000, "order": 0, "unit": "pair"}
    numbers = {"estimate": value, "low": value - 0.1, "high": value + 0.1, "p_value": 0.01, "rows": 9000, "examples": 2500}
    empty = {"x": None, "standard_error": None, "clusters": None, "truth": None, "note": ""}
    return about | {"statistic": "spearman"} | numbers | QUALIFIERS | empty | more
