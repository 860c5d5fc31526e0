"""Counting all n-grams: one order against polars and NumPy, all orders out of core, two workers against one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora, Stream
from benchmarks.side import BenchmarkSide, Case

ORDERS = tuple(range(1, 9))


# -- one order --------------------------------------------------------------------------------------------------------
def _inside(stream: Stream, n: int) -> np.ndarray:
    """Positions at which n ids of one document begin."""
    ids, offsets = stream
    whole = np.ones(max(0, len(ids) - n + 1), bool)
    for back in range(1, n):
        ends = offsets[1:-1] - back
        whole[ends[(ends >= 0) & (ends < len(whole))]] = False
    return np.flatnonzero(whole)


def one_order(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours; it also counts documents."""
    from tasks.ngrams.kernels.order_kernels import count_order

    ids, offsets = corpora.tokens(case["tokens"])

    def answer(result: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        return {"grams": _digest(result[0].view(">u4").astype(np.uint64)), "occurrences": result[1].astype(np.int64)}

    return BenchmarkSide(work=lambda _: count_order(ids, offsets, case["n"], 1), items=len(ids), answer=answer)


def _digest(grams: np.ndarray) -> np.ndarray:
    """Rows of four ids below 65,536 as one number each."""
    return (grams << np.array([48, 32, 16, 0], np.uint64)).sum(axis=1, dtype=np.uint64)


def numpy_order(corpora: Corpora, case: Case) -> BenchmarkSide:
    """np.unique of four ids packed into 64 bits."""
    stream = corpora.tokens(case["tokens"])
    at = _inside(stream, case["n"])
    ids = stream[0].astype(np.uint64)

    def work(_: object) -> tuple[np.ndarray, np.ndarray]:
        packed = ids[at]
        for k in range(1, case["n"]):
            packed = (packed << np.uint64(16)) | ids[at + k]
        return np.unique(packed, return_counts=True)

    return BenchmarkSide(work=work, items=len(ids), answer=lambda result: {"grams": result[0], "occurrences": result[1]})


def polars_order(corpora: Corpora, case: Case) -> BenchmarkSide:
    """polars' streaming group-by over a Parquet file with a column for each of the ids."""
    import polars as pl

    stream, path = corpora.tokens(case["tokens"]), corpora.place(f"columns-{case['tokens']}.parquet")
    names = [f"id{k}" for k in range(case["n"])]
    if not path.exists():
        at = _inside(stream, case["n"])
        pl.DataFrame({name: stream[0][at + k].astype(np.uint16) for k, name in enumerate(names)}).write_parquet(path)

    def answer(result: pl.DataFrame) -> dict[str, np.ndarray]:
        result = result.sort(names)
        return {
            "grams": _digest(result.select(names).to_numpy().astype(np.uint64)),
            "occurrences": result["len"].to_numpy().astype(np.int64),
        }

    return BenchmarkSide(
        work=lambda _: pl.scan_parquet(path).group_by(names).agg(pl.len()).collect(engine="streaming"),
        items=len(stream[0]),
        answer=answer,
    )


# -- all orders -------------------------------------------------------------------------------------------------------
def _study(**counting: Any) -> Any:
    from schemas import Study

    return Study.model_validate(
        {
            "name": "benchmark",
            "corpus": {"sources": [{"name": "bench", "files": ["-"]}]},
            "counting": {"all_orders": ORDERS, **counting},
        }
    )


def _in_stages(step: Any, study: Any, store: Any, tables: Mapping[str, Any], cluster: Any, job: Any) -> dict[str, Any]:
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


def all_orders(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: the step `count`, from a table of words to sorted tables of n = 1..8, through the disk."""
    from tasks.cluster.cluster import Cluster
    from tasks.ngrams.count.count import COUNT
    from tasks.storage.store import Store

    root, tables = corpora.words_parts(case["tokens"])
    store = Store(_linked(root))
    study = _study(min_count=case["min_count"], memory=case.get("memory", "1GB"))
    here = Cluster(0, "1GB", store.base)

    def sizes(result: Mapping[str, Any]) -> dict[str, Any]:
        spilled = sum(Path(store.part_path(p)).stat().st_size for p in result["ngram_suffixes"])
        return {"spilled_bytes": spilled, "rows": sum(store.open(p).metadata.num_rows for p in result["ngram_counts"])}

    return BenchmarkSide(
        work=lambda _: _in_stages(COUNT, study, store, tables, here, _execute),
        items=case["tokens"],
        extra=sizes,
        close=lambda: shutil.rmtree(store.base),
    )


# -- workers ----------------------------------------------------------------------------------------------------------
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
            words = _in_stages(WORDS, study, store, tables, cluster, run_job)
            return _in_stages(COUNT, study, store, words, cluster, run_job)

        def close() -> None:
            cluster.close()
            shutil.rmtree(store.base)

        def answer(result: Mapping[str, Any]) -> dict[str, np.ndarray]:
            digests = "".join(store.sha256(store.part_path(p)) for p in result["ngram_counts"])
            return {"bytes": np.frombuffer(bytes.fromhex(digests), np.uint8)}

        return BenchmarkSide(work=work, items=case["tokens"], answer=answer, close=close)

    return side
