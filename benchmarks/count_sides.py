"""Counting all n-grams: out of core against DuckDB and NumPy, and two workers against one."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.corpora import Corpora, Stream
from benchmarks.side import Arrays, BenchmarkSide, Case

ORDERS = tuple(range(1, 9))


def _study(**counting: Any) -> Any:
    from schemas import Study

    corpus = {"sources": [{"name": "bench", "files": ["-"]}]}
    return Study.model_validate({"name": "benchmark", "corpus": corpus, "counting": {"all_orders": ORDERS, **counting}})


def in_stages(step: Any, study: Any, store: Any, tables: Mapping[str, Any], cluster: Any, job: Any) -> dict[str, Any]:
    """All jobs of a step, stage by stage, each by `job` on the cluster; the tables with its parts."""
    from schemas import CONTRACTS
    from tasks.step import keyed

    parts = {t: tables.get(t, ()) for t in step.reads} | dict(tables)
    for number, stage in enumerate(step.stages):
        planned = [keyed(step, number, one) for one in stage.plan(study, parts)]
        for finished in cluster.run(job, [(store, one, stage, CONTRACTS) for one in planned], step.name):
            if finished.error or "error" in finished.value:
                raise RuntimeError(str(finished.error or finished.value["error"]))
        for index, contract in enumerate(stage.writes):
            parts[contract.name] = tuple(one.parts(stage)[index] for one in planned)
    return parts


def _execute(store: Any, planned: Any, stage: Any, contracts: Any) -> dict[str, Any]:
    """A job alone, without the garbage collection after it, which takes a tenth of a second however small the job is."""
    from tasks.step import Work

    return Work(store, planned, stage, contracts).execute()


def _linked(root: str) -> str:
    """A temporary root with links to the tables of another one."""
    temporary = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-"))
    for table in Path(root).iterdir():
        (temporary / table.name).symlink_to(table.resolve())
    return str(temporary)


def one_order(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, in memory as the peer; it also counts documents."""
    from tasks.ngrams.kernels.count_kernels import count_order

    (ids, offsets), n = corpora.tokens(case["tokens"]), case["n"]
    return BenchmarkSide(lambda _: count_order(ids, offsets, n, 1), len(ids), lambda result: _moments([(n, result[1])]))


