"""Texts to integers: ours beside the tokenizers library, and beside the loop that the analyzer is defined by."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case


def tokeniser(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours; compiled anew for each run, so that it remembers no pre-token."""
    from tasks.text.bpe.fast_bpe import compile_tokenizer

    texts, text = corpora.texts(case["tokens"]), corpora.tokenizer()
    compiled = compile_tokenizer.__wrapped__(text)
    return BenchmarkSide(
        work=lambda tokeniser: tokeniser.encode(texts),
        items=lambda found: len(found[0]),
        fresh=lambda: compile_tokenizer.__wrapped__(text),
        answer=lambda found: {"ids": found[0], "offsets": found[1]},
        check=lambda found: compiled.why and f"the library does the work: {compiled.why}",
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

    def answer(found: tuple[WordIds, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        words, rank = found[0].sorted()
        return {"ids": rank[found[1]], "offsets": found[2], "words": np.frombuffer("\n".join(words).encode(), np.uint8)}

    return BenchmarkSide(work=work, items=lambda found: len(found[1]), fresh=WordIds, answer=answer)


def regex_loop(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The analyzer's definition, text by text; words become ids through a dict."""
    from tasks.text.words.analyzer import words_of

    texts = corpora.texts(case["tokens"]).to_pylist()

    def work(known: dict[str, int]) -> tuple[dict[str, int], list[list[int]]]:
        return known, [[known.setdefault(word, len(known)) for word in words_of(text)] for text in texts]

    def answer(found: tuple[dict[str, int], list[list[int]]]) -> dict[str, np.ndarray]:
        known, lists = found
        words = sorted(known)
        rank = np.empty(len(words), np.int32)
        rank[[known[w] for w in words]] = np.arange(len(words))
        ids = np.fromiter((i for one in lists for i in one), np.int64)
        return {
            "ids": rank[ids],
            "offsets": np.cumsum([0, *map(len, lists)]),
            "words": np.frombuffer("\n".join(words).encode(), np.uint8),
        }

    return BenchmarkSide(work=work, items=lambda found: sum(map(len, found[1])), fresh=dict, answer=answer)
