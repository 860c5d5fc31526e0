"""Clusters of near copies: connected components of windows whose sets of 5-grams have a Jaccard similarity of .8 or more.

near_copies([[1, 2, … 64], [1, 2, … 63, 9], [7, 7, … 7]])  ->  [0, 0, 1]        59 shared 5-grams of 61
"""

import numpy as np

NGRAM = 5


def near_copies(windows: np.ndarray, hash_bits: int = 48) -> np.ndarray:
    """int64 [windows]: the number of each window's cluster, from 0 in the order of their first windows. windows: int32
    [windows, tokens], of at most 2,048 tokens. A window of fewer than five tokens is near its equals alone."""
    from tasks.ngrams.kernels.near_kernels import join_equal, join_near, sorted_ngrams
    from tasks.ngrams.kernels.ngram_kernels import slots_for

    count, tokens = windows.shape
    if not count:
        return np.empty(0, np.int64)
    n = min(NGRAM, tokens)
    keys, sizes, bits = sorted_ngrams(windows, n, np.uint64((1 << hash_bits) - 1))
    parents = np.arange(count, dtype=np.int32)
    remain = join_equal(windows, keys, sizes, bits, n, np.lexsort((bits[:, 1], bits[:, 0])), parents)
    by_size = np.argsort(sizes, kind="stable")
    by_size = by_size[remain[by_size]]
    join_near(windows, keys, sizes, bits, n, by_size, slots_for(len(by_size) * (keys.shape[1] // 9 + 1))[0], parents)
    while (parents != (above := parents[parents])).any():
        parents = above
    return np.unique(parents, return_inverse=True)[1]
