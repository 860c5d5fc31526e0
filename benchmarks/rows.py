"""The rows: what is measured, next to which peers, at which sizes, and with which bars.

A case is a mapping: `tokens`, further sizes, `peers` (queries that a peer gets) and `bars`. A bar is the least ratio to a peer, or
the limit of one of our quantities; None shows the ratio without judging it.
"""

import contextlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import (
    billion_sides,
    count_sides,
    index_sides,
    leverage_sides,
    measure_sides,
    mining_sides,
    model_sides,
    run_sides,
    text_sides,
    training_sides,
)
from benchmarks.corpora import Corpora
from benchmarks.side import OURS, Arrays, BenchmarkSide, Case

M = 1_000_000
BYTES, ROARING = "pydivsufsort of bytes", "polars + pyroaring"
CACHED, UNCACHED = "transformers generate", "transformers generate without cache"
DISTRIBUTIONS = (
    *("tokenizers", "fastokens", "polars", "pyroaring", "numpy", "duckdb", "pydivsufsort", "infini-gram", "tokengrams"),
    *("onnxruntime", "ctranslate2", "lm_eval", "transformers", "datasketch", "accelerate", "kronfluence"),
)


@dataclass(frozen=True)
class Quantity:
    """One of our quantities that has a bar: how it is computed from our figures, its unit, and whether less is better."""

    read: Callable[[Mapping[str, Any]], float]
    unit: str
    at_most: bool = True


QUANTITIES = {
    "speed": Quantity(lambda f: f.get("tokens", f["items"]) / f["cpu_seconds"] / M, "M tokens/s", at_most=False),
    "memory": Quantity(lambda f: f["peak_memory"] / 1e9, "GB"),
    "orchestration": Quantity(lambda f: f["orchestration"], "% of the run"),
    "seconds": Quantity(lambda f: f["wall_seconds"], "s"),
    "overhead": Quantity(lambda f: f["overhead"], "s"),
    "server": Quantity(lambda f: f["server_seconds"], "s"),
    "checks": Quantity(lambda f: f["checks"], "% of the run"),
}


def equal(ours: Arrays, peers: Arrays, within: float = 0.0) -> str:
    """What differs between two answers, real numbers by more than `within`. A peer with fewer queries is compared on these."""
    for name in ours:
        mine, theirs = ours[name][: len(peers[name])], peers[name]
        apart = within if within and mine.dtype.kind == "f" else 0.0
        if mine.shape != theirs.shape or not (np.abs(mine - theirs) <= apart if apart else mine == theirs).all():
            return f"{name} differ"
    return ""


def nearly_equal_infinigrams(ours: Arrays, peers: Arrays) -> str:
    """As `equal`; but infini-gram accepts a suffix that only ends documents, and counts such positions in the denominator."""
    mine = {name: values[: len(peers[name])] for name, values in ours.items()}
    shared = mine["suffix"] == peers["suffix"]
    if (mine["suffix"] > peers["suffix"]).any() or shared.mean() < 0.9:
        return "suffixes differ"
    if (mine["numerator"] != peers["numerator"])[shared].any():
        return "numerators differ"
    return "denominators differ" if (mine["denominator"] > peers["denominator"])[shared].any() else ""


@dataclass(frozen=True)
class BenchmarkRow:
    """`by`: the seconds that are compared. `items`: what time is given per. `quick`: the case of `make bench-quick`, if any.
    `within`: how far numbers may be apart in equal answers."""

    work: str
    sides: Mapping[str, Callable[[Corpora, Case], BenchmarkSide]]
    cases: tuple[Case, ...]
    quick: Case | None
    items: str = "tokens"
    by: str = "cpu_seconds"
    within: float = 0.0
    agree: Callable[[Arrays, Arrays], str] | None = None
    runs: int = 5


def case(tokens: int, bars: Mapping[str, float | None] | None = None, **sizes: Any) -> Case:
    return {"tokens": tokens, **sizes, "bars": dict(bars or {})}


def _case(text: str) -> Case:
    """10 M tokens, n = 5, a bar of 4 against tokengrams and none against numpy, from "10M n=5: tokengrams 4, numpy"."""
    words, _, bars = text.partition(": ")
    sizes = {name or "tokens": value for name, _, value in (word.rpartition("=") for word in words.split())}
    limits = (re.fullmatch(r"(.*?)(?: ([\d.]+))?", bar) for bar in filter(None, bars.split(", ")))
    judged = {limit[1]: float(limit[2]) if limit[2] else None for limit in limits if limit}
    return case(**{"tokens": 0} | {name: _number(value) for name, value in sizes.items()}, bars=judged)


