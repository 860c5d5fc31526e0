"""Statistics of measures: edit distances of tokens, the cluster bootstrap of a rank correlation, clusters of near copies,
counterfactual estimates of the runs of an ensemble. And the report of a made-up study as large as the paper's."""

import math
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.corpora import Corpora
from benchmarks.side import Arrays, BenchmarkSide, Case, Folders

VOCABULARY, SEED, NGRAM, JACCARD = 50_000, 1, 5, 0.8
TASKS = ("facts", "choices", "sums", "translation")
REMEDIES = ("within s_y", "partial: length of s_y", "partial: all", "without templates", "window=50", "mined elsewhere", "equal N")


# -- edit distances of generations and suffixes ------------------------------------------------------------------------
def texts_and_edits(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """int32 [pairs, tokens] each: texts, and the same texts after up to as many edits as they have tokens."""
    rng = np.random.default_rng(0)
    texts = rng.integers(0, VOCABULARY, (case["pairs"], case["tokens_each"])).astype(np.int32)
    changed = rng.random(texts.shape) < rng.random((len(texts), 1))
    others = np.where(changed, rng.integers(0, VOCABULARY, texts.shape), texts).astype(np.int32)
    return texts, np.stack([np.roll(row, shift) for row, shift in zip(others, rng.integers(0, 4, len(others)), strict=True)])


def edit_distances(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, by rapidfuzz, from arrays to similarities."""
    from tasks.memorization.recitation import edit_similarity

    texts, others = texts_and_edits(case)

    def work(_: object) -> Arrays:
        return {"edits": np.rint((1 - edit_similarity(texts, others)) * texts.shape[1]).astype(int)}

    return BenchmarkSide(work, len(texts))


def distance(a: list[int], b: list[int]) -> int:
    """Levenshtein's distance, a row of the table at a time."""
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
        before = row
    return before[-1]


def python_loop(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The published loop (CDD, arXiv 2402.15938) for the first pairs."""
    texts, others = (of[: case["peers"]].tolist() for of in texts_and_edits(case))
    return BenchmarkSide(lambda _: {"edits": np.array(list(map(distance, texts, others)))}, len(texts))


# -- the bootstrap of Spearman's ρ -------------------------------------------------------------------------------------
def rows_of_examples(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Two correlated columns without ties (the most expensive case), and the example of each row: 20 rows an example."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=case["rows"])
    columns = np.stack([x, 0.3 * x + rng.normal(size=case["rows"])])
    return columns, rng.integers(0, case["rows"] // 20, case["rows"])


def bootstrap(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: every draw, sorting included."""
    from tasks.statistics.bootstrap import bootstrap_many

    (columns, example), draws = rows_of_examples(case), case["draws"]
    return BenchmarkSide(lambda _: {"rho": bootstrap_many(columns, example, None, draws, SEED)[:, 0, 1]}, draws)


def numpy_weights(corpora: Corpora, case: Case) -> BenchmarkSide:
    """NumPy: both columns are sorted once; in each draw the weights of the rows give their ranks."""
    from tasks.statistics.bootstrap import draw_counts

    columns, example = rows_of_examples(case)
    codes = np.unique(example, return_inverse=True)[1]
    counts = draw_counts(int(codes.max()) + 1, case["draws"], SEED)()
    assert counts is not None

    def one(orders: np.ndarray, draw: np.ndarray) -> float:
        weights, ranks = draw[codes].astype(np.float64), np.empty_like(columns)
        for rank, order in zip(ranks, orders, strict=True):
            sorted_weights = weights[order]
            rank[order] = np.cumsum(sorted_weights) - sorted_weights / 2
        x, y = ranks - weights.sum() / 2
        wx, wy = weights * x, weights * y
        return float(wx @ y / np.sqrt((wx @ x) * (wy @ y)))

    def work(_: object) -> Arrays:
        orders = np.argsort(columns, axis=1)
        return {"rho": np.array([one(orders, draw) for draw in counts[: case["peers"]]])}

    return BenchmarkSide(work, case["peers"])


# -- near copies of windows --------------------------------------------------------------------------------------------
def zipf_windows(case: Case) -> np.ndarray:
    """int32 [windows, tokens], of Zipf's law; every third is a copy of the last one at a multiple of 300, but for one token."""
    rng, count = np.random.default_rng(0), case["windows"]
    made = rng.zipf(1.3, (count, case["tokens_each"])).clip(max=30_000).astype(np.int32)
    copies = np.arange(2, count, 3)
    made[copies] = made[copies // 300 * 300]
    made[copies, rng.integers(0, case["tokens_each"], len(copies))] = rng.integers(0, 30_000, len(copies))
    return made


def near_copies(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, which misses none."""
    from tasks.ngrams.kernels.near_kernels import near_copies

    made = zipf_windows(case)
    return BenchmarkSide(lambda _: {"cluster": near_copies(made)}, len(made))


def minhash(corpora: Corpora, case: Case) -> BenchmarkSide:
    """datasketch with its defaults: 128 permutations, a threshold of .8; candidates are compared exactly, as sets."""
    from datasketch import MinHash, MinHashLSH
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    made = zipf_windows(case)[: case["peers"]]
    ngrams = np.lib.stride_tricks.sliding_window_view(made, NGRAM, axis=1).copy().view(f"V{4 * NGRAM}")[:, :, 0]

    def work(_: Any) -> Arrays:
        sets, lsh, pairs = ngrams.tolist(), MinHashLSH(threshold=JACCARD), list[tuple[int, int]]()
        for number, sketch in enumerate(MinHash.generator(sets)):
            mine = set(sets[number])
            for other in lsh.query(sketch):
                shared = len(mine.intersection(sets[other]))
                if shared >= JACCARD * (len(mine) + len(set(sets[other])) - shared):
                    pairs.append((other, number))
            lsh.insert(number, sketch)
        a, b = np.array(pairs or [(0, 0)]).T
        graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(sets), len(sets)))
        return {"cluster": connected_components(graph, directed=False)[1]}

    return BenchmarkSide(work, len(made))


def same_but_for_misses(ours: Arrays, peers: Arrays) -> str:
    """What differs: LSH joins what ours does not, or has more than a tenth more clusters for the pairs that it misses."""
    theirs = peers["cluster"]
    mine = ours["cluster"][: len(theirs)]
    first = np.unique(theirs, return_index=True)[1][theirs]
    if (mine != mine[first]).any():
        return "near copies of LSH are no near copies"
    return "" if len(np.unique(theirs)) <= 1.1 * len(np.unique(mine)) else "LSH misses more than a tenth"


# -- counterfactual estimates ------------------------------------------------------------------------------------------
def ensemble(case: Case) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """(arms of 64 runs in complementary pairs: with d against 0 copies, with d against d − 1; log p [checkpoints, runs, sequences];
    token accuracy [runs, sequences]; weights of the draws [draws, runs])."""
    from tasks.memorization.run_contrasts import arms_of, run_weights

    rng, runs, n = np.random.default_rng(0), case["runs_each"], case["sequences"]
    copies, pairs = rng.choice([1, 2, 8], n), np.arange(runs // 2)[:, None]
    middle = (pairs + rng.integers(0, 2, n)) % 2  # which pairs have d − 1 copies
    have = np.where(middle == 1, np.maximum(1, copies - 1), copies)
    first = rng.integers(0, 2, have.shape)
    assigned = np.stack([have * first, have * (1 - first)], axis=1).reshape(runs, n)
    log_p = -90 + 8 * rng.standard_normal((2, runs, n)) + 10 * np.log1p(assigned)
    return arms_of(assigned, copies, True), log_p, rng.random((runs, n)), run_weights(runs, True, case["draws"], SEED)


def contrasts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, some sequences at a time."""
    from tasks.memorization import run_contrasts as c

    arms, log_p, accuracy, weights = ensemble(case)

    def some(at: slice) -> Arrays:
        group, one = (c.Arms(a.inside[:, at], a.outside[:, at], a.paired) for a in arms)
        y, made = log_p[-1][:, at], {}
        for name, values, side in (
            ("group", y, group),
            ("one", y, one),
            ("accuracy", accuracy[:, at], group),
            ("extraction", (accuracy[:, at] > 0.9).astype(float), group),
            ("contextual", c.contextual_values(log_p[:, :, at], 1, group), group),
        ):
            made[name], made[f"{name} error"] = c.difference(values, side)
        for name, ratio, side in (
            ("exp", c.log_density_ratio, group),
            ("one exp", c.log_density_ratio, one),
            ("published", c.published_ratio, group),
        ):
            made[name], made[f"{name} error"] = ratio(y, side), c.bootstrap_error(ratio, y, side, weights)
        return made | {"lira": c.lira_auc(y, group)}

    def work(_: object) -> Arrays:
        parts = [some(slice(at, at + 1_000)) for at in range(0, case["sequences"], 1_000)]
        return {name: np.nan_to_num(np.concatenate([part[name] for part in parts])) for name in parts[0]}

    return BenchmarkSide(work, case["sequences"])


def loop_over_sequences(corpora: Corpora, case: Case) -> BenchmarkSide:
    """NumPy, as published (arXiv 2106.03216, `summarize.py`): a sequence at a time, of the first ones; a draw at a time."""
    arms, log_p, accuracy, weights = ensemble(case)
    resampled = [np.repeat(np.arange(len(w)), w.astype(int)) for w in weights]

    def error(values: np.ndarray, inside: np.ndarray, outside: np.ndarray, paired: bool) -> float:
        if paired:
            gaps = np.where(inside, values, -values).reshape(-1, 2).sum(axis=1)[inside.reshape(-1, 2).any(axis=1)]
            return float((gaps.var(ddof=1) / len(gaps)) ** 0.5)
        return float(sum(values[side].var(ddof=1) / side.sum() for side in (inside, outside)) ** 0.5)

    def log_mean_exp(values: np.ndarray) -> float:
        most = values.max(initial=-np.inf)
        return float(most + np.log(np.exp(values - most).mean())) if len(values) else np.nan

    def ratio(y: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
        return log_mean_exp(y[inside]) - log_mean_exp(y[outside])

    def with_draws(y: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> tuple[float, float]:
        drawn = np.array([ratio(y[runs], inside[runs], outside[runs]) for runs in resampled])
        enough = np.isfinite(drawn).mean() >= 0.95
        return ratio(y, inside, outside), float(np.nanstd(drawn, ddof=1)) if enough else 0.0

    def attack(y: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
        fits = []
        for side in (inside, outside):
            others = [y[side & (np.arange(len(y)) != run)] for run in np.flatnonzero(side)]
            fits.append(([o.mean() for o in others], [o.var(ddof=1) for o in others]))
        (_, (mu, spread)), wins = fits, 0.0
        for run, centre, variance in zip(y[inside], *fits[0], strict=True):
            gain = ((y[outside] - centre) ** 2 - (run - centre) ** 2) / variance
            gain -= ((y[outside] - mu) ** 2 - (run - np.array(mu)) ** 2) / spread
            wins += (np.sign(gain) / 2 + 0.5).sum()
        return float(wins / (inside.sum() * outside.sum()))

    def one_sequence(i: int) -> dict[str, float]:
        (group, one), y = arms, log_p[-1][:, i]
        inside, outside, without, made = group.inside[:, i], group.outside[:, i], one.outside[:, i], {}
        best = log_p[int(log_p[:, outside, i].mean(axis=1).argmax()), :, i]
        for name, values, out, paired in (
            ("group", y, outside, True),
            ("one", y, without, False),
            ("accuracy", accuracy[:, i], outside, True),
            ("extraction", (accuracy[:, i] > 0.9).astype(float), outside, True),
            ("contextual", np.where(outside, best, y), outside, True),
        ):
            made[name] = values[inside].mean() - values[out].mean()
            made[f"{name} error"] = error(values, inside, out, paired)
        few = outside & (np.cumsum(outside) <= max(1, round(inside.sum() / 9)))
        for name, out in (("exp", outside), ("one exp", without), ("published", few)):
            made[name], made[f"{name} error"] = with_draws(y, inside, out)
        return made | {"lira": attack(y, inside, outside)}

    def work(_: object) -> Arrays:
        rows = [one_sequence(i) for i in range(case["peers"])]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    return BenchmarkSide(work, case["peers"])


# -- the report --------------------------------------------------------------------------------------------------------
def report(corpora: Corpora, case: Case) -> BenchmarkSide:
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
