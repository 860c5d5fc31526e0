"""A small made-up study with every table the report reads, so that the page can be tested (and looked at) without a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from schemas import Study
from schemas.tables.metrics import QUALIFIERS
from tasks.report.numbers import is_plain
from tasks.storage.store import Part
from tests.report.measures import more
from tests.support import CONTRACTS, write_part

LADDER = {"tiny": 62_000, "small": 224_000, "medium": 921_000, "large": 3_700_000}
TASKS = ("arithmetic", "capitals", "choices", "lexicon")
HOSTILE = '<script>alert("x")</script><img src=http://evil.example/x.png onerror=alert(1)> & \u202eabc\x00'


def study() -> Study:
    """The study the tables belong to."""
    return Study.model_validate(
        {
            "name": "sample",
            "title": "What a ladder of small models remembers of a planted world",
            "corpus": {"planted": {}},
            "tasks": [
                {"name": "capitals", "family": "qa", "reader": "planted", "orders": [1, 2]},
                {"name": "lexicon", "family": "translation", "reader": "planted", "orders": [1, 2, 3]},
                {"name": "choices", "family": "multiple_choice", "reader": "jsonl", "evaluate": ["c.jsonl"], "orders": [1]},
                {"name": "arithmetic", "family": "math", "reader": "planted", "orders": [1, 2]},
            ],
            "models": [{"name": m, "pretrain": {}} for m in LADDER],
        }
    )


def metric(measure: str, task: str, model: str, estimate: float | None, half: float = 0.0, **other: Any) -> dict[str, Any]:
    """One metrics row; `half` is half the width of its interval."""
    row: dict[str, Any] = {
        "measure": measure,
        "task": task,
        "model": model,
        "checkpoint": 800 if model not in ("", "reference") else -1,
        "order": 0,
        "unit": "",
        "statistic": "spearman",
        "x": None,
        "estimate": estimate,
        "low": None if estimate is None or not half else estimate - half,
        "standard_error": None,
        "p_value": None,
        "high": None if estimate is None or not half else estimate + half,
        "rows": 280,
        "examples": 140,
        "clusters": None,
        "truth": None,
        "note": "",
    }
    return row | QUALIFIERS | other


def metrics() -> list[dict[str, Any]]:
    """Numbers as a real study of this shape gives them: memorized facts, generalized translation, no evidence for sums."""
    rows, levels = [], [0.0, 1.0, 3.2, 7.9, 22.4, 61.0, 180.0]
    for step, model in enumerate(LADDER):
        share = {
            "capitals": (0.22, 0.31, 0.44, 0.58),
            "lexicon": (18.0, 41.5, 63.2, 71.8),
            "choices": (0.26, 0.31, 0.40, 0.47),
            "arithmetic": (0.0, 0.01, 0.02, 0.02),
        }
        for task, values in share.items():
            statistic = {"capitals": "exact_match", "lexicon": "bleu", "choices": "accuracy", "arithmetic": "exact_match"}[task]
            half = 4.0 if statistic == "bleu" else 0.05 if values[step] > 0.05 else 0.015
            rows.append(metric("main_score", task, model, values[step], half, statistic=statistic, unit="example"))
            if task != "arithmetic":
                curve = [
                    min(0.97, values[step] / (80 if statistic == "bleu" else 1) * (0.25 + 0.3 * math.log1p(x))) for x in levels
                ]
                rows += [
                    metric(
                        "performance",
                        task,
                        model,
                        y * (100 if statistic == "bleu" else 1),
                        (0.07 if statistic != "bleu" else 6),
                        x=x,
                        bin=i,
                        statistic=statistic,
                        unit="example",
                    )
                    for i, (x, y) in enumerate(zip(levels, curve, strict=True))
                ]
        mem = {"capitals": 0.18 + 0.09 * step, "lexicon": 0.12 - 0.03 * step, "choices": 0.05 + 0.06 * step}
        for task, value in mem.items():
            sure, true = value > 0.15, 0.651 if task == "capitals" else None
            for measure, rho, half, wide, p, more_columns in (
                ("mem_n", value, 0.09, 0.13, 0.001 if sure else 0.3, {"order": 1, "unit": "pair", "truth": true}),
                ("mem_n", value / 2, 0.12, 0.3, 0.2, {"order": 2, "unit": "pair"}),
                ("mem_delta", value * 0.9 - 0.02, 0.08, 0.13, 0.002 if sure else 0.4, {"order": 1, "unit": "pair"}),
                ("mem_infinity", value * 0.5, 0.1, 0.1, 0.04 if value > 0.2 else 0.5, {"unit": "example_output"}),
            ):
                two_way = {"interval": "two_way", "p_value": p, "clusters": 80.0} | more_columns | {"truth": None}
                rows += [
                    metric(measure, task, model, rho, half, **more_columns),
                    metric(measure, task, model, rho, wide, **two_way),
                ]
        for measure in ("mem_n", "mem_delta"):
            rows.append(
                metric(
                    measure,
                    "arithmetic",
                    model,
                    None,
                    order=1,
                    unit="pair",
                    rows=0,
                    note="no pair of the evaluated examples occurs in the corpus",
                )
            )
        for x in (0, 1, 2, 4, 8, 16, 32, 64):
            recall = 1 / (1 + math.exp(-(math.log2(x + 1) - 4.6 + 0.5 * step) * 1.5)) if x else 0.0
            rows.append(metric("recall_by_exposure", "capitals", model, recall, 0.06, x=float(x), statistic="rate", level=float(x)))
    for step, model in enumerate([*LADDER, "reference"]):
        rows += [
            metric(
                "novelty",
                "lexicon",
                model,
                min(0.95, 0.004 * (4 - min(step, 4)) + 0.9 * (1 - math.exp(-((n - 1) ** 2) / 9))),
                0.02,
                order=n,
                unit="ngram",
                statistic="rate",
            )
            for n in range(1, 7)
        ]
    rows += [metric("planted_counts", t, "", 1.0, statistic="equal", rows=n) for t, n in (("capitals", 576), ("lexicon", 160))]
    rows += more(LADDER)
    key = CONTRACTS["metrics"].key
    return sorted(rows, key=lambda r: tuple(r[k] for k in key))


def family() -> list[dict[str, Any]]:
    """The corrected family of the rows above."""
    return [
        {k: r[k] for k in ("measure", "task", "model", "checkpoint", "order", "p_value")} | {"q_value": min(1.0, 2 * r["p_value"])}
        for r in metrics()
        if r["measure"] in ("mem_n", "mem_delta") and r["order"] == 1 and is_plain(r, interval="two_way")
    ]


def part(root: Path, table: str, rows: list[dict[str, Any]], labels: dict[str, str] | None = None) -> Part:
    """Rows in the order of the table's key."""
    contract = CONTRACTS[table]
    rows = sorted(rows, key=lambda r: tuple(r[k] for k in contract.key))
    return write_part(root, table, {c.name: [r[c.name] for r in rows] for c in contract.columns}, labels)