def _number(text: str) -> Any:
    """250k and 10M as numbers, anything else as it is."""
    number = re.fullmatch(r"(\d+)([kM]?)", text)
    return int(number[1]) * {"": 1, "k": 1_000, "M": M}[number[2]] if number else text


def row(work: str, cases: str, sides: Mapping[str, Callable[[Corpora, Case], BenchmarkSide]], **more: Any) -> BenchmarkRow:
    """A row from the text of its cases, in which "quick …", "runs 3", "within 1e-9" and "items pairs" are the row's fields."""
    names, parts = ("quick ", "runs ", "within ", "items "), cases.split("; ")
    named, at = dict(p.split(" ", 1) for p in parts if p.startswith(names)), [p for p in parts if not p.startswith(names)]
    quick, more = _case(named["quick"]) if "quick" in named else None, more | {"within": float(named.get("within", 0))}
    items, runs = named.get("items", "tokens"), int(named.get("runs", 5))
    return BenchmarkRow(work, sides, tuple(map(_case, at)), quick, items, runs=runs, **more)


TOKENISERS = {OURS: text_sides.tokeniser, "tokenizers": text_sides.tokenizers, "fastokens": text_sides.fastokens}
ROWS: dict[str, BenchmarkRow] = {
    "tokenise": row(
        "tokenising with a byte-level BPE tokenizer.json",
        "1M: tokenizers, fastokens; 10M: tokenizers 8, fastokens 0.95; 100M; quick 250k: tokenizers 8, fastokens 0.95",
        TOKENISERS,
    ),
    "tokenise-fallback": row(
        "tokenising with a byte-fallback BPE tokenizer.json",
        "10M kind=byte-fallback: tokenizers 5, fastokens 0.95; quick 250k kind=byte-fallback: tokenizers 5, fastokens 0.95",
        TOKENISERS,
    ),
    "words": row(
        "word analysis",
        "1M: polars; 10M: polars 5; 100M; quick 250k: polars; items words",
        {OURS: text_sides.analyzer, "polars": text_sides.polars_words},
    ),
    "order": row(
        "one order, n = 4, counted",
        "1M n=4: numpy; 10M n=4: numpy 1; 100M n=4; quick 500k n=4: numpy",
        {OURS: count_sides.one_order, "numpy": count_sides.numpy_order},
    ),
    "all-orders-2": row(
        "all orders 1..8, exact, out of core, written, min_count = 2",
        "1M min_count=2: duckdb, numpy in memory; 10M min_count=2: speed 4, duckdb 5, numpy in memory 2; "
        "10M memory=256MB min_count=2; 10M memory=64MB min_count=2; 100M min_count=2: speed, memory 2; "
        "quick 500k min_count=2: speed 2, duckdb, numpy in memory; runs 3",
        {OURS: count_sides.all_orders, "duckdb": count_sides.duckdb_orders, "numpy in memory": count_sides.numpy_orders},
    ),
    "all-orders-1": row(
        "all orders 1..8, exact, out of core, written, min_count = 1",
        "1M min_count=1; 10M min_count=1: speed 1.2; 10M memory=256MB min_count=1; 10M memory=64MB min_count=1; "
        "100M min_count=1: speed, memory 2; quick 500k min_count=1: speed 0.8; runs 3",
        {OURS: count_sides.all_orders, "duckdb": count_sides.duckdb_orders},
    ),
    "index": row(
        "suffix array built and written",
        "1M: pydivsufsort of bytes; 10M: pydivsufsort of bytes 1; 30M; quick 500k: pydivsufsort of bytes 1",
        {OURS: index_sides.build, BYTES: index_sides.divsufsort_build},
    ),
    "counts": row(
        "batched counts, n = 5",
        "1M queries=10k n=5 peers=10k: tokengrams; 10M queries=10k n=5 peers=10k: tokengrams 4, numpy; 10M queries=1k n=5; "
        "10M queries=100k n=5: numpy 1; 10M queries=1M n=5: numpy; 30M queries=10k n=5; "
        "quick 500k queries=10k n=5 peers=2k: tokengrams 4, numpy; items questions",
        {OURS: index_sides.counts, "tokengrams": index_sides.tokengrams_counts, "numpy": index_sides.hashed_counts},
    ),
    "infinigram": row(
        "∞-gram probability, 63-token context, batched",
        "1M queries=10k peers=1k: infini-gram; 10M queries=10k peers=1k: infini-gram 100; 10M queries=100k; 30M queries=10k; "
        "quick 500k queries=10k peers=300: infini-gram 100; items questions",
        {OURS: index_sides.infinigrams, "infini-gram": index_sides.infinigram_probabilities},
        agree=nearly_equal_infinigrams,
    ),
    "pairs": row(
        "exact document pairs, in one pass, from queries to counts",
        "1M queries=1M; 10M queries=1k: speed; 10M queries=100k: polars + pyroaring, speed; "
        "10M queries=1M: polars + pyroaring 12, speed 5; 20M queries=1M: speed 5; 100M queries=1M: speed; "
        "quick 500k queries=10k: polars + pyroaring, speed 5; runs 3; items pairs",
        {OURS: index_sides.document_pairs, ROARING: index_sides.roaring_pairs},
    ),
    "workers": row(
        "2 workers against 1, words and all orders 1..8",
        "2M parts=8: 1 worker; 20M parts=8: 1 worker 1.6",
        {OURS: count_sides.workers(2), "1 worker": count_sides.workers(1)},
        by="wall_seconds",
    ),
    "embed": row(
        "distinct n-grams embedded by all-MiniLM-L6-v2",
        "ngrams=4k: onnxruntime 0.95; quick ngrams=200: onnxruntime; runs 3; within 1e-5; items n-grams",
        {OURS: mining_sides.embedding, "onnxruntime": mining_sides.onnxruntime},
    ),
    "embed-association": row(
        "distinct n-grams embedded by `association`, from table to table",
        "sentences=4k step=embed; sentences=20k step=embed: memory 2; runs 1; items n-grams",
        {OURS: mining_sides.association},
    ),
    "align": row(
        "pairs of n-grams compared",
        "examples=400 inputs=50 outputs=40 dimensions=384: numpy 1.5; "
        "quick examples=60 inputs=50 outputs=40 dimensions=384: numpy; runs 3; within 1e-5; items pairs",
        {OURS: mining_sides.alignment, "numpy": mining_sides.numpy_products},
    ),
    "align-association": row(
        "task-grams of n = 1, 2, 3 mined, from table to table",
        "sentences=4k step=align; sentences=20k step=align: memory 2.5; runs 1; items pairs",
        {OURS: mining_sides.association},
    ),
    "scoring": row(
        "options of multiple choice scored by a 4 × 256 GPT-NeoX, Pythia's vocabulary",
        "250k queries=400: ctranslate2 5, lm_eval 5; quick 250k queries=16: ctranslate2, lm_eval; "
        "runs 3; within 1e-4; items options",
        {OURS: model_sides.choose, "ctranslate2": model_sides.choose_by_ctranslate2, "lm_eval": model_sides.choose_by_harness},
    ),
    "generation": row(
        "questions answered greedily by the same network, 24 tokens",
        "250k queries=128: ctranslate2 1.5, lm_eval 1.5; quick 250k queries=8: ctranslate2, lm_eval; runs 3; items questions",
        {OURS: model_sides.respond, "ctranslate2": model_sides.respond_by_ctranslate2, "lm_eval": model_sides.respond_by_harness},
    ),
    "extraction": row(
        "exact extraction of windows of 32 + 32 tokens, for each length of the prefix; 4 × 256 GPT-NeoX, vocabulary of 4,096",
        "1M windows=2k prefixes=32 peers=64: transformers generate 10; "
        "1M windows=2k prefixes=1 peers=64: transformers generate without cache 10; "
        "quick 250k windows=64 prefixes=32 peers=16: transformers generate 10; runs 1; items prefixes",
        {OURS: model_sides.extract, CACHED: model_sides.generate(True), UNCACHED: model_sides.generate(False)},
    ),
    "windows": row(
        "log p of the tokens of such windows",
        "1M windows=2k peers=400: lm_eval 1; quick 250k windows=64 peers=16: lm_eval; runs 1; within 1e-4; items windows",
        {OURS: model_sides.score_token_windows, "lm_eval": model_sides.harness_windows},
    ),
    "training": row(
        "8 runs of 0.116 M parameters trained on 32 + 1 tokens at a time, vocabulary of 256",
        "runs=8 steps=499: transformers loop 1, transformers Trainer 1; "
        "quick runs=2 steps=40: transformers loop 1, transformers Trainer 1; runs 3; within 1e-5",
        {OURS: training_sides.ours, "transformers loop": training_sides.loop, "transformers Trainer": training_sides.trainer},
    ),
    "ensemble-workers": row(
        "2 workers against 1, runs of 0.116 M parameters trained and scored",
        "runs=16 epochs=14: 1 worker 1.8; runs 1",
        {OURS: training_sides.workers(2), "1 worker": training_sides.workers(1)},
        by="wall_seconds",
    ),
    "report": row(
        "the report of a study of four tasks: page, and every figure as SVG, PDF and CSV",
        "examples=10k models=9: seconds 20; quick examples=500 models=3: seconds 20; runs 1; items rows of metrics",
        {OURS: measure_sides.report},
    ),
    "bootstrap": row(
        "Spearman of whole examples resampled 2,000 times",
        "rows=100k draws=2k peers=20: numpy 6; rows=1M draws=2k peers=10: numpy 6, memory 1; "
        "quick rows=50k draws=500 peers=20: numpy 6; runs 3; within 1e-9; items draws",
        {OURS: measure_sides.bootstrap, "numpy": measure_sides.numpy_weights},
    ),
    "counterfactual": row(
        "counterfactual estimates of 64 runs, with 1,000 draws of the runs",
        "sequences=100k runs_each=64 draws=1k peers=50: numpy loop 50, memory 2; "
        "quick sequences=2k runs_each=64 draws=200 peers=10: numpy loop 50; runs 1; within 1e-9; items sequences",
        {OURS: measure_sides.contrasts, "numpy loop": measure_sides.loop_over_sequences},
    ),
    "leverage": row(
        "leverage and self-influence of sequences of 32 tokens, 0.116 M parameters",
        "sequences=1000 peers=1000: kronfluence 2; quick sequences=100 peers=100: kronfluence; runs 1; items sequences",
        {OURS: leverage_sides.ours, "kronfluence": leverage_sides.kronfluence},
    ),
    "near-copies": row(
        "clusters of windows of 64 tokens with a Jaccard similarity of .8 of their 5-grams",
        "windows=200k tokens_each=64 peers=10k: datasketch 20; windows=1M tokens_each=64 peers=10k: datasketch 20, memory 2; "
        "quick windows=20k tokens_each=64 peers=1k: datasketch 20; runs 3; items windows",
        {OURS: measure_sides.near_copies, "datasketch": measure_sides.minhash},
        agree=measure_sides.same_but_for_misses,
    ),
    "edit-distances": row(
        "edit distances of 50 × 1,000 pairs of 100 tokens",
        "pairs=50k tokens_each=100 peers=1k: Python loop 100; "
        "quick pairs=5k tokens_each=100 peers=200: Python loop 100; runs 3; items pairs",
        {OURS: measure_sides.edit_distances, "Python loop": measure_sides.python_loop},
    ),
    "billion": row(
        "all that is counted in a corpus, from its file on", "10M; 100M; 1000M: memory 2; runs 0", {OURS: billion_sides.billion}
    ),
    "orchestration": row(
        "overhead of a run besides its steps", "40M; 120M: orchestration 5, checks 15; runs 1", {OURS: run_sides.orchestration}
    ),
    "waits": row(
        "a command from its start to its end: the finished sample again, two new prompts for it, a study with mistakes",
        "command=again: seconds 5; command=prompts: seconds 20; command=refused: seconds 2; runs 3; items commands",
        {OURS: run_sides.waiting},
        by="wall_seconds",
    ),
    "partitions": row(
        "one step of many small parts, on two workers, with a Prefect server",
        "parts=10k: overhead 60, server 1; quick parts=500: overhead 60, server 1; runs 1; items parts",
        {OURS: run_sides.partitions},
    ),
}


def version_of(side: str) -> str:
    """The versions of the libraries that a peer's name has in it, for tables."""
    versions = []
    for name in (name for name in side.split() if name in DISTRIBUTIONS):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(importlib.metadata.version(name))
    return ", ".join(versions)


def disagreement(row: BenchmarkRow, ours: Path | None, peers: Path | None) -> str | None:
    """What differs between two answers, "" if nothing does; None if there is nothing to compare."""
    if ours is None or peers is None:
        return None
    with np.load(ours) as mine, np.load(peers) as others:
        if not (mine.files and others.files):
            return None
        return row.agree(mine, others) if row.agree else equal(mine, others, row.within)
