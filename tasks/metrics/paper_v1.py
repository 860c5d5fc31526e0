"""What the first version of the paper measured (arXiv 2407.14985v1; docs/method.md §14). Its coverage is the measure `coverage`.

    q(s_y) = Σ_{s_x} C(s_x, s_y) / Σ_{H_n} C          the share of an output n-gram in the counts of the whole table
    R² of a line from Σ log q(s_y) to Σ log P_LLM(s_y), both over the s_y of an example, on an 80/20 split

The s_y of an example are those that occur in it with a partner of the corpus (C > 0). The line is fitted to the training
examples; on the test examples R² = 1 - Σ (y - ŷ)² / Σ (y - ȳ)², which falls below 0 where the line does worse than their mean.
Both sides are sums: an example with more s_y has less of both, so R² can be high for the length of outputs alone. `per s_y`
takes means in their place. How often pairs co-occur in the corpus is counted in doubling bins, over distinct pairs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import Measure, MetricRows, gammas_of, settings_of_all_orders
from tasks.pair_evidence import PAIR, PAIRS_AND_SCORES, read_evidence
from tasks.statistics import Estimate, Floats, Ints, resample, with_interval
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.step import Work

Bools = NDArray[np.bool_]
TRAINING_SHARE = 0.8


def run(work: Work, rows: MetricRows) -> None:
    """R² for every model and order, and the histogram of every order."""
    evidence = read_evidence(work, rows.task)
    training = in_training(work.settings["seed"], rows.task, evidence.examples["example"].to_list())
    for order, gamma in sorted(gammas_of(work, rows.task).items()):
        phi = evidence.phi(order)
        _histogram(rows, order, phi)
        shares = output_shares(_mined_counts(work, rows.task, order, gamma))
        spans = phi.filter(pl.col("pair_documents") > 0).select("example", "span", "output_ngram").unique("span").sort("span")
        table = spans.join(shares, on="output_ngram", how="left", maintain_order="left")
        span, example, log_q = (table[c].to_numpy() for c in ("span", "example", "log_q"))
        for checkpoint in evidence.models:
            log_p, named = evidence.of(checkpoint).log_prob[span], {"of": checkpoint, "order": order}
            _r_squared(work, rows, named, example, np.array([np.ones(len(span)), log_q, log_p]), training)


def _mined_counts(work: Work, task: str, order: int, gamma: float) -> pl.DataFrame:
    """C of all pairs of H_n, those that no evaluated example holds included: columns output_ngram, pair_documents."""
    mined = work.frame("task_grams", "task", "order", *PAIR, "similarity").filter(task=task, order=order)
    mined = mined.filter(pl.col("similarity").cast(pl.Float64) > float(np.float32(gamma)))
    counts = work.frame("pair_counts", *PAIR, "documents").join(mined.select(PAIR), on=PAIR)
    return counts.select("output_ngram", pair_documents="documents")


def in_training(seed: int, task: str, examples: Sequence[str]) -> Bools:
    """Whether each example is one of the 80 % that the line is fitted to: by a hash, so that it stays so whatever is added."""
    most = int(TRAINING_SHARE * 2**64)
    hashes = (hashlib.sha256(f"{seed}\x1f{task}\x1f{e}".encode()).digest() for e in examples)
    return np.array([int.from_bytes(h[:8], "big") < most for h in hashes], dtype=bool)


def output_shares(counted: pl.DataFrame) -> pl.DataFrame:
    """log q(s_y) of each output n-gram of H_n with a count: columns output_ngram, log_q."""
    count = pl.col("pair_documents")
    sums = counted.filter(count > 0).group_by("output_ngram").agg(count.sum()).sort("output_ngram")
    return sums.select("output_ngram", log_q=(count / count.sum()).log())


def _r_squared(work: Work, rows: MetricRows, named: dict[str, Any], example: Ints, values: Floats, training: Bools) -> None:
    """Rows `train` and `test`, of sums as the paper has them, and of means per s_y. values: 1, log q and log P of each s_y."""
    scored = np.isfinite(values[2])
    rows.exclude("v1", "no score", int((~scored).sum()), "rows", **named)
    here, code = np.unique(example[scored], return_inverse=True)
    rows.exclude("v1", "no scored s_y with a pair in the corpus", len(training) - len(here), "examples", **named)
    rows.exclude("v1", "kept", len(here), "examples", **named)
    number, x, y = (np.bincount(code, weights=v[scored], minlength=len(here)).astype(np.float64) for v in values)
    for kind, a, b in (("", x, y), ("per s_y", x / number, y / number)):
        for name, estimate, size in explained(a, b, training[here], work.settings):
            more: dict[str, Any] = {"unit": "example", "group": name, "detail": kind, "rows": size, "examples": size}
            rows.add("v1", "r_squared", estimate, **named, **more)


def explained(x: Floats, y: Floats, training: Bools, settings: Mapping[str, Any]) -> list[tuple[str, Estimate, int]]:
    """(name, R², examples) on the training and on the test examples, each with an interval over its examples. A training draw fits
    its own line; a test draw keeps the line, which is what it is to predict."""
    why, results = _undefined(x, y, training), []
    slope, intercept = (0.0, 0.0) if why else np.polyfit(x[training], y[training], 1)
    for name, inside in (("train", training), ("test", ~training)):
        size = int(inside.sum())
        note = why or (f"fewer than {FEWEST_ROWS} {name} examples" if size < FEWEST_ROWS else "")
        note = note or (f"log P_LLM is the same in all {name} examples" if _constant(y[inside]) else "")
        estimate = Estimate(None, note=note)
        if not note:
            of = partial(_fitted, x[inside]) if name == "train" else partial(_predicted, (y - slope * x - intercept)[inside])
            estimate = with_interval(*resample(size, settings, partial(of, y[inside] - y[inside].mean())))
        results.append((name, estimate, size))
    return results


def _fitted(x: Floats, y: Floats, weights: NDArray[np.int32]) -> Floats:
    """R² of a line fitted to each draw: the squared correlation. y: minus its mean."""
    x, n = x - x.mean(), weights.sum(axis=1)
    xx, yy, xy = ((weights @ (a * b)) - (weights @ a) * (weights @ b) / n for a, b in ((x, x), (y, y), (x, y)))
    varies = (xx > 1e-12 * (x * x).sum()) & (yy > 1e-12 * (y * y).sum())
    return np.where(varies, xy**2 / np.where(varies, xx * yy, 1.0), np.nan)


def _predicted(rest: Floats, y: Floats, weights: NDArray[np.int32]) -> Floats:
    """R² of a given line in each draw; `rest` is what it leaves. y: minus its mean."""
    total = weights @ (y * y) - (weights @ y) ** 2 / weights.sum(axis=1)
    varies = total > 1e-12 * (y * y).sum()
    return np.where(varies, 1 - (weights @ (rest**2)) / np.where(varies, total, 1.0), np.nan)


def _constant(values: Floats) -> bool:
    """All equal, but for the rounding of sums and means."""
    return float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max())


def _undefined(x: Floats, y: Floats, training: Bools) -> str:
    if not len(x):
        return "no example has a scored s_y with a pair in the corpus"
    if training.sum() < FEWEST_ROWS:
        return f"fewer than {FEWEST_ROWS} training examples"
    if _constant(x[training]):
        return "log q is the same in all training examples"
    return ""


def _histogram(rows: MetricRows, order: int, phi: pl.DataFrame) -> None:
    """How many distinct pairs of the evaluated examples co-occur in 0, 1, 2-3, 4-7 … documents."""
    distinct = phi.unique(PAIR)
    rows.exclude("v1", "pair never counted", distinct["pair_documents"].null_count(), "pairs", order=order)
    counts, number = distinct["pair_documents"].drop_nulls().to_numpy(), phi["example"].n_unique()
    more: dict[str, Any] = {"order": order, "unit": "pair", "rows": len(counts), "examples": number}
    if not len(counts):
        nothing = Estimate(None, note="no mined pair occurs in an evaluated example")
        rows.add("v1", "count_histogram", nothing, bin=0, detail="zero", **more)
        return
    bins = np.where(counts > 0, np.frexp(counts.astype(np.float64))[1], 0)
    for code, size in enumerate(np.bincount(bins)):
        low, high = (1 << code >> 1), (1 << code) - 1
        cover = str(low) if low == high or not code else f"{low} to {high}"
        at: dict[str, Any] = {"bin": code, "detail": "" if code else "zero", "x": float(low)}
        rows.add("v1", "count_histogram", Estimate(float(size)), **at, **more, note=f"C is {cover}")


READS = (*PAIRS_AND_SCORES, "task_grams", "pair_counts")
MEASURE = Measure("paper_v1", READS, settings_of_all_orders, run, cost=3.0)
