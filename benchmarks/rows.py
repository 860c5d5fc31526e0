"""The rows: what is measured, next to which peers, at which sizes, and with which bars.

A case is a mapping: `tokens`, further sizes, `peers` (queries that a peer gets) and `bars`. A bar is the least ratio to a peer, or
the limit of one of our quantities; None shows the ratio without judging it.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    billion_sides,
    count_sides,
    index_sides,
    mining_sides,
    model_sides,
    recitation_sides,
    report_sides,
    run_sides,
    sequence_sides,
    statistics_sides,
    text_sides,
)
from benchmarks.corpora import BYTE_FALLBACK, BYTE_LEVEL, Corpora
from benchmarks.side import OURS, BenchmarkSide, Case

M = 1_000_000
BYTES, ROARING = "pydivsufsort of bytes", "polars + pyroaring"
CACHED, UNCACHED = "transformers generate", "transformers generate without cache"
RUN = ("flows", "tasks/cluster", "tasks/storage")


@dataclass(frozen=True)
class Quantity:
    """One of our quantities that has a bar: how it is computed from our figures, its unit, and whether less is better."""

    read: Callable[[Mapping[str, Any]], float]
    unit: str
    at_most: bool = False


QUANTITIES = {
    "speed": Quantity(lambda f: f.get("tokens", f["items"]) / f["cpu_seconds"] / M, "M tokens/s"),
    "memory": Quantity(lambda f: f["peak_memory"] / 1e9, "GB", at_most=True),
    "orchestration": Quantity(lambda f: f["orchestration"], "% of the run", at_most=True),
    "seconds": Quantity(lambda f: f["wall_seconds"], "s", at_most=True),
    "overhead": Quantity(lambda f: f["overhead"], "s", at_most=True),
    "server": Quantity(lambda f: f["server_seconds"], "s", at_most=True),
    "checks": Quantity(lambda f: f["checks"], "% of the run", at_most=True),
}
DISTRIBUTIONS = (
    *("tokenizers", "fastokens", "polars", "pyroaring", "numpy", "duckdb", "pydivsufsort", "infini-gram", "tokengrams"),
    *("sentence-transformers", "onnxruntime", "ctranslate2", "lm_eval", "transformers", "datasketch"),
)


def no_preparation(corpora: Corpora, case: Case) -> None:
    """For rows without inputs to make."""


def equal(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """What differs between two answers, or an empty text. A peer with fewer queries is compared on these."""
    for name in ours:
        mine = ours[name][: len(peers[name])]
        if mine.shape != peers[name].shape or (mine != peers[name]).any():
            return f"{name} differ"
    return ""


def nearly_equal_infinigrams(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
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

    `packages`: folders that it measures besides what our side imports.
    """

    work: str
    sides: Mapping[str, Callable[[Corpora, Case], BenchmarkSide]]
    cases: tuple[Case, ...]
    quick: Case | None
    items: str = "tokens"
    by: str = "cpu_seconds"
    prepare: Callable[[Corpora, Case], None] = no_preparation
    agree: Callable[[Mapping[str, Any], Mapping[str, Any]], str] = equal
    runs: int = 5
    note: str = ""
    packages: tuple[str, ...] = ()


def texts(corpora: Corpora, case: Case) -> None:
    """Texts and tokenizer."""
    corpora.texts(case["tokens"]), corpora.tokenizer(case.get("kind", BYTE_LEVEL))


def streams(corpora: Corpora, case: Case) -> None:
    """The token stream."""
    corpora.tokens(case["tokens"])


def words(corpora: Corpora, case: Case) -> None:
    """The token stream as tables."""
    corpora.words_parts(case["tokens"])


def documents(corpora: Corpora, case: Case) -> None:
    """Documents as tables."""
    corpora.documents_parts(case["tokens"], case["parts"])


def case(tokens: int, bars: Mapping[str, float | None] | None = None, **sizes: Any) -> Case:
    """Sizes and bars."""
    return {"tokens": tokens, **sizes, "bars": dict(bars or {})}


