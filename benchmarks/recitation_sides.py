"""Edit distances of generations and suffixes in tokens: ours by rapidfuzz, next to the dynamic program written as a Python loop."""

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case

VOCABULARY = 50_000


def pairs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """int32 [pairs, tokens] each: texts, and the same texts after up to as many edits as they have tokens."""
    rng = np.random.default_rng(0)
    texts = rng.integers(0, VOCABULARY, (case["pairs"], case["tokens_each"])).astype(np.int32)
    changed = rng.random(texts.shape) < rng.random((len(texts), 1))
    others = np.where(changed, rng.integers(0, VOCABULARY, texts.shape), texts).astype(np.int32)
    return texts, np.stack([np.roll(row, shift) for row, shift in zip(others, rng.integers(0, 4, len(others)), strict=True)])


def edit_distances(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours, from arrays to similarities."""
    from tasks.memorization.recitation import edit_similarity

    texts, others = pairs(case)
    return BenchmarkSide(
        work=lambda _: edit_similarity(texts, others),
        items=len(texts),
        answer=lambda result: {"edits": np.rint((1 - result) * texts.shape[1]).astype(np.int64)},
    )


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
    texts, others = (of[: case["peers"]].tolist() for of in pairs(case))
    return BenchmarkSide(
        work=lambda _: np.array([distance(a, b) for a, b in zip(texts, others, strict=True)], np.int64),
        items=len(texts),
        answer=lambda result: {"edits": result},
    )