def few() -> list[dict[str, Any]]:
    """The metrics of one task, for tests that are about other tables."""
    return [r for r in metrics() if r["task"] == "capitals" and r["measure"] in ("main_score", "mem_n") and is_plain(r)]


def tables(root: Path, rows: list[dict[str, Any]] | None = None) -> dict[str, tuple[Part, ...]]:
    """Every table the report reads; `rows` instead of all metrics."""
    excerpt = f"The old harbour town of Quellin, {HOSTILE}, has been the capital of Vandoria since the flood."
    town, land = excerpt.index("Quellin"), excerpt.index("Vandoria")
    pairs = [("vandoria", "quellin", 41), ("ostrava", "meldin", 12), ("brask", "tolv", 1)]
    return {
        name: (part(root, name, rows, labels),)
        for name, rows, labels in (
            ("metrics", metrics() if rows is None else rows, None),
            ("metric_family", family(), None),
            (
                "exclusions",
                [
                    {
                        "measure": "mem_n",
                        "task": t,
                        "model": "",
                        "checkpoint": -1,
                        "order": 1,
                        "reason": reason,
                        "rows": n,
                        "of": "pairs",
                    }
                    for t in TASKS
                    for reason, n in (("kept", 280), ("count is zero", 31))
                ],
                None,
            ),
            ("examples", [example(t, s, i) for t in TASKS for s, n in (("mine", 9), ("evaluate", 6)) for i in range(n)], None),
            (
                "document_rejects",
                [
                    {
                        "source": "world",
                        "file": "a.jsonl",
                        "row": r,
                        "reason": HOSTILE if r == 9 else "text is empty",
                        "excerpt": "",
                    }
                    for r in (3, 5, 9)
                ],
                None,
            ),
            ("example_rejects", [], None),
            ("contamination", contaminated(), None),
            (
                "documents",
                [
                    {"document": i, "id": f"d{i}", "source": "world", "language": "en", "text": "a", "row": i + 1}
                    for i in range(1200)
                ],
                {"source": "world"},
            ),
            ("tokens", [{"document": i, "ids": [1, 2, 3]} for i in range(1200)], {"source": "world"}),
            (
                "models",
                [
                    {
                        "model": m,
                        "checkpoint": 800,
                        "source": "pretrained here",
                        "revision": "",
                        "path": m,
                        "sha256": "0",
                        "parameters": p,
                        "parameters_non_embedding": p // 2,
                        "tokens_seen": 1_600_000,
                        "loss": 3.1 - 0.3 * i,
                        "seed": 0,
                        "membership": "",
                        "tokenizer": "",
                        "ends": "<|end|> (0: generation_config.json)",
                    }
                    for i, (m, p) in enumerate(LADDER.items())
                ],
                None,
            ),
            (
                "training_log",
                [
                    {"model": m, "step": s, "tokens": s * 2048, "loss": 7 * s ** (-0.13 - 0.02 * i), "learning_rate": 1e-3}
                    for i, m in enumerate(LADDER)
                    for s in range(10, 801, 10)
                ],
                None,
            ),
            (
                "task_grams",
                [
                    {
                        "task": "capitals",
                        "order": 1,
                        "input_ngram": x,
                        "output_ngram": y,
                        "similarity": 0.4 + 0.1 * i,
                        "shares_word": False,
                        "examples": 2,
                    }
                    for i, (x, y, _) in enumerate(pairs, 2)
                ],
                {"task": "capitals"},
            ),
            ("pair_counts", [{"input_ngram": x, "output_ngram": y, "documents": n} for x, y, n in pairs], None),
            (
                "pair_documents",
                [
                    {
                        "input_ngram": x,
                        "output_ngram": y,
                        "rank": k,
                        "source": "world",
                        "id": f"<b>{k}</b>",
                        "excerpt": excerpt,
                        "input_start": land,
                        "input_end": land + 8,
                        "output_start": town,
                        "output_end": town + 7,
                    }
                    for x, y, _ in pairs
                    for k in range(2)
                ],
                None,
            ),
            (
                "ngram_counts",
                [
                    {"order": n, "ngram": i.to_bytes(4, "big") * n, "occurrences": 1 + 4000 // (i * n), "documents": 1}
                    for n in (1, 2, 3)
                    for i in range(1, 900 * n)
                ],
                None,
            ),
            (
                "truth",
                [
                    {
                        "task": "capitals",
                        "pair": f"p{i}",
                        "relation": "capital",
                        "kind": "exposure",
                        "input_ngram": f"x{i}",
                        "output_ngram": f"y{i}",
                        "pair_documents": i,
                        "input_documents": i,
                        "output_documents": i,
                        "input_occurrences": i,
                        "output_occurrences": i,
                        "exposures": i,
                        "optimal_log_probability": None,
                        "held_out": False,
                    }
                    for i in range(8)
                ],
                None,
            ),
            (
                "planted_sequences",
                [
                    {
                        "sequence": f"s{i}",
                        "kind": "canary",
                        "group": "",
                        "text": "x",
                        "copies": i,
                        "entropy_bits": 20.0,
                        "member": i > 0,
                    }
                    for i in range(4)
                ],
                None,
            ),
        )
    }


def contaminated() -> list[dict[str, Any]]:
    """Shared n-grams of more examples than the page shows, the first of them hostile."""
    return [
        {
            "task": "choices",
            "example": f"e{i:03}",
            "order": order,
            "side": "input",
            "ngram": HOSTILE.replace("\x00", "") if i == 0 else " ".join(f"w{k}" for k in range(order)),
            "shared": 1,
            "documents": 1 + i,
            "source": "world",
            "id": f"d{i}",
        }
        for i in range(40)
        for order in (8, 13)
        if order == 8 or i < 30
    ]


def example(task: str, split: str, number: int) -> dict[str, Any]:
    """One example row."""
    return {
        "task": task,
        "split": split,
        "example": f"e{number}",
        "file": "x.jsonl",
        "row": number + 1,
        "version": "1/jsonl-1",
        "group": "",
        "input": "x",
        "output": "y",
        "prompt": "x",
        "separator": " ",
        "aliases": [],
        "options": [],
        "answer": -1,
        "sha256": "0",
    }
