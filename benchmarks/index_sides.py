"""Queries to a finished corpus, against the peers: building a suffix array, counts, ∞-gram probabilities, document pairs.

The peers' indexes are built beforehand, except where building is measured. A separator between documents keeps tokengrams, which
has no documents, from counting n-grams across two of them.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import SEPARATOR, Corpora, Stream, ngrams, pairs, places
from benchmarks.side import Arrays, BenchmarkSide, Case, Folders

CONTEXT = 63
SAMPLE = 250_000  # ids read beforehand to estimate which n-gram of a pair is rarer, as step `query` does
CHECKED = 150


def _laid_out(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(grams).ravel(), np.arange(len(grams) + 1, dtype=np.int64) * grams.shape[1]


def _separated(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """uint16: a separator before each document; and the position of each separator."""
    ids, offsets = stream
    return np.insert(ids.astype(np.uint16), offsets[:-1], SEPARATOR), offsets[:-1] + np.arange(len(offsets) - 1)


# -- infini-gram's index -----------------------------------------------------------------------------------------------
def infinigram_index(folder: Path, stream: Stream) -> None:
    """infini-gram's index of documents of ids, by its own indexer on one core."""
    from infini_gram.indexing import build_sa

    here, (tokens, before) = Path.cwd(), _separated(stream)
    folder.mkdir(parents=True)
    tokens.tofile(folder / "tokenized.0")
    (2 * before.astype(np.uint64)).tofile(folder / "offset.0")
    sizes = {"worker_id": 0, "workers": 1, "shards": 1, "token_width": 2, "cpus": 1, "mem": 8}
    build_sa(argparse.Namespace(save_dir=str(folder), temp_dir=str(folder), **sizes))
    os.chdir(here)


def infinigram_engine(folder: Path) -> Any:
    """infini-gram's engine for an index."""
    from infini_gram.engine import InfiniGramEngine

    return InfiniGramEngine(index_dir=str(folder), eos_token_id=SEPARATOR - 1, vocab_size=SEPARATOR, token_dtype="u16")


# -- building ---------------------------------------------------------------------------------------------------------
def _writing(build: Callable[[], Mapping[str, np.ndarray]], tokens: int) -> BenchmarkSide:
    """What builds arrays, and writes them to files."""

    def work(folder: Path) -> None:
        for name, array in build().items():
            np.save(folder / name, array)

    folders = Folders()
    return BenchmarkSide(work, tokens, fresh=folders, close=(folders.close,))