def all_orders(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: the step `count`, from a table of words to sorted tables of n = 1..8, through the disk."""
    from tasks.cluster.cluster import Cluster
    from tasks.ngrams.count.count import COUNT
    from tasks.storage.store import Store

    root, tables = corpora.words_parts(case["tokens"])
    store = Store(_linked(root))
    study = _study(min_count=case.get("min_count", 1), memory=case.get("memory", "1GB"))
    here = Cluster(0, "1GB", store.base)

    def answer(result: Mapping[str, Any]) -> Arrays:
        counts = pl.concat(pl.read_parquet(store.part_path(p), columns=["order", "occurrences"]) for p in result["ngram_counts"])
        return _moments((n, counts.filter(pl.col("order") == n)["occurrences"].to_numpy()) for n in ORDERS)

    def sizes(result: Mapping[str, Any]) -> dict[str, Any]:
        spilled = sum(Path(store.part_path(p)).stat().st_size for p in result["ngram_suffixes"])
        return {"spilled_bytes": spilled, "rows": sum(store.open(p).metadata.num_rows for p in result["ngram_counts"])}

    def work(_: object) -> dict[str, Any]:
        return in_stages(COUNT, study, store, tables, here, _execute)

    return BenchmarkSide(work, case["tokens"], answer, extra=sizes, close=(lambda: shutil.rmtree(store.base),))


def _moments(counts: Iterable[tuple[int, np.ndarray]]) -> Arrays:
    """Of each order: n-grams kept, the sum of their counts, and that of the squares."""
    return {"counted": np.array([(n, len(c), c.sum(), (c.astype(np.int64) ** 2).sum()) for n, c in counts], np.int64)}


def duckdb_orders(corpora: Corpora, case: Case) -> BenchmarkSide:
    """DuckDB within 1 GB, from a Parquet file of positions to one of counts for each order: eight ids are two 64-bit numbers."""
    import duckdb

    stream, path = corpora.tokens(case["tokens"]), corpora.place(f"positions-{case['tokens']}.parquet")
    if not path.exists():
        ids, offsets = stream
        padded = np.append(ids, np.zeros(8, np.int32)).astype(np.uint64)
        first, second = (sum(padded[at + k : at + k + len(ids)] << np.uint64(48 - 16 * k) for k in range(4)) for at in (0, 4))
        room = np.repeat(offsets[1:], np.diff(offsets)) - np.arange(len(ids))
        pl.DataFrame({"a": first, "b": second, "room": np.minimum(room, 8).astype(np.uint8)}).write_parquet(path)
    folder = tempfile.mkdtemp(prefix="taskgram-benchmark-")

    def work(_: object) -> None:
        database = duckdb.connect(config={"memory_limit": "1GB", "threads": 1, "temp_directory": folder})
        for n in ORDERS:
            keys = [f"{name} >> {64 - 16 * some} AS {name}" for name, some in (("a", min(n, 4)), ("b", n - 4)) if some > 0]
            names = ", ".join(key[0] for key in keys)
            database.execute(
                f"COPY (SELECT {names}, count(*) AS c FROM (SELECT {', '.join(keys)} FROM '{path}' WHERE room >= {n}) "
                f"GROUP BY {names} HAVING c >= {case['min_count']}) TO '{folder}/{n}.parquet'"
            )
        database.close()

    def answer(_: None) -> Arrays:
        return _moments((n, pl.read_parquet(f"{folder}/{n}.parquet", columns=["c"])["c"].to_numpy()) for n in ORDERS)

    return BenchmarkSide(work, case["tokens"], answer, close=(lambda: shutil.rmtree(folder),))


def _inside(stream: Stream, n: int) -> np.ndarray:
    """Positions at which n ids of one document begin."""
    ids, offsets = stream
    room = np.repeat(offsets[1:], np.diff(offsets)) - np.arange(len(ids))
    return np.flatnonzero(room >= n)


def numpy_order(corpora: Corpora, case: Case) -> BenchmarkSide:
    """np.unique of four ids packed into 64 bits."""
    stream, n = corpora.tokens(case["tokens"]), case["n"]
    at, ids = _inside(stream, n), stream[0].astype(np.uint64)

    def work(_: object) -> np.ndarray:
        packed = reduce(lambda before, k: (before << np.uint64(16)) | ids[at + k], range(1, n), ids[at])
        return np.unique(packed, return_counts=True)[1]

    return BenchmarkSide(work, len(ids), lambda result: _moments([(n, result)]))


def numpy_orders(corpora: Corpora, case: Case) -> BenchmarkSide:
    """np.unique in memory: up to four ids are one number; a longer n-gram is the numbers of two shorter ones that are kept."""
    stream, least = corpora.tokens(case["tokens"]), case["min_count"]
    inside = {n: _inside(stream, n) for n in ORDERS}

    def work(_: object) -> list[tuple[int, np.ndarray]]:
        counts, ids = [], stream[0].astype(np.uint64)
        ranks: dict[int, np.ndarray] = {}
        for n in ORDERS:
            at, half, key = inside[n], n // 2 if n < 5 else 4, ids
            if n > 1:
                first, second = ranks[half][at], ranks[n - half][at + half]
                kept = (first > 0) & (second > 0)
                at, key = at[kept], (first[kept] << np.uint64(32)) | second[kept]
            if n > 4:
                counts.append((n, np.unique(key, return_counts=True)[1]))
            else:
                _, number, count = np.unique(key, return_inverse=True, return_counts=True)
                counts.append((n, count))
                ranks[n] = np.zeros(len(ids), np.uint64)
                ranks[n][at] = np.where(count >= least, np.arange(1, len(count) + 1), 0)[number]
        return counts

    return BenchmarkSide(work, case["tokens"], lambda result: _moments((n, c[c >= least]) for n, c in result))


def workers(number: int) -> Callable[[Corpora, Case], BenchmarkSide]:
    """Words and counts of documents in some parts, on this number of Dask workers."""

    def side(corpora: Corpora, case: Case) -> BenchmarkSide:
        from tasks.cluster.cluster import Cluster
        from tasks.corpus.encode import WORDS
        from tasks.ngrams.count.count import COUNT
        from tasks.step import run_job
        from tasks.storage.store import Store

        root, tables = corpora.documents_parts(case["tokens"], case["parts"])
        store, study = Store(_linked(root)), _study(min_count=2, memory="500MB", buckets=case["parts"])
        cluster = Cluster(number, "4GB", f"{store.base}/.dask", address="")

        def work(_: object) -> dict[str, Any]:
            words = in_stages(WORDS, study, store, tables, cluster, run_job)
            return in_stages(COUNT, study, store, words, cluster, run_job)

        def answer(result: Mapping[str, Any]) -> Arrays:
            digests = "".join(store.sha256(store.part_path(p)) for p in result["ngram_counts"])
            return {"bytes": np.frombuffer(bytes.fromhex(digests), np.uint8)}

        return BenchmarkSide(work, case["tokens"], answer, close=(cluster.close, lambda: shutil.rmtree(store.base)))

    return side
