"""Queries to a finished corpus, against the peers: building a suffix array, counts, ∞-gram probabilities, document pairs.

The peers' indexes are built beforehand, except where building is measured. A separator between documents keeps tokengrams, which
has no documents, from counting n-grams across two of them.
"""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import SEPARATOR, Corpora, Stream, ngrams, pairs, places
from benchmarks.side import BenchmarkSide, Case

CONTEXT = 63
SAMPLE = 250_000  # ids read beforehand to estimate which n-gram of a pair is rarer, as step `query` does
CHECKED = 150


def _laid_out(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(grams).ravel(), np.arange(len(grams) + 1, dtype=np.int64) * grams.shape[1]


# -- peers' files -----------------------------------------------------------------------------------------------------
def _separated(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """uint16: a separator before each document; and the position of each separator."""
    ids, offsets = stream
    before = offsets[:-1] + np.arange(len(offsets) - 1)
    out = np.full(len(ids) + len(before), SEPARATOR, np.uint16)
    is_id = np.ones(len(out), bool)
    is_id[before] = False
    out[is_id] = ids
    return out, before


def _build_infinigram(folder: Path) -> None:
    """infini-gram's own indexer on one core, over the tokens in the folder."""
    from infini_gram.indexing import build_sa

    here = Path.cwd()
    sizes = {"worker_id": 0, "workers": 1, "shards": 1, "token_width": 2, "cpus": 1, "mem": 8}
    build_sa(argparse.Namespace(save_dir=str(folder), temp_dir=str(folder), **sizes))
    os.chdir(here)


def _infinigram_tokens(folder: Path, stream: Stream) -> None:
    tokens, before = _separated(stream)
    folder.mkdir(parents=True)
    tokens.tofile(folder / "tokenized.0")
    (2 * before.astype(np.uint64)).tofile(folder / "offset.0")


def prepare(corpora: Corpora, case: Case) -> None:
    """Tokens, and the indexes of those peers that are installed, once for each size."""
    stream = corpora.tokens(case["tokens"])
    if case.get("peers"):
        with contextlib.suppress(ModuleNotFoundError):
            _infinigram_folder(corpora, case["tokens"], stream)
        with contextlib.suppress(ModuleNotFoundError):
            _tokengrams_files(corpora, case["tokens"], stream)


def _infinigram_folder(corpora: Corpora, tokens: int, stream: Stream) -> Path:
    import infini_gram  # noqa: F401 - to learn that it is missing before anything is written

    folder = corpora.place(f"infini-gram-{tokens}")
    if not (folder / "table.0").exists():
        shutil.rmtree(folder, ignore_errors=True)
        infinigram_index(folder, stream)
    return folder


def infinigram_index(folder: Path, stream: Stream) -> None:
    """infini-gram's index of documents of ids."""
    _infinigram_tokens(folder, stream)
    _build_infinigram(folder)


def _tokengrams_files(corpora: Corpora, tokens: int, stream: Stream) -> tuple[str, str]:
    from tokengrams import MemmapIndex

    files = corpora.place(f"tokengrams-{tokens}.bin"), corpora.place(f"tokengrams-{tokens}.idx")
    if not files[1].exists():
        _separated(stream)[0].tofile(files[0])
        MemmapIndex.build(str(files[0]), str(files[1]))
    return str(files[0]), str(files[1])


def _engine(corpora: Corpora, case: Case) -> Any:
    return infinigram_engine(_infinigram_folder(corpora, case["tokens"], corpora.tokens(case["tokens"])))


def infinigram_engine(folder: Path) -> Any:
    """infini-gram's engine for an index."""
    from infini_gram.engine import InfiniGramEngine

    return InfiniGramEngine(index_dir=str(folder), eos_token_id=SEPARATOR - 1, vocab_size=SEPARATOR, token_dtype="u16")


# -- building ---------------------------------------------------------------------------------------------------------
def build(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, with its files written."""
    from tasks.ngrams.kernels import suffix_kernels

    ids, offsets = corpora.tokens(case["tokens"])

    def work(folder: str) -> str:
        for name, array in suffix_kernels.build(ids, offsets)._asdict().items():
            np.save(Path(folder) / name, array)
        return folder

    fresh = _Folders()
    return BenchmarkSide(work=work, items=len(ids), fresh=fresh, close=fresh.close)


def infinigram_build(corpora: Corpora, case: Case) -> BenchmarkSide:
    """infini-gram's indexer; its tokens are written beforehand."""
    import infini_gram  # noqa: F401

    stream, folders = corpora.tokens(case["tokens"]), _Folders()

    def fresh() -> Path:
        folder = Path(folders()) / "index"
        _infinigram_tokens(folder, stream)
        return folder

    return BenchmarkSide(work=_build_infinigram, items=len(stream[0]), fresh=fresh, close=folders.close)


def divsufsort_build(corpora: Corpora, case: Case) -> BenchmarkSide:
    """libdivsufsort over the tokens as bytes, two each with the larger one first; suffixes that begin a token are kept."""
    import pydivsufsort

    text = _separated(corpora.tokens(case["tokens"]))[0].astype(">u2").view(np.uint8)

    def work(folder: str) -> None:
        suffixes = pydivsufsort.divsufsort(text)
        np.save(Path(folder) / "suffixes", suffixes[suffixes & 1 == 0] >> 1)

    fresh = _Folders()
    return BenchmarkSide(work=work, items=case["tokens"], fresh=fresh, close=fresh.close)


class _Folders:
    """A new empty folder each time, which replaces the last one."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self) -> str:
        self.close()
        self.last = tempfile.mkdtemp(prefix="taskgram-benchmark-")
        return self.last

    def close(self) -> None:
        """Remove the last one."""
        shutil.rmtree(self.last, ignore_errors=True)


# -- counts -----------------------------------------------------------------------------------------------------------
def counts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: all queries at once, from a suffix array."""
    from tasks.ngrams.kernels import suffix_kernels

    stream = corpora.tokens(case["tokens"])
    index, queries = suffix_kernels.build(*stream), _laid_out(ngrams(stream, case["queries"], case["n"]))
    return BenchmarkSide(
        work=lambda _: suffix_kernels.counts([index], [queries[0]], queries[1]),
        items=case["queries"],
        answer=lambda result: {"counts": result},
    )


def infinigram_counts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """infini-gram: one query after the other, because it has no other way."""
    engine = _engine(corpora, case)
    queries = ngrams(corpora.tokens(case["tokens"]), case["queries"], case["n"])[: case["peers"]].tolist()
    return BenchmarkSide(
        work=lambda _: [engine.count(gram)["count"] for gram in queries],
        items=len(queries),
        answer=lambda result: {"counts": np.array(result)},
    )


def tokengrams_counts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """tokengrams: one query after the other."""
    from tokengrams import MemmapIndex

    stream = corpora.tokens(case["tokens"])
    index = MemmapIndex(*_tokengrams_files(corpora, case["tokens"], stream), vocab=SEPARATOR + 1)
    queries = ngrams(stream, case["queries"], case["n"])[: case["peers"]].tolist()
    return BenchmarkSide(
        work=lambda _: [index.count(gram) for gram in queries],
        items=len(queries),
        answer=lambda result: {"counts": np.array(result)},
    )


def _hashes(ids: np.ndarray, begins: np.ndarray, n: int) -> np.ndarray:
    """uint64 of the n ids that begin at each place."""
    hashes = np.full(len(begins), n, np.uint64)
    for k in range(n):
        hashes = (hashes ^ ids[begins + k].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def hashed_counts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """NumPy: hashes of all n-grams of this one n, sorted beforehand; those of the queries are sorted, then searched."""
    stream, n = corpora.tokens(case["tokens"]), case["n"]
    ids, offsets = stream
    document = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    within = np.flatnonzero(document[: len(ids) - n + 1] == document[n - 1 :])
    keys, occurrences = np.unique(_hashes(ids, within, n), return_counts=True)
    queries, begins = _laid_out(ngrams(stream, case["queries"], n))

    def work(_: object) -> np.ndarray:
        hashes = _hashes(queries, begins[:-1], n)
        order = np.argsort(hashes)
        at = np.minimum(np.searchsorted(keys, hashes[order]), len(keys) - 1)
        result = np.empty(len(hashes), np.int64)
        result[order] = np.where(keys[at] == hashes[order], occurrences[at], 0)
        return result

    return BenchmarkSide(work=work, items=case["queries"], answer=lambda result: {"counts": result})


# -- ∞-gram -----------------------------------------------------------------------------------------------------------
def _texts(stream: Stream, count: int) -> np.ndarray:
    """Contexts with their next id, from documents that are long enough; in every other context one id is exchanged."""
    queries = stream[0][places(stream, count, CONTEXT + 1, 63)[:, None] + np.arange(CONTEXT + 1)]
    random = np.random.default_rng(63)
    rows = np.arange(1, count, 2)
    queries[rows, random.integers(CONTEXT // 2, CONTEXT, len(rows))] = random.choice(stream[0], len(rows))
    return queries


def infinigrams(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: the longest suffix that any id follows, and the longest one that the next id follows."""
    from tasks.ngrams.kernels import suffix_kernels

    stream = corpora.tokens(case["tokens"])
    index, queries = suffix_kernels.build(*stream), _laid_out(_texts(stream, case["queries"]))
    return BenchmarkSide(
        work=lambda _: suffix_kernels.infinigram([index], [queries[0]], queries[1]),
        items=case["queries"],
        answer=lambda f: {"suffix": f.suffix, "numerator": f.numerator, "denominator": f.denominator},
    )


def infinigram_probabilities(corpora: Corpora, case: Case) -> BenchmarkSide:
    """infini-gram's `infgram_prob`."""
    engine = _engine(corpora, case)
    queries = _texts(corpora.tokens(case["tokens"]), case["queries"])[: case["peers"]].tolist()

    def answer(result: list[Mapping[str, int]]) -> dict[str, np.ndarray]:
        names = {"suffix": "suffix_len", "numerator": "cont_cnt", "denominator": "prompt_cnt"}
        return {ours: np.array([f[theirs] for f in result]) for ours, theirs in names.items()}

    return BenchmarkSide(
        work=lambda _: [engine.infgram_prob(text[:-1], text[-1]) for text in queries], items=len(queries), answer=answer
    )


# -- pairs ------------------------------------------------------------------------------------------------------------
def document_pairs(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: from the queries to the counts of every pair, in one pass over the corpus."""
    from tasks.ngrams.kernels import ngram_kernels, pair_kernels, scan_kernels

    ids, offsets = corpora.tokens(case["tokens"])
    gram_ids, gram_offsets, ends = pairs((ids, offsets), case["queries"])
    lengths = np.diff(gram_offsets)
    some = offsets[: max(2, int(np.searchsorted(offsets, SAMPLE)))]

    def work(_: object) -> tuple[np.ndarray, np.ndarray]:
        trie, same = ngram_kernels.build_trie(gram_ids, gram_offsets)
        records = scan_kernels.empty_records(len(lengths))
        scan_kernels.scan_ngrams(ids[: some[-1]], some, 0, trie, records)
        frequency = records["documents"] + 1 / (1.0 + lengths)
        records = scan_kernels.empty_records(len(lengths))
        state = pair_kernels.prepare(same[ends], frequency, lengths, records)
        scan_kernels.scan_pairs(ids, offsets, 0, trie, records, state)
        result = np.empty(len(ends), np.int64)
        result[state.order] = state.entries["documents"]
        return records["documents"][same], result

    def check(result: tuple[np.ndarray, np.ndarray]) -> str:
        for pair in np.random.default_rng(0).choice(len(ends), min(CHECKED, len(ends)), replace=False):
            containing = [set(_documents(ids, offsets, gram_ids[gram_offsets[g] : gram_offsets[g + 1]])) for g in ends[pair]]
            if len(containing[0] & containing[1]) != result[1][pair]:
                return f"pair {pair} is in {len(containing[0] & containing[1])} documents, not in {result[1][pair]}"
        return ""

    def extra(result: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        return {"tokens": len(ids), "distinct_ngrams": len(lengths), "found_pairs": int((result[1] > 0).sum())}

    return BenchmarkSide(work=work, items=len(ends), check=check, extra=extra, answer=lambda result: {"pairs": result[1]})


def _documents(ids: np.ndarray, offsets: np.ndarray, gram: np.ndarray) -> Iterator[int]:
    """Documents that contain an n-gram, by comparing at every position of its first id."""
    at = np.flatnonzero(ids[: len(ids) - len(gram) + 1] == gram[0])
    for k in range(1, len(gram)):
        at = at[ids[at + k] == gram[k]]
    document = np.searchsorted(offsets, at, side="right") - 1
    yield from np.unique(document[at + len(gram) <= offsets[document + 1]]).tolist()


def roaring_pairs(corpora: Corpora, case: Case) -> BenchmarkSide:
    """polars finds the documents of each n-gram by joins on hashes, and pyroaring intersects them."""
    import polars as pl
    from pyroaring import BitMap

    ids, offsets = corpora.tokens(case["tokens"])
    gram_ids, gram_offsets, ends = pairs((ids, offsets), case["queries"])
    lengths = np.diff(gram_offsets)
    document = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint32), np.diff(offsets))

    def work(_: object) -> np.ndarray:
        holding = []
        for n in np.unique(lengths).tolist():
            grams, last = np.flatnonzero(lengths == n), len(ids) - n + 1
            wanted = pl.DataFrame({"key": _hashes(gram_ids, gram_offsets[grams], n), "gram": grams.astype(np.uint32)})
            keys = pl.DataFrame({"key": _hashes(ids, np.arange(last), n), "document": document[:last]})
            same = keys.filter(document[:last] == document[n - 1 :])
            holding.append(same.join(wanted, on="key").select("gram", "document").unique())
        lists = pl.concat(holding).group_by("gram").agg("document")
        maps = dict(zip(lists["gram"].to_list(), map(BitMap, lists["document"].to_list()), strict=True))
        none = BitMap()
        return np.array([maps.get(x, none).intersection_cardinality(maps.get(y, none)) for x, y in ends.tolist()])

    return BenchmarkSide(work=work, items=len(ends), answer=lambda result: {"pairs": result})