def _counting(least: int, bar: float, small: float, peers: Mapping[str, float]) -> BenchmarkRow:
    """`small`: the bar at half a million tokens, where overhead takes as long as counting."""
    sizes: dict[str, Any] = {"min_count": least}
    return BenchmarkRow(
        f"all orders 1..8, exact, out of core, written, min_count = {least}",
        {OURS: count_sides.all_orders, "duckdb": count_sides.duckdb_orders, "numpy in memory": count_sides.numpy_orders},
        (
            case(M, dict.fromkeys(peers), **sizes),
            case(10 * M, {"speed": bar, **peers}, **sizes),
            case(10 * M, memory="256MB", **sizes),
            case(10 * M, memory="64MB", **sizes),
            case(100 * M, {"speed": None, "memory": 2.0}, **sizes),
        ),
        case(M // 2, {"speed": small, **dict.fromkeys(peers)}, **sizes),
        prepare=words,
        runs=3,
        note="ours also counts documents, and sorts; the peers get eight ids packed in two numbers, and NumPy writes nothing",
    )


TOKENISERS = {OURS: text_sides.tokeniser, "tokenizers": text_sides.tokenizers, "fastokens": text_sides.fastokens}
ROWS: dict[str, BenchmarkRow] = {
    "tokenise": BenchmarkRow(
        "tokenising with a byte-level BPE tokenizer.json",
        TOKENISERS,
        (case(M, {"tokenizers": None, "fastokens": None}), case(10 * M, {"tokenizers": 8.0, "fastokens": 0.95}), case(100 * M)),
        case(M // 4, {"tokenizers": 8.0, "fastokens": 0.95}),
        prepare=texts,
    ),
    "tokenise-fallback": BenchmarkRow(
        "tokenising with a byte-fallback BPE tokenizer.json",
        TOKENISERS,
        (case(10 * M, {"tokenizers": 5.0, "fastokens": 0.95}, kind=BYTE_FALLBACK),),
        case(M // 4, {"tokenizers": 5.0, "fastokens": 0.95}, kind=BYTE_FALLBACK),
        prepare=texts,
    ),
    "words": BenchmarkRow(
        "word analysis",
        {OURS: text_sides.analyzer, "polars": text_sides.polars_words},
        (case(M, {"polars": None}), case(10 * M, {"polars": 5.0}), case(100 * M)),
        case(M // 4, {"polars": None}),
        prepare=texts,
        items="words",
        note="polars has no casefolding and does not know scripts without spaces, so some of its words differ",
    ),
    "order": BenchmarkRow(
        "one order, n = 4, counted",
        {OURS: count_sides.one_order, "numpy": count_sides.numpy_order},
        (case(M, {"numpy": None}, n=4), case(10 * M, {"numpy": 1.0}, n=4), case(100 * M, n=4)),
        case(M // 2, {"numpy": 1.0}, n=4),
        prepare=streams,
        note="ours counts documents too, and writes ids as bytes in order; both use the same sort, so a bar of 2 was retired",
    ),
    "all-orders-2": _counting(2, 4.0, 2.0, {"duckdb": 5.0, "numpy in memory": 2.0}),
    "all-orders-1": _counting(1, 1.2, 0.8, {}),
    "index": BenchmarkRow(
        "suffix array built and written",
        {OURS: index_sides.build, "infini-gram": index_sides.infinigram_build, BYTES: index_sides.divsufsort_build},
        (case(M, {"infini-gram": None, BYTES: None}), case(10 * M, {"infini-gram": 3.0, BYTES: 1.0}), case(30 * M)),
        case(M // 2, {"infini-gram": 3.0, BYTES: 1.0}),
        prepare=index_sides.prepare,
        note="a shard has at most 33 million tokens, so that is where growth ends; libsais, faster than libdivsufsort, has "
        "no Python package",
    ),
    "counts": BenchmarkRow(
        "batched counts, n = 5",
        {
            OURS: index_sides.counts,
            "infini-gram": index_sides.infinigram_counts,
            "tokengrams": index_sides.tokengrams_counts,
            "numpy": index_sides.hashed_counts,
        },
        (
            case(M, {"infini-gram": None, "tokengrams": None}, queries=10_000, n=5, peers=10_000),
            case(10 * M, {"infini-gram": 50.0, "tokengrams": 4.0, "numpy": None}, queries=10_000, n=5, peers=10_000),
            case(10 * M, queries=1_000, n=5),
            case(10 * M, {"numpy": 1.0}, queries=100_000, n=5),
            case(10 * M, {"numpy": None}, queries=M, n=5),
            case(30 * M, queries=10_000, n=5),
        ),
        case(M // 2, {"infini-gram": 50.0, "tokengrams": 4.0, "numpy": None}, queries=10_000, n=5, peers=2_000),
        items="questions",
        prepare=index_sides.prepare,
        note="numpy's table of hashes is made beforehand for this one n; a suffix array answers any n, and reads two arrays a step",
    ),
    "infinigram": BenchmarkRow(
        "∞-gram probability, 63-token context, batched",
        {OURS: index_sides.infinigrams, "infini-gram": index_sides.infinigram_probabilities},
        (
            case(M, {"infini-gram": None}, queries=10_000, peers=1_000),
            case(10 * M, {"infini-gram": 100.0}, queries=10_000, peers=1_000),
            case(10 * M, queries=100_000),
            case(30 * M, queries=10_000),
        ),
        case(M // 2, {"infini-gram": 100.0}, queries=10_000, peers=300),
        items="questions",
        prepare=index_sides.prepare,
        agree=nearly_equal_infinigrams,
        note="ours finds both the longest suffix and the one to back off to",
    ),
    "pairs": BenchmarkRow(
        "exact document pairs, in one pass, from queries to counts",
        {OURS: index_sides.document_pairs, ROARING: index_sides.roaring_pairs},
        (
            case(M, queries=M),
            case(10 * M, {"speed": None}, queries=1_000),
            case(10 * M, {ROARING: None, "speed": None}, queries=100_000),
            case(10 * M, {ROARING: 12.0, "speed": 5.0}, queries=M),
            case(20 * M, {"speed": 5.0}, queries=M),
            case(100 * M, {"speed": None}, queries=M),
        ),
        case(M // 2, {ROARING: None, "speed": 5.0}, queries=10_000),
        items="pairs",
        prepare=streams,
        runs=3,
        note="150 pairs are also compared with a search of the whole corpus",
    ),
    "workers": BenchmarkRow(
        "2 workers against 1, words and all orders 1..8",
        {OURS: count_sides.workers(2), "1 worker": count_sides.workers(1)},
        (case(2 * M, {"1 worker": None}, parts=8), case(20 * M, {"1 worker": 1.6}, parts=8)),
        None,
        by="wall_seconds",
        prepare=documents,
        note="wall time; CPU time and memory of workers are not measured",
    ),
    "embed": BenchmarkRow(
        "distinct n-grams embedded by all-MiniLM-L6-v2",
        {
            OURS: mining_sides.embedding,
            "sentence-transformers": mining_sides.sentence_transformers,
            "onnxruntime": mining_sides.onnxruntime,
        },
        (case(0, {"sentence-transformers": 0.9, "onnxruntime": 0.95}, ngrams=4_000),),
        case(0, {"sentence-transformers": 0.9, "onnxruntime": None}, ngrams=200),
        items="n-grams",
        prepare=mining_sides.onnx_network,
        agree=mining_sides.nearly_equal_vectors,
        runs=3,
    ),
    "embed-association": BenchmarkRow(
        "distinct n-grams embedded by `association`, from table to table",
        {OURS: mining_sides.association},
        (case(0, sentences=4_000, step="embed"), case(0, {"memory": 2.0}, sentences=20_000, step="embed")),
        None,
        items="n-grams",
        runs=1,
        note="learning the links included",
    ),
    "align": BenchmarkRow(
        "pairs of n-grams compared",
        {OURS: mining_sides.alignment, "numpy": mining_sides.numpy_products},
        (case(0, {"numpy": 1.5}, examples=400, inputs=50, outputs=40, dimensions=384),),
        case(0, {"numpy": None}, examples=60, inputs=50, outputs=40, dimensions=384),
        items="pairs",
        agree=mining_sides.same_pairs,
        runs=3,
    ),
    "align-association": BenchmarkRow(
        "task-grams of n = 1, 2, 3 mined, from table to table",
        {OURS: mining_sides.association},
        (case(0, sentences=4_000, step="align"), case(0, {"memory": 2.5}, sentences=20_000, step="align")),
        None,
        items="pairs",
        runs=1,
    ),
    "scoring": BenchmarkRow(
        "options of multiple choice scored by a 4 × 256 GPT-NeoX, Pythia's vocabulary",
        {
            OURS: model_sides.score_choices,
            "ctranslate2": model_sides.score_with_ctranslate2,
            "lm_eval": model_sides.score_with_harness,
        },
        (case(M // 4, {"ctranslate2": 5.0, "lm_eval": 5.0}, queries=400),),
        case(M // 4, {"ctranslate2": None, "lm_eval": None}, queries=16),
        items="options",
        prepare=model_sides.ctranslate2_folder,
        agree=model_sides.same_scores,
        runs=3,
    ),
    "generation": BenchmarkRow(
        "questions answered greedily by the same network, 24 tokens",
        {
            OURS: model_sides.answer_questions,
            "ctranslate2": model_sides.answer_with_ctranslate2,
            "lm_eval": model_sides.answer_with_harness,
        },
        (case(M // 4, {"ctranslate2": 1.5, "lm_eval": 1.5}, queries=128),),
        case(M // 4, {"ctranslate2": None, "lm_eval": None}, queries=8),
        items="questions",
        prepare=model_sides.ctranslate2_folder,
        runs=3,
    ),
    "extraction": BenchmarkRow(
        "exact extraction of windows of 32 + 32 tokens, for each length of the prefix; 4 × 256 GPT-NeoX, vocabulary of 4,096",
        {OURS: model_sides.extract, CACHED: model_sides.generate(True), UNCACHED: model_sides.generate(False)},
        (
            case(M, {CACHED: 10.0}, windows=2_000, prefixes=32, peers=64),
            case(M, {UNCACHED: 10.0}, windows=2_000, prefixes=1, peers=64),
        ),
        case(M // 4, {CACHED: 10.0}, windows=64, prefixes=32, peers=16),
        items="prefixes",
        prepare=model_sides.windows,
        runs=1,
        note="every other window is made of what the network says after its first tokens; `generate` gets 64 windows in one batch",
    ),
    "windows": BenchmarkRow(
        "log p of the tokens of such windows",
        {OURS: model_sides.score_token_windows, "lm_eval": model_sides.harness_windows},
        (case(M, {"lm_eval": 1.0}, windows=2_000, peers=400),),
        case(M // 4, {"lm_eval": None}, windows=64, peers=16),
        items="windows",
        prepare=model_sides.windows,
        agree=model_sides.close_scores,
        runs=1,
        note="ours also has the rank, the margin, and mean and variance of the log-probabilities of each token",
    ),
    "report": BenchmarkRow(
        "the report of a study of four tasks: page, and every figure as SVG, PDF and CSV",
        {OURS: report_sides.report},
        (case(0, {"seconds": 20.0}, examples=10_000, models=9),),
        case(0, {"seconds": 20.0}, examples=500, models=3),
        items="rows of metrics",
        runs=1,
        note="made-up tables",
    ),
    "bootstrap": BenchmarkRow(
        "Spearman of whole examples resampled 2,000 times",
        {OURS: statistics_sides.bootstrap, "numpy": statistics_sides.numpy_weights},
        (
            case(0, {"numpy": 6.0}, rows=100_000, draws=2_000, peers=20),
            case(0, {"numpy": 6.0, "memory": 1.0}, rows=M, draws=2_000, peers=10),
        ),
        case(0, {"numpy": 6.0}, rows=50_000, draws=500, peers=20),
        items="draws",
        agree=statistics_sides.nearly_equal,
        runs=3,
        note="numpy sorts once, gets 10 or 20 of the 2,000 draws, and ranks by the weights of the rows",
    ),
    "near-copies": BenchmarkRow(
        "clusters of windows of 64 tokens with a Jaccard similarity of .8 of their 5-grams",
        {OURS: sequence_sides.near_copies, "datasketch": sequence_sides.minhash},
        (
            case(0, {"datasketch": 20.0}, windows=200_000, tokens_each=64, peers=10_000),
            case(0, {"datasketch": 20.0, "memory": 2.0}, windows=M, tokens_each=64, peers=10_000),
        ),
        case(0, {"datasketch": 20.0}, windows=20_000, tokens_each=64, peers=1_000),
        items="windows",
        agree=sequence_sides.same_but_for_misses,
        runs=3,
        note="datasketch gets 5 % of the windows, which a hash table favours, and misses some near copies; ours finds all",
    ),
    "edit-distances": BenchmarkRow(
        "edit distances of 50 × 1,000 pairs of 100 tokens",
        {OURS: recitation_sides.edit_distances, "Python loop": recitation_sides.python_loop},
        (case(0, {"Python loop": 100.0}, pairs=50_000, tokens_each=100, peers=1_000),),
        case(0, {"Python loop": 100.0}, pairs=5_000, tokens_each=100, peers=200),
        items="pairs",
        runs=3,
    ),
    "billion": BenchmarkRow(
        "everything that is counted in a corpus, from its file on",
        {OURS: billion_sides.billion},
        (case(10 * M), case(100 * M), case(300 * M, {"memory": 2.0}), case(1_000 * M, {"memory": 2.0})),
        None,
        runs=0,
    ),
    "orchestration": BenchmarkRow(
        "overhead of a run besides its steps",
        {OURS: run_sides.orchestration},
        (case(40 * M, {}), case(120 * M, {"orchestration": 5.0, "checks": 15.0})),
        None,
        runs=1,
        packages=RUN,
        note="a planted study without models in one process; its jobs take five minutes together with 120 M tokens, two with 40 M",
    ),
    "waits": BenchmarkRow(
        "a command from its start to its end: the finished sample again, two new prompts for it, a study with mistakes",
        {OURS: run_sides.waiting},
        tuple(case(0, {"seconds": bar}, command=name) for name, bar in (("again", 5.0), ("prompts", 20.0), ("refused", 2.0))),
        None,
        items="commands",
        by="wall_seconds",
        prepare=run_sides.finished_sample,
        runs=3,
        packages=RUN,
    ),
    "partitions": BenchmarkRow(
        "one step of many small parts, on two workers, with a Prefect server",
        {OURS: run_sides.partitions},
        (case(0, {"overhead": 60.0, "server": 1.0}, parts=10_000),),
        case(0, {"overhead": 60.0, "server": 1.0}, parts=500),
        items="parts",
        runs=1,
        packages=RUN,
        note="overhead: wall time without jobs and checks; server: 99th percentile of the seconds it takes to answer, "
        "with two requests a second",
    ),
}


def version_of(side: str) -> str:
    """The versions of the libraries that a peer's name has in it, for tables."""
    import importlib.metadata

    versions = []
    for name in side.split():
        if name in DISTRIBUTIONS:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions.append(importlib.metadata.version(name))
    return ", ".join(versions)


def disagreement(row: BenchmarkRow, ours: Path | None, peers: Path | None) -> str | None:
    """What differs between two answers, "" if nothing does; None if there is nothing to compare."""
    import numpy as np

    if ours is None or peers is None:
        return None
    with np.load(ours) as mine, np.load(peers) as others:
        return row.agree(mine, others) if mine.files and others.files else None
