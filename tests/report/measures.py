"""Made-up rows of the measures other than Mem and score: checks, sweeps, comparisons, attribution, exposure, novelty …

They follow one story: capitals are remembered, choices half so, the lexicon is learnt as a rule, sums are not in the corpus.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.tables.metrics import QUALIFIERS

STRENGTH = {"capitals": (0.16, 0.09), "choices": (0.03, 0.06), "lexicon": (0.10, -0.03)}  # Mem of the smallest, its growth
REMEDIES = {
    "within s_y": 0.85,
    "partial: length of s_y": 0.97,
    "partial: frequency of s_y": 0.8,
    "partial: tokens of s_y": 0.95,
    "partial: all": 0.75,
    "without templates": 1.02,
    "window": 0.9,
    "without contaminated documents": 0.99,
    "each example weighs 1": 1.05,
    "within group": None,
    "mined elsewhere": 0.7,
    "common examples": 0.96,
    "equal N": 0.93,
    "reliability": 1.1,
}


def row(measure: str, task: str, model: str, estimate: float | None, half: float = 0.0, **other: Any) -> dict[str, Any]:
    """One row of metrics; `half` is half the width of its interval."""
    interval = estimate is not None and half > 0
    made: dict[str, Any] = {
        "measure": measure,
        "task": task,
        "model": model,
        "checkpoint": 800 if model not in ("", "reference", "held_out") else -1,
        "order": 0,
        "unit": "",
        "statistic": "spearman",
        "x": None,
        "estimate": estimate,
        "low": estimate - half if interval and estimate is not None else None,
        "high": estimate + half if interval and estimate is not None else None,
        "standard_error": None,
        "p_value": None,
        "rows": 280,
        "examples": 140,
        "clusters": None,
        "truth": None,
        "note": "" if estimate is not None else "too few rows",
    }
    return made | QUALIFIERS | other


def more(ladder: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """All of them, for a ladder of any length."""
    models, biggest = list(ladder), len(ladder) - 1
    for step, model in enumerate(models):
        at = 3 * step / max(1, biggest)
        for task, (base, growth) in STRENGTH.items():
            mem = base + growth * at
            yield from _variants(task, model, mem)
            yield from _sweeps(task, model, mem)
            for index, other in enumerate(models[:step]):
                gap = growth * (at - 3 * index / max(1, biggest))
                for measure in ("mem_n", "mem_delta"):
                    yield row(
                        "comparison",
                        task,
                        model,
                        gap,
                        0.07,
                        order=1,
                        unit="pair",
                        statistic="spearman_difference",
                        of_measure=measure,
                        against=other,
                    )
            parts = {"pair": mem**2, "s_y": 0.08, "s_x": 0.03, "length": 0.05, "shared": 0.1 if step else -0.01}
            for part, share in (parts | {"unexplained": 1 - sum(parts.values())}).items():
                yield row(
                    "attribution", task, model, share, 0.02, order=1, unit="pair", statistic="unique_rank_variance", detail=part
                )
            for index, count in enumerate((1, 2, 4, 8, 16, 32, 64)):
                gain = mem * 4 * math.log2(1 + count) / 3
                yield row(
                    "exposure", task, model, gain, 0.35, order=1, unit="pair", statistic="delta_mean", x=float(count), bin=index
                )
            price = 3.0 / mem if mem > 0.1 else None
            yield row(
                "exposure",
                task,
                model,
                price,
                4.0,
                order=1,
                unit="pair",
                statistic="documents_per_nat",
                note="" if price else "Δ does not grow with C",
            )
            for split, r2 in (("train", mem**2 + 0.03), ("test", mem**2)):
                yield row("v1", task, model, r2, statistic="r_squared", group=split, unit="example", x=float(ladder[model]))
            yield row("generalization", task, model, (1 - mem * 0.7) / 2, order=1, unit="pair", statistic="kendall_distance")
            for measure in ("performance_linear", "performance_quantile", "performance_mean_log_count"):
                for index, x in enumerate((0.0, 1.5, 3.0, 6.0, 12.0)):
                    share = min(0.95, 0.2 + mem + 0.03 * index)
                    name = {0: "zero", 4: "overflow"}.get(index, "")
                    known = not (index == 0 and measure == "performance_linear")
                    yield row(
                        measure,
                        task,
                        model,
                        share if known else None,
                        0.08,
                        order=1,
                        unit="example",
                        statistic="accuracy",
                        bin=index,
                        detail=name,
                        x=x,
                        note="" if known else "no scored example in this bin",
                    )
        for group, total, bleu in (("de-en", 120.0, 22.0), ("hu-en", 14.0, 9.0), ("fr-en", 400.0, 31.0)):
            yield row(
                "performance_by_group",
                "lexicon",
                model,
                bleu + 4 * at,
                3.0,
                order=1,
                unit="example",
                statistic="bleu",
                group=group,
                x=total,
            )
    for task, (base, growth) in STRENGTH.items():
        for measure in ("mem_n", "mem_delta"):
            yield row(
                "comparison", task, "", growth * 1.7, 0.05, order=1, unit="pair", statistic="slope_per_decade", of_measure=measure
            )
        onset = 180_000.0 if base + growth > 0.2 else None
        yield row(
            "emergence",
            task,
            "",
            onset,
            60_000.0,
            unit="example_output",
            statistic="onset_parameters",
            note="" if onset else "not identified: the interval reaches an end of the ladder",
        )
    for n in range(1, 7):
        yield row(
            "novelty",
            "lexicon",
            "held_out",
            min(0.97, 0.01 + 0.93 * (1 - math.exp(-((n - 1) ** 2) / 7))),
            0.02,
            order=n,
            unit="ngram",
            statistic="rate",
        )
    for task, shares in (("capitals", (0.1, 0.02)), ("choices", (0.3, 0.25))):
        for order, share in zip((8, 13), shares, strict=True):
            for side in ("input", "output", "either"):
                yield row("contamination", task, "", share, 0.02, order=order, unit="example", statistic="share", detail=side)


def of_sequences(ladder: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Canaries are extracted the more copies there are, sentences a little, windows of the corpus no more than phantoms."""
    nulls = {"planted": "planted_phantoms", "uniform": "phantoms"}
    for step, model in enumerate(ladder):
        about = {"task": "", "model": model, "unit": "sequence"}
        for sample, kind, strength in (("planted", "canary", 0.12), ("planted", "sentence", 0.05), ("uniform", "", 0.0)):
            place = {"group": sample, "detail": kind}
            null = {"group": nulls[sample], "detail": kind}
            for index in range(6):
                share = min(1.0, strength * step * (1 + index) / 2)
                more = {"bin": 4 * index, "x": float(2**index)}
                yield row("extraction", estimate=share, half=0.04, statistic="rate_by_duplicates", **about, **place, **more)
            yield row("extraction", estimate=0.01, half=0.01, statistic="rate", **about, **null)
            yield row("extraction", estimate=strength * step * 1.7, half=0.03, statistic="rate", **about, **place)
            yield row("extraction", estimate=strength * step * 1.7 - 0.01, half=0.03, statistic="excess", **about, **place)
        for sample, strength in (("planted", 0.3), ("uniform", 0.0), ("planted_phantoms", 0.0), ("phantoms", 0.0)):
            for power in range(7):
                share = min(1.0, 0.02 * power + strength * step * power / 8)
                more = {"bin": power, "x": 10.0**power, "level": 0.5, "detail": "T=1"}
                yield row("discoverable", estimate=share, half=0.03, statistic="rate", group=sample, **about, **more)
                if sample in nulls:
                    excess = share - 0.02 * power
                    yield row("discoverable", estimate=excess, half=0.03, statistic="excess", group=sample, **about, **more)