def build(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, with its files written."""
    from tasks.ngrams.kernels import suffix_kernels

    stream = corpora.tokens(case["tokens"])
    return _writing(lambda: suffix_kernels.build(*stream)._asdict(), case["tokens"])


def divsufsort_build(corpora: Corpora, case: Case) -> BenchmarkSide:
    """libdivsufsort over the tokens as bytes, two each with the larger one first; suffixes that begin a token are kept."""
    import pydivsufsort

    text = _separated(corpora.tokens(case["tokens"]))[0].astype(">u2").view(np.uint8)

    def suffixes() -> Arrays:
        every = pydivsufsort.divsufsort(text)
        return {"suffixes": every[every & 1 == 0] >> 1}

    return _writing(suffixes, case["tokens"])


# -- counts -----------------------------------------------------------------------------------------------------------
def counts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: all queries at once, from a suffix array."""
    from tasks.ngrams.kernels import suffix_kernels

    stream = corpora.tokens(case["tokens"])
    index, queries = suffix_kernels.build(*stream), _laid_out(ngrams(stream, case["queries"], case["n"]))
    return BenchmarkSide(lambda _: {"counts": suffix_kernels.counts([index], [queries[0]], queries[1])}, case["queries"])


def tokengrams_counts(corpora: Corpora, case: Case) -> BenchmarkSide:
    """tokengrams: one query after the other."""
    from tokengrams import MemmapIndex

    tokens, index = (corpora.place(f"tokengrams-{case['tokens']}.{end}") for end in ("bin", "idx"))
    stream = corpora.tokens(case["tokens"])
    if not index.exists():
        _separated(stream)[0].tofile(tokens)
        MemmapIndex.build(str(tokens), str(index))
    library = MemmapIndex(str(tokens), str(index), vocab=SEPARATOR + 1)
    queries = ngrams(stream, case["queries"], case["n"])[: case["peers"]].tolist()
    return BenchmarkSide(lambda _: {"counts": np.array([library.count(gram) for gram in queries])}, len(queries))


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

    def work(_: object) -> Arrays:
        hashes = _hashes(queries, begins[:-1], n)
        order = np.argsort(hashes)
        at = np.minimum(np.searchsorted(keys, hashes[order]), len(keys) - 1)
        result = np.empty(len(hashes), np.int64)
        result[order] = np.where(keys[at] == hashes[order], occurrences[at], 0)
        return {"counts": result}

    return BenchmarkSide(work, case["queries"])


# -- ∞-gram -----------------------------------------------------------------------------------------------------------
def _contexts(stream: Stream, count: int) -> np.ndarray:
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
    index, queries = suffix_kernels.build(*stream), _laid_out(_contexts(stream, case["queries"]))

    def work(_: object) -> Arrays:
        result = suffix_kernels.infinigram([index], [queries[0]], queries[1])
        return {"suffix": result.suffix, "numerator": result.numerator, "denominator": result.denominator}

    return BenchmarkSide(work, case["queries"])


def infinigram_probabilities(corpora: Corpora, case: Case) -> BenchmarkSide:
    """infini-gram's `infgram_prob`."""
    import infini_gram  # noqa: F401 - to learn that it is missing before anything is written

    folder, stream = corpora.place(f"infini-gram-{case['tokens']}"), corpora.tokens(case["tokens"])
    if not (folder / "table.0").exists():
        shutil.rmtree(folder, ignore_errors=True)
        infinigram_index(folder, stream)
    engine, queries = infinigram_engine(folder), _contexts(stream, case["queries"])[: case["peers"]].tolist()
    names = {"suffix": "suffix_len", "numerator": "cont_cnt", "denominator": "prompt_cnt"}

    def work(_: object) -> Arrays:
        answers = [engine.infgram_prob(text[:-1], text[-1]) for text in queries]
        return {ours: np.array([f[theirs] for f in answers]) for ours, theirs in names.items()}

    return BenchmarkSide(work, len(queries))


# -- pairs ------------------------------------------------------------------------------------------------------------
def document_pairs(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: from the queries to the counts of every pair, in one pass over the corpus."""
    from tasks.ngrams.kernels import ngram_kernels, pair_kernels, scan_kernels

    ids, offsets = corpora.tokens(case["tokens"])
    gram_ids, gram_offsets, ends = pairs((ids, offsets), case["queries"])
    lengths = np.diff(gram_offsets)
    some = offsets[: max(2, int(np.searchsorted(offsets, SAMPLE)))]

    def work(_: object) -> Arrays:
        trie, same = ngram_kernels.build_trie(gram_ids, gram_offsets)
        records = scan_kernels.empty_records(len(lengths))
        scan_kernels.scan_ngrams(ids[: some[-1]], some, 0, trie, records)
        frequency = records["documents"] + 1 / (1.0 + lengths)
        records = scan_kernels.empty_records(len(lengths))
        state = pair_kernels.prepare(same[ends], frequency, lengths, records)
        scan_kernels.scan_pairs(ids, offsets, 0, trie, records, state, np.zeros(0, np.uint64), 0)
        result = np.empty(len(ends), np.int64)
        result[state.order] = state.entries["documents"]
        return {"pairs": result}

    def check(result: Arrays) -> str:
        for pair in np.random.default_rng(0).choice(len(ends), min(CHECKED, len(ends)), replace=False):
            x, y = (_documents(ids, offsets, gram_ids[gram_offsets[g] : gram_offsets[g + 1]]) for g in ends[pair])
            if len(np.intersect1d(x, y)) != result["pairs"][pair]:
                return f"pair {pair} is in {len(np.intersect1d(x, y))} documents, not in {result['pairs'][pair]}"
        return ""

    def extra(result: Arrays) -> dict[str, Any]:
        return {"tokens": len(ids), "distinct_ngrams": len(lengths), "found_pairs": int((result["pairs"] > 0).sum())}

    return BenchmarkSide(work, len(ends), check=check, extra=extra)


def _documents(ids: np.ndarray, offsets: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Documents that contain an n-gram, by comparing at every position of its first id."""
    at = np.flatnonzero(ids[: len(ids) - len(gram) + 1] == gram[0])
    for k in range(1, len(gram)):
        at = at[ids[at + k] == gram[k]]
    document = np.searchsorted(offsets, at, side="right") - 1
    return np.unique(document[at + len(gram) <= offsets[document + 1]])


def roaring_pairs(corpora: Corpora, case: Case) -> BenchmarkSide:
    """polars finds the documents of each n-gram by joins on hashes, and pyroaring intersects them."""
    import polars as pl
    from pyroaring import BitMap

    ids, offsets = corpora.tokens(case["tokens"])
    gram_ids, gram_offsets, ends = pairs((ids, offsets), case["queries"])
    lengths = np.diff(gram_offsets)
    document = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint32), np.diff(offsets))

    def work(_: object) -> Arrays:
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
        return {"pairs": np.array([maps.get(x, none).intersection_cardinality(maps.get(y, none)) for x, y in ends.tolist()])}

    return BenchmarkSide(work, len(ends))
