"""Clusters of near copies of windows: ours, next to MinHash and LSH with the same comparison of candidates."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case

NGRAM, JACCARD = 5, 0.8


def windows(case: Case) -> np.ndarray:
    """int32 [windows, tokens], of Zipf's law: every third window is a copy of the last one whose number is a multiple of 300, with
    one other token."""
    rng, count = np.random.default_rng(0), case["windows"]
    made = rng.zipf(1.3, (count, case["tokens_each"])).clip(max=30_000).astype(np.int32)
    copies = np.arange(2, count, 3)
    made[copies] = made[copies // 300 * 300]
    made[copies, rng.integers(0, case["tokens_each"], len(copies))] = rng.integers(0, 30_000, len(copies))
    return made


def near_copies(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, which misses none."""
    from tasks.ngrams.near_copies import near_copies

    made = windows(case)
    return BenchmarkSide(work=lambda _: near_copies(made), items=len(made), answer=lambda result: {"cluster": result})


def minhash(corpora: Corpora, case: Case) -> BenchmarkSide:
    """datasketch with its defaults: 128 permutations, a threshold of .8; candidates are compared exactly, as sets."""
    from datasketch import MinHash, MinHashLSH
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    made = windows(case)[: case["peers"]]
    ngrams = np.lib.stride_tricks.sliding_window_view(made, NGRAM, axis=1).copy().view(f"V{4 * NGRAM}")[:, :, 0]

    def work(_: Any) -> np.ndarray:
        sets, lsh, pairs = ngrams.tolist(), MinHashLSH(threshold=JACCARD), list[tuple[int, int]]()
        for number, sketch in enumerate(MinHash.generator(sets)):
            mine = set(sets[number])
            for other in lsh.query(sketch):
                shared = len(mine.intersection(sets[other]))
                if shared >= JACCARD * (len(mine) + len(set(sets[other])) - shared):
                    pairs.append((other, number))
            lsh.insert(number, sketch)
        a, b = np.array(pairs or [(0, 0)]).T
        return connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(len(sets), len(sets))), directed=False)[1]

    return BenchmarkSide(work=work, items=len(made), answer=lambda result: {"cluster": result})


def same_but_for_misses(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """What differs: LSH joins what ours does not, or has more than a tenth more clusters for the pairs that it misses."""
    theirs = peers["cluster"]
    mine = ours["cluster"][: len(theirs)]
    first = np.unique(theirs, return_index=True)[1][theirs]
    if (mine != mine[first]).any():
        return "near copies of LSH are no near copies"
    return "" if len(np.unique(theirs)) <= 1.1 * len(np.unique(mine)) else "LSH misses more than a tenth"