def _variants(task: str, model: str, mem: float) -> Iterator[dict[str, Any]]:
    """Second intervals, placebo, remedies."""
    for measure, factor in (("mem_n", 1.0), ("mem_delta", 0.9)):
        plain = {"order": 1, "unit": "pair"}
        yield row(measure, task, model, mem * factor, 0.13, interval="pigeonhole", **plain)
        yield row(measure, task, model, 0.06 if measure == "mem_n" else 0.01, 0.07, corpus="placebo", **plain)
        yield row(measure, task, model, mem * factor - 0.05, 0.09, corpus="difference", **plain)
        for remedy, keeps in REMEDIES.items():
            left = None if keeps is None else mem * factor * keeps
            yield row(
                "confound",
                task,
                model,
                left,
                0.1,
                order=1,
                unit="pair",
                of_measure=measure,
                detail=remedy,
                level=50.0 if remedy == "window" else -1.0,
                note="" if keeps else "the task has no groups",
            )


def _sweeps(task: str, model: str, mem: float) -> Iterator[dict[str, Any]]:
    """γ, stop words and encoder."""
    for gamma in (0.5, 0.6, 0.7, 0.8, 0.9):
        for measure in ("mem_n", "mem_delta"):
            yield row(
                "sweep",
                task,
                model,
                mem * (1.2 - gamma / 2),
                0.1,
                order=1,
                unit="pair",
                x=gamma,
                of_measure=measure,
                gamma=f"{gamma:g}",
            )
    for variant, keeps in (("stop_words=authors", 0.8), ("stop_words=keep", 0.95), ("encoder=minilm", 1.1)):
        for measure in ("mem_n", "mem_delta"):
            yield row("sweep", task, model, mem * keeps, 0.1, order=1, unit="pair", of_measure=measure, variant=variant)
