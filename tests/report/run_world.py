"""Made-up tables of runs with and without each sequence: canaries have a large M, copies hide from one left out, rings share."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas import Study
from tasks.report.ensemble_data import KINDS_OF_LEVERAGE
from tests.report.measures import row

MODELS = ("width-8", "width-8-b", "width-16")  # two seeds of one network, and another
COPIES, TWINS = (1, 2, 4, 8, 16), (1, 2, 4, 8)
NETWORKS = {"width-8": ("width-8", "width-8-b"), "width-16": ("width-16",)}
SETTINGS = {"networks": NETWORKS, "runs": 64}


def study() -> Study:
    """The study the tables belong to."""
    networks = [{"name": name, "hidden": int(name.split("-")[1]), "seed": int("-b" in name)} for name in MODELS]
    return Study.model_validate(
        {"name": "runs", "title": "Memorized?", "corpus": {"controlled": {}}, "membership": {"models": networks}}
    )


def verdicts(undecided: bool = False) -> list[dict[str, Any]]:
    """Three claims of each network; `undecided`: the networks differ about the last."""
    about = {"level": 0.99, "null": 0.0, "unit": "", "seeds": 2, "agree": 2, "note": ""}
    lines = (
        ("T6 strong", "refuted", 0.79, 0.71, 0.86, "the interval is below .9"),
        ("T7", "supported", 0.514, 0.4, 0.6, "the interval excludes 0"),
        ("T9", "inconclusive", None, None, None, ""),
    )
    rows: list[dict[str, Any]] = []
    for network in NETWORKS:
        for claim, verdict, estimate, low, high, rule in lines:
            verdict = "refuted" if undecided and claim == "T7" and network == "width-16" else verdict
            one = {"network": network, "claim": claim, "statement": f"what {claim} says", "verdict": verdict, "estimate": estimate}
            rows.append(about | one | {"low": low, "high": high, "rule": rule})
    return rows


def sequences() -> list[dict[str, Any]]:
    """Dense, canary and ring sequences of one copy and of several, with phantoms: a row of `controlled_sequences` each."""
    rows: list[dict[str, Any]] = []
    for group, copies, twins, members in (
        *(("dense", 1, 0, 40), ("canary", 1, 0, 20)),
        *((f"{kind}_copies", d, 0, 10) for kind in ("dense", "canary") for d in COPIES[1:]),
        *(("ring", 1, k, 12) for k in TWINS),
    ):
        for number in range(members + members // 4):
            name = f"{group}-{copies}-{twins}-{number:03}"
            about = {"sequence": name, "group": group, "family": group, "copies": copies, "twins": twins, "prefix": 1}
            rows.append(about | {"split": "member" if number < members else "phantom", "ids": [1, len(rows) + 1], "entropy": 1.0})
    rows.sort(key=lambda r: r["sequence"])
    return [r | {"cluster": i} for i, r in enumerate(rows)]


def counterfactual() -> list[dict[str, Any]]:
    """A row per model, checkpoint and sequence; at the first checkpoint M is 0."""
    rng, rows = np.random.default_rng(0), []
    for model in MODELS:
        for checkpoint in (1, 100):
            for s in sequences():
                member, canary = s["split"] == "member", s["group"].startswith("canary")
                m = (60.0 if canary else 20.0) * member * (checkpoint == 100) + rng.normal(0, 3)
                u = -100.0 + m if canary else -40.0 + m
                about = {"model": model, "checkpoint": checkpoint, "sequence": s["sequence"], "in_log_p": u}
                rows.append(about | {"leave_group_out": m, "leave_one_out": m / s["copies"] ** 2, "specificity": 1.0})
    return sorted(rows, key=lambda r: (r["model"], r["checkpoint"], r["sequence"]))


def leverage() -> list[dict[str, Any]]:
    """Only at damping .1 the leverage of the last layer follows M; the others are noise. Two runs, each with all sequences."""
    rng = np.random.default_rng(1)
    m = {(r["model"], r["sequence"]): r["leave_group_out"] for r in counterfactual() if r["checkpoint"] == 100}
    rows: list[dict[str, Any]] = []
    for model in MODELS:
        for run in (0, 1):
            for damping in (0.01, 0.1):
                for s in (s for s in sequences() if s["split"] == "member"):
                    kinds = {kind: float(rng.uniform(0.1, 1)) for kind in KINDS_OF_LEVERAGE}
                    kinds |= {"last_layer": m[model, s["sequence"]] / 100 + 0.5 + 0.1 * run} if damping == 0.1 else {}
                    rows.append({"model": model, "run": run, "damping": damping, "sequence": s["sequence"], "copies": 1} | kinds)
    return rows


def metrics() -> list[dict[str, Any]]:
    """Rows of `counterfactual_memorization`: M falls with copies if one is left out, and with twins; ω does not."""
    rows: list[dict[str, Any]] = []

    def add(step: int, group: str, level: float, detail: str, value: float, half: float = 0.01) -> None:
        about = {"unit": "sequence", "statistic": "mean", "checkpoint": 100, "examples": 12}
        about |= {"group": group, "level": level, "detail": detail}
        rows.append(row("counterfactual_memorization", "", MODELS[step], value, half, **about))

    for step in range(len(MODELS)):
        for kind, m in (("dense", 20.0), ("canary", 60.0)):
            for d in COPIES:
                group, level = (kind, -1.0) if d == 1 else (f"{kind}_copies", float(d))
                add(step, group, level, "leave_group_out", m + d + step)
                add(step, group, level, "leave_one_out", (m + 1 + step) / d**2)
                add(step, group, level, "extracted_in", min(1.0, (d - 1) / 8), 0.005)
                add(step, group, level, "extracted_out", 0.0, 0.001)
        add(step, "canary", -1.0, "specificity", 1.0)
        for k in TWINS:
            add(step, "ring", float(k), "specificity", 0.4 + 0.001 * k, 0.05)
            add(step, "ring", float(k), "leave_group_out", 72.0 - 5 * k)
    return rows


def capacity() -> list[dict[str, Any]]:
    """Two sizes, two seeds: of one size, runs that memorize more generalize worse; one run diverged, one is of another kind."""
    rows: list[dict[str, Any]] = []
    for parameters in (1_000, 4_000):
        for seed in (0, 1):
            one = {"kind": "grid", "cell": f"c{parameters}", "seed": seed, "checkpoint": 100, "group": "", "parameters": parameters}
            one |= {"diverged": False, "bits": parameters / 100 + seed, "generalization": parameters / 4000 - 5 - seed}
            rows += [one, one | {"group": "dense", "bits": 0.0}, one | {"checkpoint": 10, "bits": 0.0}]
    lost = {"cell": "lost", "diverged": True, "bits": None, "generalization": None, "checkpoint": 0}
    return [*rows, rows[0] | lost, rows[0] | {"kind": "random tokens", "cell": "random"}]
