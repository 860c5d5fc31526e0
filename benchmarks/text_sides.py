"""Texts to integers: ours against the tokenizers library, and against the loop that defines the analyzer."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case


def tokeniser(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Our tokeniser, compiled for each run, so that its cache of pre-tokens is empty."""
    from tasks.text.bpe.fast_bpe import compile_tokenizer

    texts, text = corpora.texts(case["tokens"]), corpora.tokenizer()
    compiled = compile_tokenizer.__wrapped__(text)
    return BenchmarkSide(
        work=lambda tokeniser: tokeniser.encode(texts),
        items=lambda result: len(result[0]),
        fresh=lambda: compile_tokenizer.__wrapped__(text),
        answer=lambda result: {"ids": result[0], "offsets": result[1]},
        check=lambda result: compiled.why and f"the library does the work: {compiled.why}",
    )


def tokenizers(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Hugging Face tokenizers, encode_batch on one core."""
    from tasks.text.bpe.tokenizer import load_tokenizer

    text, texts = corpora.tokenizer(), corpora.texts(case["tokens"]).to_pylist()

    def work(library: Any) -> list[Any]:
        pieces = (texts[low : low + 512] for low in range(0, len(texts), 512))
        return [e for piece in pieces for e in library.encode_batch(piece, add_special_tokens=False)]

    def answer(encoded: list[Any]) -> dict[str, np.ndarray]:
        lists = [e.ids for e in encoded]
        ids = np.fromiter((i for one in lists for i in one), np.int32)
        return {"ids": ids, "offsets": np.cumsum([0, *map(len, lists)])}

    return BenchmarkSide(
        work=work, items=lambda encoded: sum(len(e.ids) for e in encoded), fresh=lambda: load_tokenizer(text), answer=answer
    )


def analyzer(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: the words of all texts as ids."""
    from tasks.text.words.word_ids import WordIds

    texts = corpora.texts(case["tokens"])

    def work(analyzed: WordIds) -> tuple[WordIds, np.ndarray, np.ndarray]:
        return analyzed, *analyzed.add(texts)

    def answer(result: tuple[WordIds, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        words, rank = result[0].sorted()
        return {"ids": rank[result[1]], "offsets": result[2], "words": np.frombuffer("\n".join(words).encode(), np.uint8)}

    return BenchmarkSide(work=work, items=lambda result: len(result[1]), fresh=WordIds, answer=answer)


def regex_loop(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The analyzer's definition, text by text; words become ids through a dict."""
    from tasks.text.words.analyzer import words_of

    texts = corpora.texts(case["tokens"]).to_pylist()

    def work(numbers: dict[str, int]) -> tuple[dict[str, int], list[list[int]]]:
        return numbers, [[numbers.setdefault(word, len(numbers)) for word in words_of(text)] for text in texts]

    def answer(result: tuple[dict[str, int], list[list[int]]]) -> dict[str, np.ndarray]:
        numbers, lists = result
        words = sorted(numbers)
        rank = np.empty(len(words), np.int32)
        rank[[numbers[w] for w in words]] = np.arange(len(words))
        ids = np.fromiter((i for one in lists for i in one), np.int64)
        return {
            "ids": rank[ids],
            "offsets": np.cumsum([0, *map(len, lists)]),
            "words": np.frombuffer("\n".join(words).encode(), np.uint8),
        }

    return BenchmarkSide(work=work, items=lambda result: sum(map(len, result[1])), fresh=dict, answer=answer)
